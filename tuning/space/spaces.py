"""A search's space as a whole: a JSON file over the defaults, its checks, and what drawn values mean.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_hierarchy.hierarchy.config import ONE_CYCLE, RGBD_MODELS, StageConfig, check_value
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import parse_json, read_written
from fer_hierarchy.models import registry
from fer_hierarchy.models.spec import checked_keywords, parse_spec
from fer_hierarchy.tuning.space.default_spaces import KEEPS_WEIGHTS, REBALANCES, parsed_model
from fer_hierarchy.tuning.space.dimension import (
    ALL,
    IMAGE_SIZE,
    MODEL,
    Dimension,
    Space,
    check_key,
    section_of,
    spelled,
    tidy,
)

if TYPE_CHECKING:
    import keras_tuner

_OWN_OF_TUNER = "tuner/"
_JSON = "json:"  # begins values that KerasTuner cannot hold beside each other, as JSON


def read_space(path: Path, start: Mapping[str, Dimension], config: StageConfig) -> Space:
    """A JSON file over a space: `{"KEY": values, "KEY": null, "*": null}`.

    A key's values take the place of those that it had; null leaves it out, or with the key `*` all that the file gives
    no values. Where the file searches `model` or `weights`, what would fit only some of them is left out as well.

    Args:
        path: The file.
        start: The space before.
        config: The stage's settings.

    Raises:
        UserError: The file cannot be read, names what cannot be searched, or values that do not go together.
    """
    where = f"--space {path}"
    given = read_written(path, where)
    if not isinstance(given, dict):
        raise UserError(f"{where}: expected an object of keys and their values, got {type(given).__name__}")
    if given.get(ALL) is not None:
        raise UserError(f'{where}: "{ALL}" means all keys and takes null only, which leaves them out')
    for key in given:
        if key != ALL:
            check_key(key, where)
    named = {key: Dimension.from_json(key, value, where) for key, value in given.items() if value is not None}
    _check_model_keys(named, config, where)
    kept = {key: named.get(key, old) for key, old in start.items() if key in named or _stays(key, given, named)}
    space = {**kept, **named}
    _check_balance(space, config, where)
    _check_course(space, config, where)
    return space


def _stays(key: str, given: Mapping[str, Any], named: Mapping[str, Dimension]) -> bool:
    """Whether a key that the file gives no values stays in the space."""
    if key in given or ALL in given:
        return False
    of_model = key.startswith(MODEL) or key == IMAGE_SIZE
    trained = "weights" in named and set(named["weights"].choices) & set(registry.PRETRAINED)
    keeps_weights = key.removeprefix(MODEL) in KEEPS_WEIGHTS
    return not of_model or ("model" not in named and (keeps_weights or not trained))


def _check_model_keys(named: Mapping[str, Dimension], config: StageConfig, where: str) -> None:
    """Refuse keys that do not go with the model, or with each other."""
    own = [key for key in named if key.startswith(MODEL)]
    if "model" in named:
        if own:
            raise UserError(f"{where}: model and {own[0]} cannot both be searched; search {own[0]} for one --model")
        _check_alike(named["model"].choices, config, where)
    fixed = parsed_model(config.model)[1]
    twice = next((key for key in own if key.removeprefix(MODEL) in fixed), None)
    if twice:
        raise UserError(f"{where}: {twice} is set by --model {config.model} already; leave one of them out")
    _check_depth_keys(named, config, where)


def _check_depth_keys(named: Mapping[str, Dimension], config: StageConfig, where: str) -> None:
    """Refuse keys of RGB-D models for others, and those that do not go with depth."""
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
        _, settings = parsed_model(model)
        if dataclasses.replace(config, model=model).reads_depth != config.reads_depth:
            raise UserError(
                f"{where}: model {model} and --model {config.model} do not both read depth; search one kind"
            )
        if config.reads_depth and {"modality", "depth"} & set(settings):
            raise UserError(f"{where}: model {model}: its modality and its kind of depth have keys: modality, depth")


def _check_balance(space: Mapping[str, Dimension], config: StageConfig, where: str) -> None:
    """Refuse a space in which a trial would rebalance its classes twice."""
    losses, balances = (space[key].choices if key in space else (getattr(config, key),) for key in ("loss", "balance"))
    loss = next((loss for loss in losses if loss in REBALANCES), None)
    balance = next((balance for balance in balances if balance != "none"), None)
    if loss and balance:
        raise UserError(
            f"{where}: loss {loss} with balance {balance} rebalances the classes twice; "
            f'search losses without {" and ".join(REBALANCES)}, or add "balance": "none"'
        )


def _check_course(space: Mapping[str, Dimension], config: StageConfig, where: str) -> None:
    """Refuse a space in which a trial would warm up twice."""
    courses = space["schedule"].choices if "schedule" in space else (config.schedule,)
    if ONE_CYCLE in courses and ("warmup" in space or config.warmup != StageConfig.warmup):
        raise UserError(f"{where}: schedule {ONE_CYCLE} warms up by itself; search it without warmup")


def check_models(space: Mapping[str, Dimension], config: StageConfig) -> None:
    """Refuse what the builders of the models do not take; imports them.

    Raises:
        UserError: An unknown model, a keyword that it has not, a value of another type, or faces too small for it.
    """
    for spec in space["model"].choices if "model" in space else (config.model,):
        name, settings = parsed_model(spec)
        settings.pop("weights", None)
        try:
            info, build = registry.model_info(name), registry.builder(name)
            checked_keywords(name, build, settings)
        except ValueError as error:
            raise UserError(f"{'--space: model' if 'model' in space else '--model'}: {error}") from error
        for key, dimension in space.items():
            if key.startswith(MODEL):
                _check_keyword(dimension, name, build)
        if IMAGE_SIZE in space and (least := _ends(space[IMAGE_SIZE])[0]) < info.smallest:
            raise UserError(f"--space: image_size {least} is less than the {info.smallest} pixels that {name} needs")
        for weights in space["weights"].choices if "weights" in space else ():
            if weights not in (registry.NO_WEIGHTS, *info.pretrained):
                raise UserError(f"--space: weights: {name} has no {registry.PRETRAINED[weights].title}")


def _check_keyword(dimension: Dimension, name: str, build: Callable[..., Any]) -> None:
    """Refuse values that a builder's keyword does not take.

    Raises:
        UserError: It does not.
    """
    keyword, values = dimension.key.removeprefix(MODEL), dimension.values
    tried = _ends(dimension) if values is None or isinstance(values, range) else values
    try:
        for value in tried:
            checked_keywords(name, build, parse_spec(f"{name}:{keyword}={spelled(value)}")[1])
    except ValueError as error:
        raise UserError(f"--space: {dimension.key}: {error}") from error
    hint = typing.get_type_hints(build).get(keyword)
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
        significant digits; the model's keywords are in its spec.

    Raises:
        UserError: An unknown key, or a value that it cannot have.
    """
    plain = {key: _decoded(value) for key, value in values.items() if not key.startswith(_OWN_OF_TUNER)}
    for key in plain:
        check_key(key, "trial")
    keywords = sorted(key for key in plain if key.startswith(MODEL))
    parts = [f"{key.removeprefix(MODEL)}={spelled(plain.pop(key))}" for key in keywords]
    plain["model"] = ":".join([plain.get("model", config.model), *parts])
    settings = {key: check_value(section_of(key), key, value, f"trial: {key}") for key, value in plain.items()}
    size = settings.pop(IMAGE_SIZE, None)
    return dataclasses.replace(config, **settings), size


def drawn(values: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    """A trial's values of the searched keys as tables show them, text and numbers; None for a key without value."""
    found = {key: _decoded(values[key]) for key in space if key in values}
    texts = {key: spelled(value) for key, value in found.items() if value is None or isinstance(value, bool)}
    return {**dict.fromkeys(space), **found, **texts}


def _decoded(value: Any) -> Any:
    """A value as it was before `_encoded`; decimals with six significant digits."""
    if isinstance(value, str) and value.startswith(_JSON):
        return parse_json(value.removeprefix(_JSON))
    return tidy(value) if isinstance(value, float) else value


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
    counts = [len(values) for dimension in space.values() if (values := dimension.values) is not None]
    return math.prod(counts) if len(counts) == len(space) else None


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
