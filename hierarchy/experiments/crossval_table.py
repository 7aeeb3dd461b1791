"""A cross-validation's tables: who stands in which fold, scores of each fold, their means, and pooled predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import per_class
from fer_hierarchy.hierarchy.evaluation.significance import (
    FIGURES,
    bootstrap_intervals,
    confusion_counts,
    confusion_figures,
    mean_std,
)
from fer_hierarchy.hierarchy.experiments.grid import FOLD, SEED, Grid
from fer_hierarchy.hierarchy.experiments.table import CHOOSING, GridCell
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run_folder import read_table
from fer_hierarchy.hierarchy.wording import model_words

FORMAT = 1
GATE = "gate_top1"
MEASURES = (*FIGURES, GATE)
FOLDS = "folds.csv"
COLUMNS = ("row", "subject", "repeat", "fold")
_NOUN = "cross-validation"


def place(planned: Grid, point: Mapping[str, str]) -> dict[str, int]:
    """Repeat and fold of a run, both from 1."""
    return {"repeat": planned.axes[SEED].index(point[SEED]) + 1, "fold": int(point[FOLD])}


@dataclass(frozen=True)
class CellFaces:
    """The faces of one run.

    Attributes:
        dataset: Names of their sources.
        fingerprint: Of all faces.
        test_hashes: Pixels of the test faces.
        test: Rows of the manifest (`id`, `source`, `subject`) that are the test split.
    """

    dataset: str
    fingerprint: str
    test_hashes: frozenset[str]
    test: pd.DataFrame = field(default_factory=pd.DataFrame)


def fold_table(planned: Grid, faces: Sequence[CellFaces]) -> pd.DataFrame:
    """The table that folds.csv has.

    Args:
        planned: The cross-validation.
        faces: Those of each of its runs.

    Returns:
        Columns `COLUMNS`: str `row` and `subject` ("" where unknown), int64 `repeat` and `fold`, both from 1.
    """
    parts = [
        pd.DataFrame({"row": own.test["id"], "subject": _subjects(own), **place(planned, cell.point)})
        for cell, own in zip(planned.cells, faces, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _subjects(faces: CellFaces) -> pd.Series:
    """Who is shown; with the source where there are several, since two of them may both have a subject S005."""
    test = faces.test
    named = test["source"] + "/" + test["subject"] if "+" in faces.dataset else test["subject"]
    return named.where(test["subject"] != "", "")


def read_folds(folder: Path) -> pd.DataFrame:
    """folds.csv of a cross-validation, as `fold_table` gives it.

    Raises:
        UserError: It is missing or damaged.
    """
    remedy = f"it needs the columns {', '.join(COLUMNS)}; start a new {_NOUN}"
    table = read_table(folder / FOLDS, text=("row", "subject"), remedy=remedy)
    try:
        return table[list(COLUMNS)].astype({"repeat": "int64", "fold": "int64"})
    except (ValueError, KeyError, OverflowError) as error:
        raise UserError(f"{folder / FOLDS} is missing or damaged: {remedy}") from error


def check_folds(path: Path, saved: pd.DataFrame, expected: pd.DataFrame, *, by: str) -> None:
    """Refuse folds that divide a person, or that are not what the data and the settings give.

    Args:
        path: Where `saved` was read, for the message.
        saved: As `read_folds` gives it.
        expected: As `fold_table` gives it.
        by: "subject", or "sample" where a person may stand in several folds.

    Raises:
        UserError: Naming the subject and the folds, or the first row that differs.
    """
    known = saved[saved["subject"] != ""]
    for (repeat, subject), own in known.groupby(["repeat", "subject"])["fold"] if by == "subject" else ():
        if own.min() < own.max():
            places = " and ".join(map(str, sorted(own.unique())))
            raise UserError(
                f"{path}: subject {subject!r} stands in folds {places} of repeat {repeat}, so that the person would be "
                f"trained on and evaluated; put the file back as it was, or start a new {_NOUN}"
            )
    key = ["repeat", "row"]
    both = expected.merge(saved, on=key, how="outer", suffixes=("", "_saved"), indicator=True)
    wrong = both[(both["_merge"] != "both") | (both["fold"] != both["fold_saved"])]
    if len(wrong) or len(saved) != len(expected):
        repeat, row = wrong[key].iloc[0] if len(wrong) else saved.loc[saved.duplicated(key), key].iloc[0]
        raise UserError(
            f"{path} is not what these data and settings give: row {row!r} of repeat {repeat} differs; "
            f"put the file back as it was, or start a new {_NOUN}"
        )


def crossval_table(planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> dict[str, Any]:
    """All figures of a cross-validation.

    Args:
        planned: Seeds, folds and command.
        cells: What became of each run, in the grid's order.
        folds: folds.csv: `row`, `subject`, `repeat`, `fold`.

    Returns:
        format, synthetic, mode, trunk, models, folds, repeats, split_by, seeds, command, data, classes, gate, rows (one
        a run, with its confusion), failed, means (over all runs, over the runs of each repeat, and over the means of
        repeats), emotions (recall of each over the runs) and pooled; the last three are empty where no run is finished.

    Raises:
        UserError: A run was evaluated on other faces than those of its fold.
    """
    config = planned.cells[0].config
    done = [cell for cell in cells if cell.run is not None]
    rows = [_row(planned, cell, folds) for cell in done]
    record = {
        "format": FORMAT,
        "mode": config.mode,
        "trunk": config.trunk,
        "folds": len(planned.axes[FOLD]),
        "repeats": len(planned.axes[SEED]),
        "seeds": [int(seed) for seed in planned.axes[SEED]],
        "split_by": config.data.split_by,
        "limit": config.data.limit,
        "command": planned.command,
        "rows": rows,
        "failed": [{"run": cell.name, "error": cell.error} for cell in cells if cell.run is None],
    }
    if not rows:
        return {**record, "synthetic": False, "means": {}, "emotions": [], "pooled": {}}
    together = _pooled_part(planned, done, folds)
    if all(row[GATE] is not None for row in rows):  # every gate was evaluated on all faces of its fold
        together["pooled"][GATE] = float(np.average([row[GATE] for row in rows], weights=[row["n"] for row in rows]))
    return {**record, **_facts(done[0].finished, folds), "means": _means(rows), **together}


def _facts(first: Run, folds: pd.DataFrame) -> dict[str, Any]:
    data, training = (first.metrics.get(key) or {} for key in ("data", "training"))
    return {
        "synthetic": bool(first.metrics.get("synthetic")),
        "data": {
            **{key: data.get(key) for key in ("dataset", "path", "fingerprint", "bad")},
            "faces": int(folds["row"].nunique()),
            "subjects": _people(folds),
        },
        "taxonomy": first.taxonomy.to_dict(),
        "excluded": first.metrics.get("excluded", []),
        "models": {stage: model_words(entry) for stage, entry in training.items()},
        "classes": list(first.classes),
        "gate": first.taxonomy.gate,
    }


def _people(folds: pd.DataFrame) -> int | None:
    """How many people are known among some rows of folds.csv; None where nobody is."""
    return int(folds["subject"][folds["subject"] != ""].nunique()) or None


def _row(planned: Grid, cell: GridCell, folds: pd.DataFrame) -> dict[str, Any]:
    """One run: the scores of its headline predictions on its fold."""
    where = place(planned, cell.point)
    own = folds[(folds["repeat"] == where["repeat"]) & (folds["fold"] == where["fold"])]
    run = cell.finished
    if set(cell.rows.index) != set(own["row"]):
        raise UserError(
            f"{run.folder}: it was evaluated on other faces than those of its fold; delete that folder, then resume"
        )
    gate = run.metrics["stages"].get(run.taxonomy.gate) or {}
    return {
        "run": cell.name,
        **where,
        "seed": int(cell.seed),
        "n": len(own),
        "subjects": _people(own),
        "shared": _shared(run, folds),
        **cell.figures,
        GATE: gate.get("top1"),
        CHOOSING: cell.scores[CHOOSING],
        "train_cpu_seconds": cell.scores["train_cpu_seconds"],
        "confusion": cell.confusion.tolist(),
    }


def _shared(run: Run, folds: pd.DataFrame) -> int:
    """How many test faces show a person whom training shows too."""
    table = run.splits
    named = folds.drop_duplicates("row").set_index("row")["subject"]
    person = table["row"].map(named).fillna(table["subject"])
    trained_on = set(person[(table["split"] == "train") & (person != "")])
    return int((person[table["split"] == "test"].isin(trained_on)).sum())


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of each measure; repeats count alike, however many of their folds are finished."""
    table = pd.DataFrame(rows)
    measured = [name for name in MEASURES if table[name].notna().all()]
    of_repeats: list[dict[str, Any]] = [
        {"repeat": int(repeat), "runs": len(runs), **{name: mean_std(list(runs[name])) for name in measured}}
        for repeat, runs in table.groupby("repeat")
    ]
    return {
        "runs": {name: mean_std(list(table[name])) for name in measured},
        "of_repeats": of_repeats,
        "over_repeats": {name: mean_std([repeat[name]["mean"] for repeat in of_repeats]) for name in measured},
    }


