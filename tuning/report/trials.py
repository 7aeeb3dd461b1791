"""Reading what the trials of a study left: trials.csv and remeasured.csv as typed tables, and which trial is best."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.search.study import REMEASURED, TRIALS
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.space.dimension import spelled

HP = "hp:"
STATES = ("completed", "failed", "running")

_FLOATS = ("score", "macro_f1", "balanced_accuracy", "accuracy", "nll", "seconds", "cpu_seconds")
_WHOLE = ("best_epoch", "epochs", "epochs_asked", "rung", "bracket", "parameters", "multiply_adds")
_TEXTS = ("trial", "status", "from_trial", "worker", "started", "ended", "message")
_NEEDED = ("trial", "status", "score")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def read_trials(folder: Path) -> pd.DataFrame:
    """Every trial of a study, a row each, in order of their number.

    Args:
        folder: The study's.

    Returns:
        trials.csv with every column that it may have: texts (`trial` as "0007", empty where there is none), float64
        scores and seconds, Int64 counts; `hp:` columns are numeric where all values are numbers, else objects (text,
        number, bool or None). Without rows where the file does not exist.

    Raises:
        UserError: The file is damaged.
    """
    return _read(folder / TRIALS, _NEEDED)


def read_remeasured(folder: Path) -> pd.DataFrame:
    """The trainings of the best trial with fresh seeds, those with a score; without rows where there are none.

    Raises:
        UserError: The file is damaged.
    """
    table = _read(folder / REMEASURED, ("seed", "score"))
    return table[np.isfinite(table["score"])].reset_index(drop=True)


def hyperparameter_columns(trials: pd.DataFrame) -> list[str]:
    """The columns of searched values, `hp:KEY`."""
    return [name for name in trials.columns if name.startswith(HP)]


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that have a score; one whose score is no number has none."""
    return trials[(trials["status"] == "completed") & np.isfinite(trials["score"])]


