"""Two plain networks of a public FER-2013 project: a shallow one of three convolutions, a deep one of six.

Both normalise after the activation, as that project does, so their convolutions keep their biases: it is not the
normalisation that would cancel them.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.activations import check_activation
from fer_hierarchy.models.blocks import activated
from fer_hierarchy.models.checks import KERNEL_SIZES, check_choice, check_counts, check_shares, check_stages
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model

_SOURCE = "a public FER-2013 project"


@register_model(smallest=8, source=_SOURCE)
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
) -> keras.Model:
    """Build a convolution and a pooling for each of three stages, a Dense layer and a linear head.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        widths: Channels of each stage; up to three.
        kernel_size: Side of the convolutions' kernels in pixels, 3 or 5.
        dense_width: Units of the Dense layer, which are the features.
        activation: What follows each convolution and the Dense layer: "relu", "elu", "gelu", "silu" or "leaky_relu".
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
    check_choice("kernel_size", kernel_size, KERNEL_SIZES)
    check_activation(activation)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for stage, width in enumerate(widths, start=1):
        name = f"stage{stage}_conv"
        x = _convolution(x, width, kernel_size, activation=activation, momentum=batch_norm_momentum, name=name)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(stage_dropout, name=f"stage{stage}_dropout")(x)
    x = _dense(x, dense_width, activation=activation, momentum=batch_norm_momentum)
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
    activation: str = "elu",
    stage_dropout: Sequence[float] = (0.4, 0.4, 0.5),
    dropout: float = 0.6,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Build two convolutions and a pooling for each of three stages, a Dense layer and a linear head.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        widths: Channels of both convolutions of each stage; up to three stages.
        kernel_sizes: Side of their kernels in pixels; as many entries as `widths`.
        dense_width: Units of the Dense layer, which are the features.
        activation: As for `shallow_cnn`.
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
    check_activation(activation)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for stage, (width, size, share) in enumerate(zip(widths, kernel_sizes, stage_dropout, strict=True), start=1):
        for number in (1, 2):
            name = f"stage{stage}_conv{number}"
            x = _convolution(x, width, size, activation=activation, momentum=batch_norm_momentum, name=name)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(share, name=f"stage{stage}_dropout")(x)
    x = _dense(x, dense_width, activation=activation, momentum=batch_norm_momentum)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", kernel_initializer="he_normal", name="predictions")(x)
    return keras.Model(pixels, logits, name="deep_cnn")


def _convolution(x: Any, width: int, size: int, *, activation: str, momentum: float, name: str) -> Any:
    x = layers.Conv2D(width, size, padding="same", kernel_initializer="he_normal", name=name)(x)
    x = _activated(x, activation, name=name)
    return layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)


def _dense(x: Any, width: int, *, activation: str, momentum: float) -> Any:
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(width, kernel_initializer="he_normal", name="features")(x)
    x = _activated(x, activation, name="features")
    return layers.BatchNormalization(momentum=momentum, name="features_bn")(x)


def _activated(x: Any, activation: str, *, name: str) -> Any:
    name = f"{name}_{activation}"
    # Saved models of this family have their ReLU in this kind of layer.
    return layers.Activation("relu", name=name)(x) if activation == "relu" else activated(x, activation, name=name)
