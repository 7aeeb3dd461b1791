"""Any network of the library timm as a backbone (Wightman, "PyTorch Image Models", 2019), where timm is installed."""

from typing import Annotated

import torch
from torch import nn

from fer_hierarchy.models.settings import IMAGENET_DEVIATION, IMAGENET_MEAN, Share, one_of
from fer_hierarchy.pt_files.layers import Classifier, ScaledRgb, dense

PREFIX = "timm:"


def timm_classifier(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    weights: Annotated[str, one_of("none", "imagenet")] = "none",
    dropout: Share = 0.0,
) -> Classifier:
    """Put the head `predictions` on a network of timm.

    Args:
        name: What timm calls the network.
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        weights: "none", or "imagenet" for those that timm downloads.
        dropout: Share of features dropped before the head while training, in [0, 1).

    Raises:
        ValueError: timm is not installed, has no such network or no weights for it, or the network cannot take images
            of this size.
    """
    backbone = _backbone(name, pretrained=weights == "imagenet")
    layers = {
        "scale": ScaledRgb(IMAGENET_MEAN, IMAGENET_DEVIATION),
        "backbone": backbone,
        "dropout": nn.Dropout(dropout),
    }
    layers["predictions"] = dense(_width(backbone, name, input_shape), num_classes)
    return Classifier(layers)


def _backbone(name: str, *, pretrained: bool) -> nn.Module:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision of another build raises RuntimeError
        raise ValueError(
            f"model {PREFIX}{name} needs the library timm, which does not import ({str(error).splitlines()[0]}); "
            "install it beside a torchvision that fits this torch, or use a model without the prefix"
        ) from error
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(f"timm cannot make {name!r}: {str(error).splitlines()[0]}") from error


def _width(backbone: nn.Module, name: str, input_shape: tuple[int, int, int]) -> int:
    """Number of features, found with one blank image: timm's own figure leaves out some heads."""
    height, width, _ = input_shape
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{PREFIX}{name} cannot take images of {height}x{width} pixels: {reason}") from error
    backbone.train()
    return features.shape[1]
