"""Models by name: `list_models`, `model_info`, `create_model`, and `@register_model` for builders of one's own."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fer_hierarchy.models.checks import checked_request
from fer_hierarchy.models.spec import checked_keywords, parse_spec

if TYPE_CHECKING:  # listing names must not cost a Keras import
    import keras

# Name -> module whose function of that name builds it. The module is imported when the model is first asked for.
_BUILT_IN = {
    "compact_resnet": "fer_hierarchy.models.compact_resnet",
    "convnet": "fer_hierarchy.models.convnet",
    "deep_cnn": "fer_hierarchy.models.plain_cnn",
    "efficientnet_b0": "fer_hierarchy.models.efficientnet",
    "face_resnet": "fer_hierarchy.models.face_resnet",
    "googlenet": "fer_hierarchy.models.googlenet",
    "hierarchical_cnn": "fer_hierarchy.models.hierarchical_cnn",
    "mini_xception": "fer_hierarchy.models.mini_xception",
    "mobilenet": "fer_hierarchy.models.mobilenet",
    "resnet18": "fer_hierarchy.models.resnet",
    "rgbd_fusion": "fer_hierarchy.models.rgbd",
    "shallow_cnn": "fer_hierarchy.models.plain_cnn",
    "vgg13": "fer_hierarchy.models.vgg",
    "vgg16": "fer_hierarchy.models.vgg",
    "vgg16_bn": "fer_hierarchy.models.vgg",
    "vit_b16": "fer_hierarchy.models.vit",
    "vit_small_patch": "fer_hierarchy.models.vit",
}
NO_WEIGHTS = "none"


@dataclass(frozen=True)
class Pretrained:
    """Weights that a model can begin with.

    Attributes:
        title: What they are called in a sentence.
        origin: What they were learned from.
        normalised: Whether their batch normalisations hold statistics of the pictures that they were learned from.
    """

    title: str
    origin: str
    normalised: bool = True


# By the name that settings give them; which models have them, each builder's `@register_model` says.
PRETRAINED = {
    "imagenet": Pretrained("ImageNet weights", "learned from the thousand classes of ImageNet"),
    "dlib-face": Pretrained(
        "dlib-face weights",
        "learned by telling people apart on about three million faces, without any label of an emotion",
        normalised=False,
    ),
}


@dataclass(frozen=True)
class ModelInfo:
    """What the listing says of a model; building it tells the rest.

    Attributes:
        name: The name that `create_model` takes.
        size: Image side in pixels that the model was made for.
        smallest: Least height and width in pixels that it can work with.
        source: Paper or origin.
        pretrained: Names of the weights that it can start from; see `PRETRAINED`.
        channels: Channel counts that it accepts; the first is its default.
    """

    name: str
    size: int
    smallest: int
    source: str
    pretrained: tuple[str, ...] = ()
    channels: tuple[int, ...] = (1, 3)


@dataclass(frozen=True)
class _Entry:
    build: Callable[..., keras.Model]
    info: ModelInfo


_entries: dict[str, _Entry] = {}


def register_model(
    *,
    smallest: int = 16,
    size: int = 48,
    source: str = "",
    pretrained: tuple[str, ...] = (),
    channels: tuple[int, ...] = (1, 3),
) -> Callable[[Callable[..., keras.Model]], Callable[..., keras.Model]]:
    """Make a builder available to `create_model` under its function name.

    The builder takes the keywords `input_shape` and `num_classes`, and plain keywords of its own with defaults. It
    returns a flat functional model: float32 pixels in [0, 255] of shape (batch, height, width, channels) in, float32
    logits of shape (batch, num_classes) out of a last layer named `predictions`.

    Args:
        smallest: Least height and width in pixels that the builder can work with.
        size: Height and width in pixels that the model was made for; its default.
        source: Paper or origin, for the listing.
        pretrained: Names of weights, of `PRETRAINED`; with any, the builder takes the keyword `weights`, "none" or one
            of them.
        channels: Channel counts that the builder accepts, its default first: 1 for grey, 3 for colour; 2 and 4 for
            those with a depth plane behind them.

    Raises:
        ValueError: The name is taken by another builder, the default size is too small, or weights have no entry.
    """

    def register(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
        name = build.__name__
        owner = _entries[name].build.__module__ if name in _entries else _BUILT_IN.get(name, build.__module__)
        if owner != build.__module__:
            raise ValueError(f"model name {name!r} is taken by {owner}; choose another function name")
        if size < smallest:
            raise ValueError(f"model {name!r}: its size of {size} pixels is less than its smallest, {smallest}")
        if unknown := set(pretrained) - set(PRETRAINED):
            raise ValueError(f"model {name!r}: no pretrained weights {min(unknown)!r}; known: {', '.join(PRETRAINED)}")
        _entries[name] = _Entry(build, ModelInfo(name, size, smallest, source, pretrained, channels))
        return build

    return register


def list_models() -> tuple[str, ...]:
    """Names that `create_model` knows, sorted; imports no framework."""
    return tuple(sorted({*_BUILT_IN, *_entries}))


def model_info(name: str) -> ModelInfo:
    """What a model was made for; imports its module.

    Raises:
        ValueError: Unknown name.
    """
    return _find(name).info


def builder(name: str) -> Callable[..., keras.Model]:
    """The function that builds a model, for those who want to know its keywords; imports its module.

    Raises:
        ValueError: Unknown name.
    """
    return _find(name).build


def create_model(
    spec: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int = 7,
    weights: str = NO_WEIGHTS,
    **keywords: Any,
) -> keras.Model:
    """Build a model by name.

    Args:
        spec: One of `list_models()`, alone or with settings as in `vgg16:batch_norm=on:head_widths=1024+512`.
        input_shape: (height, width, channels) in pixels; 1 or 3 channels, or those of `model_info(name).channels`. None
            for the first of these at the model's own size.
        num_classes: Number of logits, 2 or more.
        weights: "none" to begin at random, or as the spec says; a name of `PRETRAINED` that the model has weights of.
        **keywords: The builder's own settings, such as `dropout`; they go over those of the spec.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to float32 logits. Its last layer is the Dense layer
        `predictions`; what goes into that layer are the features.

    Raises:
        ValueError: Unknown name or keyword, or a shape, class count or value that the builder cannot use, or weights
            that cannot be had.
    """
    name, settings = parse_spec(spec)
    return _create(name, settings, keywords, input_shape, num_classes, weights, channels=_find(name).info.channels)


def create_backbone(spec: str, *, input_shape: tuple[int, int, int], weights: str = NO_WEIGHTS) -> keras.Model:
    """Build a model for pictures that is to become a part of another one: on any number of planes.

    Args:
        spec: As for `create_model`.
        input_shape: (height, width, planes) in pixels.
        weights: As for `create_model`.

    Returns:
        The model with a head of two classes.

    Raises:
        ValueError: As for `create_model`, or the model is not made for pictures.
    """
    name, settings = parse_spec(spec)
    if 3 not in _find(name).info.channels:
        raise ValueError(f"{name} is no model for pictures alone and cannot be a part of another; use one that is")
    return _create(name, settings, {}, input_shape, 2, weights, channels=None)


def _create(
    name: str,
    settings: dict[str, Any],
    keywords: dict[str, Any],
    input_shape: tuple[int, int, int] | None,
    num_classes: int,
    weights: str,
    *,
    channels: tuple[int, ...] | None,
) -> keras.Model:
    entry = _find(name)
    of_spec = settings.pop("weights", None)  # parse_spec reads none as None
    if weights == NO_WEIGHTS and of_spec is not None:
        weights = of_spec
    size = entry.info.size
    asked = (size, size, entry.info.channels[0]) if input_shape is None else input_shape
    shape = checked_request(name, asked, num_classes, smallest=entry.info.smallest, channels=channels)
    settings = checked_keywords(name, entry.build, settings | keywords)
    _check_weights(entry.info, weights)
    if entry.info.pretrained:
        settings["weights"] = weights
    model = entry.build(input_shape=shape, num_classes=num_classes, **settings)
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


def _check_weights(info: ModelInfo, weights: object) -> None:
    if weights in (NO_WEIGHTS, *info.pretrained):
        return
    if weights not in PRETRAINED:
        raise ValueError(f"weights is {weights!r}; {info.name} takes {' or '.join((NO_WEIGHTS, *info.pretrained))}")
    having = ", ".join(name for name in list_models() if weights in model_info(name).pretrained)
    raise ValueError(f"{info.name} has no {PRETRAINED[weights].title} (use weights none); models that have: {having}")


def _check_contract(name: str, model: keras.Model, num_classes: int) -> None:
    last = model.layers[-1]
    if last.name != "predictions" or last.dtype != "float32" or model.output_shape != (None, num_classes):
        raise ValueError(
            f"{name} ends in layer {last.name!r} ({last.dtype}, shape {model.output_shape}); "
            f"it must end in a float32 layer 'predictions' of shape (None, {num_classes})"
        )
