"""The six-convolution network that a public FER-2013 hierarchy uses for its gate, specialists and flat model."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.activations import check_activation
from fer_hierarchy.models.blocks import activated, shrinking_convolution
from fer_hierarchy.models.checks import KERNEL_SIZES, check_choice, check_counts, check_positive, check_shares
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model


# Two unpadded 3x3 convolutions and a pooling, three times: 36 pixels shrink to a map of exactly one.
@register_model(smallest=36, source="a public FER-2013 hierarchy")
def hierarchical_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[Sequence[int]] = ((32, 64), (128, 128), (256, 256)),
    width_factor: float = 1.0,
    kernel_size: int = 3,
    dense_width: int = 256,
    activation: str = "relu",
    stage_dropout: float = 0.25,
    dropout: float = 0.5,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Build three stages of two convolutions, a Dense layer and a linear head.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        widths: Channels of the two convolutions of each of the three stages.
        width_factor: Multiplies the channels of every convolution.
        kernel_size: Side of the convolutions' kernels in pixels, 3 or 5; the larger ones are padded by a pixel, so that
            maps have the same sizes.
        dense_width: Units of the Dense layer, which are the features.
        activation: What follows each normalisation: "relu", "elu", "gelu", "silu" or "leaky_relu".
        stage_dropout: Share of values dropped after each stage while training, in [0, 1).
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    _check_pairs(widths)
    check_counts(dense_width=dense_width)
    check_positive(width_factor=width_factor)
    check_choice("kernel_size", kernel_size, KERNEL_SIZES)
    check_activation(activation)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for stage, pair in enumerate(widths, start=1):
        for number, width in enumerate(pair, start=1):
            name = f"stage{stage}_conv{number}"
            x = shrinking_convolution(x, max(1, round(width * width_factor)), kernel_size, use_bias=False, name=name)
            x = _normalised(x, batch_norm_momentum, activation, name=name)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(stage_dropout, name=f"stage{stage}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dense_width, use_bias=False, kernel_initializer="he_normal", name="features")(x)
    x = _normalised(x, batch_norm_momentum, activation, name="features")
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="predictions")(x)
    return keras.Model(pixels, logits, name="hierarchical_cnn")


def _normalised(x: Any, momentum: float, activation: str, *, name: str) -> Any:
    x = layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)
    return activated(x, activation, name=f"{name}_{activation}")


def _check_pairs(widths: Sequence[Sequence[int]]) -> None:
    if len(widths) != 3 or any(len(pair) != 2 for pair in widths):
        raise ValueError(f"widths is {widths!r}; hierarchical_cnn needs three pairs of channels")
    for pair in widths:
        check_counts(widths=pair)
