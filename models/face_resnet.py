"""dlib's face recognition network, a residual network of 29 convolutions after He et al. (2016), for emotions.

D. E. King published it in 2017 with dlib ("Dlib-ml: a machine learning toolkit", JMLR 2009) as
`dlib_face_recognition_resnet_model_v1`, and gave the weights to the public domain (CC0). They were trained to tell the
people of about three million face pictures apart, without any label of an emotion and so without FER-2013's. They are a
start for fine-tuning; frozen, they recognise emotions poorly.

dlib's scaling by a learned factor and offset is a batch normalisation here. As loaded, it computes just that: its
statistics are 0 and 1. `models.normalisation.measure_statistics` puts those of real faces in their place.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from fer_hierarchy.models.blocks import classifier, normalised, scaled_rgb
from fer_hierarchy.models.dlib_weights import DlibLayer, face_weights_file, read_network
from fer_hierarchy.models.layers import ZeroFilled, ZeroFilledSum
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Count, Share, check_stages, residual_blocks

_EPSILON = 1e-5
_WIDTHS = (32, 64, 128, 256, 256)
_BLOCKS = (3, 4, 3, 3, 1)
_KERNEL = 3  # rows and columns of every convolution but the first
# In grey levels of red, green and blue: what becomes 0, and what becomes 1 over it.
_MEAN = (122.782, 117.001, 104.298)
_DEVIATION = (256.0, 256.0, 256.0)


@register_model(smallest=48, size=112, source="King, 2017, after He et al., 2016", pretrained=("dlib-face",))
def face_resnet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[Count] = _WIDTHS,
    blocks: Sequence[Count] = _BLOCKS,
    dropout: Share = 0.0,
    batch_norm_momentum: Share = 0.9,
    weights: str = "none",
) -> keras.Model:
    """Build the strided 7x7 convolution, residual blocks of two 3x3 ones, and a linear head on the averaged map.

    dlib takes faces of 150 pixels, and gives a vector of 128 numbers where the head is here. From 103 pixels on, every
    block works as in dlib; the default, 112, is a usual size of face recognition and costs little over half of 150.
    Below that, a map smaller than a 3x3 kernel is filled with zeros, below and to the right: one row and column before
    the last block down to 71 pixels, and more below 71, which weakens the last maps, and dlib's weights with them.

    Args:
        input_shape: (height, width, channels) in pixels. Grey is copied to three channels, so that a grey face uses the
            weights for colour.
        widths: Channels of each stage; the first block of each stage after the first halves the map.
        blocks: Residual blocks of each stage; as many entries as `widths`.
        dropout: Share of the averaged map's channels dropped before the head while training, in [0, 1); dlib drops
            none.
        batch_norm_momentum: Share of the moving statistics that one step keeps. With the default, 0.9, they are of the
            last twenty steps or so. While the rate is high they lag behind the weights, and validation scores with
            them; at the end of a schedule, when the rate is near zero, they do not.
        weights: "dlib-face" for dlib's, from the package `face_recognition_models`; they fit its own widths and blocks.
    """
    check_stages(widths=widths, blocks=blocks)
    pixels = keras.Input(input_shape, name="pixels")
    x = scaled_rgb(pixels, mean=_MEAN, deviation=_DEVIATION)
    x = _convolution(x, widths[0], 7, stride=2, momentum=batch_norm_momentum, activation="relu", name="conv1")
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for name, width, stride in residual_blocks(widths, blocks):
        x = _block(x, width, stride=stride, momentum=batch_norm_momentum, name=name)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = classifier(pixels, x, num_classes, dropout=dropout, name="face_resnet")
    if weights == "dlib-face":
        _load(model, read_network(face_weights_file()), widths, blocks)
    return model


def _block(x: Any, width: int, *, stride: int, momentum: float, name: str) -> Any:
    """Two convolutions beside a shortcut, which a strided block halves by averaging and never projects."""
    if stride > 1:
        x = ZeroFilled(size=_KERNEL, name=f"{name}_fill")(x)
    shortcut = layers.AveragePooling2D(stride, name=f"{name}_0_pool")(x) if stride > 1 else x
    x = _convolution(x, width, _KERNEL, stride=stride, momentum=momentum, activation="relu", name=f"{name}_1")
    x = _convolution(x, width, _KERNEL, momentum=momentum, name=f"{name}_2")
    x = ZeroFilledSum(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _convolution(
    x: Any, width: int, size: int, *, stride: int = 1, momentum: float, activation: str | None = None, name: str
) -> Any:
    """Convolve, normalise and activate; with a stride, nothing is added at the border."""
    x = layers.Conv2D(
        width,
        size,
        strides=stride,
        padding="valid" if stride > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return normalised(x, momentum, epsilon=_EPSILON, activation=activation, name=name)


def _load(model: keras.Model, found: Sequence[DlibLayer], widths: Sequence[int], blocks: Sequence[int]) -> None:
    """Give a fresh model the weights of dlib's, whose last layer, the vector of 128 numbers, has no place in it.

    Raises:
        ValueError: They are of another network.
    """
    # The last is fully connected, to any number of values.
    if [(layer.kind, layer.settings) for layer in found[:-1]] != list(_as_dlib(widths, blocks)):
        raise ValueError("dlib-face weights fit face_resnet with its own widths and blocks only")
    names = [f"{name}_{part}" for name, *_ in residual_blocks(widths, blocks) for part in (1, 2)]
    pairs = zip(*([layer for layer in found if layer.kind == kind] for kind in ("con", "affine")), strict=True)
    for name, (convolution, affine) in zip(("conv1", *names), pairs, strict=True):
        _set_weights(model, name, convolution.weights, affine.weights)


def _set_weights(
    model: keras.Model, name: str, convolution: dict[str, np.ndarray], affine: dict[str, np.ndarray]
) -> None:
    """Give a convolution and its normalisation, which takes up the convolution's bias, what dlib computes with."""
    model.get_layer(f"{name}_conv").set_weights([convolution["kernel"].transpose(2, 3, 1, 0)])
    mean, variance = np.zeros_like(affine["gamma"]), np.ones_like(affine["gamma"])
    gamma = affine["gamma"] * np.sqrt(np.float32(1 + _EPSILON))
    beta = affine["beta"] + affine["gamma"] * convolution["bias"]
    model.get_layer(f"{name}_bn").set_weights([gamma, beta, mean, variance])


def _as_dlib(widths: Sequence[int], blocks: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Kind and settings of dlib's layers up to the averaged map; see `DlibLayer`."""
    yield from (("con", (widths[0], 7, 7, 2, 2, 0, 0)), ("affine", ()), ("relu", ()))
    yield "max_pool", (3, 3, 2, 2, 0, 0)
    for _, width, stride in residual_blocks(widths, blocks):
        padding = 0 if stride > 1 else 1
        yield from (("con", (width, _KERNEL, _KERNEL, stride, stride, padding, padding)), ("affine", ()), ("relu", ()))
        yield from (("con", (width, _KERNEL, _KERNEL, 1, 1, 1, 1)), ("affine", ()))
        if stride > 1:
            yield "avg_pool", (2, 2, 2, 2, 0, 0)
        yield from (("add_prev", ()), ("relu", ()))
    yield "avg_pool", (0, 0, 1, 1, 0, 0)
