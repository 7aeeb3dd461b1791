"""What a search draws from: the values of each key by default, a JSON file over them, and what drawn values mean.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import dataclasses
import difflib
import inspect
import json
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierarchy.config import (
    RGBD_MODELS,
    SECTIONS,
    DataConfig,
    RunConfig,
    StageConfig,
    check_value,
    fields_of,
)
from hierarchy.errors import UserError
from models import registry
from models.spec import checked_keywords, parse_spec

if TYPE_CHECKING:
    import keras_tuner

ALL = "*"
IMAGE_SIZE = "image_size"
MODEL = "model."  # begins the keys that are keywords of the model's builder
SCALES = ("linear", "log")
MOST_STEPS = 10_000

_RANGE = ("low", "high", "step", "scale")
_RUNGS = 64
_DIGITS = 6
_MOST = 1e300
_OWN_OF_TUNER = "tuner/"
_JSON = "json:"  # begins values that KerasTuner cannot hold beside each other, as JSON
_SPELLED = {None: "none", True: "on", False: "off"}
_REBALANCES = ("weighted", "balanced-softmax")
_WEIGHTS = ("none", "imagenet")
_NOT_SEARCHED = {
    "soft_labels": "it changes what is to be learned; start a search with it and one without",
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
        low: Least value of the range.
        high: Largest value of the range.
        step: From one value to the next; on a log scale, the factor between them. None for all values in between.
        scale: What is spread evenly over the range: values ("linear") or their orders of magnitude ("log").
        whole: Whether the range is of whole numbers.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    scale: str = "linear"
    whole: bool = False

    @property
    def values(self) -> Sequence[Any] | None:
        """Every value, in order; None where there is no end of them."""
        if self.choices:
            return self.choices
        if self.whole and self.scale == "linear":
            return range(self.low, self.high + 1, self.step or 1)
        if self.step is None:
            return _ladder(self.low, self.high) if self.whole else None
        return _stepped(self)

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
        _check_key(key, where)
        here = f"{where}: {key}"
        if not isinstance(value, dict):
            return cls(key=key, choices=_choices(key, value if isinstance(value, list) else [value], here))
        if "choices" not in value:
            return cls(key=key, **_range(key, value, here))
        if len(value) > 1 or not isinstance(value["choices"], list):
            raise UserError(f"{here}: choices are a list and stand alone, got {_short(value)}")
        return cls(key=key, choices=_choices(key, value["choices"], here))


Space = dict[str, Dimension]


def _stepped(dimension: Dimension) -> tuple[float, ...]:
    """The values of a range with steps; `high` is among them only if the steps meet it."""
    low, step, count = (
        dimension.low,
        dimension.step,
        _count(dimension.low, dimension.high, dimension.step, dimension.scale),
    )
    values = (low * step**number if dimension.scale == "log" else low + number * step for number in range(count))
    return tuple(value if dimension.whole else _tidy(value) for value in values)


def _count(low: float, high: float, step: float, scale: str) -> int:
    """How many values a range with steps has; 0.3 is three steps of 0.1, although 0.3 // 0.1 is 2."""
    steps = math.log(high / low) / math.log(step) if scale == "log" else (high - low) / step
    return int(steps + 1e-9) + 1


def _ladder(low: int, high: int) -> tuple[int, ...]:
    """Whole numbers from `low` to `high`, evenly spread on a log scale as far as whole numbers can be.

    KerasTuner's own whole numbers on a log scale reach `high + 1`.
    """
    return tuple(sorted({round(low * (high / low) ** (rung / (_RUNGS - 1))) for rung in range(_RUNGS)}))


def _tidy(number: float) -> float:
    """A number that reads well and repeats exactly."""
    return float(f"{number:.{_DIGITS}g}")


def spelled(value: Any) -> str:
    """A value as a model's spec and the tables spell it."""
    if value is None or isinstance(value, bool):
        return _SPELLED[value]
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def _check_key(key: str, where: str) -> None:
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
    """The types of a key's values; none for a keyword of a model, whose builder is not asked here."""
    if key.startswith(MODEL):
        return ()
    hint = typing.get_type_hints(_section(key))[key]
    return typing.get_args(hint) or (hint,)


