"""A residual network (He et al., 2016) sized for training on two processor cores.

Plain convolutions only, 3x3 by default: they reach a processor's full speed, depthwise ones do not. Shortcuts that
shrink the map average it before their 1x1 convolution (He et al., 2019, "ResNet-D"), so that no pixel is skipped. The
late stages may weigh their channels (squeeze-and-excitation, Hu et al., 2018).

The default shape was chosen by processor time for each training image, on two cores with AVX-512. A first convolution
at full resolution takes about 10 (16 channels) to 20 % (32 channels) of that time for 1.4 % or less of the
multiply-adds; so it strides. Weighing channels costs about 1 % in the last stage and 5 % in the last two.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import activated, classifier
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Activation, Count, KernelSize, Share, Stride, check_stages

# Keras's 0.99 forgets over hundreds of steps, as many as one pass over a small face data set has.
_BN_MOMENTUM = 0.9
_SQUEEZE_RATIO = 8


@register_model(smallest=16, source="this project, after He et al., 2016")
def compact_resnet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem_width: Count = 32,
    stem_stride: Stride = 2,
    widths: Sequence[Count] = (32, 64, 160),
    blocks: Sequence[Count] = (1, 1, 2),
    strides: Sequence[Stride] = (1, 2, 2),
    squeeze_from: int | None = 3,
    kernel_size: KernelSize = 3,
    activation: Activation = "relu",
    dropout: Share = 0.2,
) -> keras.Model:
    """Build the backbone and a linear head.

    Args:
        stem_width: Channels of the first convolution.
        stem_stride: Step of the first convolution, 1 or 2.
        widths: Channels of each stage.
        blocks: Residual blocks of each stage; as many entries as `widths`.
        strides: Step, 1 or 2, of each stage's first block; as many entries as `widths`.
        squeeze_from: Number of the first stage, from 1, whose blocks weigh their channels; None for no stage.
        kernel_size: Side of the kernels of the blocks in pixels, 3 or 5; the first convolution of all keeps 3.
        activation: What follows a normalised convolution and each sum with a shortcut: "relu", "elu", "gelu", "silu" or
            "leaky_relu". Where channels are weighed, a ReLU stays.
        dropout: Share of features dropped before the head while training, in [0, 1).
    """
    check_stages(widths=widths, blocks=blocks, strides=strides)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    x = _convolution(x, stem_width, 3, stride=stem_stride, name="stem")
    x = activated(x, activation, name=f"stem_{activation}")
    for stage, (width, count, stride) in enumerate(zip(widths, blocks, strides, strict=True), start=1):
        squeeze = squeeze_from is not None and stage >= squeeze_from
        for block in range(1, count + 1):
            x = _block(
                x,
                width,
                kernel_size,
                stride=stride if block == 1 else 1,
                activation=activation,
                squeeze=squeeze,
                name=f"stage{stage}_block{block}",
            )
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return classifier(pixels, x, num_classes, dropout=dropout, name="compact_resnet")


def _block(x: Any, width: int, size: int, *, stride: int, activation: str, squeeze: bool, name: str) -> Any:
    shortcut = _shortcut(x, width, stride=stride, name=name)
    x = _convolution(x, width, size, stride=stride, name=f"{name}_conv1")
    x = activated(x, activation, name=f"{name}_{activation}1")
    # Scales begin at one, not at zero as in very deep nets: with four blocks the shortcuts alone see too little of the
    # face, and training stalls for many epochs.
    x = _convolution(x, width, size, name=f"{name}_conv2")
    if squeeze:
        x = _squeeze(x, width, name=f"{name}_squeeze")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return activated(x, activation, name=f"{name}_{activation}2")


def _shortcut(x: Any, width: int, *, stride: int, name: str) -> Any:
    if stride > 1:
        x = layers.AveragePooling2D(stride, padding="same", name=f"{name}_shortcut_pool")(x)
    if x.shape[-1] != width:
        x = _convolution(x, width, 1, name=f"{name}_shortcut")
    return x


def _convolution(x: Any, width: int, size: int, *, stride: int = 1, name: str) -> Any:
    """Convolve without bias, which the normalisation after it would cancel, and normalise."""
    x = layers.Conv2D(
        width,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return layers.BatchNormalization(momentum=_BN_MOMENTUM, name=f"{name}_bn")(x)


def _squeeze(x: Any, width: int, *, name: str) -> Any:
    """Weigh each channel by a number in (0, 1) that the means of all channels decide."""
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    weights = layers.Dense(max(1, width // _SQUEEZE_RATIO), activation="relu", name=f"{name}_reduce")(weights)
    weights = layers.Dense(width, activation="sigmoid", name=f"{name}_expand")(weights)
    return layers.Multiply(name=name)([x, weights])
