"""ResNet-18 (He et al., 2016), with a start for small images beside the original one.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016.

Layers are named as in keras-hub, whose ImageNet weights fit one by one. Batch normalisation has the epsilon, 1e-5, and
by default the momentum, 0.9, of those weights; PyTorch calls the latter 0.1.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.activations import check_activation
from fer_hierarchy.models.blocks import activated, convolution, scaled_rgb
from fer_hierarchy.models.checks import check_choice, check_counts, check_shares, check_stages
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.pretrained import hub_backbone
from fer_hierarchy.models.registry import register_model

_EPSILON = 1e-5
_WIDTHS = (64, 128, 256, 512)
_BLOCKS = (2, 2, 2, 2)
_PRESET = "resnet_18_imagenet"
# In grey levels; what that preset was trained with.
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


@register_model(smallest=16, source="He et al., 2016", pretrained=("imagenet",))
def resnet18(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: str = "small",
    widths: Sequence[int] = _WIDTHS,
    blocks: Sequence[int] = _BLOCKS,
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.9,
    weights: str = "none",
) -> keras.Model:
    """Build the stem, residual blocks of two 3x3 convolutions, and a linear head on the averaged map.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        stem: "small" begins with a 3x3 convolution at full resolution, for faces of 48 pixels; "imagenet" with a
            strided 7x7 one and a pooling, as in the paper, for 224 pixels.
        widths: Channels of each stage; each stage after the first halves the map.
        blocks: Residual blocks of each stage; as many entries as `widths`.
        activation: What follows a normalised convolution and each sum with a shortcut: "relu", "elu", "gelu", "silu" or
            "leaky_relu".
        dropout: Share of features dropped before the head while training, in [0, 1); the paper drops none.
        batch_norm_momentum: Share of the moving statistics that one step keeps.
        weights: "imagenet" for keras-hub's ImageNet weights, which need `stem="imagenet"`, and the paper's shape
            and activation.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network, or the weights cannot be had.
    """
    check_choice("stem", stem, ("small", "imagenet"))
    check_stages(widths=widths, blocks=blocks)
    check_counts(widths=widths, blocks=blocks)
    check_activation(activation)
    check_shares(dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    trained = weights == "imagenet"
    if trained and (stem, tuple(widths), tuple(blocks), activation) != ("imagenet", _WIDTHS, _BLOCKS, "relu"):
        raise ValueError("ImageNet weights fit resnet18:stem=imagenet with its own widths, blocks and activation only")
    pixels = keras.Input(input_shape, name="pixels")
    x = _scaled(pixels, trained=trained)
    settings = {"activation": activation, "momentum": batch_norm_momentum}
    x = _stem(x, stem, widths[0], **settings)
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block(x, width, stride=stride, name=f"stack{stage}_block{block}", **settings)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="predictions")(x)
    model = keras.Model(pixels, logits, name="resnet18")
    if trained:
        _copy_weights(hub_backbone(_PRESET), model)
    return model


def _scaled(pixels: Any, *, trained: bool) -> Any:
    if trained:
        return scaled_rgb(pixels, mean=_IMAGENET_MEAN, deviation=_IMAGENET_DEVIATION)
    return Standardize(name="standardize")(pixels)


def _stem(x: Any, stem: str, width: int, *, activation: str, momentum: float) -> Any:
    settings = {"activation": activation, "momentum": momentum, "epsilon": _EPSILON}
    if stem == "small":
        return convolution(x, width, 3, name="conv1", **settings)
    x = convolution(x, width, 7, stride=2, name="conv1", **settings)
    # Nothing is below zero after a ReLU, so zeros at the border never win; after another activation they may.
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def _block(x: Any, width: int, *, stride: int, activation: str, momentum: float, name: str) -> Any:
    settings = {"momentum": momentum, "epsilon": _EPSILON}
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        shortcut = convolution(x, width, 1, stride=stride, activation=None, name=f"{name}_0", **settings)
    x = convolution(x, width, 3, stride=stride, activation=activation, name=f"{name}_1", **settings)
    x = convolution(x, width, 3, activation=None, name=f"{name}_2", **settings)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return activated(x, activation, name=f"{name}_out")


def _copy_weights(trained: keras.Model, model: keras.Model) -> None:
    """Give every layer but the head the weights of the layer of the same name.

    Raises:
        ValueError: The trained network has other layers.
    """
    of_name = {layer.name: layer for layer in trained.layers}
    for layer in model.layers[:-1]:
        if layer.weights:
            if layer.name not in of_name:
                raise ValueError(f"preset {_PRESET} has no layer {layer.name}; another version of keras-hub is needed")
            layer.set_weights(of_name[layer.name].get_weights())
