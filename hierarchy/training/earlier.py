"""The trainings that a run builds on, by first weights and teachers: what they took belongs to its cost."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import HISTORY, METRICS, MODEL
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.transfer import weights_name
from fer_hierarchy.models.registry import NO_WEIGHTS, PRETRAINED

_FILE = Path(MODEL).suffix

Earlier = dict[str, float | None]  # name of a training -> its CPU-seconds, None where they are not known


def earlier_trainings(config: RunConfig, stages: Iterable[str], *, _seen: frozenset[Path] = frozenset()) -> Earlier:
    """The trainings that a run builds on, and those that these build on.

    Args:
        config: Of the run, with weights and teachers as paths.
        stages: Of the run.

    Returns:
        Each training once, by `RUN/STAGE` of first weights, by the run of a teacher, or by the name of published
        weights, whose training nobody has recorded.
    """
    found: Earlier = {}
    places: dict[str, Path] = {}  # of the run that each name stands for

    def add(name: str, folder: Path, seconds: float | None) -> None:
        place = folder.resolve()
        own = name if places.get(name, place) == place else f"{place.parent.name}/{name}"
        found[own], places[own] = seconds, place

    built_on: Earlier = {}
    for weights in dict.fromkeys(config.for_stage(stage).weights for stage in stages):
        if weights in PRETRAINED:
            found[weights] = None
        elif not weights.endswith(_FILE):  # the name that is left in a published run
            found |= {} if weights == NO_WEIGHTS else {weights: None}
        else:
            file = Path(weights)
            run = file.parent.parent.parent
            add(weights_name(weights), run, recorded_seconds(file.with_name(HISTORY)))
            built_on |= _of_run(run, _seen)
    for teacher in map(Path, config.data.teachers):
        # The whole run taught: the stage that first weights came from is part of it.
        for name in [name for name, place in places.items() if place == teacher.resolve()]:
            del found[name], places[name]
        add(teacher.name, teacher, _own_seconds(teacher))
        built_on |= _of_run(teacher, _seen)
    return {**built_on, **found}


def earlier_of(run: Run, *, _seen: frozenset[Path] = frozenset()) -> Earlier:
    """The same of a finished run: as recorded, else by its settings, as far as those trainings are still there."""
    recorded = (run.metrics.get("cost") or {}).get("earlier")
    if recorded is not None:
        sound = isinstance(recorded, Mapping) and all(map(_is_cost, recorded.values()))
        if not sound:
            raise UserError(f"{run.folder / METRICS} is damaged: its cost has 'earlier' {recorded!r}")
        return dict(recorded)
    if run.metrics.get("members"):
        return {}
    return earlier_trainings(run.config, run.metrics.get("training") or (), _seen=_seen)


def _is_cost(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value) and value >= 0)


def whole_cost(cost: Mapping[str, Any], earlier: Earlier) -> tuple[float | None, list[str]]:
    """CPU-seconds of a run with those that it builds on, as far as they are known, and the names of the unknown."""
    own = cost.get("train_cpu_seconds")
    unknown = [name for name, seconds in earlier.items() if seconds is None]
    return (None if own is None else own + sum(filter(None, earlier.values()))), unknown


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


def _of_run(folder: Path, seen: frozenset[Path]) -> Earlier:
    """What a run builds on; nothing where it is gone, or where it builds on itself."""
    place = folder.resolve()
    if place in seen:
        return {}
    try:
        return earlier_of(Run(str(folder)), _seen=seen | {place})
    except UserError:
        return {}
