"""EfficientNet-B0 (Tan and Le, 2019), fine-tuned as in a public CK+48 project.

M. Tan and Q. V. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019. The layers,
their names and the ImageNet weights are those of `keras.applications.EfficientNetB0`.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from fer_hierarchy.models.blocks import classifier, scaled_rgb
from fer_hierarchy.models.pretrained import application
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import IMAGENET_DEVIATION, IMAGENET_MEAN, Share

_FILE = "efficientnetb0_notop.h5"
_KERAS_DROP_CONNECT = 0.2  # which the builder of keras.applications does not let us choose


@register_model(smallest=32, source="Tan and Le, 2019, as in a public CK+48 project", pretrained=("imagenet",))
def efficientnet_b0(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    drop_connect: Share = 0.33,
    dropout: Share = 0.5,
    batch_norm_momentum: Share = 0.9,
    weights: str = "none",
) -> keras.Model:
    """Build the backbone, global average pooling and a linear head; everything trains.

    Args:
        drop_connect: Chance, in [0, 1), that training leaves out the last residual block; it grows evenly from 0 at the
            first (Huang et al., 2016, "stochastic depth").
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.
        weights: "none", or "imagenet" for those of `keras.applications`.
    """
    network, scale = _network(input_shape, weights)
    pixels = keras.Input(input_shape, name="pixels")
    drop_factor = drop_connect / _KERAS_DROP_CONNECT
    backbone = _rebuilt(network, pixels, scale, momentum=batch_norm_momentum, drop_factor=drop_factor)
    if weights == "imagenet":
        _copy_weights(network, backbone)
    x = layers.GlobalAveragePooling2D(name="features")(backbone.output)
    return classifier(pixels, x, num_classes, dropout=dropout, name="efficientnet_b0")


def _network(shape: tuple[int, int, int], weights: str) -> tuple[keras.Model, dict[str, Any]]:
    """Keras's network, and the mean and deviation in grey levels that its pixels have to be scaled by."""
    settings = {"include_top": False, "input_shape": (*shape[:2], 3)}
    if weights != "imagenet":
        network = keras.applications.EfficientNetB0(weights=None, **settings)
        # Keras's own normalisation takes them from the weights file, so without one it does nothing.
        return network, {"mean": IMAGENET_MEAN, "deviation": IMAGENET_DEVIATION}
    network = application(keras.applications.EfficientNetB0, file=_FILE, **settings)
    first, last = [layer for layer in network.layers if isinstance(layer, layers.Rescaling)]
    normalization = next(layer for layer in network.layers if isinstance(layer, layers.Normalization))
    mean, variance = normalization.get_weights()[:2]
    deviation = np.sqrt(variance) / (first.scale * np.array(last.scale))
    return network, {"mean": (mean / first.scale).tolist(), "deviation": deviation.tolist()}


def _rebuilt(
    network: keras.Model, pixels: keras.KerasTensor, scale: dict[str, Any], *, momentum: float, drop_factor: float
) -> keras.Model:
    """The same network on `pixels`, grey ones too, with one scaling in place of Keras's two or three."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            settings["momentum"] = momentum
        elif isinstance(layer, layers.Dropout):
            settings["rate"] *= drop_factor
        return type(layer).from_config(settings)

    def call(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        if isinstance(layer, layers.Rescaling | layers.Normalization):
            return scaled_rgb(pixels, **scale) if inputs[0] is pixels else inputs[0]
        return layer(*inputs, **options)

    return keras.models.clone_model(network, input_tensors=pixels, clone_function=clone, call_function=call)


def _copy_weights(network: keras.Model, backbone: keras.Model) -> None:
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
