"""ResNet-18 (He et al., 2016), with a start for small images beside the original one.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016.

Layers are named as in keras-hub, whose ImageNet weights fit one by one. Batch normalisation has the epsilon, 1e-5, and
by default the momentum, 0.9, of those weights; PyTorch calls the latter 0.1.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import activated, classifier, convolution, scaled_rgb
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.pretrained import hub_backbone
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Activation,
    Count,
    Share,
    Stem,
    check_stages,
    residual_blocks,
)

_EPSILON = 1e-5
_WIDTHS = (64, 128, 256, 512)
_BLOCKS = (2, 2, 2, 2)
_PRESET = "resnet_18_imagenet"


@register_model(smallest=16, source="He et al., 2016", pretrained=("imagenet",))
def resnet18(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Stem = "small",
    widths: Sequence[Count] = _WIDTHS,
    blocks: Sequence[Count] = _BLOCKS,
    activation: Activation = "relu",
    dropout: Share = 0.0,
    batch_norm_momentum: Share = 0.9,
    weights: str = "none",
) -> keras.Model:
    """Build the stem, residual blocks of two 3x3 convolutions, and a linear head on the averaged map.

    Args:
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
    """
    check_stages(widths=widths, blocks=blocks)
    trained = weights == "imagenet"
    if trained and (stem, tuple(widths), tuple(blocks), activation) != ("imagenet", _WIDTHS, _BLOCKS, "relu"):
        raise ValueError("ImageNet weights fit resnet18:stem=imagenet with its own widths, blocks and activation only")
    pixels = keras.Input(input_shape, name="pixels")
    unit = partial(convolution, activation=activation, momentum=batch_norm_momentum, epsilon=_EPSILON)
    x = _stem(_scaled(pixels, trained=trained), stem, widths[0], unit)
    for name, width, stride in residual_blocks(widths, blocks):
        x = _block(x, width, unit, stride=stride, activation=activation, name=name)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = classifier(pixels, x, num_classes, dropout=dropout, name="resnet18")
    if trained:
        _copy_weights(hub_backbone(_PRESET), model)
    return model


def _scaled(pixels: Any, *, trained: bool) -> Any:
    if trained:
        return scaled_rgb(pixels, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
    return Standardize(name="standardize")(pixels)


def _stem(x: Any, stem: str, width: int, unit: Callable[..., Any]) -> Any:
    if stem == "small":
        return unit(x, width, 3, name="conv1")
    x = unit(x, width, 7, stride=2, name="conv1")
    # Nothing is below zero after a ReLU, so zeros at the border never win; after another activation they may.
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def _block(x: Any, width: int, unit: Callable[..., Any], *, stride: int, activation: str, name: str) -> Any:
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        shortcut = unit(x, width, 1, stride=stride, activation=None, name=f"{name}_0")
    x = unit(x, width, 3, stride=stride, name=f"{name}_1")
    x = unit(x, width, 3, activation=None, name=f"{name}_2")
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
