"""Label shift: probabilities for other shares of the classes than those of training, and estimates of these shares.

Where only the shares of the classes differ, and faces of one class are drawn as in training, P(class|face) changes by
the ratio of the shares alone: Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 14, 2002. The shares are estimated without labels by their EM.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

FEWEST_FACES = 50  # below them an estimate of seven shares is noise

_TOLERANCE, _ROUNDS = 1e-6, 2000  # largest change of a share that ends the EM, and its rounds at most
# Chosen on validation faces of seven runs, by draws of 50 to 3,000 of them (docs/results.md).
_PSEUDO_FACES = 10.0
_SURE = 2.326  # standard deviations of the test that shares have shifted: one draw in a hundred, in theory
_LEAST = 5e-7  # as in `calibration`, which needs SciPy


def reweigh(probabilities: ArrayLike, prior: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Probabilities for other shares of the classes: each is multiplied by target / prior, then rows sum to 1 again.

    For a hierarchy give the composed probabilities of soft routing; `reweigh_stages` gives gate and specialists whose
    product is the same.

    Args:
        probabilities: (n, classes).
        prior: (classes,) shares that the probabilities were made for, each above 0.
        target: (classes,) shares to predict for; 0 rules a class out.

    Returns:
        (n, classes) float64, rows sum to 1. A row that leaves only classes without a share is `target` itself.

    Raises:
        UserError: Lengths differ, or shares that are negative, not finite or all 0.

    Examples:
        >>> from fer_hierarchy.hierarchy.evaluation.label_shift import reweigh
        >>> reweigh([[0.5, 0.5]], prior=[0.5, 0.5], target=[0.8, 0.2]).round(2).tolist()
        [[0.8, 0.2]]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    before, after = _both(prior, target, table.shape[-1])
    return _weighed(table, after / before, after)[0]


def reweigh_stages(
    gate: ArrayLike, specialists: Mapping[str, ArrayLike], taxonomy: Taxonomy, prior: ArrayLike, target: ArrayLike
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same for the stages of a hierarchy, whose product is then what `reweigh` makes of the product before.

    A specialist's classes are multiplied by target / prior as those of a flat classifier. The gate's groups are
    multiplied by what that makes of their specialist's sum for each face: the ratio of the groups' shares alone would
    leave aside that the mixture within a group has shifted, too.

    Hard routing has thrown away the other groups' probabilities, so its result cannot be re-weighed: a face stays in
    the group that the training prior chose. Re-weigh the stages, then route by the new gate.

    Args:
        gate: (n, groups) P(group|x).
        specialists: Group -> (n, members) P(emotion|group, x); a group of one emotion needs none.
        taxonomy: The grouping, which gives every column order.
        prior: (emotions,) shares that the stages were made for, each above 0.
        target: (emotions,) shares to predict for.

    Returns:
        Gate and specialists of the same shapes, float64, rows sum to 1.

    Raises:
        UserError: As for `reweigh`.
    """
    emotions = taxonomy.emotions
    before, after = _both(prior, target, len(emotions))
    ratio, shifted, masses = after / before, {}, []
    for group in taxonomy.group_names:
        members = [emotions.index(emotion) for emotion in taxonomy.members(group)]
        table = specialists[group] if group in taxonomy.specialists else np.ones((len(np.asarray(gate)), 1))
        own, mass = _weighed(np.asarray(table, dtype=np.float64), ratio[members], after[members])
        masses.append(mass)
        if group in taxonomy.specialists:
            shifted[group] = own
    groups = _sums_of_groups(after, taxonomy.group_index)
    return _weighed(np.asarray(gate, dtype=np.float64), np.concatenate(masses, axis=1), groups)[0], shifted