def _pooled_part(planned: Grid, done: Sequence[GridCell], folds: pd.DataFrame) -> dict[str, Any]:
    """Figures of all predictions together, and what each emotion's recall is from run to run."""
    settings, table, classes = planned.cells[0].config, pooled(planned, done, folds), done[0].finished.classes
    both = (table["label"].to_numpy(), table["predicted"].to_numpy())
    confusion = confusion_counts(*both, len(classes))
    draw = {"resamples": settings.evaluation.resamples, "seed": settings.seed, "groups": table["group"]}
    recalls = pd.DataFrame([cell.recalls() for cell in done], columns=list(classes))
    emotions = [
        {**row, "recalls": mean_std(list(seen)) if len(seen := recalls[row["class"]].dropna()) else None}
        for row in per_class(*both, classes)
    ]
    return {
        "emotions": emotions,
        "pooled": {
            "n": len(table),
            "faces": table.index.get_level_values("row").nunique(),
            "drawn": "people" if (folds["subject"] != "").any() else "faces",
            **{name: float(value) for name, value in confusion_figures(confusion).items()},
            "intervals": bootstrap_intervals(*both, len(classes), **draw),
            "confusion": confusion.tolist(),
        },
    }


def pooled(planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> pd.DataFrame:
    """The headline predictions of all runs; with repeats each face stands there once for each.

    Args:
        planned: Seeds and folds.
        cells: Finished runs.
        folds: folds.csv.

    Returns:
        Indexed by `repeat` and `row`, in the order of the runs: `fold`, int64 `label` and `predicted`, and `group` (the
        person, or the face where nobody is known).

    Raises:
        UserError: The runs know different emotions.
    """
    classes = cells[0].finished.classes
    other = next((cell for cell in cells if cell.finished.classes != classes), None)
    if other is not None:
        raise UserError(f"{other.name} knows other emotions than {cells[0].name}; start a new cross-validation")
    parts = [
        pd.DataFrame({"label": cell.labels, "predicted": cell.predicted, **place(planned, cell.point)}, cell.rows.index)
        for cell in cells
    ]
    table = pd.concat(parts).reset_index(names="row")
    person = folds.drop_duplicates("row").set_index("row")["subject"]
    table["group"] = table["row"].map(person.where(person != "", "face " + person.index))
    return table.set_index(["repeat", "row"])
