"""Groups of layers that several networks are made of."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.layers import ClassTokenAndPositions
from fer_hierarchy.models.settings import LEAKY_SLOPE

_TOKEN_EPSILON = 1e-6


def classifier(
    pixels: Any,
    features: Any,
    num_classes: int,
    *,
    dropout: float | None = None,
    initial: Any = "glorot_uniform",
    name: str,
) -> keras.Model:
    """The network from `pixels` by way of `features` to logits, whose last layer is `predictions`.

    Args:
        pixels: The input.
        features: (batch, width) symbolic tensor.
        num_classes: Number of logits.
        dropout: Share of features dropped while training, in the layer `dropout`; None for no such layer.
        initial: Keras's initializer of the last kernel.
        name: Of the network.
    """
    if dropout is not None:
        features = layers.Dropout(dropout, name="dropout")(features)
    head = layers.Dense(num_classes, kernel_initializer=initial, dtype="float32", name="predictions")
    return keras.Model(pixels, head(features), name=name)


def activated(x: Any, activation: str, *, name: str) -> Any:
    """Apply one of `models.settings.ACTIVATIONS` in a layer of its own.

    Args:
        x: Symbolic tensor of any shape.
        activation: Its name; gelu is the exact one, by the error function.
        name: Of the layer.
    """
    if activation == "relu":
        return layers.ReLU(name=name)(x)
    if activation == "leaky_relu":
        return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)
    return layers.Activation(activation, name=name)(x)


def shrinking_convolution(x: Any, width: int, size: int, *, use_bias: bool = True, name: str) -> Any:
    """Convolve to a map that is two pixels smaller, as an unpadded 3x3 convolution does, whatever the kernel.

    Args:
        x: (batch, height, width, channels) symbolic tensor.
        width: Channels of the result.
        size: Side of the kernel in pixels; odd, 3 or more.
        use_bias: Whether to add one.
        name: Of the layer; with a larger kernel than 3x3, `NAME_pad` stands before it.

    Returns:
        (batch, height - 2, width - 2, width) symbolic tensor.
    """
    if size > 3:
        x = layers.ZeroPadding2D((size - 3) // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(width, size, use_bias=use_bias, kernel_initializer="he_normal", name=name)(x)


def convolution(
    x: Any,
    width: int,
    size: int,
    *,
    stride: int = 1,
    activation: str | None = "relu",
    name: str,
    momentum: float,
    epsilon: float,
) -> Any:
    """Convolve without bias, which the normalisation after it would cancel, normalise, and activate.

    The padding is (size - 1) / 2 pixels on every side. Keras's "same" is that at stride 1 only; at stride 2 it may
    leave out the top and left, so that weights of other frameworks would see the picture shifted by a pixel.

    Args:
        x: (batch, height, width, channels) symbolic tensor.
        width: Channels of the result.
        size: Side of the kernel in pixels; odd.
        stride: Step in pixels.
        activation: What follows; None for nothing.
        name: Begins the names of the layers: `NAME_pad`, `NAME_pixels`, `NAME_conv`, `NAME_bn`, `NAME_ACTIVATION`.
        momentum: Share of the moving statistics that one step keeps.
        epsilon: Added to the variance by the normalisation.

    Returns:
        (batch, ceil(height / stride), ceil(width / stride), width) symbolic tensor.
    """
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D((size - 1) // 2, name=f"{name}_pad")(x)
    if stride > 1 and size == 1:
        x, stride = strided_pixels(x, stride, name=f"{name}_pixels"), 1
    x = layers.Conv2D(
        width,
        size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return normalised(x, momentum, epsilon=epsilon, activation=activation, name=name)


def normalised(x: Any, momentum: float, *, epsilon: float = 1e-3, activation: str | None = None, name: str) -> Any:
    """Normalise over the batch, and activate.

    Args:
        x: (batch, ..., channels) symbolic tensor.
        momentum: Share of the moving statistics that one step keeps.
        epsilon: Added to the variance.
        activation: What follows; None for nothing.
        name: Begins the names of the layers: `NAME_bn`, `NAME_ACTIVATION`.
    """
    x = layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=f"{name}_bn")(x)
    return activated(x, activation, name=f"{name}_{activation}") if activation else x


def strided_pixels(x: Any, stride: int, *, name: str) -> Any:
    """Every `stride`-th pixel from the top left on; a 1x1 convolution after it is the strided 1x1 convolution.

    That one is avoided, because with few channels its gradient crashes TensorFlow 2.21 with oneDNN: from 8 to 16
    channels at 60 pixels, for example.

    Args:
        x: (batch, height, width, channels) symbolic tensor.
        stride: Step in pixels.
        name: Of the layer.

    Returns:
        (batch, ceil(height / stride), ceil(width / stride), channels) symbolic tensor.
    """
    return layers.AveragePooling2D(1, strides=stride, name=name)(x)


def scaled_rgb(pixels: Any, *, mean: Sequence[float], deviation: Sequence[float] = (1.0, 1.0, 1.0)) -> Any:
    """Scale pixels as weights trained in colour expect them; grey is copied to three channels, which loses nothing.

    Args:
        pixels: (batch, height, width, 1 or 3) symbolic tensor in [0, 255].
        mean: Grey level of red, green and blue that becomes 0, in [0, 255].
        deviation: Grey levels of red, green and blue that become 1.

    Returns:
        (batch, height, width, 3) symbolic tensor.

    Raises:
        ValueError: There are other planes than those.
    """
    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"scaling by given colours is for 1 or 3 channels, not for {pixels.shape[-1]}")
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate(name="rgb")([pixels, pixels, pixels])
    scale = [1 / d for d in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    return layers.Rescaling(scale, offset=offset, name="scale")(pixels)


def class_token(
    maps: Any, *, depth: int, heads: int, mlp_dim: int, dropout: float, deviation: float = 0.02
) -> keras.KerasTensor:
    """Let the pixels of a map, each a token, and a learned class token attend to each other; the latter is the result.

    A. Dosovitskiy and others, "An image is worth 16x16 words", ICLR 2021. The layers are `patch_tokens`, `tokens`,
    `tokens_dropout`, those of `block1` and so on, `norm`, `class_token` and `features`.

    Args:
        maps: (batch, height, width, dim) symbolic tensor; dim is a multiple of `heads`.
        depth: Number of transformer blocks.
        heads: Attention heads of each block.
        mlp_dim: Width of the hidden layer of each block.
        dropout: Share of values dropped while training, in [0, 1): of embeddings, attention and hidden layers.
        deviation: Of the random kernels.

    Returns:
        (batch, dim) symbolic tensor, normalised.
    """
    _, height, width, dim = maps.shape
    count = height * width
    x = layers.Reshape((count, dim), name="patch_tokens")(maps)
    x = ClassTokenAndPositions(name="tokens")(x)
    x = layers.Dropout(dropout, name="tokens_dropout")(x)
    for block in range(1, depth + 1):
        x = _transformer_block(x, heads, mlp_dim, dropout, deviation, name=f"block{block}")
    x = layers.LayerNormalization(epsilon=_TOKEN_EPSILON, name="norm")(x)
    x = layers.Cropping1D((0, count), name="class_token")(x)
    return layers.Flatten(name="features")(x)


def _transformer_block(x: Any, heads: int, mlp_dim: int, dropout: float, deviation: float, *, name: str) -> Any:
    """Attention between the tokens, then a hidden layer on each; both add to what comes in."""
    dim = x.shape[-1]

    def initial() -> keras.initializers.Initializer:
        # Keras's default counts an attention kernel's tokens wrongly and begins far too small. A new object for each
        # layer, because one that is used twice gives the same values twice.
        return keras.initializers.TruncatedNormal(stddev=deviation)

    shortcut = x
    x = layers.LayerNormalization(epsilon=_TOKEN_EPSILON, name=f"{name}_norm1")(x)
    x = layers.MultiHeadAttention(
        heads, dim // heads, dropout=dropout, kernel_initializer=initial(), name=f"{name}_attention"
    )(x, x)
    x = layers.Dropout(dropout, name=f"{name}_attention_dropout")(x)
    x = shortcut = layers.Add(name=f"{name}_add1")([shortcut, x])
    x = layers.LayerNormalization(epsilon=_TOKEN_EPSILON, name=f"{name}_norm2")(x)
    x = layers.Dense(mlp_dim, activation="gelu", kernel_initializer=initial(), name=f"{name}_mlp1")(x)
    x = layers.Dropout(dropout, name=f"{name}_mlp1_dropout")(x)
    x = layers.Dense(dim, kernel_initializer=initial(), name=f"{name}_mlp2")(x)
    x = layers.Dropout(dropout, name=f"{name}_mlp2_dropout")(x)
    return layers.Add(name=f"{name}_add2")([shortcut, x])
