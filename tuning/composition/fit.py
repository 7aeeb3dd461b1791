"""Fitting a combiner: validation predictions and labels -> values, and what their choice is worth on other faces.

Pure functions of arrays. The search is differential evolution (Storn and Price, "Differential evolution", Journal of
Global Optimization 11, 1997), which needs no gradient: macro F1 is flat almost everywhere and jumps in between.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import differential_evolution

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner, StageLogs, log_probabilities
from fer_hierarchy.hierarchy.evaluation.significance import RESAMPLES, Draw, paired_bootstrap
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.tuning import validation_faces
from fer_hierarchy.tuning.settings import OBJECTIVES

TEMPERATURE, PRIOR, BLEND = "temperature", "prior", "blend"
FACTORS = {"temperatures": TEMPERATURE, "priors": PRIOR, "blend": BLEND}
ALL = "all"

_BOUNDS = {TEMPERATURE: (0.25, 4.0), PRIOR: (-0.5, 1.5), BLEND: (0.0, 1.0)}
_NEUTRAL = {TEMPERATURE: 1.0, PRIOR: 0.0, BLEND: 0.0}
_DIGITS = 4
_POPULATION = 8  # for each searched value
_GENERATIONS = 30
_GENERATIONS_BEFORE_POLISH = 15  # a smooth objective only needs the right valley; its slope leads to the bottom
# What leaving neutral for the ends of all bounds costs, in units of the objective: it decides among values that do
# equally well, and brings those that do nothing back to neutral.
_PULL = 0.002


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched value.

    Attributes:
        kind: "temperature", "prior" or "blend".
        stage: Whose it is; "flat" for the blend and for the temperature of the flat model.
    """

    kind: str
    stage: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return BLEND if self.kind == BLEND else f"{self.kind} {self.stage}"

    @property
    def factor(self) -> str:
        """The kind that it is searched with: the flat model's temperature means nothing without the blend."""
        return BLEND if self.stage == FLAT else self.kind

    @property
    def neutral(self) -> float:
        """The value that changes nothing."""
        return _NEUTRAL[self.kind]

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value."""
        return _BOUNDS[self.kind]

    def coded(self, value: float) -> float:
        """Where a value stands on the scale of the search, on which temperatures are logarithms."""
        return float(np.log(value)) if self.kind == TEMPERATURE else value

    def decoded(self, code: float) -> float:
        """The value of a place on that scale."""
        value = math.exp(code) if self.kind == TEMPERATURE else float(code)
        low, high = self.bounds
        return min(max(value, low), high)

    def of(self, combiner: Combiner) -> float:
        """The value in a combiner."""
        if self.stage == FLAT:
            return combiner.blend if self.kind == BLEND else combiner.flat_temperature
        values = combiner.temperatures if self.kind == TEMPERATURE else combiner.prior_strengths
        return values.get(self.stage, self.neutral)

    def at_bound(self, combiner: Combiner) -> bool:
        """Whether the search ended at an end of the range, beyond which better values may lie."""
        ends = self.bounds[1:] if self.kind == BLEND else self.bounds
        return any(abs(self.of(combiner) - end) < 10**-_DIGITS for end in ends)


@dataclass(frozen=True, kw_only=True)
class ValidationFaces:
    """What is known of n validation faces.

    Attributes:
        logs: Predictions of the stages, and of the flat model.
        labels: (n,) int64 index of each face's emotion.
        folds: (n,) int64 fold of each face, from 1.
        persons: (n,) person on each face, None where nobody is known.
        flat: Name or folder of the flat run, None without one.
    """

    logs: StageLogs
    labels: np.ndarray
    folds: np.ndarray
    persons: np.ndarray | None
    flat: str | None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the search found for some of the values, the others being neutral.

    Attributes:
        factor: Which ones: "temperatures", "priors", "blend" or "all".
        parameters: The searched values.
        combiner: Fitted to all validation faces.
        score: The objective of `combiner` on the same faces, which is optimistic.
        folds: Fold -> what was fitted to the faces of all others.
        predictions: (emotions, n) logarithms of the probabilities of each face by what was fitted without its fold.
    """

    factor: str
    parameters: Sequence[Parameter]
    combiner: Combiner
    score: float
    folds: Mapping[int, Combiner]
    predictions: np.ndarray


def parameters_of(logs: StageLogs) -> list[Parameter]:
    """Every value that can be searched for these stages."""
    parameters = [Parameter(kind=kind, stage=stage) for kind in (TEMPERATURE, PRIOR) for stage in logs.stages]
    if logs.flat is not None:
        parameters += [Parameter(kind=BLEND, stage=FLAT), Parameter(kind=TEMPERATURE, stage=FLAT)]
    return parameters


def search_factors(faces: ValidationFaces, *, objective: str, seed: int) -> list[Fitted]:
    """Search each factor alone, and all together.

    Args:
        faces: Validation faces.
        objective: One of `OBJECTIVES`.
        seed: Of every search.

    Returns:
        One for each factor that the runs allow, "all" last.
    """
    every = parameters_of(faces.logs)
    parts = {name: [one for one in every if one.factor == kind] for name, kind in FACTORS.items()}
    parts = {name: own for name, own in parts.items() if own} | {ALL: every}
    return [_search(name, own, faces, objective, [seed, place]) for place, (name, own) in enumerate(parts.items())]


