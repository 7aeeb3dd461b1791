"""Models by name: `list_models`, `create_model`, and `@register_model` for builders of one's own."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # listing names must not cost a Keras import
    import keras

# Name -> module whose function of that name builds it. The module is imported when the model is first asked for.
_BUILT_IN = {
    "compact_resnet": "models.compact_resnet",
    "hierarchical_cnn": "models.hierarchical_cnn",
}
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class _Entry:
    build: Callable[..., keras.Model]
    smallest: int  # pixels, of height and of width


_entries: dict[str, _Entry] = {}


def register_model(*, smallest: int) -> Callable[[Callable[..., keras.Model]], Callable[..., keras.Model]]:
    """Make a builder available to `create_model` under its function name.

    The builder takes the keywords `input_shape` and `num_classes`, and plain keywords of its own with defaults. It
    returns a flat functional model: float32 pixels in [0, 255] of shape (batch, height, width, channels) in, float32
    logits of shape (batch, num_classes) out of a last layer named `predictions`.

    Args:
        smallest: Least height and width in pixels that the builder can work with.

    Raises:
        ValueError: The name is taken by another builder.
    """

    def register(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
        name = build.__name__
        owner = _entries[name].build.__module__ if name in _entries else _BUILT_IN.get(name, build.__module__)
        if owner != build.__module__:
            raise ValueError(f"model name {name!r} is taken by {owner}; choose another function name")
        _entries[name] = _Entry(build, smallest)
        return build

    return register


def list_models() -> tuple[str, ...]:
    """Names that `create_model` knows, sorted; imports no framework."""
    return tuple(sorted({*_BUILT_IN, *_entries}))


def create_model(
    name: str, *, input_shape: tuple[int, int, int] = (48, 48, 1), num_classes: int = 7, **keywords: Any
) -> keras.Model:
    """Build a model by name.

    Args:
        name: One of `list_models()`.
        input_shape: (height, width, channels) in pixels; 1 or 3 channels.
        num_classes: Number of logits, 2 or more.
        **keywords: The builder's own settings, such as `dropout`.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to float32 logits. Its last layer is the Dense layer
        `predictions`; what goes into that layer are the features.

    Raises:
        ValueError: Unknown name or keyword, or a shape, class count or value that the builder cannot use.
    """
    entry = _find(name)
    shape = _checked_shape(name, input_shape, entry.smallest)
    if not _is_whole(num_classes) or num_classes < 2:
        raise ValueError(f"num_classes is {num_classes!r}; {name} needs a whole number of 2 or more")
    _check_keywords(name, entry.build, keywords)
    model = entry.build(input_shape=shape, num_classes=num_classes, **keywords)
    _check_contract(name, model, num_classes)
    return model


def _find(name: str) -> _Entry:
    if name not in _entries and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name])
    if name not in _entries:
        known = list_models()
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown model {name!r}; {hint}known: {', '.join(known)}")
    return _entries[name]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked_shape(name: str, shape: object, smallest: int) -> tuple[int, int, int]:
    fits = (
        isinstance(shape, list | tuple)
        and len(shape) == 3
        and all(_is_whole(size) for size in shape)
        and min(shape[:2]) >= smallest
        and shape[2] in _CHANNELS
    )
    if not fits:
        raise ValueError(
            f"input_shape is {shape!r}; {name} needs (height, width, channels) of at least {smallest}x{smallest} "
            f"pixels and {' or '.join(map(str, _CHANNELS))} channels"
        )
    return tuple(shape)


def _check_keywords(name: str, build: Callable[..., keras.Model], keywords: dict[str, Any]) -> None:
    parameters = inspect.signature(build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    accepted = sorted(set(parameters) - {"input_shape", "num_classes"})
    unknown = sorted(set(keywords) - set(accepted))
    if unknown:
        raise ValueError(f"{name} has no keyword {', '.join(unknown)}; accepted: {', '.join(accepted) or 'none'}")


def _check_contract(name: str, model: keras.Model, num_classes: int) -> None:
    last = model.layers[-1]
    if last.name != "predictions" or last.dtype != "float32" or model.output_shape != (None, num_classes):
        raise ValueError(
            f"{name} ends in layer {last.name!r} ({last.dtype}, shape {model.output_shape}); "
            f"it must end in a float32 layer 'predictions' of shape (None, {num_classes})"
        )
