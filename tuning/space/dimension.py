"""One key of a search and the values that it may have, read from JSON and checked.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import difflib
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_hierarchy.hierarchy.config import SECTIONS, DataConfig, RunConfig, StageConfig, check_value, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.models.registry import NO_WEIGHTS, PRETRAINED

ALL = "*"
IMAGE_SIZE = "image_size"
MODEL = "model."  # begins the keys that are keywords of the model's builder
SCALES = ("linear", "log")
MOST_STEPS = 10_000

_RANGE = ("low", "high", "step", "scale")
_RUNGS = 64  # at most, of whole numbers on a log scale
_DIGITS = 6  # significant ones of a number with decimals
_MOST = 1e300  # no setting is larger; infinity and what overflows are
_SPELLED = {None: "none", True: "on", False: "off"}
_WEIGHTS = (NO_WEIGHTS, *PRETRAINED)
_NOT_SEARCHED = {
    "soft_labels": "it changes the targets; start one search with it and one without",
    f"{MODEL}weights": "its key is weights",
    f"{MODEL}input_shape": "it comes from the data; the key of its size is image_size",
    f"{MODEL}num_classes": "it comes from the data",
}


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """The values that a search may give one key: `choices`, or a range.

    Attributes:
        key: A field of the stage's settings, `image_size`, or `model.KEY` for a keyword of the model's builder.
        choices: Text, numbers, booleans or None; none of them for a range.
        low: Least value of the range; without meaning beside choices.
        high: Largest value of the range; without meaning beside choices.
        step: From one value to the next; on a log scale, the factor between them. None for all values in between.
        scale: What is spread evenly over the range: values ("linear") or their orders of magnitude ("log").
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    scale: str = "linear"

    @property
    def whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int)

    @property
    def values(self) -> Sequence[Any] | None:
        """Every value, in order; None where there is no end of them."""
        if self.choices:
            return self.choices
        if self.whole and self.scale == "linear":
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return _ladder(self.low, self.high) if self.whole else None
        # `high` is among them only if the steps meet it.
        numbers = range(_count(self.low, self.high, self.step, self.scale))
        values = (self.low * self.step**n if self.scale == "log" else self.low + n * self.step for n in numbers)
        return tuple(value if self.whole else tidy(value) for value in values)

    def to_json(self) -> list[Any] | dict[str, Any]:
        """What `from_json` reads."""
        if self.choices:
            return list(self.choices)
        scale = {} if self.scale == "linear" else {"scale": self.scale}
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, **step, **scale}

    @classmethod
    def from_json(cls, key: str, value: Any, where: str) -> "Dimension":
        """Read a dimension.

        Args:
            key: What it is of.
            value: A list of choices, an object of `choices`, an object of `low`, `high` and, if wanted, `step` and
                `scale`, or a single value.
            where: What errors call the source.

        Raises:
            UserError: A key that cannot be searched, or values that it cannot have.
        """
        check_key(key, where)
        here = f"{where}: {key}"
        if isinstance(value, dict) and "choices" not in value:
            return cls(key=key, **_range(key, value, here))
        if isinstance(value, dict):
            if len(value) > 1 or not isinstance(value["choices"], list):
                raise UserError(f"{here}: choices are a list and the only key, got {_short(value)}")
            value = value["choices"]
        return cls(key=key, choices=_choices(key, value if isinstance(value, list) else [value], here))


Space = dict[str, Dimension]


def _count(low: float, high: float, step: float, scale: str) -> int:
    """How many values a range with steps has; 0.3 is three steps of 0.1, although 0.3 // 0.1 is 2."""
    steps = math.log(high / low) / math.log(step) if scale == "log" else (high - low) / step
    return int(steps + 1e-9) + 1


def _ladder(low: float, high: float) -> tuple[int, ...]:
    """Whole numbers from `low` to `high`, evenly spread on a log scale as far as whole numbers can be.

    KerasTuner's own whole numbers on a log scale reach `high + 1`.
    """
    return tuple(sorted({round(low * (high / low) ** (rung / (_RUNGS - 1))) for rung in range(_RUNGS)}))


def tidy(number: float) -> float:
    """A number that reads well and repeats exactly."""
    return float(f"{number:.{_DIGITS}g}")


def spelled(value: Any) -> str:
    """A value as a model's spec and the tables spell it."""
    if value is None or isinstance(value, bool):
        return _SPELLED[value]
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def check_key(key: str, where: str) -> None:
    """Refuse what is no key of a search.

    Raises:
        UserError: It is none.
    """
    if key in _NOT_SEARCHED:
        raise UserError(f"{where}: {key} cannot be searched: {_NOT_SEARCHED[key]}")
    known = [*fields_of(StageConfig), IMAGE_SIZE]
    if key in known or (key.startswith(MODEL) and key.removeprefix(MODEL).isidentifier()):
        return
    if any(key in fields_of(part) for part in (RunConfig, *SECTIONS.values())):
        raise UserError(
            f"{where}: {key} cannot be searched: it is a setting of the whole run, not of a stage's training"
        )
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}, {MODEL}KEY, {ALL}"
    raise UserError(f"{where}: unknown key {key!r}; {hint}")