def estimate_em(probabilities: ArrayLike, prior: ArrayLike, *, pseudo_faces: float = 0.0) -> np.ndarray:
    """The likeliest shares of the classes among faces without labels, by the EM of Saerens et al. (2002).

    It needs probabilities that are calibrated for `prior`, class by class: see `ValidationFacts`.

    Args:
        probabilities: (n, classes) for `prior`, n at least 1.
        prior: (classes,) shares that the probabilities were made for, each above 0.
        pseudo_faces: Faces of the prior's shares that are counted besides, which keeps few faces near the prior.

    Returns:
        (classes,) float64 that sums to 1; a class that no face needs has 0.

    Raises:
        UserError: No faces, or shares that are no shares.

    Examples:
        >>> from fer_hierarchy.hierarchy.evaluation.label_shift import estimate_em
        >>> estimate_em([[1, 0], [1, 0], [1, 0], [0, 1]], prior=[0.5, 0.5]).tolist()
        [0.75, 0.25]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    before = _shares(prior, "prior", table.shape[-1], above=True)
    if not len(table):
        raise UserError("shares of classes: got no faces; needed at least one")
    likelihoods, shares = table / before, before
    for _ in range(_ROUNDS):
        given = likelihoods * shares
        counts = (given / given.sum(axis=1, keepdims=True)).sum(axis=0) + pseudo_faces * before
        last, shares = shares, counts / counts.sum()
        if np.abs(shares - last).max() < _TOLERANCE:
            break
    return shares


@dataclass(frozen=True, kw_only=True)
class ValidationFacts:
    """What a classifier's labelled validation faces tell of its probabilities; (classes,) each, in class order.

    Attributes:
        counts: Faces.
        slope: With `biases` from `calibration.fit_biases`.
        biases: Added to slope * log p, they make the probabilities calibrated class by class.
        neutral: Mean logarithms of the probabilities of its neutral faces; None without such an emotion, and in exports
            of older versions.
    """

    counts: tuple[float, ...]
    slope: float
    biases: tuple[float, ...]
    neutral: tuple[float, ...] | None = None

    def calibrated(self, probabilities: ArrayLike) -> np.ndarray:
        """(n, classes) probabilities that are calibrated for the shares of `counts`."""
        logs = self.slope * np.log(np.maximum(probabilities, _LEAST)) + self.biases
        table = np.exp(logs - logs.max(axis=1, keepdims=True))
        return table / table.sum(axis=1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Shares of the classes among faces without labels.

    Attributes:
        shares: (classes,) float64 that sums to 1.
        faces: How many were there.
        shifted: Whether they contradict the validation faces' shares; if not, these are the better estimate.
    """

    shares: np.ndarray
    faces: int
    shifted: bool


def estimate_shares(probabilities: ArrayLike, validation: ValidationFacts) -> Estimate:
    """Estimate the shares by EM on calibrated probabilities, and test whether they are other ones at all.

    The test is that of the ratio of likelihoods, whose statistic has the chi-square distribution where nothing has
    shifted; it is taken for larger by the share of validation faces' own noise, 1 + n / (validation faces).

    Args:
        probabilities: (n, classes) of the classifier.
        validation: Of the same classifier.

    Raises:
        UserError: Fewer than `FEWEST_FACES`.
    """
    table, prior = validation.calibrated(probabilities), np.array(validation.counts) / sum(validation.counts)
    if len(table) < FEWEST_FACES:
        raise UserError(f"shares of {len(table)} faces cannot be estimated; needed {FEWEST_FACES} at least")
    best = estimate_em(table, prior)
    gain = 2 * np.log(table @ (best / prior)).sum()
    noise = 1 + len(table) / sum(validation.counts)
    shares = estimate_em(table, prior, pseudo_faces=_PSEUDO_FACES)
    return Estimate(shares=shares, faces=len(table), shifted=bool(gain > noise * _chi_square(len(prior) - 1)))


def _chi_square(freedom: int) -> float:
    """The quantile of `_SURE`, by the approximation of Wilson and Hilferty (1931): within 1 % of the true one."""
    part = 2 / (9 * freedom)
    return freedom * (1 - part + _SURE * math.sqrt(part)) ** 3


def _weighed(table: np.ndarray, weights: np.ndarray, otherwise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows times weights that sum to 1 again, and their sums (n, 1) before; a row of sum 0 becomes `otherwise`."""
    weighed = table * weights
    sums = weighed.sum(axis=1, keepdims=True)
    spare = otherwise / otherwise.sum() if otherwise.any() else np.full(len(otherwise), 1 / len(otherwise))
    return np.divide(weighed, sums, out=np.tile(spare, (len(table), 1)), where=sums > 0), sums


def _sums_of_groups(shares: np.ndarray, members: Sequence[int]) -> np.ndarray:
    """(groups,) sums of (emotions,) shares, by the index of each emotion's group."""
    return np.bincount(members, weights=shares)


def _both(prior: ArrayLike, target: ArrayLike, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return _shares(prior, "prior", classes, above=True), _shares(target, "target", classes)


def _shares(values: ArrayLike, what: str, classes: int, *, above: bool = False) -> np.ndarray:
    shares = np.asarray(values, dtype=np.float64)
    if shares.shape != (classes,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise UserError(f"{what}: got {shares.tolist()}; needed {classes} shares that are not negative, one above 0")
    if above and not shares.all():
        raise UserError(f"{what}: got {shares.tolist()}; needed a share above 0 for each class")
    return shares / shares.sum()
