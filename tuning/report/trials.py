"""Which trials of a study count, which is best, and how the values of a hyperparameter are laid out on an axis."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.tuning.search.trial_table import HP
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.space.dimension import Dimension, spelled


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that have a score; one whose score is not a number has none."""
    return trials[(trials["status"] == "completed") & np.isfinite(trials["score"])]


def failed(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ended without a score."""
    return trials[(trials["status"] != "running") & ~trials.index.isin(completed(trials).index)]


def ranked(trials: pd.DataFrame, objective: str) -> pd.DataFrame:
    """The completed trials, best first; of equal ones the first to be started."""
    return completed(trials).sort_values("score", ascending=OBJECTIVES[objective] == "min", kind="stable")


def best_so_far(scores: Sequence[float], objective: str) -> np.ndarray:
    """The best of each score and those before it, shape (scores,)."""
    along = np.fmin if OBJECTIVES[objective] == "min" else np.fmax
    return along.accumulate(np.asarray(scores, dtype=float))


def busy_seconds(trials: pd.DataFrame) -> float:
    """Wall seconds during which at least one finished trial ran; trials side by side count once."""
    spans = {name: pd.to_datetime(trials[name], errors="coerce", utc=True) for name in ("started", "ended")}
    spans = pd.DataFrame(spans).dropna().sort_values("started")
    before = spans["ended"].cummax().shift().fillna(spans["started"])
    return float((spans["ended"] - spans["started"].clip(lower=before)).dt.total_seconds().clip(lower=0).sum())


def several_epochs(trials: pd.DataFrame) -> bool:
    """Whether the search itself gave trials different numbers of epochs, as Hyperband does."""
    return bool(trials["rung"].notna().any()) and len(trials["epochs_asked"].dropna().unique()) > 1


def settings_numbers(trials: pd.DataFrame) -> np.ndarray:
    """A number for each trial, the same for trials with the same searched values, shape (trials,)."""
    keys = [name for name in trials.columns if name.startswith(HP)]
    return trials[keys].map(word).groupby(keys, sort=False).ngroup().to_numpy()


@dataclass(frozen=True)
class Axis:
    """How the values of one hyperparameter are laid out.

    Attributes:
        key: The hyperparameter.
        places: A number for each trial, shape (trials,): the value itself, or its position among `words`.
        words: What the places 0, 1, ... mean; empty where the values are numbers on a scale.
        log: Whether the scale is logarithmic.
    """

    key: str
    places: np.ndarray
    words: tuple[str, ...] = ()
    log: bool = False

    @property
    def varied(self) -> bool:
        """Whether there are two different values."""
        return len(np.unique(self.places)) > 1

    @property
    def heights(self) -> np.ndarray:
        """The places on an even scale from 0 (the least value) to 1 (the largest), shape (trials,)."""
        even = np.log10(self.places) if self.log else self.places
        return (even - even.min()) / (np.ptp(even) or 1)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """(height, text) of each word, or of the least and the largest number."""
        shown = range(len(self.places)) if self.words else (self.places.argmin(), self.places.argmax())
        texts = [self.words[int(place)] if self.words else f"{place:.3g}" for place in self.places]
        return list(dict.fromkeys((float(self.heights[trial]), texts[trial]) for trial in shown))


def axis_of(trials: pd.DataFrame, dimension: Dimension) -> Axis:
    """Lay out the values of a searched key.

    Args:
        trials: With a column `hp:<key>`.
        dimension: The values that the key may have.
    """
    values = trials[f"{HP}{dimension.key}"]
    if not dimension.choices and pd.api.types.is_numeric_dtype(values) and values.notna().all():
        return Axis(dimension.key, values.to_numpy(dtype=float), log=dimension.scale == "log")
    found = [word(value) for value in values]
    words = list(dict.fromkeys([*map(word, dimension.choices), *sorted(set(found))]))
    with suppress(ValueError):  # words that are not all numbers stay in the order of the space
        words.sort(key=float)
    return Axis(dimension.key, np.array([words.index(text) for text in found], dtype=float), tuple(words))


def word(value: Any) -> str:
    """A searched value as readers see it."""
    return spelled(None if pd.isna(value) else value)
