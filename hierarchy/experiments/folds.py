"""folds.csv of a cross-validation: in which fold a face is a test face, and whom it shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.crossval_table import place
from fer_hierarchy.hierarchy.experiments.grid import Grid

FOLDS = "folds.csv"
COLUMNS = ("row", "subject", "repeat", "fold")
_NOUN = "cross-validation"


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
