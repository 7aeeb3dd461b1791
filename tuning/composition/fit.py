"""Fitting a recomposition: validation answers and labels -> values, and what their choice is worth on other faces.

Pure functions of arrays. The search is differential evolution (Storn and Price, "Differential evolution", Journal of
Global Optimization 11, 1997), which needs no gradient: macro F1 is flat almost everywhere and jumps in between.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import differential_evolution

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner, StageLogs, log_probabilities
from fer_hierarchy.hierarchy.evaluation.significance import (
    RESAMPLES,
    confusion_counts,
    confusion_figures,
    paired_bootstrap,
)
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.tuning.settings import OBJECTIVES

TEMPERATURE, PRIOR, BLEND = "temperature", "prior", "blend"
FACTORS = {"temperatures": TEMPERATURE, "priors": PRIOR, "blend": BLEND}
ALL = "all"

_BOUNDS = {TEMPERATURE: (0.25, 4.0), PRIOR: (-0.5, 1.5), BLEND: (0.0, 1.0)}
_NEUTRAL = {TEMPERATURE: 1.0, PRIOR: 0.0, BLEND: 0.0}
_DIGITS = 4
_FIGURES = {"macro_f1": "macro_f1", "balanced_accuracy": "balanced_accuracy", "accuracy": "top1"}
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

    def of(self, made: Combiner) -> float:
        """The value in a recomposition."""
        if self.stage == FLAT:
            return made.blend if self.kind == BLEND else made.flat_temperature
        values = made.temperatures if self.kind == TEMPERATURE else made.prior_strengths
        return values.get(self.stage, self.neutral)

    def at_bound(self, made: Combiner) -> bool:
        """Whether the search ended at an end of the range, beyond which better values may lie."""
        ends = self.bounds[1:] if self.kind == BLEND else self.bounds
        return any(abs(self.of(made) - end) < 10**-_DIGITS for end in ends)


@dataclass(frozen=True, kw_only=True)
class ValidationFaces:
    """What is known of n validation faces.

    Attributes:
        logs: What the stages, and the flat model, say of them.
        labels: (n,) int64 index of each face's emotion.
        folds: (n,) int64 fold of each face, from 1.
        subjects: (n,) person of each face, None where nobody is known.
        flat: Name or folder of the flat run, None without one.
    """

    logs: StageLogs
    labels: np.ndarray
    folds: np.ndarray
    subjects: np.ndarray | None
    flat: str | None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the search found for some of the values, the others being neutral.

    Attributes:
        factor: Which ones: "temperatures", "priors", "blend" or "all".
        knobs: The searched values.
        made: Fitted to all validation faces.
        score: The objective of `made` on the same faces; leans to the good side.
        folds: Fold -> what was fitted to the faces of all others.
        answers: (emotions, n) logarithms of the probabilities that each face got by what was fitted without its fold.
    """

    factor: str
    knobs: Sequence[Parameter]
    made: Combiner
    score: float
    folds: Mapping[int, Combiner]
    answers: np.ndarray


def parameters_of(logs: StageLogs) -> list[Parameter]:
    """Every value that can be searched for these stages."""
    knobs = [Parameter(kind=kind, stage=stage) for kind in (TEMPERATURE, PRIOR) for stage in logs.stages]
    if logs.flat is not None:
        knobs += [Parameter(kind=BLEND, stage=FLAT), Parameter(kind=TEMPERATURE, stage=FLAT)]
    return knobs


def search_factors(judged: ValidationFaces, *, objective: str, seed: int) -> list[Fitted]:
    """Search each factor alone, and all together.

    Args:
        judged: The faces.
        objective: One of `OBJECTIVES`.
        seed: Of every search.

    Returns:
        One for each factor that the runs allow, "all" last.
    """
    knobs = parameters_of(judged.logs)
    parts = {name: [knob for knob in knobs if knob.factor == kind] for name, kind in FACTORS.items()}
    parts = {name: own for name, own in parts.items() if own} | {ALL: knobs}
    return [_search(name, own, judged, objective, [seed, place]) for place, (name, own) in enumerate(parts.items())]


def _search(
    factor: str, knobs: Sequence[Parameter], judged: ValidationFaces, objective: str, seeds: Sequence[int]
) -> Fitted:
    numbers = [int(number) for number in np.unique(judged.folds)]
    folds = {number: fit(judged, judged.folds != number, knobs, objective, [*seeds, number]) for number in numbers}
    answers = np.empty((len(judged.logs.group_index), len(judged.labels)))
    for number, made in folds.items():
        held = judged.folds == number
        answers[:, held] = log_probabilities(made.mix(judged.logs.of(held)))
    made = fit(judged, np.ones(len(judged.labels), dtype=bool), knobs, objective, [*seeds, 0])
    score = measure(made.mix(judged.logs), judged.labels, objective)
    return Fitted(factor=factor, knobs=knobs, made=made, score=score, folds=folds, answers=answers)


