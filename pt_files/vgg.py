"""Twins of `models/vgg.py`: VGG-13 and VGG-16 (Simonyan and Zisserman, 2015), with batch normalisation as an option."""

from collections.abc import Sequence

from torch import nn

from fer_hierarchy.models.settings import Count, Factor, Share
from fer_hierarchy.pt_files.layers import BatchNorm, Classifier, Standardize, convolution, dense, start_he_normal

_WIDTHS = (64, 128, 256, 512, 512)
_VGG13 = (2, 2, 2, 2, 2)
_VGG16 = (2, 2, 3, 3, 3)
_EPSILON = 1e-5


def vgg13(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    batch_norm: bool = False,
    head_widths: Sequence[Count] = (1024, 1024),
    pooled_size: Count = 1,
    dropout: Share = 0.5,
    width_factor: Factor = 1.0,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build ten convolutions in five blocks; the keywords are those of `models.vgg.vgg13`."""
    layers = _blocks(input_shape[2], _VGG13, width_factor, batch_norm_momentum if batch_norm else None)
    return _with_head(layers, num_classes, width_factor, pooled_size, head_widths, dropout)


def vgg16(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    batch_norm: bool = False,
    head_widths: Sequence[Count] = (1024, 1024),
    pooled_size: Count = 1,
    dropout: Share = 0.5,
    width_factor: Factor = 1.0,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build thirteen convolutions in five blocks; the keywords are those of `models.vgg.vgg16`, all but the weights."""
    layers = _blocks(input_shape[2], _VGG16, width_factor, batch_norm_momentum if batch_norm else None)
    return _with_head(layers, num_classes, width_factor, pooled_size, head_widths, dropout)


def vgg16_bn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    head_widths: Sequence[Count] = (4096, 4096),
    pooled_size: Count = 7,
    dropout: Share = 0.5,
    width_factor: Factor = 1.0,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build `vgg16` with batch normalisation and the sizes that it has for ImageNet."""
    layers = _blocks(input_shape[2], _VGG16, width_factor, batch_norm_momentum)
    return _with_head(layers, num_classes, width_factor, pooled_size, head_widths, dropout)


def _blocks(channels: int, counts: Sequence[int], factor: float, momentum: float | None) -> dict[str, nn.Module]:
    """Standardise and stack the convolutions, normalised where a momentum is given."""
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for block, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True), start=1):
        filters = _scaled(width, factor)
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            layers[name] = convolution(channels, filters, 3, bias=momentum is None)
            if momentum is not None:
                layers[f"{name}_bn"] = BatchNorm(filters, momentum=momentum, epsilon=_EPSILON)
            layers[f"{name}_relu"] = nn.ReLU()
            channels = filters
        layers[f"block{block}_pool"] = nn.MaxPool2d(2)
    return layers


def _with_head(
    layers: dict[str, nn.Module],
    num_classes: int,
    factor: float,
    pooled_size: int,
    widths: Sequence[int],
    dropout: float,
) -> Classifier:
    layers |= {"pooled": nn.AdaptiveAvgPool2d(pooled_size), "flatten": nn.Flatten()}
    inputs = _scaled(_WIDTHS[-1], factor) * pooled_size**2
    for number, width in enumerate(widths, start=1):
        layers[f"dense{number}"] = start_he_normal(nn.Linear(inputs, width))
        layers[f"dense{number}_relu"] = nn.ReLU()
        layers[f"dense{number}_dropout"] = nn.Dropout(dropout)
        inputs = width
    layers["predictions"] = dense(inputs, num_classes)
    return Classifier(layers)


def _scaled(width: int, factor: float) -> int:
    return max(1, round(width * factor))
