"""Grad-CAM: where in its last maps a network finds evidence for a class.

R. R. Selvaraju and others, "Grad-CAM: visual explanations from deep networks via gradient-based localization",
ICCV 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from fer_hierarchy.models.layers import AdaptiveMean, ZeroFilled

PICTURE, DEPTH, BOTH = "picture", "depth", "picture and depth"
_STREAMS = {"rgb_": PICTURE, "depth_": DEPTH, "rgbd_": BOTH}  # how the layers of an RGB-D network's backbones begin
_TOKENS = "_norm1"  # what goes into the attention of a transformer's block
# What only scales, thins out, frames or drops the values of a map; the map itself is the layer before.
_PASSING = (
    layers.BatchNormalization,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.ZeroPadding2D,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Reshape,
    AdaptiveMean,
    ZeroFilled,
)


@dataclass(frozen=True)
class MapLayer:
    """Where a network's last map is.

    Attributes:
        name: The layer's name.
        grid: (height, width) of the map.
        tokens: Whether it is a row of tokens, of which the first belongs to no place.
    """

    name: str
    grid: tuple[int, int]
    tokens: bool = False


def map_layers(network: keras.Model) -> dict[str, MapLayer]:
    """The last map of each backbone of a network.

    Args:
        network: A flat functional model that ends in `predictions`.

    Returns:
        Modality -> its last map; `PICTURE` alone where the network is no RGB-D network.

    Raises:
        ValueError: The network has no map.
    """
    trained = [layer.name for layer in network.layers if layer.trainable_variables]  # scaling makes no backbone
    streams = {prefix: what for prefix, what in _STREAMS.items() if any(name.startswith(prefix) for name in trained)}
    return {what: _last_map(network, prefix, what) for prefix, what in (streams or {"": PICTURE}).items()}


def _last_map(network: keras.Model, prefix: str, what: str) -> MapLayer:
    for layer in reversed(network.layers):
        if layer.name.startswith(prefix):
            found = _as_tokens(network, layer, prefix) or _as_map(layer)
            if found:
                return found
    raise ValueError(f"network {network.name!r} has no map of the {what}: no layer of it keeps places apart")


def _as_map(layer: keras.layers.Layer) -> MapLayer | None:
    shape: Sequence[int] = getattr(layer.output, "shape", ())
    if len(shape) != 4 or isinstance(layer, (layers.InputLayer, *_PASSING)) or shape[1] * shape[2] == 1:
        return None
    return MapLayer(layer.name, (shape[1], shape[2]))


def _as_tokens(network: keras.Model, layer: keras.layers.Layer, prefix: str) -> MapLayer | None:
    """Tokens on their way into a block's attention, where each still counts for what the class token becomes.

    Behind the last block the head reads the class token alone: the others have no gradient there.
    """
    if not layer.name.endswith(_TOKENS) or len(layer.output.shape) != 3:
        return None
    patches = network.get_layer(f"{prefix}patches").output.shape
    return MapLayer(layer.name, (patches[1], patches[2]), tokens=True)


def grad_cam(
    network: keras.Model, pixels: np.ndarray, classes: np.ndarray, maps: Mapping[str, MapLayer], *, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Heat maps of faces, each for one class.

    Each channel of a map weighs as much as the class's logit rises with it, averaged over the map; what is left above
    zero of the weighed sum is evidence for the class.

    Args:
        network: Faces in, logits out.
        pixels: (n, height, width, planes), as the network takes them but for their type.
        classes: (n,) index of the logit that each map is about.
        maps: What `map_layers` returns.
        batch_size: Faces traced together.

    Returns:
        Modality -> (n, rows, columns) float32, at least 0 and in no fixed unit; all zero where there is no evidence for
        the class.
    """
    outputs = [network.get_layer(place.name).output for place in maps.values()]
    opened = keras.Model(network.inputs, [*outputs, network.output])
    found = {what: np.zeros((len(pixels), *place.grid), np.float32) for what, place in maps.items()}
    for start in range(0, len(pixels), batch_size):
        part = slice(start, start + batch_size)
        values, gradients = _traced(opened, pixels[part], classes[part])
        for (what, place), value, gradient in zip(maps.items(), values, gradients, strict=True):
            found[what][part] = _weighed(_as_grid(value, place), _as_grid(gradient, place))
    return found


def _traced(opened: keras.Model, pixels: np.ndarray, classes: np.ndarray) -> tuple[list[Any], list[Any]]:
    """The maps of a batch, and how the logit of each face's class changes with them."""
    faces = tf.constant(pixels, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(faces)  # so that the maps are traced even where nothing before them learns
        *values, logits = opened(faces, training=False)
        chosen = tf.gather(logits, tf.constant(classes, tf.int64), axis=1, batch_dims=1)
    return values, tape.gradient(chosen, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _as_grid(values: Any, place: MapLayer) -> np.ndarray:
    """(n, rows, columns, channels) float32 of a layer's output."""
    array = np.asarray(values, dtype=np.float32)
    if place.tokens:
        array = array[:, -place.grid[0] * place.grid[1] :].reshape(len(array), *place.grid, -1)
    return array


def _weighed(values: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    weights = gradients.mean(axis=(1, 2))
    return np.maximum(np.einsum("nhwc,nc->nhw", values, weights), 0)
