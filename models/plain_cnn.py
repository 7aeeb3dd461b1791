"""Two plain networks of a public FER-2013 project: a shallow one of three convolutions, a deep one of six.

Both normalise after the activation, as that project does, so their convolutions keep their biases: it is not the
normalisation that would cancel them.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from models.checks import check_counts, check_shares, check_stages
from models.layers import Standardize
from models.registry import register_model

_SOURCE = "a public FER-2013 project"


@register_model(smallest=8, source=_SOURCE)
def shallow_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[int] = (32, 64, 128),
    dense_width: int = 64,
    stage_dropout: float = 0.5,
    dropout: float = 0.5,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Build a 3x3 convolution with ReLU and a pooling for each of three stages, a Dense layer and a linear head.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        widths: Channels of each stage; up to three.
        dense_width: Units of the Dense layer, which are the features.
        stage_dropout: Share of values dropped after each stage while training, in [0, 1).
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    # A fourth pooling would leave nothing of 8 pixels.
    check_stages(most=3, widths=widths)
    check_counts(widths=widths, dense_width=dense_width)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for stage, width in enumerate(widths, start=1):
        x = _convolution(x, width, 3, activation="relu", momentum=batch_norm_momentum, name=f"stage{stage}_conv")
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(stage_dropout, name=f"stage{stage}_dropout")(x)
    x = _dense(x, dense_width, activation="relu", momentum=batch_norm_momentum)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", kernel_initializer="he_normal", name="predictions")(x)
    return keras.Model(pixels, logits, name="shallow_cnn")


@register_model(smallest=8, source=_SOURCE)
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
) -> keras.Model:
    """Build two convolutions with ELU and a pooling for each of three stages, a Dense layer and a linear head.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        widths: Channels of both convolutions of each stage; up to three stages.
        kernel_sizes: Side of their kernels in pixels; as many entries as `widths`.
        dense_width: Units of the Dense layer, which are the features.
        stage_dropout: Share of values, in [0, 1), dropped after each stage while training; as many entries as `widths`.
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    check_stages(most=3, widths=widths, kernel_sizes=kernel_sizes, stage_dropout=stage_dropout)
    check_counts(widths=widths, kernel_sizes=kernel_sizes, dense_width=dense_width)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for stage, (width, size, share) in enumerate(zip(widths, kernel_sizes, stage_dropout, strict=True), start=1):
        for number in (1, 2):
            name = f"stage{stage}_conv{number}"
            x = _convolution(x, width, size, activation="elu", momentum=batch_norm_momentum, name=name)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(share, name=f"stage{stage}_dropout")(x)
    x = _dense(x, dense_width, activation="elu", momentum=batch_norm_momentum)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", kernel_initializer="he_normal", name="predictions")(x)
    return keras.Model(pixels, logits, name="deep_cnn")


def _convolution(x: Any, width: int, size: int, *, activation: str, momentum: float, name: str) -> Any:
    x = layers.Conv2D(width, size, padding="same", kernel_initializer="he_normal", name=name)(x)
    x = layers.Activation(activation, name=f"{name}_{activation}")(x)
    return layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)


def _dense(x: Any, width: int, *, activation: str, momentum: float) -> Any:
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(width, kernel_initializer="he_normal", name="features")(x)
    x = layers.Activation(activation, name=f"features_{activation}")(x)
    return layers.BatchNormalization(momentum=momentum, name="features_bn")(x)
