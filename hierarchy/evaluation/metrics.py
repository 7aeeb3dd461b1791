"""Metrics: (y_true, probabilities, taxonomy) -> plain tables that JSON can hold. No Keras, no files, no plots.

Undefined figures are None, never NaN: the recall and F1 of a class without faces, the precision of a class that is
never predicted. Balanced accuracy and macro F1 average over the classes that have faces.
"""

from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_fscore_support

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import expected_calibration_error, reliability
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.evaluation.significance import (
    Draw,
    bootstrap_intervals,
    confusion_counts,
    confusion_figures,
)
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

# Keeps the likelihood of a class that hard routing rules out finite: such a face costs 36 nats.
_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)


def class_indices(y_true: ArrayLike, classes: Sequence[str]) -> np.ndarray:
    """Class names or indices -> (n,) int64 indices into `classes`.

    Raises:
        UserError: A label is none of the classes.
    """
    given = np.asarray(y_true)
    if given.ndim != 1:
        raise UserError(f"labels: got shape {given.shape}; needed one label a face")
    labels = given
    if given.dtype.kind not in "iu":
        index = {name: i for i, name in enumerate(classes)}
        labels = np.array([index.get(name, -1) for name in given], dtype=np.int64)
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        raise UserError(f"label {str(given[outside.argmax()])!r} is none of the classes {', '.join(classes)}")
    return labels.astype(np.int64)


def scores(y_true: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], **draw: Unpack[Draw]) -> dict:
    """All figures of one classifier on one set of faces.

    Args:
        y_true: (n,) class names or indices into `classes`.
        probabilities: (n, classes), rows sum to 1; the highest is the prediction, the first of equals.
        classes: Class names in column order.
        **draw: How the bootstrap of the intervals draws faces, see `Draw`.

    Returns:
        n, classes, top1, top2 and top3 (None for fewer classes than that), balanced_accuracy, macro_f1, weighted_f1,
        nll (nats, probabilities clipped from below at 2.2e-16), ece, intervals, per_class, confusion (rows are true),
        reliability.

    Raises:
        UserError: No faces, a label outside the classes, or rows that are no probabilities.
    """
    table = as_probabilities(probabilities, len(classes), "probabilities to score")
    labels = class_indices(y_true, classes)
    if not len(labels) or len(labels) != len(table):
        raise UserError(f"scores: got {len(labels)} labels and {len(table)} predictions; needed one each, at least one")
    predicted = table.argmax(axis=1)
    chosen = table[np.arange(len(table)), labels]
    confusion = confusion_counts(labels, predicted, len(classes))
    return {
        "n": len(labels),
        "classes": list(classes),
        **top_shares(labels, table),
        **{name: float(value) for name, value in confusion_figures(confusion).items()},
        "nll": float(-np.log(np.maximum(chosen, _LEAST_PROBABILITY)).mean()),
        "ece": float(expected_calibration_error(labels, table)),
        "intervals": bootstrap_intervals(labels, predicted, len(classes), **draw),
        "per_class": per_class(labels, predicted, classes),
        "confusion": confusion.tolist(),
        "reliability": reliability(labels, table),
    }


def emotion_scores(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    taxonomy: Taxonomy,
    *,
    gate: ArrayLike | None = None,
    **draw: Unpack[Draw],
) -> dict:
    """`scores` over the emotions, with the hierarchical figures and the same scores at the level of groups.

    Args:
        y_true: (n,) emotion names or indices into `taxonomy.emotions`.
        probabilities: (n, emotions), columns as `taxonomy.emotions`.
        taxonomy: The grouping.
        gate: (n, groups) group probabilities to score under "group"; the summed `probabilities` when None.
        **draw: How the bootstrap of the intervals draws faces, see `Draw`.

    Returns:
        The keys of `scores`, "hierarchical" (see `hierarchical_scores`) and "group" (the keys of `scores`).

    Raises:
        UserError: As for `scores`.
    """
    emotions = taxonomy.emotions
    table = as_probabilities(probabilities, len(emotions), "probabilities to score")
    labels = class_indices(y_true, emotions)
    to_group = np.array(taxonomy.group_index)
    summed = table @ np.eye(len(taxonomy.groups))[to_group] if gate is None else gate
    return {
        **scores(labels, table, emotions, **draw),
        "hierarchical": hierarchical_scores(labels, table.argmax(axis=1), taxonomy),
        "group": scores(to_group[labels], summed, taxonomy.group_names, **draw),
    }


