"""Twins of `models/plain_cnn.py`: a shallow network of three convolutions, a deep one of six."""

from collections.abc import Sequence

from torch import nn

from fer_hierarchy.models.activations import check_activation
from fer_hierarchy.models.checks import KERNEL_SIZES, check_choice, check_counts, check_shares, check_stages
from fer_hierarchy.pt_files.classifier import Classifier
from fer_hierarchy.pt_files.layers import BatchNorm, Standardize, activation_layer, convolution, start_he_normal


def shallow_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[int] = (32, 64, 128),
    kernel_size: int = 3,
    dense_width: int = 64,
    activation: str = "relu",
    stage_dropout: float = 0.5,
    dropout: float = 0.5,
    batch_norm_momentum: float = 0.9,
) -> Classifier:
    """Build the shallow network; the keywords are those of `models.plain_cnn.shallow_cnn`.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    check_stages(most=3, widths=widths)
    check_counts(widths=widths, dense_width=dense_width)
    check_choice("kernel_size", kernel_size, KERNEL_SIZES)
    check_activation(activation)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    height, width, channels = input_shape
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for stage, filters in enumerate(widths, start=1):
        layers |= _convolution(
            channels,
            filters,
            kernel_size,
            activation=activation,
            momentum=batch_norm_momentum,
            name=f"stage{stage}_conv",
        )
        layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
        layers[f"stage{stage}_dropout"] = nn.Dropout(stage_dropout)
        height, width, channels = height // 2, width // 2, filters
    layers |= _dense(channels * height * width, dense_width, activation=activation, momentum=batch_norm_momentum)
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = start_he_normal(nn.Linear(dense_width, num_classes))
    return Classifier(layers)


def deep_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[int] = (64, 128, 256),
    kernel_sizes: Sequence[int] = (5, 3, 3),
    dense_width: int = 128,
    activation: str = "elu",
    stage_dropout: Sequence[float] = (0.4, 0.4, 0.5),
    dropout: float = 0.6,
    batch_norm_momentum: float = 0.9,
) -> Classifier:
    """Build the deep network; the keywords are those of `models.plain_cnn.deep_cnn`.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    check_stages(most=3, widths=widths, kernel_sizes=kernel_sizes, stage_dropout=stage_dropout)
    check_counts(widths=widths, kernel_sizes=kernel_sizes, dense_width=dense_width)
    check_activation(activation)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    height, width, channels = input_shape
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for stage, (filters, size, share) in enumerate(zip(widths, kernel_sizes, stage_dropout, strict=True), start=1):
        for number in (1, 2):
            layers |= _convolution(
                channels,
                filters,
                size,
                activation=activation,
                momentum=batch_norm_momentum,
                name=f"stage{stage}_conv{number}",
            )
            channels = filters
        layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
        layers[f"stage{stage}_dropout"] = nn.Dropout(share)
        height, width = height // 2, width // 2
    layers |= _dense(channels * height * width, dense_width, activation=activation, momentum=batch_norm_momentum)
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = start_he_normal(nn.Linear(dense_width, num_classes))
    return Classifier(layers)


def _convolution(
    inputs: int, outputs: int, size: int, *, activation: str, momentum: float, name: str
) -> dict[str, nn.Module]:
    return {
        name: convolution(inputs, outputs, size, bias=True),
        f"{name}_{activation}": activation_layer(activation),
        f"{name}_bn": BatchNorm(outputs, momentum=momentum),
    }


def _dense(inputs: int, width: int, *, activation: str, momentum: float) -> dict[str, nn.Module]:
    return {
        "flatten": nn.Flatten(),
        "features": start_he_normal(nn.Linear(inputs, width)),
        f"features_{activation}": activation_layer(activation),
        "features_bn": BatchNorm(width, momentum=momentum),
    }