def _section(key: str) -> type:
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
        values = [_tidy(float(value)) for value in values]
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
        return check_value(_section(key), key, value, here)
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
    """`low`, `high`, `step` and `whole`, numbers of the kind that the key takes.

    Without a step, a key with decimals takes all of them from 0 to 1, however the ends are written.
    """
    numbers = {name: given[name] for name in ("low", "high", "step") if name in given}
    if not key.startswith(MODEL):
        for name in ("low", "high"):
            check_value(_section(key), key, numbers[name], f"{here}: {name}")
    if int in _kinds(key):
        broken = next((n for n, number in numbers.items() if number != int(number)), None)
        if broken:
            raise UserError(f"{here}: {broken}: expected a whole number, got {numbers[broken]}")
        whole = True
    else:
        whole = all(isinstance(number, int) for number in numbers.values()) and not (
            float in _kinds(key) and "step" not in numbers
        )
    typed = {name: int(number) if whole else _tidy(float(number)) for name, number in numbers.items()}
    return {"step": None, **typed, "whole": whole}


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
        raise UserError(
            f"{here}: step {spelled(step)} makes more than {MOST_STEPS:,} values; leave it out for all in between"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# As `Dimension.from_json` reads them. What decides the rate is in `_learning_rate`.
_COMMON = {
    "weight_decay": {"low": 1e-5, "high": 1e-2, "scale": "log"},
    "batch_size": [32, 64, 128],
    "label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.05},
    "schedule": ["cosine", "linear", "constant"],
    "loss": ["ce", "focal"],  # the others rebalance classes, as `balance` does
    "balance": ["none", "class-weight", "sampler"],
}
_AUGMENTATION = {
    "shift": {"low": 0.0, "high": 0.2, "step": 0.05},
    "rotation": {"low": 0, "high": 20, "step": 5},
    "zoom": {"low": 0.0, "high": 0.2, "step": 0.05},
    "erase": [0.0, 0.25, 0.5],
    "brightness": {"low": 0.0, "high": 0.3, "step": 0.1},
}
_DROPOUT = {"low": 0.0, "high": 0.5, "step": 0.1}
_HEAVY_DROPOUT = {"low": 0.2, "high": 0.7, "step": 0.1}
_VGG = {
    "width_factor": [0.25, 0.5, 1.0],
    "batch_norm": [True, False],
    "head_widths": ["256", "512+512", "1024+1024"],
    "dropout": _HEAVY_DROPOUT,
}
_VIT = {
    "depth": [4, 8, 12],
    "dim": [192, 384, 768],
    "heads": [4, 8, 12],
    "mlp_dim": [768, 1536, 3072],
    "dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
}
_KEYWORDS = {
    "compact_resnet": {
        "widths": ["24+48+120", "32+64+160", "48+96+240"],
        "blocks": ["1+1+1", "1+1+2", "2+2+2"],
        "squeeze_from": [None, 2, 3],
        "dropout": _DROPOUT,
    },
    "convnet": {
        "widths": ["32+32+16", "64+64+32", "96+96+48"],
        "dense_widths": ["256+64", "512+64", "512+128"],
        "dropout": _HEAVY_DROPOUT,
    },
    "deep_cnn": {
        "widths": ["32+64+128", "64+128+256", "96+192+384"],
        "kernel_sizes": ["3+3+3", "5+3+3", "5+5+3"],
        "dense_width": [64, 128, 256],
        "stage_dropout": ["0.2+0.2+0.3", "0.3+0.3+0.4", "0.4+0.4+0.5"],
        "dropout": _HEAVY_DROPOUT,
    },
    "efficientnet_b0": {"drop_connect": {"low": 0.0, "high": 0.4, "step": 0.1}, "dropout": _DROPOUT},
    "googlenet": {"width_factor": [0.5, 0.75, 1.0], "dropout": _DROPOUT},
    "hierarchical_cnn": {"dense_width": [128, 256, 512], "stage_dropout": _DROPOUT, "dropout": _HEAVY_DROPOUT},
    "mini_xception": {
        "stem_width": [8, 16],
        "widths": ["16+32+64", "16+32+64+128", "32+64+128+256"],
        "dropout": _DROPOUT,
    },
    "mobilenet": {"alpha": [0.5, 0.75, 1.0], "blocks": [6, 11, 13], "dropout": _DROPOUT},
    "resnet18": {
        "widths": ["32+64+128+256", "64+128+256+512"],
        "blocks": ["1+1+1+1", "2+2+2+2"],
        "dropout": _DROPOUT,
    },
    "rgbd_fusion": {
        "backbone": [f"compact_resnet/widths={widths}" for widths in ("24+48+120", "32+64+160", "48+96+240")],
        "fusion": ["late", "gated"],
        "branch_dropout": [0.0, 0.125, 0.25],
        "dropout": _DROPOUT,
    },
    "shallow_cnn": {
        "widths": ["16+32+64", "32+64+128", "64+128+256"],
        "dense_width": [32, 64, 128],
        "stage_dropout": _DROPOUT,
        "dropout": _HEAVY_DROPOUT,
    },
    "vgg13": _VGG,
    "vgg16": _VGG,
    "vgg16_bn": {"width_factor": [0.25, 0.5, 1.0], "head_widths": ["512+512", "4096+4096"], "dropout": _HEAVY_DROPOUT},
    "vit_b16": _VIT,
    "vit_small_patch": _VIT,
}
# Not those of transformers: their patches must divide the size.
_SIZES = {
    "compact_resnet": [32, 48, 64],
    "convnet": [48, 64, 100],
    "deep_cnn": [32, 48, 64],
    "efficientnet_b0": [48, 64, 96],
    "googlenet": [64, 96, 128],
    "hierarchical_cnn": [40, 48, 64],
    "mini_xception": [32, 48, 64],
    "mobilenet": [48, 64, 96],
    "resnet18": [32, 48, 64],
    "rgbd_fusion": [48, 64],
    "shallow_cnn": [32, 48, 64],
    "vgg13": [32, 48, 64],
    "vgg16": [32, 48, 64],
    "vgg16_bn": [64, 96, 128],
}
# Of each pair one must suit the other: where a spec names one, neither is searched.
_PAIRS = (("dim", "heads"), ("backbone", "depth_backbone"))
_KEEPS_WEIGHTS = ("dropout", "stage_dropout", "drop_connect", "branch_dropout")
_FOR_BOTH = ("fusion", "branch_dropout")  # of RGB-D models that see colour and depth
# They stay at chance with the usual rates (see `models.vgg`), or are known to want less.
_TIMID = ("vgg13", "vgg16", "vit_b16", "vit_small_patch")


def default_space(config: StageConfig, *, stage_is_flat: bool) -> Space:
    """What a search of a stage draws from unless the user says otherwise; every combination can be trained.

    What the settings hold otherwise than by default, and what the model's spec names, stays as it is.

    Args:
        config: The stage's settings.
        stage_is_flat: Whether the stage is alone with its faces, so that their size may be searched too. Where it is
            not, all stages see faces of one size.

    Raises:
        UserError: The model's spec is none.
    """
    usual = StageConfig()
    common = {"learning_rate": _learning_rate(config), **_COMMON, **(_AUGMENTATION if config.augment else {})}
    if config.loss in _REBALANCES:
        del common["balance"]
    if config.reads_depth and config.modality != "rgb":
        common["depth"] = ["relief", "distance", "normals"]
    given = {key: value for key, value in common.items() if getattr(config, key) == getattr(usual, key)}
    given |= {f"{MODEL}{key}": value for key, value in _keywords(config).items()}
    name = _parsed(config.model)[0]
    if stage_is_flat and name in _SIZES and not _is_trained(config):
        given[IMAGE_SIZE] = _SIZES[name]
    return {key: Dimension.from_json(key, value, "default space") for key, value in given.items()}


def _learning_rate(config: StageConfig) -> dict[str, Any]:
    """A hundredfold range around the optimizer's default; a fifth of it for what needs care."""
    name, fixed = _parsed(config.model)
    timid = _is_trained(config) or (name in _TIMID and fixed.get("batch_norm") is not True)
    middle = (0.05 if config.optimizer == "sgd" else 0.001) / (5 if timid else 1)
    return {"low": middle / 10, "high": middle * 10, "scale": "log"}


def _keywords(config: StageConfig) -> dict[str, Any]:
    """What is searched of the model's own keywords: of trained weights, none that they would not fit."""
    name, fixed = _parsed(config.model)
    tied = {key for pair in _PAIRS if set(pair) & set(fixed) for key in pair}
    skipped = {*fixed, *tied, *(_FOR_BOTH if config.modality in ("rgb", "depth") else ())}
    return {
        key: value
        for key, value in _KEYWORDS.get(name, {}).items()
        if key not in skipped and (key in _KEEPS_WEIGHTS or not _is_trained(config))
    }


def _is_trained(config: StageConfig) -> bool:
    """Whether the model starts from weights of an earlier training."""
    return config.weights != "none" or _parsed(config.model)[1].get("weights") is not None


def _parsed(spec: str) -> tuple[str, dict[str, Any]]:
    try:
        return parse_spec(spec)
    except ValueError as error:
        raise UserError(f"--model: {error}") from error


def read_space(path: Path, start: Mapping[str, Dimension], config: StageConfig) -> Space:
    """A JSON file over a space: `{"KEY": values, "KEY": null, "*": null}`.

    A key's values take the place of those that it had; null leaves it out, or with the key `*` all that the file gives
    no values. Where `model` or `weights` are searched, so is nothing in `start` that would fit only some of them.

    Args:
        path: The file.
        start: The space before.
        config: The stage's settings.

    Raises:
        UserError: The file cannot be read, names what cannot be searched, or values that do not go together.
    """
    where = f"--space {path}"
    given = _read_object(path, where)
    if given.get(ALL) is not None:
        raise UserError(f'{where}: "{ALL}" stands for all keys and takes null only, which leaves them out')
    for key in given:
        if key != ALL:
            _check_key(key, where)
    named = {key: Dimension.from_json(key, value, where) for key, value in given.items() if value is not None}
    _check_models_keys(named, config, where)
    kept = {key: named.get(key, old) for key, old in start.items() if key in named or _stays(key, given, named)}
    space = {**kept, **named}
    _check_balance(space, config, where)
    return space


def _stays(key: str, given: Mapping[str, Any], named: Mapping[str, Dimension]) -> bool:
    """Whether a key that the file gives no values stays in the space."""
    of_model = key.startswith(MODEL) or key == IMAGE_SIZE
    foreign = "model" in named and of_model
    unfit = "weights" in named and of_model and key.removeprefix(MODEL) not in _KEEPS_WEIGHTS
    return key not in given and ALL not in given and not foreign and not unfit


def _read_object(path: Path, where: str) -> dict[str, Any]:
    def once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UserError(f"{where}: {key} is given twice")
            found[key] = value
        return found

    try:
        record = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not readable as JSON ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object of keys and their values, got {type(record).__name__}")
    return record


def _check_models_keys(named: Mapping[str, Dimension], config: StageConfig, where: str) -> None:
    """Refuse keys that do not go with the model, or with each other."""
    own = [key for key in named if key.startswith(MODEL)]
    if "model" in named:
        if own:
            raise UserError(f"{where}: model and {own[0]} cannot both be searched; search {own[0]} for one --model")
        _check_alike(named["model"].choices, config, where)
    fixed = _parsed(config.model)[1]
    twice = next((key for key in own if key.removeprefix(MODEL) in fixed), None)
    if twice:
        raise UserError(f"{where}: {twice} is set by --model {config.model} already; leave one of them out")
    for key in ("modality", "depth"):
        if config.reads_depth and f"{MODEL}{key}" in named:
            raise UserError(f"{where}: the key of {MODEL}{key} is {key}")
        if not config.reads_depth and key in named:
            raise UserError(
                f"{where}: {key} belongs to an RGB-D model ({' or '.join(RGBD_MODELS)}), not {config.model}"
            )
    if config.reads_depth and "mixup" in named and set(named["mixup"].choices) != {0.0}:
        raise UserError(f"{where}: mixup of depth would blend faces with holes; leave it out")


def _check_alike(models: Sequence[str], config: StageConfig, where: str) -> None:
    """Refuse models that would read other faces than the stage's, or that are no spec."""
    for model in models:
        _, settings = _parsed(model)
        if dataclasses.replace(config, model=model).reads_depth != config.reads_depth:
            raise UserError(
                f"{where}: model {model} and --model {config.model} do not both read depth; search one kind"
            )
        if config.reads_depth and {"modality", "depth"} & set(settings):
            raise UserError(f"{where}: model {model}: what it sees and how it reads depth have keys: modality, depth")


def _check_balance(space: Mapping[str, Dimension], config: StageConfig, where: str) -> None:
    """Refuse a space in which a trial would rebalance its classes twice."""
    losses, balances = (space[key].choices if key in space else (getattr(config, key),) for key in ("loss", "balance"))
    loss = next((loss for loss in losses if loss in _REBALANCES), None)
    balance = next((balance for balance in balances if balance != "none"), None)
    if loss and balance:
        raise UserError(
            f"{where}: loss {loss} with balance {balance} rebalances the classes twice; "
            f'search losses without {" and ".join(_REBALANCES)}, or add "balance": "none"'
        )


def check_models(space: Mapping[str, Dimension], config: StageConfig) -> None:
    """Refuse what the builders of the models do not take; imports them.

    Raises:
        UserError: An unknown model, a keyword that it has not, a value of another type, or faces too small for it.
    """
    for spec in space["model"].choices if "model" in space else (config.model,):
        name, settings = _parsed(spec)
        settings.pop("weights", None)
        try:
            info, build = registry.model_info(name), registry._find(name).build
            checked_keywords(name, build, settings)
        except ValueError as error:
            raise UserError(f"{'--space: model' if 'model' in space else '--model'}: {error}") from error
        for key, dimension in space.items():
            if key.startswith(MODEL):
                _check_keyword(dimension, name, build)
        if IMAGE_SIZE in space and (least := _ends(space[IMAGE_SIZE])[0]) < info.smallest:
            raise UserError(f"--space: image_size {least} is less than the {info.smallest} pixels that {name} needs")
        if "weights" in space and "imagenet" in space["weights"].choices and not info.imagenet:
            raise UserError(f"--space: weights: {name} has no ImageNet weights")


def _check_keyword(dimension: Dimension, name: str, build: Callable[..., Any]) -> None:
    """Refuse values that a builder's keyword does not take.

    Raises:
        UserError: It does not.
    """
    keyword, values = dimension.key.removeprefix(MODEL), dimension.values
    listed = values is not None and not isinstance(values, range)
    try:
        for value in values if listed else _ends(dimension):
            checked_keywords(name, build, parse_spec(f"{name}:{keyword}={spelled(value)}")[1])
    except ValueError as error:
        raise UserError(f"--space: {dimension.key}: {error}") from error
    hint = getattr(inspect.signature(build).parameters.get(keyword), "annotation", None)
    taken, given = set(typing.get_args(hint) or (hint,)), f"{dimension.low} and {dimension.high}"
    if values is None and int in taken and float not in taken:
        raise UserError(f"--space: {dimension.key} takes whole numbers: write low and high, {given}, without decimals")
    if not dimension.choices and dimension.whole and dimension.step is None and float in taken:
        raise UserError(
            f"--space: {dimension.key} takes decimals: write low and high, {given}, with a point, or a step"
        )


def _ends(dimension: Dimension) -> tuple[Any, Any]:
    """The least and the largest value of numbers."""
    return (min(dimension.choices), max(dimension.choices)) if dimension.choices else (dimension.low, dimension.high)


def settings_of(values: Mapping[str, Any], config: StageConfig) -> tuple[StageConfig, int | None]:
    """What a trial's values mean.

    Args:
        values: Of `declare`'s hyperparameters by key; KerasTuner's own, which begin with `tuner/`, are left aside.
        config: The settings of what is not searched.

    Returns:
        The trial's settings, and the height and width of its faces in pixels if they are searched. Numbers have six
        significant digits; the model's keywords stand in its spec.

    Raises:
        UserError: An unknown key, or a value that it cannot have.
    """
    plain = {key: _decoded(value) for key, value in values.items() if not key.startswith(_OWN_OF_TUNER)}
    for key in plain:
        _check_key(key, "trial")
    keywords = sorted(key for key in plain if key.startswith(MODEL))
    parts = [f"{key.removeprefix(MODEL)}={spelled(plain.pop(key))}" for key in keywords]
    plain["model"] = ":".join([plain.get("model", config.model), *parts])
    settings = {key: check_value(_section(key), key, value, f"trial: {key}") for key, value in plain.items()}
    size = settings.pop(IMAGE_SIZE, None)
    return dataclasses.replace(config, **settings), size


def drawn(values: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    """A trial's values of the searched keys as tables show them, text and numbers; None for a key without value."""
    shown = {key: _decoded(values[key]) for key in space if key in values}
    return {key: _shown(shown[key]) if key in shown else None for key in space}


def _shown(value: Any) -> Any:
    return spelled(value) if value is None or isinstance(value, bool) else value


def _decoded(value: Any) -> Any:
    """A value as it was before `_encoded`; decimals with six significant digits."""
    if isinstance(value, str) and value.startswith(_JSON):
        return json.loads(value.removeprefix(_JSON))
    return _tidy(value) if isinstance(value, float) else value


def _encoded(values: Sequence[Any]) -> list[Any]:
    """Values of one type that KerasTuner's choices take: it knows no None, and makes numbers of booleans."""
    alone = len({type(value) for value in values}) == 1 and isinstance(values[0], str | int | float)
    ambiguous = any(isinstance(value, bool) or str(value).startswith(_JSON) for value in values)
    return list(values) if alone and not ambiguous else [_JSON + json.dumps(value) for value in values]


def declare(space: Mapping[str, Dimension]) -> "keras_tuner.HyperParameters":
    """The space as KerasTuner knows it; `settings_of` reads the values that it draws."""
    import keras_tuner  # here: the command line imports this module before the arguments are valid

    hyperparameters = keras_tuner.HyperParameters()
    for key, dimension in space.items():
        values = dimension.values
        if values is None:
            hyperparameters.Float(key, dimension.low, dimension.high, sampling=dimension.scale)
        elif len(values) == 1:
            hyperparameters.Fixed(key, _encoded(values)[0])
        elif isinstance(values, range):
            hyperparameters.Int(key, values[0], values[-1], step=values.step)
        else:
            hyperparameters.Choice(key, _encoded(values))
    return hyperparameters


def combinations(space: Mapping[str, Dimension]) -> int | None:
    """How many points a space has; None where there is no end of them."""
    values = [dimension.values for dimension in space.values()]
    return None if any(several is None for several in values) else math.prod(map(len, values))


def describe(dimension: Dimension) -> str:
    """The values in a few words: `32, 64, 128` or `0.0001 to 0.01, log`."""
    if dimension.choices:
        return ", ".join(map(spelled, dimension.choices))
    words = [f"{spelled(dimension.low)} to {spelled(dimension.high)}"]
    words += ["log"] if dimension.scale == "log" else []
    if dimension.step is not None:
        words.append(f"{'factor' if dimension.scale == 'log' else 'step'} {spelled(dimension.step)}")
    elif dimension.whole:
        words.append("whole")
    return ", ".join(words)
