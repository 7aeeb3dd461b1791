"""How much a run suffers from corrupted faces: every corruption at every strength, predicted and scored."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.coverage import node_values
from fer_hierarchy.hierarchy.classifiers.predictions import predict, subjects
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.data.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from fer_hierarchy.hierarchy.evaluation import metrics
from fer_hierarchy.hierarchy.evaluation.conformal import Guarantee
from fer_hierarchy.hierarchy.evaluation.significance import bootstrap_intervals, confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

CONDITIONS = STRENGTHS * len(CORRUPTIONS)
MOST_FACES = 2000  # that are corrupted: 35 times as many predictions
_CHUNK = 512  # faces corrupted at a time
PROMISED = 0.9  # coverage
_MEASURES = ("top1", "balanced_accuracy")


def robust_rows(rows: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The faces that are corrupted: all, or `MOST_FACES` drawn at random of more."""
    if len(rows) <= MOST_FACES:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), MOST_FACES, replace=False)
    return rows.iloc[np.sort(chosen)]


def robustness(
    stages: Mapping[str, Stage],
    taxonomy: Taxonomy,
    pixels: np.ndarray,
    rows: pd.DataFrame,
    clean: np.ndarray,
    *,
    resamples: int,
    seed: int,
    guarantee: Guarantee | None = None,
) -> dict[str, Any]:
    """Scores of the headline prediction for corrupted faces.

    Args:
        stages: All stages of the run by name.
        taxonomy: The run's grouping.
        pixels: (n, h, w, c); the index of `rows` points into it.
        rows: Manifest rows, from `robust_rows`.
        clean: (rows, emotions) probabilities for the same faces as they are.
        resamples: Of the intervals.
        seed: Of the corruptions and the intervals.
        guarantee: Of the run, from faces as they are.

    Returns:
        {"n", "seed", "clean", "corrupted"}: the scores of the faces as they are, and a list of those under each
        `corruption` and `strength`, with its `level`: `top1`, `balanced_accuracy` and `intervals`; with a guarantee
        also `covered`, the share whose prediction holds the true emotion where `PROMISED` were promised.
    """
    emotions = taxonomy.emotions
    labels = metrics.class_indices(rows["emotion"].to_numpy(str), emotions)

    def scored(table: np.ndarray) -> dict[str, Any]:
        predicted = table.argmax(axis=1)
        figures = confusion_figures(confusion_counts(labels, predicted, len(emotions)))
        spans = bootstrap_intervals(
            labels, predicted, len(emotions), resamples=resamples, seed=seed, groups=subjects(rows)
        )
        kept = {}
        if guarantee:
            values = node_values(table, labels, taxonomy, guarantee, PROMISED)
            kept = {"covered": float(values["covered"].mean())}
        return {
            **{name: float(figures[name]) for name in _MEASURES},
            **kept,
            "intervals": {name: spans[name] for name in _MEASURES},
        }

    conditions = [(name, strength) for name in CORRUPTIONS for strength in range(1, STRENGTHS + 1)]
    return {
        "n": len(rows),
        "seed": seed,
        "clean": scored(clean),
        "corrupted": [
            {"corruption": name, "strength": strength, "level": CORRUPTIONS[name].levels[strength - 1]}
            | scored(np.concatenate(list(_predicted(stages, taxonomy, pixels, rows, name, strength, seed))))
            for name, strength in conditions
        ],
    }


def _predicted(
    stages: Mapping[str, Stage],
    taxonomy: Taxonomy,
    pixels: np.ndarray,
    rows: pd.DataFrame,
    name: str,
    strength: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """(some rows, emotions) probabilities under one corruption, chunk by chunk."""
    for start in range(0, len(rows), _CHUNK):
        some = rows.iloc[start : start + _CHUNK]
        worse = corrupted(pixels[some.index.to_numpy()], name, strength, seed=seed + start)
        yield predict(stages, taxonomy, worse, some.reset_index(drop=True)).probabilities
