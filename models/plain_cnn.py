"""Two plain networks of a public FER-2013 project: a shallow one of three convolutions, a deep one of six.

Both normalise after the activation, as that project does, so their convolutions keep their biases: it is not the
normalisation that would cancel them.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import activated, classifier
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Activation, Count, KernelSize, Share, check_stages


@register_model(smallest=8, source="a public FER-2013 project")
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
) -> keras.Model:
    """Build a convolution and a pooling for each of three stages, a Dense layer and a linear head.

    Args:
        widths: Channels of each stage; up to three.
        kernel_size: Side of the convolutions' kernels in pixels, 3 or 5.
        dense_width: Units of the Dense layer, which are the features.
        activation: What follows each convolution and the Dense layer: "relu", "elu", "gelu", "silu" or "leaky_relu".
        stage_dropout: Share of values dropped after each stage while training, in [0, 1).
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.
    """
    check_stages(most=3, widths=widths)
    sizes, shares = [kernel_size] * len(widths), [stage_dropout] * len(widths)
    pixels = keras.Input(input_shape, name="pixels")
    x = _stages(pixels, ("conv",), widths, sizes, shares, activation, batch_norm_momentum)
    x = _dense(x, dense_width, activation, batch_norm_momentum)
    return classifier(pixels, x, num_classes, dropout=dropout, initial="he_normal", name="shallow_cnn")


@register_model(smallest=8, source="a public FER-2013 project")
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
) -> keras.Model:
    """Build two convolutions and a pooling for each of three stages, a Dense layer and a linear head.

    Args:
        widths: Channels of both convolutions of each stage; up to three stages.
        kernel_sizes: Side of their kernels in pixels; as many entries as `widths`.
        dense_width: Units of the Dense layer, which are the features.
        activation: As for `shallow_cnn`.
        stage_dropout: Share of values, in [0, 1), dropped after each stage while training; as many entries as `widths`.
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.
    """
    check_stages(most=3, widths=widths, kernel_sizes=kernel_sizes, stage_dropout=stage_dropout)
    pixels = keras.Input(input_shape, name="pixels")
    convolutions = ("conv1", "conv2")
    x = _stages(pixels, convolutions, widths, kernel_sizes, stage_dropout, activation, batch_norm_momentum)
    x = _dense(x, dense_width, activation, batch_norm_momentum)
    return classifier(pixels, x, num_classes, dropout=dropout, initial="he_normal", name="deep_cnn")


def _stages(
    x: Any,
    convolutions: Sequence[str],
    widths: Sequence[int],
    sizes: Sequence[int],
    shares: Sequence[float],
    activation: str,
    momentum: float,
) -> Any:
    """Convolutions, a pooling and a dropout for each stage; more than three would leave nothing of 8 pixels."""
    x = Standardize(name="standardize")(x)
    for stage, (width, size, share) in enumerate(zip(widths, sizes, shares, strict=True), start=1):
        for convolution in convolutions:
            name = f"stage{stage}_{convolution}"
            x = layers.Conv2D(width, size, padding="same", kernel_initializer="he_normal", name=name)(x)
            x = _normalised(x, activation, momentum, name=name)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(share, name=f"stage{stage}_dropout")(x)
    return x


def _dense(x: Any, width: int, activation: str, momentum: float) -> Any:
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(width, kernel_initializer="he_normal", name="features")(x)
    return _normalised(x, activation, momentum, name="features")


def _normalised(x: Any, activation: str, momentum: float, *, name: str) -> Any:
    """Activate, then normalise."""
    # Saved models of this family have their ReLU in a layer of the class Activation.
    if activation == "relu":
        x = layers.Activation("relu", name=f"{name}_relu")(x)
    else:
        x = activated(x, activation, name=f"{name}_{activation}")
    return layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)
