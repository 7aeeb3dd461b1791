"""What a model costs: its parameters, and the multiply-adds of one image's forward pass."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any, NamedTuple

import keras
from keras import layers

from fer_hierarchy.models.registry import create_model
from fer_hierarchy.models.spec import parse_spec

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


class Cost(NamedTuple):
    """What one model costs.

    Attributes:
        parameters: See `parameters`.
        multiply_adds: See `multiply_adds`.
    """

    parameters: int
    multiply_adds: int


def planned_cost(spec: str, **keywords: Any) -> Cost:
    """Count what `create_model(spec, **keywords)` would cost, without filling its weights.

    That takes milliseconds and no memory where building a large model takes seconds and half a gigabyte.

    Args:
        spec: Name or spec of a model of the registry.
        **keywords: Those of `models.registry.create_model`; `weights` is ignored, nothing is downloaded.

    Raises:
        ValueError: `create_model` refuses.
    """
    # In a thread of its own: Keras notes variables without values thread by thread and fills them at the next chance,
    # which for a thread that has ended never comes.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_planned_cost, spec, keywords).result()


def _planned_cost(spec: str, keywords: dict[str, Any]) -> Cost:
    name, settings = parse_spec(spec)
    keywords = {key: value for key, value in (settings | keywords).items() if key != "weights"}
    with keras.StatelessScope(initialize_variables=False):
        model = create_model(name, **keywords)
    return Cost(parameters(model), multiply_adds(model))


def parameters(model: keras.Model) -> int:
    """Count every weight, the moving statistics of batch normalisation included and random seeds left out."""
    return sum(prod(weight.shape) for weight in model.weights)


def multiply_adds(model: keras.Model) -> int:
    """Count the multiplications, each with its addition, that one image's forward pass takes.

    Convolutions (grouped, depthwise, separable and transposed ones too), Dense and EinsumDense layers count: every
    kernel weight is used once for each position of the output (of the input, where transposed). So does multi-head
    attention: its four projections, the products of queries with keys, and those of the scores with values. Biases,
    normalisation, activations and pooling are left out, as is usual; so are recurrent layers, which no model here has.
    A layer that is called several times in one model is counted once.

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
    if isinstance(layer, layers.EinsumDense):
        return _einsum(layer)
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention(layer)
    return 0


def _einsum(layer: layers.EinsumDense) -> int:
    """Every kernel weight is used once for each index of the input that the kernel does not share."""
    inputs, kernel = layer.equation.partition("->")[0].split(",")
    shared = prod(size for letter, size in zip(kernel, layer.kernel.shape, strict=True) if letter in inputs)
    return _uses([layer.kernel], _fixed(layer, layer.input.shape[1:]) // shared)


def _attention(layer: layers.MultiHeadAttention) -> int:
    query, value = layer.input[:2]  # (batch, positions ..., width); keys stand where the values do
    queries = _fixed(layer, query.shape[1:-1])
    values = _fixed(layer, value.shape[1:-1])
    seen = prod(value.shape[axis] for axis in layer.attention_axes)  # by each query
    products = queries * seen * layer.num_heads * (layer.key_dim + layer.value_dim)
    return (
        products
        + _uses([layer.query_dense.kernel, layer.output_dense.kernel], queries)
        + _uses([layer.key_dense.kernel, layer.value_dense.kernel], values)
    )


def _uses(kernels: Iterable[keras.Variable], positions: int) -> int:
    return positions * sum(prod(kernel.shape) for kernel in kernels)


def _positions(layer: keras.layers.Layer, tensor: keras.KerasTensor) -> int:
    shape = tensor.shape[1:-1] if layer.data_format == "channels_last" else tensor.shape[2:]
    return _fixed(layer, shape)


def _fixed(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    if None in shape:
        raise ValueError(f"layer {layer.name!r} works on shape {shape}; multiply-adds need a fixed height and width")
    return prod(shape)
