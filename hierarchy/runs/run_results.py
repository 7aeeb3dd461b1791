"""What a finished run holds, with one clear line where it is damaged or is none."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import COMMAND, RESULTS
from fer_hierarchy.hierarchy.runs import run_folder

VALIDATION_PREDICTIONS = "predictions_validation.csv"

_SPLIT_COLUMNS = ("row", "emotion", "split", "source", "subject", "pixel_hash")  # of splits.csv; row is the manifest id


def read_metrics(folder: Path) -> dict[str, Any]:
    """What a finished run's metrics.json holds.

    Raises:
        UserError: There is none yet, or it is damaged.
    """
    path = folder / run_folder.METRICS
    if not path.is_file():
        raise UserError(
            f"{folder.name} is not finished: it has no {path.name}; {resume_hint(folder, _framework(folder))}"
        )
    try:
        record = run_folder.read_json(path)
        if not {"mode", "taxonomy", "data", "cost", "training"} <= record.keys():
            raise UserError(f"{path} is damaged: parts of it are missing")
    except UserError as error:
        raise UserError(f"{error}; {resume_hint(folder, _framework(folder))}") from error
    return record


def refuse_evaluation(folder: Path) -> None:
    """Refuse a folder that only judged other runs: it has no stages.

    Raises:
        UserError: It did, or only joined their answers.
    """
    if (folder / run_folder.METRICS).is_file() and not (folder / run_folder.STAGES).is_dir():
        record = read_metrics(folder)
        if record["mode"] == "evaluation":
            judged = record["trained_on"]["run"]
            raise UserError(f"{folder.name} is an evaluation; name the run that it judged: {judged}")
        if record["mode"] == "ensemble":
            members = ", ".join(record["members"])
            raise UserError(f"{folder.name} is an ensemble, which has no networks; name one of its runs: {members}")


def check_same_faces(folder: Path, faces: Faces) -> None:
    """Refuse faces that are not those that a run was started with.

    Raises:
        UserError: They are not.
    """
    saved = read_splits(folder)
    now = split_table(faces)[list(saved)].astype(str).reset_index(drop=True)
    if not saved.equals(now.astype(saved.dtypes.to_dict())):
        raise UserError(
            f"the data has changed since {folder.name} was started ({folder / run_folder.SPLITS} differs); "
            "start a new run"
        )


def read_splits(folder: Path) -> pd.DataFrame:
    """splits.csv of a run, as text.

    Raises:
        UserError: It is missing or damaged.
    """
    path = folder / run_folder.SPLITS
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        # Runs of older versions did not record the source.
        return table[[name for name in _SPLIT_COLUMNS if name != "source" or name in table]]
    except (OSError, ValueError, KeyError) as error:
        needed = ", ".join(_SPLIT_COLUMNS)
        raise UserError(f"{path} is missing or damaged: it needs the columns {needed}; start a new run") from error


def split_table(faces: Faces) -> pd.DataFrame:
    """splits.csv: which face stands in which split."""
    table = faces.manifest[["id", *_SPLIT_COLUMNS[1:]]]
    return table.rename(columns={"id": "row"}).sort_values(["split", "row"])


def headline(record: Mapping[str, Any]) -> str:
    """The result in one line, with n, intervals and seed."""
    answer = record["answers"][record["headline"]]
    figures = ", ".join(
        f"{text} {answer[key]:.4f} [{answer['intervals'][key][0]:.4f}, {answer['intervals'][key][1]:.4f}]"
        for key, text in (("top1", "top-1"), ("balanced_accuracy", "balanced"), ("macro_f1", "macro F1"))
    )
    origin = "SYNTHETIC faces, " if record["synthetic"] else ""
    return f"{record['run']} ({record['headline']}): {figures}; {origin}n = {answer['n']}, seed {record['seed']}"


def resume_hint(folder: Path, framework: str, *flags: str) -> str:
    """The command that goes on with a run, as it can be pasted."""
    run = folder.name if folder.parent == RESULTS else str(folder)
    program = COMMAND if framework == "keras" else ("python", "-m", "fer_hierarchy.pt_files.train")
    return "go on with: " + shlex.join([*program, *flags, "--resume", run])


def _framework(folder: Path) -> str:
    return run_folder.read_config(folder).framework
