"""Twins by name: `list_models`, `model_info` and `create_model`, as in `models.registry`.

The twin of a model is a function of its name, in a file here of the same name as that of the model's builder. It takes
the keywords of that builder, all but `weights`, and returns a module from float32 pixels in [0, 255] of shape (batch,
channels, height, width) to float32 logits, whose method `features` gives what goes into the layer `predictions`.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from torch import nn

from fer_hierarchy.models import registry
from fer_hierarchy.models.registry import ModelInfo
from fer_hierarchy.models.spec import checked_request, checked_settings, parse_spec
from fer_hierarchy.pt_files.timm_backbone import PREFIX, timm_classifier

# Most networks of timm were made for ImageNet's usual size; few take less than 32 pixels.
_TIMM = ModelInfo(f"{PREFIX}NAME", size=224, smallest=32)


@functools.cache
def _twins() -> dict[str, Callable[..., nn.Module]]:
    """The builders by name."""
    twins = {}
    for name in registry.list_models():
        module = f"{__package__}.{registry.model_info(name).module.rpartition('.')[2]}"
        if importlib.util.find_spec(module):
            twins[name] = getattr(importlib.import_module(module), name, None)
    return {name: build for name, build in twins.items() if build}


def list_models() -> tuple[str, ...]:
    """Names that `create_model` knows, sorted; `timm:NAME` comes on top."""
    return tuple(_twins())


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds the twin of a model.

    Raises:
        ValueError: Unknown name.
    """
    if name not in _twins():
        raise registry.unknown_name("no PyTorch twin of model", name, list_models(), f", and {PREFIX}NAME")
    return _twins()[name]


def model_info(spec: str) -> ModelInfo:
    """What the model of a spec was made for.

    Raises:
        ValueError: Unknown name, or no spec.
    """
    if spec.startswith(PREFIX):
        return _TIMM
    name, _ = parse_spec(spec)
    builder(name)
    return registry.model_info(name)


def create_model(
    spec: str, *, input_shape: tuple[int, int, int] | None = None, num_classes: int = 7, **keywords: Any
) -> nn.Module:
    """Build the twin of a Keras model.

    Args:
        spec: `NAME`, `NAME:key=value:...` with the settings of `models.registry.create_model`, or `timm:NAME` with
            those of `timm_classifier`.
        input_shape: (height, width, channels) in pixels, as for Keras; 1 or 3 channels, or those of
            `model_info(spec).channels`. None for the first of these at the model's own size.
        num_classes: Number of logits, 2 or more.
        **keywords: The builder's own settings; they go over those of the spec.

    Returns:
        A module from float32 pixels in [0, 255] of shape (batch, channels, height, width) to float32 logits, whose
        method `features` gives what goes into the layer `predictions`.

    Raises:
        ValueError: Unknown name or keyword, or a shape, class count or value that the builder cannot use.
    """
    return _create(spec, input_shape, num_classes, keywords, channels=model_info(spec).channels)


def create_backbone(spec: str, *, input_shape: tuple[int, int, int]) -> nn.Module:
    """Build a twin for pictures that is to become a part of another one: on any number of planes, but for timm's.

    Args:
        spec: As for `create_model`.
        input_shape: (height, width, planes) in pixels.

    Raises:
        ValueError: As for `create_model`, or the model is not made for pictures.
    """
    registry.check_backbone(model_info(spec))
    return _create(spec, input_shape, 2, {}, channels=(1, 3) if spec.startswith(PREFIX) else None)


def _create(
    spec: str,
    input_shape: tuple[int, int, int] | None,
    num_classes: int,
    keywords: dict[str, Any],
    *,
    channels: tuple[int, ...] | None,
) -> nn.Module:
    info = model_info(spec)
    wanted = (info.size, info.size, info.channels[0]) if input_shape is None else input_shape
    shape = checked_request(spec, wanted, num_classes, smallest=info.smallest, channels=channels)
    name, settings = parse_spec(spec.removeprefix(PREFIX))
    settings |= keywords
    if spec.startswith(PREFIX):
        settings = checked_settings(spec, timm_classifier, settings)
        return timm_classifier(name, input_shape=shape, num_classes=num_classes, **settings)
    if settings.pop("weights", "none") not in ("none", None):
        raise ValueError(f"the PyTorch twin of {name} has no weights of its own; use weights none, or {PREFIX}NAME")
    build = builder(name)
    return build(input_shape=shape, num_classes=num_classes, **checked_settings(name, build, settings))
