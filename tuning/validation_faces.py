"""What finished runs predicted for their validation faces: read and checked, with persons and folds of the faces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.faces import SYNTHETIC
from fer_hierarchy.hierarchy.data.splits import fold_numbers
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.runs.run_folder import free_name
from fer_hierarchy.hierarchy.runs.run_results import VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS

FOLDS = 5
FIGURES = {"macro_f1": "macro_f1", "balanced_accuracy": "balanced_accuracy", "accuracy": "top1"}
MEASURES = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "nll": "NLL"}
HEADINGS = {"macro_f1": "Macro F1 %", "balanced_accuracy": "Balanced %", "accuracy": "Top-1 %", "nll": "NLL"}
_LONGEST = 180  # letters of a name that is made here


def study_name(name: str | None, stem: str, studies: Path, *, synthetic: bool) -> str:
    """The given name of a study, or a free one made of `stem`; that of drawn faces says so."""
    stem = name or stem[:_LONGEST]
    if synthetic and SYNTHETIC not in stem:
        stem = f"{SYNTHETIC}-{stem}"
    return stem if name else free_name(stem, studies)


def read_validation(folder: Path, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """predictions_validation.csv of a run, checked and indexed by row.

    Args:
        folder: The run.
        numbers: Columns of numbers that it needs, `p_EMOTION` among them; none means those of every emotion it has.

    Raises:
        UserError: It is missing or damaged.
    """
    path, remedy = folder / VALIDATION_PREDICTIONS, f"; --resume {folder.name} writes it again"
    try:
        table = pd.read_csv(path, dtype={"row": str, "true": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({str(error).splitlines()[0]}){remedy}") from error
    problem = _problem(table, numbers or [f"p_{emotion}" for emotion in EMOTIONS if f"p_{emotion}" in table])
    if problem:
        raise UserError(f"{path} is damaged: {problem}{remedy}")
    return table.set_index("row")


def _problem(table: pd.DataFrame, numbers: Sequence[str]) -> str:
    """What is wrong with a table of predictions; nothing where it is fine."""
    if table.empty:
        return "it holds no rows"
    if absent := [name for name in ("row", "true", *numbers) if name not in table]:
        return f"column {absent[0]!r} is missing"
    if wrong := [name for name in numbers if not pd.api.types.is_numeric_dtype(table[name])]:
        return f"column {wrong[0]!r} holds something other than numbers"
    unknown = table["true"][~("p_" + table["true"]).isin(numbers)]
    if len(unknown):
        return f"it holds emotion {unknown.iloc[0]!r} and has no column of it"
    repeated = table["row"][table["row"].duplicated()]
    return f"it holds row {repeated.iloc[0]!r} twice" if len(repeated) else ""


def score(labels: np.ndarray, predicted: np.ndarray, classes: int, objective: str) -> float:
    """One of the `FIGURES` of (n,) predicted class indices."""
    return float(confusion_figures(confusion_counts(labels, predicted, classes))[FIGURES[objective]])


def persons(faces: pd.DataFrame) -> np.ndarray | None:
    """Who is on each face.

    Args:
        faces: n rows of splits.csv, indexed by `row`.

    Returns:
        (n,) names, a name of its own where nobody is named; None where nobody is known at all.
    """
    if not (faces["subject"] != "").any():
        return None
    return _named(faces).where(faces["subject"] != "", faces.index.to_series()).to_numpy(object)


def folds(faces: pd.DataFrame, seed: int) -> np.ndarray:
    """(n,) int64 fold of each face, from 1; persons stay together, or identical faces where nobody is known.

    Args:
        faces: n rows of splits.csv, indexed by `row`.
        seed: Of the shuffle.

    Raises:
        UserError: An emotion has too few persons or faces for two folds.
    """
    known = (faces["subject"] != "").any()
    units = _named(faces).where(faces["subject"] != "", faces["pixel_hash"]) if known else faces["pixel_hash"]
    fewest = int(units.groupby(faces["emotion"]).nunique().min())
    rows = faces.assign(source=faces.get("source", ""), id=faces.index).reset_index(drop=True)
    return fold_numbers(rows, folds=max(2, min(FOLDS, fewest)), seed=seed).to_numpy(np.int64)


def _named(faces: pd.DataFrame) -> pd.Series:
    return faces.get("source", "") + "/" + faces["subject"]
