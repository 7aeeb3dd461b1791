"""What a model costs: its parameters, and the multiply-adds of one image's forward pass."""

from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any, NamedTuple

import keras
from keras import layers

from fer_hierarchy.models.registry import create_model
from fer_hierarchy.models.spec import parse_spec

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_CONVOLUTIONS += (layers.SeparableConv1D, layers.SeparableConv2D)  # whose first kernel already strides
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
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention(layer)
    weights = sum(prod(weight.shape) for weight in layer.weights if weight.name.endswith("kernel"))
    if isinstance(layer, layers.Dense):
        return weights * _places(layer, layer.output.shape[1:-1])
    if isinstance(layer, layers.EinsumDense):
        return weights * _places(layer, layer.input.shape[1:]) // _shared(layer)
    if isinstance(layer, _TRANSPOSED):
        return weights * _places(layer, _sides(layer, layer.input.shape))
    if isinstance(layer, _CONVOLUTIONS):
        return weights * _places(layer, _sides(layer, layer.output.shape))
    return 0


def _sides(layer: keras.layers.Layer, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return shape[1:-1] if layer.data_format == "channels_last" else shape[2:]


def _shared(layer: layers.EinsumDense) -> int:
    """Places of the input that one use of the kernel takes together: those of the indices in both."""
    inputs, kernel = layer.equation.partition("->")[0].split(",")
    return prod(size for letter, size in zip(kernel, layer.kernel.shape, strict=True) if letter in inputs)


def _attention(layer: layers.MultiHeadAttention) -> int:
    query, value = layer.input[:2]  # (batch, positions ..., width); keys stand where the values do
    queries = _places(layer, query.shape[1:-1])
    values = _places(layer, value.shape[1:-1])
    attended = prod(value.shape[axis] for axis in layer.attention_axes)  # by each query
    products = queries * attended * layer.num_heads * (layer.key_dim + layer.value_dim)
    of_queries, of_values = (
        sum(prod(dense.kernel.shape) for dense in both)
        for both in ((layer.query_dense, layer.output_dense), (layer.key_dense, layer.value_dense))
    )
    return products + queries * of_queries + values * of_values


def _places(layer: keras.layers.Layer, shape: tuple[Any, ...]) -> int:
    if None in shape:
        raise ValueError(f"layer {layer.name!r} works on shape {shape}; multiply-adds need a fixed height and width")
    return prod(shape)