def _kinds(key: str) -> tuple[type, ...]:
    """The types of a key's values; none for a keyword of a model, whose builder is not imported here."""
    if key.startswith(MODEL):
        return ()
    hint = typing.get_type_hints(section_of(key))[key]
    return typing.get_args(hint) or (hint,)


def section_of(key: str) -> type:
    """The settings that have a key which is no model's."""
    return DataConfig if key == IMAGE_SIZE else StageConfig


def _choices(key: str, given: Sequence[Any], here: str) -> tuple[Any, ...]:
    """Checked choices.

    Raises:
        UserError: There are none, one is given twice, or the key cannot have it.
    """
    if not given:
        raise UserError(f"{here}: no choices; give some, or null to leave the key out of the search")
    values = [_choice(key, value, here) for value in given]
    if any(isinstance(value, float) for value in values) and all(_is_number(value) for value in values):
        values = [tidy(float(value)) for value in values]
    words = [spelled(value) for value in values]
    twice = next((word for number, word in enumerate(words) if word in words[:number]), None)
    if twice is not None:
        raise UserError(f"{here}: {twice} is given twice")
    return tuple(values)


def _choice(key: str, value: Any, here: str) -> Any:
    if isinstance(value, list | dict):
        raise UserError(
            f"{here}: expected text, a number, true, false or null as a choice, got {_short(value)}; "
            'several numbers in one are written as text: "32+64+160"'
        )
    if isinstance(value, int | float) and not abs(value) <= _MOST:
        raise UserError(f"{here}: expected a number, got {_short(value)}")
    if key == "weights" and value not in _WEIGHTS:
        raise UserError(f"{here}: a search takes {' or '.join(_WEIGHTS)}, got {value!r}; give a run's as --weights")
    if not key.startswith(MODEL):
        if value is None:
            raise UserError(f"{here}: null is no choice; alone it leaves the key out of the search")
        return check_value(section_of(key), key, value, here)
    if isinstance(value, str) and (not value or ":" in value):
        raise UserError(f"{here}: expected a value as in a model's settings, got {value!r}")
    return value


def _range(key: str, given: Mapping[str, Any], here: str) -> dict[str, Any]:
    """The checked fields of a range.

    Raises:
        UserError: It lacks an end, is empty, or the key cannot have its values.
    """
    unknown = next((name for name in given if name not in _RANGE), None)
    if unknown or not {"low", "high"} <= set(given):
        raise UserError(
            f"{here}: expected low and high, with step and scale if wanted, or choices, got {', '.join(given) or '{}'}"
        )
    if _kinds(key) and not {int, float} & set(_kinds(key)):
        raise UserError(f"{here}: it takes no numbers; give choices")
    for name in ("low", "high", "step"):
        if name in given and not (_is_number(given[name]) and abs(given[name]) <= _MOST):
            raise UserError(f"{here}: {name}: expected a number, got {_short(given[name])}")
    scale = given.get("scale", "linear")
    if scale not in SCALES:
        raise UserError(f"{here}: scale: expected {' or '.join(SCALES)}, got {_short(scale)}")
    ends = _typed_ends(key, given, here)
    _check_ends(ends["low"], ends["high"], ends["step"], scale, here)
    return {**ends, "scale": scale}


def _typed_ends(key: str, given: Mapping[str, Any], here: str) -> dict[str, Any]:
    """`low`, `high` and `step` as numbers of the kind that the key takes.

    Without a step, a key with decimals takes all of them from 0 to 1, however the ends are written.
    """
    numbers = {name: given[name] for name in ("low", "high", "step") if name in given}
    if not key.startswith(MODEL):
        for name in ("low", "high"):
            check_value(section_of(key), key, numbers[name], f"{here}: {name}")
    if int in _kinds(key):
        broken = next((n for n, number in numbers.items() if number != int(number)), None)
        if broken:
            raise UserError(f"{here}: {broken}: expected a whole number, got {numbers[broken]}")
        whole = True
    else:
        whole = all(isinstance(number, int) for number in numbers.values())
        whole = whole and not (float in _kinds(key) and "step" not in numbers)
    typed = {name: int(number) if whole else tidy(float(number)) for name, number in numbers.items()}
    return {"step": None, **typed}


def _check_ends(low: float, high: float, step: float | None, scale: str, here: str) -> None:
    """Refuse a range that holds no two values.

    Raises:
        UserError: It does not.
    """
    if low > high:
        raise UserError(f"{here}: the range is empty: low {spelled(low)} is above high {spelled(high)}")
    if low == high:
        raise UserError(
            f"{here}: low and high are both {spelled(low)}; to keep the key at it, write {spelled(low)} alone"
        )
    if scale == "log" and low <= 0:
        raise UserError(f"{here}: a log scale needs low above 0, got {spelled(low)}")
    if step is None:
        return
    least, most, word = (1, high / low, "as a factor ") if scale == "log" else (0, high - low, "")
    if not least < step <= most:
        raise UserError(
            f"{here}: step: expected {word}above {least} and at most {spelled(float(most))}, got {spelled(step)}"
        )
    if _count(low, high, step, scale) > MOST_STEPS:
        raise UserError(f"{here}: step {spelled(step)} makes more than {MOST_STEPS:,} values; write a larger one")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
