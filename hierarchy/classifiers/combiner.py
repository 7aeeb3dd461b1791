"""Combiner: how much each stage of a hierarchy, and a flat model beside it, counts in the composed prediction.

A stage is softened or sharpened by a temperature on top of its calibration (Guo et al., 2017) and divided by a power
of its train prior (Menon et al., 2021); then the stages are multiplied along the path as always. The product may be
blended with a flat model's probabilities as a weighted geometric mean, the logarithmic pool of Genest and Zidek,
"Combining probability distributions", Statistical Science 1, 1986.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

# Half of the last digit of the prediction tables: below it a table and a network cannot be told apart.
_LEAST = 5e-7


@dataclass(frozen=True, kw_only=True)
class StageLogs:
    """Logarithms of the probabilities of all stages, and perhaps a flat model; the n faces run along the last axis.

    Attributes:
        stages: Stage -> (classes, n) float64; the gate and every specialist.
        log_priors: Stage -> (classes, 1) float64, logarithm of the share of each class among the train rows.
        gate: Name of the gate.
        group_index: (emotions,) index of each emotion's group.
        members: Specialist -> places of its emotions among all.
        flat: (emotions, n) float64, None without a flat model.
    """

    stages: Mapping[str, np.ndarray]
    log_priors: Mapping[str, np.ndarray]
    gate: str
    group_index: np.ndarray
    members: Mapping[str, np.ndarray]
    flat: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> "StageLogs":
        """The same for some of the faces.

        Args:
            rows: Indices, or (n,) booleans.
        """
        return replace(
            self,
            stages={name: np.ascontiguousarray(table[:, rows]) for name, table in self.stages.items()},
            flat=None if self.flat is None else np.ascontiguousarray(self.flat[:, rows]),
        )


def stage_logs(
    gate: ArrayLike,
    specialists: Mapping[str, ArrayLike],
    taxonomy: Taxonomy,
    priors: Mapping[str, ArrayLike],
    flat: ArrayLike | None = None,
) -> StageLogs:
    """Check probabilities and bring them into the form that a combiner mixes.

    Args:
        gate: (n, groups) P(group|x).
        specialists: Group -> (n, members) P(emotion|group, x).
        taxonomy: The grouping, which gives every column order.
        priors: Stage -> (classes,) as `stage_priors` returns.
        flat: (n, emotions) P(emotion|x) of a flat model, or None.

    Raises:
        UserError: Wrong shapes, no probabilities, or a stage without prior.
    """
    emotions = taxonomy.emotions
    gate = as_probabilities(gate, len(taxonomy.groups), f"probabilities of the gate {taxonomy.gate!r}")
    given = HierarchicalClassifier(taxonomy).conditional(specialists, rows=len(gate))
    members = {g: np.array([emotions.index(e) for e in taxonomy.members(g)]) for g in taxonomy.specialists}
    tables = {taxonomy.gate: gate, **{g: given[:, columns] for g, columns in members.items()}}
    return StageLogs(
        stages={name: _logs(table) for name, table in tables.items()},
        log_priors={name: _log_prior(priors, name, table.shape[1]) for name, table in tables.items()},
        gate=taxonomy.gate,
        group_index=np.array(taxonomy.group_index),
        members=members,
        flat=None if flat is None else _logs(_same_faces(flat, len(gate), len(emotions))),
    )


def stage_priors(counts: Mapping[str, float], taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """The share of each class of each stage among the train rows.

    Args:
        counts: Emotion -> number of train rows.
        taxonomy: The grouping.

    Returns:
        Gate and specialists -> (classes,) float64 that sums to 1.

    Raises:
        UserError: An emotion has no train row.
    """
    empty = next((e for e in taxonomy.emotions if not counts.get(e)), None)
    if empty:
        raise UserError(f"train prior: got no train row of {empty!r}; every emotion needs one")
    rows = {taxonomy.gate: [sum(counts[e] for e in taxonomy.members(g)) for g in taxonomy.group_names]}
    rows |= {group: [counts[e] for e in taxonomy.members(group)] for group in taxonomy.specialists}
    return {stage: np.array(row, dtype=np.float64) / sum(row) for stage, row in rows.items()}


@dataclass(frozen=True, kw_only=True)
class Combiner:
    """Temperatures, prior strengths and the share of a flat model; what is not named is neutral.

    Attributes:
        temperatures: Stage -> T above 0 of softmax(log p / T); above 1 makes the stage less sure of itself.
        prior_strengths: Stage -> tau; the stage's probabilities are divided by its train prior to the power of tau.
            Above 0 lifts the rare classes of the stage, below 0 the common ones.
        blend: w in [0, 1] of composed^(1 - w) * flat^w.
        flat_temperature: T of the flat model before it is blended.
        flat: Name or folder of the flat run; needed where `blend` is above 0.
    """

    temperatures: Mapping[str, float] = field(default_factory=dict)
    prior_strengths: Mapping[str, float] = field(default_factory=dict)
    blend: float = 0.0
    flat_temperature: float = 1.0
    flat: str | None = None

    def __post_init__(self) -> None:
        for stage, value in self.temperatures.items():
            _check_number(value, f"temperature of {stage!r}", above=0)
        for stage, value in self.prior_strengths.items():
            _check_number(value, f"prior strength of {stage!r}")
        _check_number(self.blend, "blend", low=0, high=1)
        _check_number(self.flat_temperature, "flat_temperature", above=0)
        if self.flat is not None and not (isinstance(self.flat, str) and self.flat):
            raise UserError(f"recomposition: flat: expected the name of a run or null, got {self.flat!r}")
        if self.blend and self.flat is None:
            raise UserError(f"recomposition: blend {self.blend:g} needs flat, the run to blend with")

    @property
    def neutral(self) -> bool:
        """Whether it changes nothing."""
        values = (*(t - 1 for t in self.temperatures.values()), *self.prior_strengths.values(), self.blend)
        return not any(values)

    def apply(
        self,
        gate: ArrayLike,
        specialists: Mapping[str, ArrayLike],
        taxonomy: Taxonomy,
        priors: Mapping[str, ArrayLike],
        flat: ArrayLike | None = None,
    ) -> np.ndarray:
        """The probabilities of all emotions; with neutral values exactly the soft composition.

        Args:
            gate: As for `stage_logs`.
            specialists: As for `stage_logs`.
            taxonomy: The grouping.
            priors: As for `stage_logs`.
            flat: (n, emotions) P(emotion|x) of the flat run; needed where `blend` is above 0.

        Returns:
            (n, emotions) float64, rows sum to 1.

        Raises:
            UserError: As for `stage_logs`; a stage that the taxonomy has not; a blend without `flat`.
        """
        self.check_stages(taxonomy)
        if self.neutral:
            return HierarchicalClassifier(taxonomy).compose(gate, specialists)
        logs = stage_logs(gate, specialists, taxonomy, priors, flat if self.blend else None)
        return np.ascontiguousarray(softmax(self.mix(logs), axis=0).T)

    def mix(self, logs: StageLogs) -> np.ndarray:
        """(emotions, n) logarithms of the probabilities, short of a constant for each face.

        Raises:
            UserError: A blend without the predictions of a flat model.
        """
        scaled = {
            name: table / self.temperatures.get(name, 1.0) - self.prior_strengths.get(name, 0.0) * logs.log_priors[name]
            for name, table in logs.stages.items()
        }
        mixed = scaled[logs.gate][logs.group_index]
        for group, places in logs.members.items():
            mixed[places] += log_probabilities(scaled[group])
        if not self.blend:
            return mixed
        if logs.flat is None:
            raise UserError(f"recomposition: blend {self.blend:g} needs the predictions of the flat run {self.flat}")
        return (1 - self.blend) * mixed + (self.blend / self.flat_temperature) * logs.flat

    def check_stages(self, taxonomy: Taxonomy) -> None:
        """Refuse values for a stage that a hierarchy has not.

        Raises:
            UserError: There is one.
        """
        known = (taxonomy.gate, *taxonomy.specialists)
        for stage in (*self.temperatures, *self.prior_strengths):
            if stage not in known:
                raise UserError(f"recomposition: unknown stage {stage!r}; the run's are {', '.join(known)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "temperatures": dict(self.temperatures),
            "prior_strengths": dict(self.prior_strengths),
            "blend": self.blend,
            "flat_temperature": self.flat_temperature,
            "flat": self.flat,
        }

    @classmethod
    def from_dict(cls, record: object, *, where: str) -> Self:
        """Read the JSON form.

        Args:
            record: The parsed JSON.
            where: What errors call it.

        Raises:
            UserError: It is damaged, or holds a value that cannot be.
        """
        known = [part.name for part in fields(cls)]
        if not isinstance(record, Mapping) or set(record) != set(known):
            got = ", ".join(map(str, record)) if isinstance(record, Mapping) else type(record).__name__
            raise UserError(f"{where} is damaged: a recomposition holds {', '.join(known)}; got {got or 'nothing'}")
        for name in ("temperatures", "prior_strengths"):
            if not isinstance(record[name], Mapping):
                raise UserError(f"{where} is damaged: {name}: expected an object, got {type(record[name]).__name__}")
        try:
            return cls(**record)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def log_probabilities(mixed: np.ndarray) -> np.ndarray:
    """(classes, n) logarithms short of a constant for each face -> logarithms of probabilities."""
    return log_softmax(mixed, axis=0)


def _same_faces(flat: ArrayLike, faces: int, emotions: int) -> np.ndarray:
    table = as_probabilities(flat, emotions, "probabilities of the flat model")
    if len(table) != faces:
        raise UserError(f"flat model: got {len(table)} faces; the stages have {faces}")
    return table


def _logs(table: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.log(np.maximum(table, _LEAST)).T)


def _log_prior(priors: Mapping[str, ArrayLike], stage: str, classes: int) -> np.ndarray:
    prior = np.asarray(priors.get(stage, ()), dtype=np.float64)
    if prior.shape != (classes,) or not (np.isfinite(prior) & (prior > 0)).all():
        raise UserError(f"prior of {stage!r}: got {prior.tolist()}; needed a share above 0 for each of {classes}")
    return np.log(prior / prior.sum())[:, None]


def _check_number(
    value: object, what: str, *, above: float = -math.inf, low: float = -math.inf, high: float = math.inf
) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (above < number < math.inf and low <= number <= high):
        right = "a finite number" if above == low == -math.inf else f"a number above {above:g}"
        right = right if high == math.inf else f"a number from {low:g} to {high:g}"
        raise UserError(f"recomposition: {what}: expected {right}, got {value!r}")
