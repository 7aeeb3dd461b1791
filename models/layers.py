"""Layers of our own, written with `keras.ops` so that they run on every Keras backend."""

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="fer")
class Standardize(keras.layers.Layer):
    """Give every image zero mean and unit variance over height, width and channels.

    Works on each image alone, so it neither learns nor needs statistics of a data set, and takes out the exposure and
    contrast of a photograph. Input and output: (batch, height, width, channels); pixels in [0, 255] in.

    Args:
        epsilon: Added to the variance, in squared grey levels. The default, one grey level of deviation, leaves
            ordinary faces as they are, and keeps a blank image at zero instead of blowing up its rounding noise.
        **options: Keras's own layer options, such as `name`.
    """

    def __init__(self, *, epsilon: float = 1.0, **options: Any):
        super().__init__(**options)
        self.epsilon = epsilon

    def call(self, pixels: Any) -> Any:
        """Standardise a batch of images."""
        centred = pixels - ops.mean(pixels, axis=(1, 2, 3), keepdims=True)
        # Variance from the centred pixels: the difference of two large means would lose its digits in float32.
        variance = ops.mean(ops.square(centred), axis=(1, 2, 3), keepdims=True)
        return centred * ops.rsqrt(variance + self.epsilon)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's own shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Settings that a saved model needs to build the layer again."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="fer")
class AdaptiveMean(keras.layers.Layer):
    """Average maps of any size to size x size pixels, as PyTorch's `AdaptiveAvgPool2d` does.

    Of n rows, row i of the result is the mean of those from floor(i n / size) up to ceil((i + 1) n / size); so are the
    columns. Windows overlap where n is no multiple of `size`, and rows are repeated where n is smaller.
    `keras.layers.AdaptiveAveragePooling2D` is the same, but Keras 3.15 cannot compile it for maps of one pixel.

    Input: (batch, height, width, channels) with a fixed height and width. Output: (batch, size, size, channels).

    Args:
        size: Height and width of the result in pixels.
        **options: Keras's own layer options, such as `name`.
    """

    def __init__(self, *, size: int, **options: Any):
        super().__init__(**options)
        self.size = size

    def call(self, maps: Any) -> Any:
        """Average a batch of maps."""
        rows, columns = (ops.convert_to_tensor(_windows(n, self.size), maps.dtype) for n in maps.shape[1:3])
        return ops.einsum("qw,bpwc->bpqc", columns, ops.einsum("ph,bhwc->bpwc", rows, maps))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the averaged maps."""
        return input_shape[0], self.size, self.size, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        """Settings that a saved model needs to build the layer again."""
        return {**super().get_config(), "size": self.size}


def _windows(count: int, size: int) -> np.ndarray:
    """Weights (size, count) by which `count` rows are averaged to `size` rows."""
    weights = np.zeros((size, count))
    for i in range(size):
        window = slice(i * count // size, -(-(i + 1) * count // size))
        weights[i, window] = 1 / (window.stop - window.start)
    return weights


@keras.saving.register_keras_serializable(package="fer")
class ClassTokenAndPositions(keras.layers.Layer):
    """Put a learned token before those of the patches, and add a learned embedding to every position.

    Input: (batch, patches, dim). Output: (batch, 1 + patches, dim); the learned token comes first. A. Dosovitskiy and
    others, "An image is worth 16x16 words", ICLR 2021.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the token, which begins at zero, and the positions."""
        _, patches, dim = input_shape
        positions = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token = self.add_weight(name="token", shape=(1, 1, dim), initializer="zeros")
        self.positions = self.add_weight(name="positions", shape=(1, 1 + patches, dim), initializer=positions)

    def call(self, patches: Any) -> Any:
        """Extend a batch of sequences by the token."""
        token = ops.broadcast_to(self.token, (ops.shape(patches)[0], 1, patches.shape[-1]))
        return ops.concatenate([token, patches], axis=1) + self.positions

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape with one more token."""
        batch, patches, dim = input_shape
        return batch, 1 + patches, dim
