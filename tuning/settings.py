"""Settings of a search: what is searched, how, and for how long; standard library only, as all settings are."""

import re
from dataclasses import dataclass

from fer_hierarchy.hierarchy.config import option
from fer_hierarchy.hierarchy.errors import UserError

TUNERS = ("random", "bayesian", "hyperband", "grid")
OBJECTIVES = {"macro_f1": "max", "balanced_accuracy": "max", "accuracy": "max", "nll": "min"}
ALL = "all"
COMPOSITION = "composition"
TAXONOMY = "taxonomy"

_BUDGET = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How a stage's hyperparameters are searched; every choice is made on validation faces.

    Examples:
        >>> from fer_hierarchy import SearchConfig
        >>> SearchConfig(stage="valence", tuner="hyperband", budget="2h").remeasure
        3
    """

    stage: str = option(
        ALL,
        "what to search for: a stage (valence, positive, negative, flat), all of them one after the other, "
        "composition (of a finished RUN) or taxonomy (from a flat RUN)",
        metavar="STAGE",
    )
    tuner: str = option("bayesian", "how the next trial is chosen", choices=TUNERS)
    objective: str | None = option(
        None,
        "validation score to search by (default: balanced_accuracy for a gate, else macro_f1)",
        choices=tuple(OBJECTIVES),
    )
    max_trials: int | None = option(
        None,
        "most trials of a search (default: 20; hyperband: all its brackets; grid: every point)",
        low=1,
        high=10_000,
    )
    budget: str | None = option(None, "time for the trials of this call, as in 90m, 2h or 1h30m", metavar="TIME")
    executions: int = option(
        1, "trainings of each trial, each with the next seed; their mean is its score", low=1, high=20
    )
    fraction: float = option(1.0, "stratified share of the train faces that trials are trained on", above=0, high=1)
    early_size: int | None = option(
        None, "hyperband: image size in pixels of every rung but a bracket's last", low=16, high=512
    )
    space: str | None = option(None, "JSON file that narrows, widens or replaces the searched values", metavar="FILE")
    remeasure: int = option(
        3,
        "trainings of the best trial with fresh seeds after the search, for a figure without its optimism",
        low=0,
        high=20,
    )
    controls: int = option(3, "taxonomy: random groupings to compare the others with", low=0, high=100)
    implied: bool = option(False, "taxonomy: only what the flat run's predictions imply; train nothing")


def seconds(text: str, where: str) -> int:
    """A time as in `90m`, `2h`, `1h30m` or `45s`, in seconds.

    Args:
        text: What the user gave.
        where: What errors call it.

    Raises:
        UserError: It is none, or nothing.
    """
    found = _BUDGET.fullmatch(text.strip().lower())
    total = sum(int(found[unit] or 0) * size for unit, size in (("h", 3600), ("m", 60), ("s", 1))) if found else 0
    if total == 0:
        raise UserError(f"{where}: expected a time such as 90m, 2h, 1h30m or 45s, got {text!r}")
    return total
