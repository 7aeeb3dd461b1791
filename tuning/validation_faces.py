"""Validation faces of a search that trains no trials: scores, persons and folds, and the name of its study."""

from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.predictions import subjects
from fer_hierarchy.hierarchy.data.splits import fold_numbers
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.runs.run_folder import free_name, marked

FOLDS = 5
FIGURES = {"macro_f1": "macro_f1", "balanced_accuracy": "balanced_accuracy", "accuracy": "top1"}
MEASURES = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "nll": "NLL"}
HEADINGS = {"macro_f1": "Macro F1 %", "balanced_accuracy": "Balanced %", "accuracy": "Top-1 %", "nll": "NLL"}
_LONGEST = 180  # letters of a name that is made here


def study_name(name: str | None, stem: str, studies: Path, *, synthetic: bool) -> str:
    """The given name of a study, or a free one made of `stem`; that of drawn faces says so."""
    stem = marked(name or stem[:_LONGEST], synthetic=synthetic)
    return stem if name else free_name(stem, studies)


def score(labels: np.ndarray, predicted: np.ndarray, classes: int, objective: str) -> float:
    """One of the `FIGURES` of (n,) predicted class indices."""
    return float(confusion_figures(confusion_counts(labels, predicted, classes))[FIGURES[objective]])


def as_manifest(splits: pd.DataFrame) -> pd.DataFrame:
    """Rows of splits.csv, indexed by `row`, as those of a manifest; old runs did not record the source."""
    return splits.assign(source=splits.get("source", ""), id=splits.index).reset_index(drop=True)


def folds(faces: pd.DataFrame, seed: int) -> np.ndarray:
    """(n,) int64 fold of each face, from 1; persons stay together, or identical faces where nobody is known.

    Args:
        faces: n rows of a manifest.
        seed: Of the shuffle.

    Raises:
        UserError: An emotion has too few persons or faces for two folds.
    """
    names = subjects(faces.assign(id=faces["pixel_hash"]))
    units = faces["pixel_hash"] if names is None else pd.Series(names, index=faces.index)
    fewest = int(units.groupby(faces["emotion"]).nunique().min())
    return fold_numbers(faces, folds=max(2, min(FOLDS, fewest)), seed=seed).to_numpy(np.int64)
