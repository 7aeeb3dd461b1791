"""What a model costs: its parameters, and the multiply-adds of one image's forward pass."""

from collections.abc import Iterable
from math import prod

import keras
from keras import layers

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def parameters(model: keras.Model) -> int:
    """Count every weight, the moving statistics of batch normalisation included and random seeds left out."""
    return sum(prod(weight.shape) for weight in model.weights)


def multiply_adds(model: keras.Model) -> int:
    """Count the multiplications, each with its addition, that one image's forward pass takes.

    Convolutions (grouped, depthwise, separable and transposed ones too) and Dense layers count: every kernel weight is
    used once for each position of the output (of the input, where transposed). Biases, normalisation, activations and
    pooling are left out, as is usual; so are attention and recurrent layers, which no model here has. A layer that
    is called several times in one model is counted once.

    Raises:
        ValueError: The model's height or width is not fixed.
    """
    return sum(_layer_multiply_adds(layer) for layer in model.layers)


def _layer_multiply_adds(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.Model):
        return multiply_adds(layer)
    if isinstance(layer, _SEPARABLE):
        # The depthwise kernel already strides, so both kernels see the output's positions.
        return _uses([layer.depthwise_kernel, layer.pointwise_kernel], _positions(layer, layer.output))
    if isinstance(layer, _TRANSPOSED):
        return _uses([layer.kernel], _positions(layer, layer.input))
    if isinstance(layer, _CONVOLUTIONS):
        return _uses([layer.kernel], _positions(layer, layer.output))
    if isinstance(layer, layers.Dense):
        return _uses([layer.kernel], _fixed(layer, layer.output.shape[1:-1]))
    return 0


def _uses(kernels: Iterable[keras.Variable], positions: int) -> int:
    return positions * sum(prod(kernel.shape) for kernel in kernels)


def _positions(layer: keras.layers.Layer, tensor: keras.KerasTensor) -> int:
    shape = tensor.shape[1:-1] if layer.data_format == "channels_last" else tensor.shape[2:]
    return _fixed(layer, shape)


def _fixed(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    if None in shape:
        raise ValueError(f"layer {layer.name!r} works on shape {shape}; multiply-adds need a fixed height and width")
    return prod(shape)
