"""Twins of `models/plain_cnn.py`: a shallow network of three convolutions, a deep one of six."""

from collections.abc import Sequence

from torch import nn

from models.checks import check_counts, check_shares, check_stages
from pt_files.classifier import Classifier
from pt_files.layers import BatchNorm, Standardize, convolution, start_he_normal

_ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}


def shallow_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[int] = (32, 64, 128),
    dense_width: int = 64,
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
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    height, width, channels = input_shape
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for stage, filters in enumerate(widths, start=1):
        name = f"stage{stage}_conv"
        layers |= _convolution(channels, filters, 3, activation="relu", momentum=batch_norm_momentum, name=name)
        layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
        layers[f"stage{stage}_dropout"] = nn.Dropout(stage_dropout)
        height, width, channels = height // 2, width // 2, filters
    layers |= _dense(channels * height * width, dense_width, activation="relu", momentum=batch_norm_momentum)
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
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    height, width, channels = input_shape
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for stage, (filters, size, share) in enumerate(zip(widths, kernel_sizes, stage_dropout, strict=True), start=1):
        for number in (1, 2):
            name = f"stage{stage}_conv{number}"
            layers |= _convolution(channels, filters, size, activation="elu", momentum=batch_norm_momentum, name=name)
            channels = filters
        layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
        layers[f"stage{stage}_dropout"] = nn.Dropout(share)
        height, width = height // 2, width // 2
    layers |= _dense(channels * height * width, dense_width, activation="elu", momentum=batch_norm_momentum)
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = start_he_normal(nn.Linear(dense_width, num_classes))
    return Classifier(layers)


def _convolution(
    inputs: int, outputs: int, size: int, *, activation: str, momentum: float, name: str
) -> dict[str, nn.Module]:
    return {
        name: convolution(inputs, outputs, size, bias=True),
        f"{name}_{activation}": _ACTIVATIONS[activation](),
        f"{name}_bn": BatchNorm(outputs, momentum=momentum),
    }


def _dense(inputs: int, width: int, *, activation: str, momentum: float) -> dict[str, nn.Module]:
    return {
        "flatten": nn.Flatten(),
        "features": start_he_normal(nn.Linear(inputs, width)),
        f"features_{activation}": _ACTIVATIONS[activation](),
        "features_bn": BatchNorm(width, momentum=momentum),
    }
