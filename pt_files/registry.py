"""Twins by name: `list_models`, `model_info` and `create_model`, as in `models.registry`."""

import difflib
import importlib
from dataclasses import dataclass
from typing import Any

from torch import nn

from fer_hierarchy.models.checks import checked_request
from fer_hierarchy.models.spec import checked_keywords, parse_spec
from fer_hierarchy.pt_files.timm_backbone import PREFIX, timm_classifier


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a twin without building it.

    Attributes:
        module: Where its builder, a function of the model's name, stands.
        size: Image side in pixels that the model was made for.
        smallest: Least height and width in pixels that it can work with.
        channels: Channel counts that it accepts; the first is its default.
    """

    module: str
    size: int = 48
    smallest: int = 16
    channels: tuple[int, ...] = (1, 3)


_TWINS = {
    "compact_resnet": ModelInfo("fer_hierarchy.pt_files.compact_resnet"),
    "deep_cnn": ModelInfo("fer_hierarchy.pt_files.plain_cnn", smallest=8),
    "face_resnet": ModelInfo("fer_hierarchy.pt_files.face_resnet", size=112, smallest=48),
    "hierarchical_cnn": ModelInfo("fer_hierarchy.pt_files.hierarchical_cnn", smallest=36),
    "resnet18": ModelInfo("fer_hierarchy.pt_files.resnet"),
    "rgbd_fusion": ModelInfo("fer_hierarchy.pt_files.rgbd", size=64, smallest=32, channels=(4, 2)),
    "shallow_cnn": ModelInfo("fer_hierarchy.pt_files.plain_cnn", smallest=8),
    "vgg13": ModelInfo("fer_hierarchy.pt_files.vgg", smallest=32),
    "vgg16": ModelInfo("fer_hierarchy.pt_files.vgg", smallest=32),
    "vgg16_bn": ModelInfo("fer_hierarchy.pt_files.vgg", size=224, smallest=32),
}
# Most networks of timm were made for ImageNet's usual size; few take less than 32 pixels.
_TIMM = ModelInfo("fer_hierarchy.pt_files.timm_backbone", size=224, smallest=32)


def list_models() -> tuple[str, ...]:
    """Names that `create_model` knows, sorted; `timm:NAME` comes on top."""
    return tuple(sorted(_TWINS))


def model_info(spec: str) -> ModelInfo:
    """What the model of a spec was made for.

    Raises:
        ValueError: Unknown name, or no spec.
    """
    if spec.startswith(PREFIX):
        return _TIMM
    name, _ = parse_spec(spec)
    if name not in _TWINS:
        close = difflib.get_close_matches(name, list_models(), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"no PyTorch twin of model {name!r}; {hint}known: {', '.join(list_models())}, and {PREFIX}NAME"
        )
    return _TWINS[name]


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
    if 3 not in model_info(spec).channels:
        raise ValueError(f"{spec} is no model for pictures alone and cannot be a part of another; use one that is")
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
    asked = (info.size, info.size, info.channels[0]) if input_shape is None else input_shape
    shape = checked_request(spec, asked, num_classes, smallest=info.smallest, channels=channels)
    name, settings = parse_spec(spec.removeprefix(PREFIX))
    settings |= keywords
    if spec.startswith(PREFIX):
        settings = checked_keywords(spec, timm_classifier, settings)
        return timm_classifier(name, input_shape=shape, num_classes=num_classes, **settings)
    if settings.pop("weights", "none") not in ("none", None):
        raise ValueError(f"the PyTorch twin of {name} has no weights of its own; use weights none, or {PREFIX}NAME")
    build = getattr(importlib.import_module(info.module), name)
    return build(input_shape=shape, num_classes=num_classes, **checked_keywords(name, build, settings))
