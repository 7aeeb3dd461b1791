"""What a model is asked for in one word: `NAME` or `NAME:key=value:key=value`, and whether a builder takes the keys."""

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

_WHOLE = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")
_CONSTANTS = {"on": True, "off": False, "none": None}
# Given by the data, never by a spec.
_NOT_OURS = ("input_shape", "num_classes")


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split a spec such as `resnet18:stem=imagenet` or `vgg16:head_widths=1024+1024:dropout=0.4`; imports no framework.

    Values: `on` and `off` are booleans, `none` is None, whole and decimal numbers are numbers, `a+b` is a tuple of
    values, anything else is text; so is what has a slash, as another model's spec has: `backbone=convnet/widths=8+16`.
    Whether the name and its keys exist is for `create_model` to say.

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


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; annotations of other kinds than a spec can give are not judged."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) in (Sequence, tuple, list):
        parts = [part for part in get_args(hint) if part is not Ellipsis]
        return isinstance(value, list | tuple) and all(any(_fits(item, part) for part in parts) for item in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _words(hint: Any) -> str:
    """An annotated type as a spec's writer would say it."""
    names = {bool: "on or off", int: "a whole number", float: "a number", str: "a word", NoneType: "none"}
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(part) for part in get_args(hint))
    if get_origin(hint) in (Sequence, tuple, list):
        return f"several, each {_words(get_args(hint)[0])}"
    return names.get(hint, str(hint))