def failed(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ended without a score."""
    return trials[(trials["status"] != "running") & ~trials.index.isin(completed(trials).index)]


def ranked(trials: pd.DataFrame, objective: str) -> pd.DataFrame:
    """The completed trials, best first; of equals the first to be begun."""
    return completed(trials).sort_values("score", ascending=OBJECTIVES[objective] == "min", kind="stable")


def best_row(trials: pd.DataFrame, objective: str) -> pd.Series | None:
    """The best completed trial, of equals the first; None where nothing is completed."""
    order = ranked(trials, objective)
    return order.iloc[0] if len(order) else None


def best_so_far(scores: Sequence[float], objective: str) -> np.ndarray:
    """The best of each score and those before it, shape (scores,)."""
    along = np.fmin if OBJECTIVES[objective] == "min" else np.fmax
    return along.accumulate(np.asarray(scores, dtype=float))


def busy_seconds(trials: pd.DataFrame) -> float:
    """Wall seconds during which at least one finished trial ran; trials side by side count once."""
    spans = pd.DataFrame(
        {name: pd.to_datetime(trials[name], errors="coerce", utc=True) for name in ("started", "ended")}
    )
    total, until = 0.0, None
    for start, end in spans.dropna().sort_values("started").itertuples(index=False):
        begin = start if until is None else max(start, until)
        total += max((end - begin).total_seconds(), 0.0)
        until = end if until is None else max(end, until)
    return total


def several_epochs(trials: pd.DataFrame) -> bool:
    """Whether the search itself gave trials different numbers of epochs, as Hyperband does."""
    return bool(trials["rung"].notna().any()) and len(trials["epochs_asked"].dropna().unique()) > 1


def settings_numbers(trials: pd.DataFrame) -> np.ndarray:
    """A number for each trial, the same for trials with the same searched values, shape (trials,)."""
    rows = trials[hyperparameter_columns(trials)].itertuples(index=False)
    return pd.factorize(np.array([repr([word(value) for value in row]) for row in rows], dtype=object))[0]


@dataclass(frozen=True)
class Axis:
    """How the values of one hyperparameter are laid out.

    Attributes:
        key: The hyperparameter.
        places: A number for each trial, shape (trials,): the value itself, or its position among `words`.
        words: What the places 0, 1, ... stand for; empty where the values are numbers on a scale.
        log: Whether the scale is logarithmic.
    """

    key: str
    places: np.ndarray
    words: tuple[str, ...] = ()
    log: bool = False

    @property
    def varied(self) -> bool:
        """Whether there are two different values."""
        return len(np.unique(self.places[np.isfinite(self.places)])) > 1

    @property
    def whole(self) -> bool:
        """Whether all places are whole numbers."""
        return bool((self.places == self.places.round()).all())

    @property
    def heights(self) -> np.ndarray:
        """The places on an even scale: their logarithm to base 10 where the scale is logarithmic."""
        return np.log10(self.places) if self.log else self.places


def axis_of(trials: pd.DataFrame, key: str, dimension: Any) -> Axis:
    """Lay out the values of a searched key.

    Args:
        trials: With a column `hp:<key>`.
        key: The hyperparameter.
        dimension: Its JSON form: {"low", "high", ...}, {"choices"} or a list, or a single value.
    """
    values = trials[f"{HP}{key}"]
    if isinstance(dimension, Mapping) and "low" in dimension and pd.api.types.is_numeric_dtype(values):
        places = values.to_numpy(dtype=float, na_value=math.nan)
        return Axis(key, places, log=dimension.get("scale") == "log" and bool((places[np.isfinite(places)] > 0).all()))
    found = [word(value) for value in values]
    words = _in_order([*map(word, _choices(dimension)), *sorted(set(found))])
    return Axis(key, np.array([words.index(text) for text in found], dtype=float), words)


def word(value: Any) -> str:
    """A searched value as readers see it; a text that spells a number or a truth value counts as one."""
    value = _value(value) if isinstance(value, str) else value
    missing = value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return spelled(None if missing else value)


def _choices(dimension: Any) -> Sequence[Any]:
    held = dimension.get("choices", ()) if isinstance(dimension, Mapping) else dimension
    return held if isinstance(held, list | tuple) else (held,)


def _in_order(words: Sequence[str]) -> tuple[str, ...]:
    """Each word once; numbers by size, anything else as it was listed."""
    once = list(dict.fromkeys(words))
    return tuple(sorted(once, key=float) if all(map(_NUMBER.fullmatch, once)) else once)


def _read(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else pd.DataFrame(columns=needed)
        if missing := [name for name in needed if name not in table]:
            raise ValueError(f"it has no column {missing[0]}")
        return _typed(table)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({' '.join(str(error).split())}); delete it, and --resume writes it anew"
        ) from error


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The texts of a csv as what they stand for.

    Raises:
        ValueError: A number is none, or a state is unknown.
    """
    if "status" in table and (strange := sorted(set(table["status"]) - set(STATES))):
        raise ValueError(f"status {strange[0]!r} is none of {', '.join(STATES)}")
    for name in _TEXTS:
        table[name] = table.get(name, "")
    for name in (*_FLOATS, *_WHOLE):
        texts = table[name] if name in table else pd.Series("", index=table.index)
        numbers = pd.to_numeric(texts.replace({"": None, "nan": None}), errors="raise").astype("float64")
        table[name] = numbers.astype("Int64") if name in _WHOLE else numbers
    for name in hyperparameter_columns(table):
        table[name] = _values(table[name])
    return table


def _values(texts: pd.Series) -> pd.Series:
    """A column of searched values: numeric where all of them are numbers, else one object each."""
    found = [_value(text) for text in texts]
    kinds = {type(value) for value in found}
    if kinds and kinds <= {int, float}:
        return pd.Series(found, index=texts.index, dtype="Int64" if kinds == {int} else "float64")
    return pd.Series(found, index=texts.index, dtype=object)


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return text or None
