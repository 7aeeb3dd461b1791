"""Training a cross-validation: its runs one after the other, and folds.csv, which says who stands in which fold."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import crossval
from fer_hierarchy.hierarchy.experiments.crossval_report import write_crossval_report
from fer_hierarchy.hierarchy.experiments.grid import SEED, Grid
from fer_hierarchy.hierarchy.experiments.grid_training import CellFaces, ExperimentKind, resume_grid, train_grid
from fer_hierarchy.hierarchy.runs import run_folder

FOLDS = "folds.csv"
COLUMNS = ("row", "subject", "repeat", "fold")
_NOUN = "cross-validation"
_LONGEST_MODEL = 60  # letters of the folder's own name


def train_crossval(planned: Grid, stage_type: type[Stage], *, name: str | None, results: Path, logs: Path) -> Path:
    """Train every fold of a new cross-validation and report on all of them; see `train_grid`."""
    return train_grid(planned, stage_type, name=name, results=results, logs=logs, job=_JOB)


def resume_crossval(folder: Path, stage_type: type[Stage], *, logs: Path) -> Path:
    """Go on with a cross-validation; see `resume_grid`.

    Raises:
        UserError: Besides: folds.csv is damaged, divides a person, or is not what the data and the settings give.
    """
    return resume_grid(folder, stage_type, logs=logs, job=_JOB)


def fold_table(planned: Grid, looks: Sequence[CellFaces]) -> pd.DataFrame:
    """folds.csv: in which fold of each repeat a face is a test face, and whom it shows.

    Args:
        planned: The cross-validation.
        looks: What each of its runs sees.

    Returns:
        Columns `COLUMNS`: str `row` and `subject` ("" where unknown), int64 `repeat` and `fold`, both from 1.
    """
    parts = [
        pd.DataFrame(
            {
                "row": look.test["id"],
                "subject": _subjects(look.test, several="+" in look.dataset),
                "repeat": planned.axes[SEED].index(cell.point[SEED]) + 1,
                "fold": int(cell.point[crossval.FOLD]),
            }
        )
        for cell, look in zip(planned.cells, looks, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _subjects(test: pd.DataFrame, *, several: bool) -> pd.Series:
    """Who is shown; with the source where there are several, since two of them may both have a subject S005."""
    named = test["source"] + "/" + test["subject"] if several else test["subject"]
    return named.where(test["subject"] != "", "")


def read_folds(folder: Path) -> pd.DataFrame:
    """folds.csv of a cross-validation, as `fold_table` gives it.

    Raises:
        UserError: It is missing or damaged.
    """
    path = folder / FOLDS
    try:
        table = pd.read_csv(path, dtype={"row": str, "subject": str}, keep_default_na=False)[list(COLUMNS)]
        return table.astype({"repeat": "int64", "fold": "int64"})
    except (OSError, ValueError, KeyError) as error:
        needed = ", ".join(COLUMNS)
        raise UserError(f"{path} is missing or damaged: it needs the columns {needed}; start a new {_NOUN}") from error


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
    for (repeat, subject), held in known.groupby(["repeat", "subject"])["fold"] if by == "subject" else ():
        if held.min() < held.max():
            places = " and ".join(map(str, sorted(held.unique())))
            raise UserError(
                f"{path}: subject {subject!r} stands in folds {places} of repeat {repeat}, so that the person would be "
                f"trained on and judged; put the file back as it was, or start a new {_NOUN}"
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


def _begin(folder: Path, planned: Grid, looks: Sequence[CellFaces]) -> None:
    run_folder.write_table(folder / FOLDS, fold_table(planned, looks))


def _check(folder: Path, planned: Grid, looks: Sequence[CellFaces]) -> None:
    by = planned.cells[0].config.data.split_by
    check_folds(folder / FOLDS, read_folds(folder), fold_table(planned, looks), by=by)


def _stem(planned: Grid, dataset: str) -> str:
    config = planned.cells[0].config
    model = re.sub(r"[^\w.+-]+", "-", config.stage.model)[:_LONGEST_MODEL]
    folds, repeats = crossval.folds_of(planned), crossval.repeats_of(planned)
    times = f"x{repeats}" if repeats > 1 else ""
    return f"{dataset}-{config.mode}-{model}-{folds}fold{times}-seed{planned.axes[SEED][0]}"


_JOB = ExperimentKind(
    noun=_NOUN,
    cell="run",
    size=crossval.size,
    stem=_stem,
    begin=_begin,
    check=_check,
    report=lambda folder, planned, cells: write_crossval_report(folder, planned, cells, read_folds(folder)),
)
