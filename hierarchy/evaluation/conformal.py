"""Predictions with a guarantee: sets of emotions and nodes of a taxonomy that hold the true emotion as often as wanted.

Split conformal prediction: a score of how badly a class fits a face is computed for the true classes of calibration
faces; a set holds the classes whose score is at most the quantile of those. Where calibration faces and new faces are
exchangeable, it holds the true class with the wanted probability at least: Angelopoulos and Bates, "A gentle
introduction to conformal prediction", arXiv 2107.07511, 2021. `node_scores` restrict the sets to nodes of the taxonomy,
in the way of Mortier et al., "Conformal prediction in hierarchical classification", arXiv 2501.19038, 2025.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

ANY = "any"  # the root of a taxonomy, which holds all emotions
LEVELS = ("emotion", "group", ANY)
NODE = "node"
RULES = (NODE, "lac", "aps")
COVERAGES = tuple(percent / 100 for percent in range(50, 100))

_DIGITS = 6  # of scores and thresholds, as those of the prediction tables


def lac_scores(probabilities: ArrayLike) -> np.ndarray:
    """1 - p: least ambiguous set-valued classifiers, Sadinle, Lei and Wasserman, JASA 114, 2019.

    Args:
        probabilities: (n, classes).

    Returns:
        (n, classes) float64; a large score fits badly.
    """
    return 1 - np.asarray(probabilities, dtype=np.float64)


def aps_scores(probabilities: ArrayLike) -> np.ndarray:
    """Adaptive prediction sets: the sum of all probabilities that are at least the class's own.

    Romano, Sesia and Candès, "Classification with valid and adaptive coverage", NeurIPS 2020, without their random
    choice of the last class, which makes sets a little larger and repeatable.

    Args:
        probabilities: (n, classes).

    Returns:
        (n, classes) float64.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-table, axis=1, kind="stable")
    sums = np.take_along_axis(table, order, axis=1).cumsum(axis=1)
    scores = np.empty_like(table)
    np.put_along_axis(scores, order, sums, axis=1)
    return scores


def node_scores(probabilities: ArrayLike, taxonomy: Taxonomy) -> np.ndarray:
    """What the deepest node on the likeliest path has to reach before a class is in the prediction.

    The path goes from the likeliest emotion to its group and to all emotions. The prediction is the deepest node whose
    probability exceeds a threshold, so that a higher threshold gives the same or a larger node. The score of a class is
    the least threshold whose node holds it: 0 for the likeliest emotion, its probability for the others of its group,
    that of the group for all others.

    Args:
        probabilities: (n, emotions), columns as `taxonomy.emotions`.
        taxonomy: The grouping.

    Returns:
        (n, emotions) float64.

    Examples:
        >>> from fer_hierarchy.hierarchy.evaluation.conformal import node_scores
        >>> from fer_hierarchy.hierarchy.taxonomy import Taxonomy
        >>> taxonomy = Taxonomy(name="n", gate="g", groups=(("bad", ("angry", "fear")), ("good", ("happy",))))
        >>> node_scores([[0.5, 0.3, 0.2]], taxonomy).tolist()  # angry, fear, happy
        [[0.0, 0.5, 0.8]]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    groups = np.array(taxonomy.group_index)
    rows, likeliest = np.arange(len(table)), table.argmax(axis=1)
    own = groups == groups[likeliest][:, None]  # (n, emotions): in the group of the likeliest
    inside = np.where(own, table, 0).sum(axis=1, keepdims=True)
    scores = np.where(own, table[rows, likeliest][:, None], inside)
    scores[rows, likeliest] = 0
    return scores


def conformal_threshold(scores: ArrayLike, coverage: float) -> float:
    """The quantile of the true classes' scores that gives the wanted coverage of a new face.

    Args:
        scores: (n,) of the calibration faces' true classes.
        coverage: Wanted, above 0 and below 1.

    Returns:
        The ceil((n + 1) * coverage)-th smallest score; infinity where there are too few faces for that.
    """
    check_coverage(coverage)
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    rank = math.ceil(round((len(scores) + 1) * coverage, 9))
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def class_thresholds(scores: ArrayLike, labels: ArrayLike, classes: int, coverage: float) -> np.ndarray:
    """The same for each class by its own faces, so that each class gets the wanted coverage (Mondrian; Vovk, 2012).

    Args:
        scores: (n,) of the calibration faces' true classes.
        labels: (n,) class indices.
        classes: Number of classes.
        coverage: Wanted, above 0 and below 1.

    Returns:
        (classes,) float64; infinity for a class with fewer than coverage / (1 - coverage) faces, which then stands in
        every set.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    return np.array([conformal_threshold(scores[labels == number], coverage) for number in range(classes)])