def stage_scores(
    y_true: ArrayLike,
    gate: ArrayLike,
    specialists: Mapping[str, ArrayLike],
    taxonomy: Taxonomy,
    **draw: Unpack[Draw],
) -> dict[str, dict]:
    """`scores` of the gate on all faces, and of each specialist on all faces of its group.

    A specialist is evaluated on every face that truly belongs to it, whatever the gate predicts: on the faces that it
    was sent only, the gate's errors would be hidden. For a flat model pass what `HierarchicalClassifier.imply` returns.

    Args:
        y_true: (n,) emotion names or indices into `taxonomy.emotions`.
        gate: (n, groups) probabilities on all n faces.
        specialists: Group -> (n, members) probabilities on all n faces.
        taxonomy: The grouping.
        **draw: How the bootstrap of the intervals draws faces, see `Draw`.

    Returns:
        Stage name -> scores; a specialist of which no face is present is left out.

    Raises:
        UserError: As for `scores`.
    """
    labels = class_indices(y_true, taxonomy.emotions)
    subjects = draw.get("groups")
    to_group = np.array(taxonomy.group_index)
    result = {taxonomy.gate: scores(to_group[labels], gate, taxonomy.group_names, **draw)}
    for group in taxonomy.specialists:
        rows = to_group[labels] == taxonomy.group_names.index(group)
        if rows.any():
            local = np.array(taxonomy.stage_labels(group, taxonomy.emotions))[labels[rows]]
            draw["groups"] = None if subjects is None else np.asarray(subjects, dtype=object)[rows]
            result[group] = scores(local, np.asarray(specialists[group])[rows], taxonomy.members(group), **draw)
    return result


def per_class(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[str]) -> list[dict]:
    """Precision, recall, F1 and support of each class.

    Args:
        y_true: (n,) class indices.
        y_pred: (n,) class indices.
        classes: Class names in index order.

    Returns:
        One dict a class: class, precision (None if never predicted), recall and f1 (None without faces), support.
    """
    columns = precision_recall_fscore_support(y_true, y_pred, labels=range(len(classes)), zero_division=np.nan)
    return [
        {
            "class": name,
            "precision": None if np.isnan(precision) else float(precision),
            "recall": float(recall) if support else None,
            "f1": float(f1) if support else None,
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]


def hierarchical_scores(y_true: ArrayLike, y_pred: ArrayLike, taxonomy: Taxonomy) -> dict[str, float]:
    """Hierarchical precision, recall and F1: how much of the path to the true emotion the prediction shares.

    Each emotion stands for itself and its group; the root does not count, and a group of one emotion is one node with
    it, since nothing is decided inside. Shared nodes are summed over faces before dividing, as in Kiritchenko et al.,
    "Learning and evaluation in the presence of class hierarchies", Canadian AI 2006. Where every group has several
    emotions, all three equal the mean of emotion and group accuracy.

    Args:
        y_true: (n,) indices into `taxonomy.emotions`.
        y_pred: (n,) indices into `taxonomy.emotions`.
        taxonomy: The grouping.

    Returns:
        {"precision", "recall", "f1"}.
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    to_group = np.array(taxonomy.group_index)
    inner = np.array([group in taxonomy.specialists for group in taxonomy.group_names])[to_group]
    depth = 1 + inner
    shared = ((to_group[true] == to_group[predicted]) & inner[true]).sum() + (true == predicted).sum()
    precision, recall = shared / depth[predicted].sum(), shared / depth[true].sum()
    f1 = 2 * shared / (depth[predicted].sum() + depth[true].sum())
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}


def top_shares(y_true: ArrayLike, probabilities: ArrayLike) -> dict[str, float | None]:
    """Share of faces whose true class is among the two, or three, likeliest ones.

    Args:
        y_true: (n,) class indices.
        probabilities: (n, classes).

    Returns:
        {"top2", "top3"}; None where there are fewer classes than that.
    """
    table, labels = np.asarray(probabilities), np.asarray(y_true)
    # A stable sort keeps equal probabilities in class order, as argmax does.
    hits = np.argsort(-table, axis=1, kind="stable") == labels[:, None]
    return {f"top{k}": float(hits[:, :k].any(axis=1).mean()) if table.shape[1] >= k else None for k in (2, 3)}
