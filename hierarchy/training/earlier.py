"""The trainings that a run builds on, by first weights and teachers: what they took belongs to its cost."""

import csv
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import HISTORY, METRICS, MODEL, STAGES
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.transfer import weights_name
from fer_hierarchy.models.registry import NO_WEIGHTS, PRETRAINED

_FILE = Path(MODEL).suffix

_EARLIER, _NETWORKS = "earlier", "earlier_networks"


@dataclass(frozen=True)
class Training:
    """A training that a run builds on.

    Attributes:
        name: `RUN/STAGE` of first weights, the run of a teacher, or the name of published weights.
        seconds: Its CPU-seconds, of a teacher those of all stages; None where they are not known.
        networks: What tells the trained networks from others of their names: fingerprints of their histories; empty
            where there are none.
    """

    name: str
    seconds: float | None
    networks: frozenset[str] = frozenset()

    def within(self, other: "Training") -> bool:
        """Whether it is the other one, or a stage of it; by name where one of them has no fingerprints."""
        if self.networks and other.networks:
            return self.networks <= other.networks
        return self.name == other.name or self.name.startswith(f"{other.name}/")


def earlier_trainings(
    config: RunConfig, stages: Iterable[str], *, _seen: frozenset[Path] = frozenset()
) -> list[Training]:
    """The trainings that a run builds on, and those that these build on, each once.

    First weights count as the stage that they are of, or as the network that all stages share: other stages of that
    run are not needed for them. A teacher counts whole.

    Args:
        config: Of the run, with weights and teachers as paths.
        stages: Of the run.
    """
    found = []
    for teacher in map(Path, config.data.teachers):
        found += [*_of_run(teacher, _seen), Training(teacher.name, _own_seconds(teacher), networks_of(teacher))]
    for weights in dict.fromkeys(config.for_stage(stage).weights for stage in stages):
        if weights in PRETRAINED or not weights.endswith(_FILE):  # the latter is left in a published run
            found += [] if weights == NO_WEIGHTS else [Training(weights, None)]
            continue
        history = Path(weights).with_name(HISTORY)
        found += _of_run(history.parents[2], _seen, stage=history.parent.name)
        found.append(Training(weights_name(weights), recorded_seconds(history), _fingerprints([history])))
    return distinct(found)


def earlier_of(run: Run, *, _seen: frozenset[Path] = frozenset()) -> list[Training]:
    """The same of a finished run: as recorded, else by its settings, as far as those trainings are still there."""
    cost = run.metrics.get("cost") or {}
    recorded, networks = cost.get(_EARLIER), cost.get(_NETWORKS, {})
    if recorded is not None:
        sound = isinstance(recorded, Mapping) and all(map(_is_cost, recorded.values()))
        if not sound:
            raise UserError(f"{run.folder / METRICS} is damaged: its cost has {_EARLIER!r} {recorded!r}")
        if not (isinstance(networks, Mapping) and all(map(_are_texts, networks.values()))):
            raise UserError(f"{run.folder / METRICS} is damaged: its cost has {_NETWORKS!r} {networks!r}")
        return [Training(name, seconds, frozenset(networks.get(name, ()))) for name, seconds in recorded.items()]
    if run.metrics.get("members"):
        return []
    return earlier_trainings(run.config, run.metrics.get("training") or (), _seen=_seen)


def _is_cost(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value) and value >= 0)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def distinct(trainings: Iterable[Training]) -> list[Training]:
    """Each training once, and no stage of one that is there whole."""
    kept: list[Training] = []
    for one in trainings:
        if not any(one.within(other) for other in kept):
            kept = [*(other for other in kept if not other.within(one)), one]
    return kept


def earlier_record(trainings: Iterable[Training]) -> dict[str, Any]:
    """What the cost in metrics.json holds of trainings, by name; a name that comes again gets a number."""
    named: dict[str, Training] = {}
    for one in trainings:
        numbered = (f"{one.name} ({number})" if number > 1 else one.name for number in itertools.count(1))
        named[next(name for name in numbered if name not in named)] = one
    return {
        _EARLIER: {name: one.seconds for name, one in named.items()},
        _NETWORKS: {name: sorted(one.networks) for name, one in named.items() if one.networks},
    }


def whole_cost(cost: Mapping[str, Any], earlier: Sequence[Training]) -> tuple[float | None, list[str]]:
    """CPU-seconds of a run with those that it builds on, as far as they are known, and the names of the unknown."""
    own = cost.get("train_cpu_seconds")
    unknown = [one.name for one in earlier if one.seconds is None]
    return (None if own is None else own + sum(one.seconds or 0.0 for one in earlier)), unknown


def recorded_seconds(history: Path) -> float | None:
    """What a training took by its history; None where that is not recorded."""
    try:
        with history.open(encoding="utf-8", newline="") as file:
            return sum(float(row["cpu_seconds"]) for row in csv.DictReader(file)) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _own_seconds(folder: Path) -> float | None:
    try:
        return (Run(str(folder)).metrics.get("cost") or {}).get("train_cpu_seconds")
    except UserError:
        return None


def networks_of(folder: Path) -> frozenset[str]:
    """The fingerprints of the networks that a run has trained."""
    return _fingerprints(folder.glob(f"{STAGES}/*/{HISTORY}"))


def _fingerprints(histories: Iterable[Path]) -> frozenset[str]:
    """Of the histories that are there; seconds and losses to the last digit are those of no other training."""
    return frozenset(hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in histories if file.is_file())


def _of_run(folder: Path, seen: frozenset[Path], *, stage: str | None = None) -> list[Training]:
    """What a run, or one stage of it, builds on; nothing where it is gone, or where it builds on itself."""
    place = folder.resolve()
    if place in seen:
        return []
    seen |= {place}
    try:
        run = Run(str(folder))
        if stage is None or (run.finished and _alike(run)):
            return earlier_of(run, _seen=seen)
        return earlier_trainings(run.config, [stage], _seen=seen)
    except UserError:
        return []


def _alike(run: Run) -> bool:
    """Whether all stages begin with the same weights, so that what is recorded of all is right for each."""
    return len({run.config.for_stage(stage).weights for stage in run.metrics.get("training") or ()}) < 2