def check_coverage(coverage: float) -> None:
    """Refuse a coverage that nothing can promise.

    Raises:
        UserError: It is not above 0 and below 1.
    """
    if not 0 < coverage < 1:
        raise UserError(f"coverage: expected a share above 0 and below 1, such as 0.9, got {coverage:g}")


def nodes_of(sets: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """The smallest node of the taxonomy that holds each set.

    Args:
        sets: (n, emotions) bool, none empty.
        taxonomy: The grouping.

    Returns:
        (n,) int: an emotion's place in `taxonomy.emotions`, behind them a group's place, or the last for all emotions.
    """
    groups, emotions = np.array(taxonomy.group_index), len(taxonomy.emotions)
    first = sets.argmax(axis=1)
    inside = (groups == groups[first][:, None]) | ~sets
    group = np.where(inside.all(axis=1), emotions + groups[first], emotions + len(taxonomy.groups))
    return np.where(sets.sum(axis=1) == 1, first, group)


def sets_of(scores: np.ndarray, thresholds: ArrayLike, probabilities: np.ndarray) -> np.ndarray:
    """The classes whose score is at most the threshold, and in any case the likeliest.

    Args:
        scores: (n, classes).
        thresholds: One, or (classes,).
        probabilities: (n, classes); a set without the likeliest class could be empty, which tells nobody anything.

    Returns:
        (n, classes) bool.
    """
    sets = scores <= np.asarray(thresholds)
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a user wants to be guaranteed.

    Attributes:
        coverage: Share of faces whose prediction holds the true emotion, 0.50 to 0.99.
        each: Whether each emotion is to get that by itself, rather than all faces together.
        sets: "lac" or "aps", what the sets of emotions are made by.

    Raises:
        UserError: Another coverage, or unknown sets.
    """

    coverage: float
    each: bool = False
    sets: str = "lac"

    def __post_init__(self) -> None:
        check_coverage(self.coverage)
        if not COVERAGES[0] <= self.coverage <= COVERAGES[-1]:
            raise UserError(f"coverage: expected {COVERAGES[0]:g} to {COVERAGES[-1]:g}, got {self.coverage:g}")
        if self.sets not in ("lac", "aps"):
            raise UserError(f"sets of emotions: expected lac or aps, got {self.sets!r}")

    @property
    def name(self) -> str:
        """What rows call it: "90 % of faces" or "90 % of each emotion"."""
        return f"{100 * self.coverage:g} % of {'each emotion' if self.each else 'faces'}"


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """Thresholds of a classifier for every whole percent of `COVERAGES`, from its calibration faces.

    Attributes:
        data: The data set that the calibration faces are of.
        faces: Calibration faces of each emotion, in class order.
        apart: Whether these faces had no part in the choice of the epoch.
        thresholds: Rule ("node", "lac", "aps") -> a row a coverage: the threshold for all faces, then one an emotion;
            infinity where there are too few faces.
    """

    data: str
    faces: tuple[int, ...]
    apart: bool
    thresholds: Mapping[str, tuple[tuple[float, ...], ...]]

    @classmethod
    def fit(cls, probabilities: ArrayLike, labels: ArrayLike, taxonomy: Taxonomy, *, data: str, apart: bool) -> Self:
        """Thresholds by calibration faces.

        Args:
            probabilities: (n, emotions) of the calibration faces.
            labels: (n,) class indices.
            taxonomy: The grouping.
            data: Name of the data set.
            apart: Whether they had no part in the choice of the epoch.

        Raises:
            UserError: No faces.
        """
        table, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
        classes = len(taxonomy.emotions)
        if not len(labels):
            raise UserError(
                "coverage: no calibration faces; a guarantee needs labelled faces besides those of training"
            )

        def row(scores: np.ndarray, coverage: float) -> tuple[float, ...]:
            return conformal_threshold(scores, coverage), *class_thresholds(scores, labels, classes, coverage).tolist()

        own = {rule: scores_by(rule, table, taxonomy)[np.arange(len(labels)), labels] for rule in RULES}
        counts = tuple(np.bincount(labels, minlength=classes).tolist())
        return cls(
            data=data,
            faces=counts,
            apart=apart,
            thresholds={rule: tuple(row(scores, coverage) for coverage in COVERAGES) for rule, scores in own.items()},
        )

    def at(self, rule: str, promise: Promise) -> np.ndarray:
        """The thresholds that keep a promise: (1,), or (emotions,) where each emotion gets its own.

        A coverage between two whole percents has those of the higher one.
        """
        row = np.array(self.thresholds[rule][np.searchsorted(COVERAGES, promise.coverage - 1e-9)])
        return row[1:] if promise.each else row[:1]

    def sets(self, probabilities: np.ndarray, taxonomy: Taxonomy, promise: Promise) -> np.ndarray:
        """(n, emotions) bool: the set of emotions of each face."""
        scores = scores_by(promise.sets, probabilities, taxonomy)
        return sets_of(scores, self.at(promise.sets, promise), probabilities)

    def nodes(self, probabilities: np.ndarray, taxonomy: Taxonomy, promise: Promise) -> np.ndarray:
        """(n,) int: the most specific node that is guaranteed for each face, as `nodes_of` counts them."""
        sets = sets_of(scores_by(NODE, probabilities, taxonomy), self.at(NODE, promise), probabilities)
        return nodes_of(sets, taxonomy)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, in which null stands for infinity."""
        rows = {
            rule: [[round(value, _DIGITS) if math.isfinite(value) else None for value in row] for row in table]
            for rule, table in self.thresholds.items()
        }
        return {"data": self.data, "faces": list(self.faces), "apart": self.apart, "thresholds": rows}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], *, classes: int) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        thresholds = {
            rule: tuple(
                tuple(math.inf if value is None else float(value) for value in row)
                for row in record["thresholds"][rule]
            )
            for rule in RULES
        }
        faces = tuple(int(number) for number in record["faces"])
        if any(
            len(table) != len(COVERAGES) or {len(row) for row in table} != {1 + classes}
            for table in thresholds.values()
        ):
            raise ValueError(f"expected thresholds of {len(COVERAGES)} coverages for {classes} emotions")
        if len(faces) != classes:
            raise ValueError(f"expected calibration faces of {classes} emotions, got {len(faces)}")
        return cls(data=str(record["data"]), faces=faces, apart=bool(record["apart"]), thresholds=thresholds)


def scores_by(rule: str, probabilities: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(n, emotions) scores of "node", "lac" or "aps", to the digits that thresholds are stored with."""
    if rule == NODE:
        scores = node_scores(probabilities, taxonomy)
    else:
        scores = {"lac": lac_scores, "aps": aps_scores}[rule](probabilities)
    return scores.round(_DIGITS)


def node_name(node: int, taxonomy: Taxonomy) -> str:
    """An emotion, a group or "any", of a number that `nodes_of` gave."""
    return (*taxonomy.emotions, *taxonomy.group_names, ANY)[node]


def node_level(node: int, taxonomy: Taxonomy) -> str:
    """One of `LEVELS`."""
    emotions, groups = len(taxonomy.emotions), len(taxonomy.groups)
    return LEVELS[int(node >= emotions) + int(node >= emotions + groups)]
