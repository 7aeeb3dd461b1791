"""Layers of our own, written with `keras.ops` so that they run on every Keras backend."""

from typing import Any

import keras
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
