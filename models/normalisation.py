"""Batch normalisation put on the statistics of given faces, without a change of what the network computes."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np


def measure_statistics(network: keras.Model, batches: Iterable[Any]) -> None:
    """Give every batch normalisation the mean and variance of its own input, and a factor and offset to match.

    For weights whose normalisations only scale and shift, as those of networks made for prediction do. Afterwards they
    normalise, so that training, which goes by the statistics of each batch, begins with what it will meet. As the
    network's outputs stay, one pass measures all layers.

    Args:
        network: A flat functional model; changed in place.
        batches: Float32 faces (batch, height, width, channels), unaugmented; at least one.

    Raises:
        ValueError: There are no faces.
    """
    found = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not found:
        return
    inputs = keras.Model(network.input, [layer.input for layer in found])
    count = 0
    sums, squares = ([np.zeros(layer.input.shape[-1]) for layer in found] for _ in range(2))
    for faces in batches:
        count += len(faces)
        for number, x in enumerate(inputs(faces, training=False)):
            # The mean over places, in float64: the variance is a difference of what this adds up to.
            values = keras.ops.convert_to_numpy(x).astype(np.float64)
            places = tuple(range(1, values.ndim - 1))
            sums[number] += values.mean(axis=places).sum(axis=0)
            squares[number] += np.square(values).mean(axis=places).sum(axis=0)
    if not count:
        raise ValueError("no faces to measure statistics on")
    for layer, total, square in zip(found, sums, squares, strict=True):
        mean = total / count
        _normalise_by(layer, mean, np.maximum(square / count - np.square(mean), 0.0))


def _normalise_by(layer: keras.layers.BatchNormalization, mean: np.ndarray, variance: np.ndarray) -> None:
    """Give a layer other statistics, each float64 (channels,), and the factor and offset that make up for them."""
    gamma, beta, old_mean, old_variance = (np.float64(value) for value in layer.get_weights())
    factor = gamma / np.sqrt(old_variance + layer.epsilon)
    gamma = factor * np.sqrt(variance + layer.epsilon)
    layer.set_weights([gamma, beta + factor * (mean - old_mean), mean, variance])
