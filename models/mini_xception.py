"""Mini-Xception (Arriaga et al., 2017): the usual small baseline of the field, residual and depthwise separable.

O. Arriaga, M. Valdenegro-Toro and P. Ploeger, "Real-time convolutional neural networks for emotion and gender
classification", 2017 (arXiv:1710.07557).

The original ends in a 3x3 convolution to one map for each class, then averages each map. Every model here ends in a
Dense layer. Both are sums, so their order may change: averaging the padded map over the nine windows that the kernel
sees, then weighing the nine averages of each channel, gives the same logits with the same 9 * channels * classes
weights. That is what this network does; it loses nothing, and has the 58,423 parameters of the authors' code at seven
classes. Their L2 penalty is not part of the network: weight decay is a setting of the training.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import classifier, normalised, strided_pixels
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Activation, Count, KernelSize, Share, check_stages


@register_model(smallest=16, size=64, source="Arriaga et al., 2017")
def mini_xception(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem_width: Count = 8,
    widths: Sequence[Count] = (16, 32, 64, 128),
    kernel_size: KernelSize = 3,
    activation: Activation = "relu",
    dropout: Share = 0.0,
    batch_norm_momentum: Share = 0.9,
) -> keras.Model:
    """Build two convolutions, residual blocks of two separable ones each, and the head.

    Args:
        stem_width: Channels of the two convolutions at the start.
        widths: Channels of each block.
        kernel_size: Side of the kernels of the separable convolutions in pixels, 3 or 5.
        activation: What follows the convolutions at the start and the first one of each block: "relu", "elu", "gelu",
            "silu" or "leaky_relu".
        dropout: Share of features dropped before the head while training, in [0, 1); the original drops none.
        batch_norm_momentum: Share of the moving statistics that one step keeps.
    """
    check_stages(widths=widths)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for number in (1, 2):
        x = layers.Conv2D(stem_width, 3, use_bias=False, kernel_initializer="he_normal", name=f"stem_conv{number}")(x)
        x = normalised(x, batch_norm_momentum, activation=activation, name=f"stem_conv{number}")
    for number, width in enumerate(widths, start=1):
        name = f"block{number}"
        x = _block(x, width, kernel_size, activation=activation, momentum=batch_norm_momentum, name=name)
    x = layers.ZeroPadding2D(1, name="windows_pad")(x)
    x = layers.AveragePooling2D((x.shape[1] - 2, x.shape[2] - 2), strides=1, name="windows")(x)  # (batch, 3, 3, width)
    x = layers.Flatten(name="features")(x)
    return classifier(pixels, x, num_classes, dropout=dropout, name="mini_xception")


def _block(x: Any, width: int, size: int, *, activation: str, momentum: float, name: str) -> Any:
    """Halve the map: two separable convolutions and a pooling, beside a strided 1x1 convolution."""
    shortcut = strided_pixels(x, 2, name=f"{name}_shortcut_pixels")
    shortcut = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_shortcut")(shortcut)
    shortcut = normalised(shortcut, momentum, name=f"{name}_shortcut")
    x = layers.SeparableConv2D(width, size, padding="same", use_bias=False, name=f"{name}_conv1")(x)
    x = normalised(x, momentum, activation=activation, name=f"{name}_conv1")
    x = layers.SeparableConv2D(width, size, padding="same", use_bias=False, name=f"{name}_conv2")(x)
    x = normalised(x, momentum, name=f"{name}_conv2")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x])
