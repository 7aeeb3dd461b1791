"""A model and its settings in one word, `NAME` or `NAME:key=value:key=value`, and the checks of what a builder gets."""

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fer_hierarchy.models.settings import Limit

_WHOLE = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")
_CONSTANTS = {"on": True, "off": False, "none": None}
# Given by the data, never by a spec.
_NOT_OURS = ("input_shape", "num_classes")
_UNIONS = (Union, UnionType)
_SEVERAL = (Sequence, tuple, list)


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split a spec such as `resnet18:stem=imagenet` or `vgg16:head_widths=1024+1024:dropout=0.4`; imports no framework.

    Values: `on` and `off` are booleans, `none` is None, whole and decimal numbers are numbers, `a+b` is a tuple of
    values, anything else is text; so is what has a slash, as another model's spec has: `backbone=convnet/widths=8+16`.
    Whether the name and its keys exist is checked by `create_model`.

    Returns:
        The name, and the keywords for its builder.

    Raises:
        ValueError: The spec is not of that form.
    """
    if not isinstance(spec, str):
        raise ValueError(f"model is {spec!r}; it must be text such as 'resnet18' or 'resnet18:stem=imagenet'")
    name, *settings = spec.split(":")
    keywords: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if not (name and key.isidentifier() and value):
            raise ValueError(
                f"model {spec!r}: {setting!r} is no setting; write NAME:key=value:key=value, "
                "such as vgg16:batch_norm=on:head_widths=1024+512"
            )
        if key in keywords or key in _NOT_OURS:
            raise ValueError(f"model {spec!r}: {key} " + ("stands twice" if key in keywords else "comes from the data"))
        keywords[key] = _value(value)
    return name, keywords


def _value(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return tuple(_value(part) for part in text.split("+")) if "+" in text and "/" not in text else text


def checked_keywords(name: str, build: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Check that a builder has these keywords, and that each value is of the annotated type.

    Returns:
        The keywords; a number alone where the builder takes several, as in `head_widths=512`, is a sequence of one.

    Raises:
        ValueError: It has no such keyword, or the value is of another type.
    """
    parameters = inspect.signature(build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return keywords
    accepted = sorted(set(parameters) - set(_NOT_OURS))
    checked = {}
    for key, value in keywords.items():
        if key not in accepted:
            close = difflib.get_close_matches(key, accepted, n=1)
            guess = f"did you mean {close[0]}? " if close else ""
            raise ValueError(f"{name} has no keyword {key}; {guess}accepted: {', '.join(accepted) or 'none'}")
        hint = parameters[key].annotation
        alone = get_origin(hint) is Sequence and not isinstance(value, list | tuple)
        checked[key] = (value,) if alone and _fits((value,), hint) else value
        if not _fits(checked[key], hint):
            raise ValueError(f"{name}: {key} is {value!r}; it must be {_words(hint)}")
    return checked


def checked_settings(name: str, build: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """The same, and check that each value is within the limits of its annotation; see `models.settings`.

    Raises:
        ValueError: As `checked_keywords`, or a value is outside its limits.
    """
    checked, parameters = checked_keywords(name, build, keywords), inspect.signature(build).parameters
    for key, value in checked.items():
        if key in parameters:
            check_limits(key, value, parameters[key].annotation)
    return checked


def check_limits(name: str, value: Any, hint: Any) -> None:
    """Check that a value of an annotated type, or each of several, is within the limits; see `models.settings`.

    Raises:
        ValueError: It is not.
    """
    if limit := _unmet(value, hint):
        raise ValueError(f"{name} is {value!r}; it must {limit.words}")


def _unmet(value: Any, hint: Any) -> Limit | None:
    """The first limit that a value, or one of several, is outside of."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _unmet(value, parts[0]) if parts[1].allows(value) else parts[1]
    if origin in _UNIONS:
        pairs = [(value, part) for part in parts if _fits(value, part)]
    else:
        pairs = [(item, parts[0]) for item in value] if origin in _SEVERAL else []
    return next((limit for item, part in pairs if (limit := _unmet(item, part))), None)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; true for annotations of other kinds than a spec can give."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(value, parts[0])
    if origin in _UNIONS:
        return any(_fits(value, part) for part in parts)
    if origin in _SEVERAL:
        kinds = [part for part in parts if part is not Ellipsis]
        return isinstance(value, list | tuple) and all(any(_fits(item, kind) for kind in kinds) for item in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _words(hint: Any) -> str:
    """An annotated type in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(parts[0])
    if origin in _UNIONS:
        return " or ".join(map(_words, parts))
    if origin in _SEVERAL:
        return f"several, each {_words(parts[0])}"
    names = {bool: "on or off", int: "a whole number", float: "a number", str: "a word", NoneType: "none"}
    return names.get(hint, str(hint))


def checked_request(
    name: str, shape: Any, num_classes: object, *, smallest: int, channels: Sequence[int] | None
) -> tuple[int, int, int]:
    """The input shape as a tuple, after the checks of what every model is built for.

    Args:
        name: What errors call the model.
        shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        smallest: Least height and width that the model works with.
        channels: Channel counts that it takes; None for any.

    Raises:
        ValueError: It is no such shape, or fewer than two classes.
    """
    fits = (
        _fits(shape, Sequence[int])
        and len(shape) == 3
        and min(shape[:2]) >= smallest
        and (shape[2] >= 1 if channels is None else shape[2] in channels)
    )
    if not fits:
        counts = "1 or more" if channels is None else " or ".join(map(str, channels))
        raise ValueError(
            f"input_shape is {shape!r}; {name} needs (height, width, channels) of at least {smallest}x{smallest} "
            f"pixels and {counts} channels"
        )
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 2:
        raise ValueError(f"num_classes is {num_classes!r}; {name} needs a whole number of 2 or more")
    height, width, planes = shape
    return height, width, planes
