"""A finished run as experiments read it: records, predictions by row id, subjects and pixels."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run_folder import CONFIG, ENVIRONMENT, METRICS, PREDICTIONS, SPLITS
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

FORMAT = 1
_NEEDED_KEYS = ("mode", "seed", "taxonomy", "emotions", "headline", "answers", "stages")
_NEEDED_COLUMNS = ("row", "true", "predicted", "route")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a finished run left behind.

    Attributes:
        folder: The run folder, resolved.
        config: config.json.
        metrics: metrics.json.
        environment: environment.json, empty where there is none.
        taxonomy: The grouping that the run was judged with.
        predictions: predictions.csv indexed by row id, in file order.
        subjects: Row id -> subject of the faces of known people, from splits.csv.
        pixel_hashes: Row id -> hash of the face's pixels, from splits.csv; empty where the run recorded none.
    """

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    taxonomy: Taxonomy
    predictions: pd.DataFrame
    subjects: pd.Series
    pixel_hashes: pd.Series

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Emotions in class order."""
        return self.taxonomy.emotions


def load_run(folder: Path) -> RunRecord:
    """Read a finished run.

    Args:
        folder: results/<run>.

    Raises:
        UserError: The folder is not there, is no finished run, or holds a damaged file.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise UserError(f"no run folder at {folder}; name a folder that a finished run left below results/")
    missing = [name for name in (CONFIG, METRICS, PREDICTIONS) if not (folder / name).is_file()]
    if missing:
        unfinished = (folder / CONFIG).is_file()
        hint = f"finish it with --resume {folder.name}" if unfinished else "name a folder that a finished run left"
        raise UserError(f"{folder} is no finished run: {', '.join(missing)} missing; {hint}")
    metrics = _read_json(folder / METRICS)
    absent = [key for key in _NEEDED_KEYS if key not in metrics]
    if metrics.get("format") != FORMAT or absent:
        problem = f"no {absent[0]!r}" if absent else f"format {metrics.get('format')!r}, not {FORMAT}"
        raise UserError(f"{folder / METRICS}: {problem}; run the evaluation again")
    taxonomy = Taxonomy.from_dict(metrics["taxonomy"], name=folder.name)
    environment = _read_json(folder / ENVIRONMENT) if (folder / ENVIRONMENT).is_file() else {}
    splits = _read_splits(folder / SPLITS)
    return RunRecord(
        folder=folder,
        config=_read_json(folder / CONFIG),
        metrics=metrics,
        environment=environment,
        taxonomy=taxonomy,
        predictions=read_predictions(folder / PREDICTIONS, taxonomy),
        subjects=_read_subjects(splits),
        pixel_hashes=splits["pixel_hash"] if "pixel_hash" in splits else pd.Series(dtype=str),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds a {type(record).__name__}; needed a JSON object")
    return record


def read_predictions(path: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    """predictions.csv, checked and indexed by row id."""
    text = dict.fromkeys(_NEEDED_COLUMNS, str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as csv ({str(error).splitlines()[0]})") from error
    numbers = [f"p_{emotion}" for emotion in taxonomy.emotions]
    absent = [column for column in (*_NEEDED_COLUMNS, *numbers) if column not in table]
    if absent:
        raise UserError(f"{path}: column {absent[0]!r} is missing; run the evaluation again")
    wrong = [column for column in numbers if not pd.api.types.is_numeric_dtype(table[column])]
    if wrong:
        raise UserError(f"{path}: column {wrong[0]!r} holds something other than numbers; run the evaluation again")
    repeated = table["row"][table["row"].duplicated()]
    if table.empty or len(repeated):
        problem = f"row {repeated.iloc[0]!r} stands there twice" if len(repeated) else "holds no rows"
        raise UserError(f"{path}: {problem}; run the evaluation again")
    for column, names in (
        ("true", taxonomy.emotions),
        ("predicted", taxonomy.emotions),
        ("route", taxonomy.group_names),
    ):
        strange = table[column][~table[column].isin(names)]
        if len(strange):
            raise UserError(f"{path}: {column} {strange.iloc[0]!r} is none of {', '.join(names)}")
    return table.set_index("row")


def _read_splits(path: Path) -> pd.DataFrame:
    """splits.csv of a run by row id; empty where the run recorded none."""
    if not path.is_file():
        return pd.DataFrame()
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    key = next((column for column in ("id", "row") if column in table), None)
    return pd.DataFrame() if key is None else table.set_index(key)


def _read_subjects(splits: pd.DataFrame) -> pd.Series:
    """Row id -> subject, for rows whose subject is known."""
    if "subject" not in splits:
        return pd.Series(dtype=str)
    known = splits[splits["subject"] != ""]
    # Two data sets may both have a subject S005.
    return known["source"] + "/" + known["subject"] if "source" in known else known["subject"]