def fit(
    judged: ValidationFaces, rows: np.ndarray, knobs: Sequence[Parameter], objective: str, seeds: Sequence[int]
) -> Combiner:
    """The values that do best on some of the faces; neutral ones are the first that are tried.

    Args:
        judged: The faces.
        rows: (n,) booleans: those that are looked at.
        knobs: What is searched; all else stays neutral.
        objective: One of `OBJECTIVES`.
        seeds: Of the search.
    """
    smooth = objective == "nll"
    logs, labels = judged.logs.of(rows), judged.labels[rows]
    sign = -1 if OBJECTIVES[objective] == "max" else 1
    start = np.array([knob.coded(knob.neutral) for knob in knobs])
    bounds = np.array([[knob.coded(end) for end in knob.bounds] for knob in knobs])
    reach = np.abs(bounds - start[:, None]).max(axis=1)

    def loss(codes: np.ndarray) -> float:
        score = measure(_made(knobs, codes, judged.flat).mix(logs), labels, objective)
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
    return _made(knobs, found.x, judged.flat, digits=_DIGITS)


def _made(
    knobs: Sequence[Parameter], codes: Sequence[float], flat: str | None, *, digits: int | None = None
) -> Combiner:
    values = {knob: knob.decoded(code) for knob, code in zip(knobs, codes, strict=True)}
    if digits is not None:
        values = {knob: round(value, digits) for knob, value in values.items()}
    own = {knob: value for knob, value in values.items() if knob.stage != FLAT}
    blend = values.get(Parameter(kind=BLEND, stage=FLAT), 0.0)
    return Combiner(
        temperatures={knob.stage: value for knob, value in own.items() if knob.kind == TEMPERATURE},
        prior_strengths={knob.stage: value for knob, value in own.items() if knob.kind == PRIOR},
        blend=blend,
        flat_temperature=values.get(Parameter(kind=TEMPERATURE, stage=FLAT), 1.0) if blend else 1.0,
        flat=flat if blend else None,
    )


def measure(mixed: np.ndarray, labels: np.ndarray, objective: str) -> float:
    """One score of answers.

    Args:
        mixed: (emotions, n) logarithms, short of a constant for each face.
        labels: (n,) emotion indices.
        objective: One of `OBJECTIVES`; nll is in nats.
    """
    if objective == "nll":
        return float(_losses(mixed, labels).mean())
    counts = confusion_counts(labels, mixed.argmax(axis=0), len(mixed))
    return float(confusion_figures(counts)[_FIGURES[objective]])


def difference(before: np.ndarray, after: np.ndarray, judged: ValidationFaces, *, objective: str, seed: int) -> dict:
    """How much better or worse other answers to the same faces are.

    Args:
        before: (emotions, n) logarithms.
        after: (emotions, n) logarithms.
        judged: The faces; whole persons are drawn where they are known.
        objective: One of `OBJECTIVES`.
        seed: Of the bootstrap.

    Returns:
        {"difference" (after - before), "low", "high" (95 % interval), "clear": whether the interval leaves out zero,
        "better": whether it is clear and to the good}.
    """
    if objective == "nll":
        change = _losses(after, judged.labels) - _losses(before, judged.labels)
        found = _mean_interval(change, judged.subjects, seed)
    else:
        answers = (table.argmax(axis=0) for table in (before, after))
        draw = {"resamples": RESAMPLES, "seed": seed, "groups": judged.subjects}
        found = paired_bootstrap(judged.labels, *answers, len(before), **draw)[_FIGURES[objective]]
    clear = not found["low"] <= 0 <= found["high"]
    return {**found, "clear": clear, "better": clear and (found["low"] > 0) == (OBJECTIVES[objective] == "max")}


def _losses(mixed: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) surprise at each true emotion, in nats."""
    return -log_probabilities(mixed)[labels, np.arange(len(labels))]


def _mean_interval(values: np.ndarray, subjects: np.ndarray | None, seed: int) -> dict[str, float]:
    """Mean of (n,) values with its percentile bootstrap 95 % interval, drawing whole subjects where they are known."""
    names = np.arange(len(values)) if subjects is None else np.unique(subjects.astype(str), return_inverse=True)[1]
    sums, sizes = np.bincount(names, weights=values), np.bincount(names)
    draw = np.random.default_rng(seed)
    picks = (draw.integers(len(sums), size=len(sums)) for _ in range(RESAMPLES))
    means = [sums[pick].sum() / sizes[pick].sum() for pick in picks]
    low, high = np.percentile(means, (2.5, 97.5))
    return {"difference": float(values.mean()), "low": float(low), "high": float(high)}
