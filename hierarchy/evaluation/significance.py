"""Significance: bootstrap intervals, paired tests, and mean and deviation over seeds.

Every figure here follows from a confusion matrix, so resampling faces comes down to drawing the counts of its cells:
the multinomial draw has exactly the distribution of drawing n faces with replacement and costs next to nothing.
"""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from scipy.stats import binomtest
from scipy.stats import t as student

from fer_hierarchy.hierarchy.errors import UserError

FIGURES = ("top1", "balanced_accuracy", "macro_f1", "weighted_f1")
RESAMPLES = 1000
_PERCENTILES = (2.5, 97.5)

# Largest (resamples x clusters) block of weights drawn at once: 32 MB of int64.
_BLOCK = 4_000_000


class Draw(TypedDict, total=False):
    """How faces are resampled.

    Attributes:
        resamples: Number of bootstrap samples, `RESAMPLES` by default; each draws the same faces for all models.
        seed: Of the draw, 0 by default.
        groups: (n,) subjects; whole subjects are drawn then, because frames of one person are no independent faces.
            An empty or missing name is a subject of its own. None, the default, draws single faces.
    """

    resamples: int
    seed: int
    groups: ArrayLike | None


def confusion_counts(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> np.ndarray:
    """(n,) true and predicted class indices -> (classes, classes) int64 counts, rows are the true classes."""
    return np.bincount(y_true * n_classes + y_pred, minlength=n_classes**2).reshape(n_classes, n_classes)


def confusion_figures(confusion: ArrayLike) -> dict[str, np.ndarray]:
    """Top-1 accuracy, balanced accuracy, macro F1 and F1 weighted by support, of one or many confusion matrices.

    Args:
        confusion: (..., classes, classes) counts, rows are the true classes; each holds at least one face.

    Returns:
        Figure -> (...) float64. A class without true faces is left out of balanced accuracy and both F1.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    support, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    present = support > 0
    recall = hits / np.where(present, support, 1)
    f1 = np.where(present, 2 * hits / np.maximum(support + predicted, 1), 0)
    classes = present.sum(axis=-1)
    return {
        "top1": hits.sum(axis=-1) / support.sum(axis=-1),
        "balanced_accuracy": recall.sum(axis=-1) / classes,
        "macro_f1": f1.sum(axis=-1) / classes,
        "weighted_f1": (f1 * support).sum(axis=-1) / support.sum(axis=-1),
    }


def bootstrap_intervals(
    y_true: ArrayLike, y_pred: ArrayLike, n_classes: int, **draw: Unpack[Draw]
) -> dict[str, list[float]]:
    """Percentile bootstrap 95 % intervals of the `FIGURES`.

    Args:
        y_true: (n,) class indices.
        y_pred: (n,) class indices.
        n_classes: Number of classes.
        **draw: As `Draw` describes.

    Returns:
        Figure -> [low, high].

    Raises:
        UserError: No faces, lengths that differ, or indices outside the classes.
    """
    drawn = _resampled_figures(_checked([y_true, y_pred], n_classes), n_classes, **draw)[0]
    return {name: np.percentile(values, _PERCENTILES).tolist() for name, values in drawn.items()}


def paired_bootstrap(
    y_true: ArrayLike, pred_a: ArrayLike, pred_b: ArrayLike, n_classes: int, **draw: Unpack[Draw]
) -> dict[str, dict[str, float]]:
    """Differences b - a of the `FIGURES` on the same faces, with percentile bootstrap 95 % intervals.

    Args:
        y_true: (n,) class indices.
        pred_a: (n,) predictions of the first model.
        pred_b: (n,) predictions of the second model.
        n_classes: Number of classes.
        **draw: As `Draw` describes.

    Returns:
        Figure -> {"difference", "low", "high"}, as fractions.

    Raises:
        UserError: As for `bootstrap_intervals`.
    """
    labels = _checked([y_true, pred_a, pred_b], n_classes)
    drawn_a, drawn_b = _resampled_figures(labels, n_classes, **draw)
    seen_a, seen_b = _seen_figures(labels, n_classes)
    result = {}
    for name in FIGURES:
        low, high = np.percentile(drawn_b[name] - drawn_a[name], _PERCENTILES)
        result[name] = {"difference": float(seen_b[name] - seen_a[name]), "low": float(low), "high": float(high)}
    return result


def difference_over_seeds(
    y_true: ArrayLike,
    predictions_a: Sequence[ArrayLike],
    predictions_b: Sequence[ArrayLike],
    n_classes: int,
    **draw: Unpack[Draw],
) -> dict[str, dict[str, float]]:
    """Differences of two configurations' mean `FIGURES` over seeds, with 95 % intervals that cover faces and trainings.

    The variance of a difference is that of the faces (bootstrap, the same faces for all trainings) plus that of the
    trainings (of each configuration's figures, divided by their number); the interval is Student's, with Welch's
    degrees of freedom, for which the part of the faces counts as known. What a training predicts for single faces
    varies with both and is in both parts, so that the interval is rather too wide than too narrow.

    Args:
        y_true: (n,) class indices.
        predictions_a: At least two trainings of the first configuration, each (n,) class indices.
        predictions_b: At least two of the second.
        n_classes: Number of classes.
        **draw: As `Draw` describes.

    Returns:
        Figure -> {"difference", "low", "high", "p"}, as fractions; p is two-sided, from the same distribution.

    Raises:
        UserError: A configuration with a single training; else as for `bootstrap_intervals`.
    """
    if min(len(predictions_a), len(predictions_b)) < 2:
        raise UserError("a difference over seeds: a configuration has one training; needed at least two of each")
    labels = _checked([y_true, *predictions_a, *predictions_b], n_classes)
    tables = _resampled_figures(labels, n_classes, **draw), _seen_figures(labels, n_classes)
    first, second = slice(len(predictions_a)), slice(len(predictions_a), None)
    result = {}
    for name in FIGURES:
        resampled, values = (np.array([figures[name] for figures in table]) for table in tables)
        faces = np.var(resampled[second].mean(axis=0) - resampled[first].mean(axis=0), ddof=1)
        difference = float(values[second].mean() - values[first].mean())
        result[name] = {"difference": difference, **_welch(difference, faces, values[first], values[second])}
    return result


def _welch(difference: float, known: float, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Student's interval and p of a difference of means, to whose variance a `known` one is added."""
    parts = [(np.var(values, ddof=1) / len(values), len(values) - 1) for values in (a, b)]
    variance = known + sum(part for part, _ in parts)
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    if not variance:
        return {"low": difference, "high": difference, "p": float(difference == 0)}
    freedom, error = variance**2 / uncertain if uncertain else np.inf, np.sqrt(variance)
    reach = float(student.ppf(0.975, freedom) * error)
    p = float(2 * student.sf(abs(difference) / error, freedom))
    return {"low": difference - reach, "high": difference + reach, "p": p}


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> dict[str, float]:
    """Exact two-sided McNemar test on the faces that only one of two models gets right.

    It treats faces as independent: with several frames of one person its p is too small.

    Args:
        correct_a: (n,) whether the first model is right.
        correct_b: (n,) whether the second model is right, on the same faces.

    Returns:
        {"a_only", "b_only"} counts and "p", which is 1 where the models never disagree.

    Raises:
        UserError: Lengths differ.
    """
    first, second = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape:
        raise UserError(f"McNemar test: got shapes {first.shape} and {second.shape}; needed the same faces for both")
    a_only, b_only = int((first & ~second).sum()), int((second & ~first).sum())
    p = binomtest(a_only, a_only + b_only, 0.5).pvalue if a_only + b_only else 1.0
    return {"a_only": a_only, "b_only": b_only, "p": float(p)}


def mean_std(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean and sample standard deviation (ddof=1) over seeds: {"mean", "std", "n"}; std is None for one value.

    Raises:
        UserError: No values.
    """
    if not len(values):
        raise UserError("mean over seeds: got no values; needed at least one")
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": spread, "n": len(values)}


def _checked(columns: Sequence[ArrayLike], n_classes: int) -> list[np.ndarray]:
    labels = [np.asarray(column).astype(np.int64) for column in columns]
    shapes = [label.shape for label in labels]
    if any(shape != shapes[0] or len(shape) != 1 for shape in shapes) or shapes[0] == (0,):
        raise UserError(f"bootstrap: got labels of shapes {shapes}; needed one class index a face, the same faces")
    if min(label.min() for label in labels) < 0 or max(label.max() for label in labels) >= n_classes:
        raise UserError(f"bootstrap: a class index lies outside 0 to {n_classes - 1}")
    return labels


def _seen_figures(labels: list[np.ndarray], n_classes: int) -> list[dict[str, np.ndarray]]:
    """`confusion_figures` of each column of predictions; the first column of `labels` is the truth."""
    return [confusion_figures(confusion_counts(labels[0], column, n_classes)) for column in labels[1:]]


def _resampled_figures(
    labels: list[np.ndarray],
    n_classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> list[dict[str, np.ndarray]]:
    """The same with a value for each resample, shape (resamples,)."""
    if resamples < 1:
        raise UserError(f"bootstrap: got {resamples} resamples; needed at least 1")
    # A cell is one combination of the true class and every model's prediction: what its faces share is all that counts.
    combinations, cell = np.unique(np.stack(labels, axis=1), axis=0, return_inverse=True)
    counts = _drawn_counts(cell.reshape(-1), len(combinations), resamples, seed, groups)
    pairs = combinations[:, :1] * n_classes + combinations[:, 1:]
    shape = (resamples, n_classes, n_classes)
    return [confusion_figures((counts @ np.eye(n_classes**2)[column]).reshape(shape)) for column in pairs.T]


def _drawn_counts(cell: np.ndarray, n_cells: int, resamples: int, seed: int, groups: ArrayLike | None) -> np.ndarray:
    """(resamples, cells) float64 counts of resampled faces in each cell."""
    draw, faces = np.random.default_rng(seed), len(cell)
    cluster = np.arange(faces) if groups is None else _clusters(groups, faces)
    n_clusters = int(cluster.max()) + 1
    if n_clusters == faces:
        shares = np.bincount(cell, minlength=n_cells) / faces
        return draw.multinomial(faces, shares, size=resamples).astype(float)
    members = csr_matrix((np.ones(faces), (cluster, cell)), shape=(n_clusters, n_cells))
    block, even = max(1, _BLOCK // n_clusters), np.full(n_clusters, 1 / n_clusters)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    return np.concatenate([draw.multinomial(n_clusters, even, size=size) @ members for size in sizes])


def _clusters(groups: ArrayLike, rows: int) -> np.ndarray:
    """(n,) number of the subject of each face."""
    names = ["" if name is None or name != name else str(name) for name in np.asarray(groups, dtype=object)]
    if len(names) != rows:
        raise UserError(f"bootstrap: got {len(names)} subjects for {rows} faces; needed one each")
    keys = np.array([name or row for row, name in enumerate(names)], dtype=object)
    return pd.factorize(keys)[0]


def corrected_t(differences: Sequence[float], *, folds: int) -> float | None:
    """Two-sided p of the t test whose variance is corrected for training sets that overlap.

    Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003; for repeated folds as in
    Bouckaert and Frank, PAKDD 2004.

    Args:
        differences: One for each fold of each repeat.
        folds: Folds of a repeat; a test split is 1 / (folds - 1) of its training faces.

    Returns:
        None where it is undefined: fewer than two differences, or all alike.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or np.isclose(values.std(), 0):
        return None
    variance = values.var(ddof=1) * (1 / len(values) + 1 / (folds - 1))
    return float(2 * student.sf(abs(values.mean()) / np.sqrt(variance), len(values) - 1))