def _search(
    factor: str, parameters: Sequence[Parameter], faces: ValidationFaces, objective: str, seeds: Sequence[int]
) -> Fitted:
    folds, predictions = {}, np.empty((len(faces.logs.group_index), len(faces.labels)))
    for number in map(int, np.unique(faces.folds)):
        inside = faces.folds == number
        folds[number] = fit(faces, ~inside, parameters, objective, [*seeds, number])
        predictions[:, inside] = log_probabilities(folds[number].mix(faces.logs.of(inside)))
    combiner = fit(faces, np.ones(len(faces.labels), dtype=bool), parameters, objective, [*seeds, 0])
    return Fitted(
        factor=factor,
        parameters=parameters,
        combiner=combiner,
        score=measure(combiner.mix(faces.logs), faces.labels, objective),
        folds=folds,
        predictions=predictions,
    )


def fit(
    faces: ValidationFaces, rows: np.ndarray, parameters: Sequence[Parameter], objective: str, seeds: Sequence[int]
) -> Combiner:
    """The values that do best on some of the faces; neutral ones are the first that are tried.

    Args:
        faces: Validation faces.
        rows: (n,) booleans: those that are fitted to.
        parameters: What is searched; all else stays neutral.
        objective: One of `OBJECTIVES`.
        seeds: Of the search.
    """
    smooth = objective == "nll"
    logs, labels = faces.logs.of(rows), faces.labels[rows]
    sign = -1 if OBJECTIVES[objective] == "max" else 1
    start = np.array([one.coded(one.neutral) for one in parameters])
    bounds = np.array([[one.coded(end) for end in one.bounds] for one in parameters])
    reach = np.abs(bounds - start[:, None]).max(axis=1)

    def loss(codes: np.ndarray) -> float:
        score = measure(_combiner(parameters, codes, faces.flat).mix(logs), labels, objective)
        return sign * score + _PULL * float((((codes - start) / reach) ** 2).mean())

    found = differential_evolution(
        loss,
        bounds,
        x0=start,
        rng=np.random.default_rng(seeds),
        popsize=_POPULATION,
        maxiter=_GENERATIONS_BEFORE_POLISH if smooth else _GENERATIONS,
        tol=1e-4,
        polish=smooth,
    )
    # A person shall be able to read them. Not before the end: a rounded loss has no slope that polishing could follow.
    return _combiner(parameters, found.x, faces.flat, digits=_DIGITS)


def _combiner(
    parameters: Sequence[Parameter], codes: np.ndarray, flat: str | None, *, digits: int | None = None
) -> Combiner:
    values = {(one.kind, one.stage): one.decoded(code) for one, code in zip(parameters, codes, strict=True)}
    if digits is not None:
        values = {key: round(value, digits) for key, value in values.items()}
    blend, flat_temperature = values.pop((BLEND, FLAT), 0.0), values.pop((TEMPERATURE, FLAT), 1.0)
    return Combiner(
        temperatures={stage: value for (kind, stage), value in values.items() if kind == TEMPERATURE},
        prior_strengths={stage: value for (kind, stage), value in values.items() if kind == PRIOR},
        blend=blend,
        flat_temperature=flat_temperature if blend else 1.0,
        flat=flat if blend else None,
    )


def measure(mixed: np.ndarray, labels: np.ndarray, objective: str) -> float:
    """One score of predictions.

    Args:
        mixed: (emotions, n) logarithms, short of a constant for each face.
        labels: (n,) emotion indices.
        objective: One of `OBJECTIVES`; nll is in nats.
    """
    if objective == "nll":
        return float(_losses(mixed, labels).mean())
    return validation_faces.score(labels, mixed.argmax(axis=0), len(mixed), objective)


def difference(before: np.ndarray, after: np.ndarray, faces: ValidationFaces, *, objective: str, seed: int) -> dict:
    """How much better or worse other predictions of the same faces are.

    Args:
        before: (emotions, n) logarithms.
        after: (emotions, n) logarithms.
        faces: The faces; all faces of a person are drawn together where persons are known.
        objective: One of `OBJECTIVES`.
        seed: Of the bootstrap.

    Returns:
        {"difference" (after - before), "low", "high" (95 % interval), "clear": whether the interval leaves out zero,
        "better": whether it is clear and to the good}.
    """
    if objective == "nll":
        change = _losses(after, faces.labels) - _losses(before, faces.labels)
        found = _mean_interval(change, faces.persons, seed)
    else:
        found = differences(before, after, faces, seed=seed)[validation_faces.FIGURES[objective]]
    clear = not found["low"] <= 0 <= found["high"]
    return {**found, "clear": clear, "better": clear and (found["low"] > 0) == (OBJECTIVES[objective] == "max")}


def differences(before: np.ndarray, after: np.ndarray, faces: ValidationFaces, *, seed: int) -> dict[str, dict]:
    """`paired_bootstrap` of (emotions, n) logarithms."""
    predicted, again = before.argmax(axis=0), after.argmax(axis=0)
    draw: Draw = {"resamples": RESAMPLES, "seed": seed, "groups": faces.persons}
    return paired_bootstrap(faces.labels, predicted, again, len(before), **draw)


def _losses(mixed: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) negative log-likelihood of each true emotion, in nats."""
    return -log_probabilities(mixed)[labels, np.arange(len(labels))]


def _mean_interval(values: np.ndarray, persons: np.ndarray | None, seed: int) -> dict[str, float]:
    """Mean of (n,) values with its percentile bootstrap 95 % interval, drawing persons where they are known."""
    names = np.arange(len(values)) if persons is None else np.unique(persons.astype(str), return_inverse=True)[1]
    sums, sizes = np.bincount(names, weights=values), np.bincount(names)
    draw = np.random.default_rng(seed)
    picks = (draw.integers(len(sums), size=len(sums)) for _ in range(RESAMPLES))
    means = [sums[pick].sum() / sizes[pick].sum() for pick in picks]
    low, high = np.percentile(means, (2.5, 97.5))
    return {"difference": float(values.mean()), "low": float(low), "high": float(high)}
