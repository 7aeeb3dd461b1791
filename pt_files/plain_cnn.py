"""Twins of `models/plain_cnn.py`: a shallow network of three convolutions, a deep one of six."""

from collections.abc import Sequence

from torch import nn

from fer_hierarchy.models.settings import Activation, Count, KernelSize, Share, check_stages
from fer_hierarchy.pt_files.layers import (
    BatchNorm,
    Classifier,
    Standardize,
    activation_layer,
    convolution,
    start_he_normal,
)


def shallow_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[Count] = (32, 64, 128),
    kernel_size: KernelSize = 3,
    dense_width: Count = 64,
    activation: Activation = "relu",
    stage_dropout: Share = 0.5,
    dropout: Share = 0.5,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build the shallow network; the keywords are those of `models.plain_cnn.shallow_cnn`."""
    check_stages(most=3, widths=widths)
    sizes, shares = [kernel_size] * len(widths), [stage_dropout] * len(widths)
    layers, inputs = _stages(input_shape, ("conv",), widths, sizes, shares, activation, batch_norm_momentum)
    return _with_head(layers, inputs, dense_width, num_classes, activation, dropout, batch_norm_momentum)


def deep_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[Count] = (64, 128, 256),
    kernel_sizes: Sequence[Count] = (5, 3, 3),
    dense_width: Count = 128,
    activation: Activation = "elu",
    stage_dropout: Sequence[Share] = (0.4, 0.4, 0.5),
    dropout: Share = 0.6,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build the deep network; the keywords are those of `models.plain_cnn.deep_cnn`."""
    check_stages(most=3, widths=widths, kernel_sizes=kernel_sizes, stage_dropout=stage_dropout)
    convolutions = ("conv1", "conv2")
    layers, inputs = _stages(
        input_shape, convolutions, widths, kernel_sizes, stage_dropout, activation, batch_norm_momentum
    )
    return _with_head(layers, inputs, dense_width, num_classes, activation, dropout, batch_norm_momentum)


def _stages(
    input_shape: tuple[int, int, int],
    convolutions: Sequence[str],
    widths: Sequence[int],
    sizes: Sequence[int],
    shares: Sequence[float],
    activation: str,
    momentum: float,
) -> tuple[dict[str, nn.Module], int]:
    """Layers up to the last map, and the number of its values."""
    height, width, channels = input_shape
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for stage, (filters, size, share) in enumerate(zip(widths, sizes, shares, strict=True), start=1):
        for name in convolutions:
            unit = convolution(channels, filters, size, bias=True)
            layers |= _normalised(unit, filters, activation, momentum, name=f"stage{stage}_{name}")
            channels = filters
        layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
        layers[f"stage{stage}_dropout"] = nn.Dropout(share)
        height, width = height // 2, width // 2
    return layers, channels * height * width


def _with_head(
    layers: dict[str, nn.Module],
    inputs: int,
    width: int,
    num_classes: int,
    activation: str,
    dropout: float,
    momentum: float,
) -> Classifier:
    layers["flatten"] = nn.Flatten()
    layers |= _normalised(start_he_normal(nn.Linear(inputs, width)), width, activation, momentum, name="features")
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = start_he_normal(nn.Linear(width, num_classes))
    return Classifier(layers)


def _normalised(layer: nn.Module, width: int, activation: str, momentum: float, *, name: str) -> dict[str, nn.Module]:
    """A layer, its activation, and the normalisation behind that."""
    return {
        name: layer,
        f"{name}_{activation}": activation_layer(activation),
        f"{name}_bn": BatchNorm(width, momentum=momentum),
    }
