"""Which layer of a Keras model is the twin of which PyTorch module, and how the axes of their weights correspond.

Layers pair by name. What differs is the order of axes: of kernels, of Dense matrices, and of the values that a Flatten
lines up, channels last in Keras and channels first in PyTorch. Nothing is computed, so there and back is exact.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.pt_files.layers import BatchNorm, DepthImage, Standardize
from fer_hierarchy.pt_files.transformer import Attention

if TYPE_CHECKING:  # the caller brings the Keras model; nothing here needs the framework itself
    from keras import Layer, Model, Variable

# Keras's variable -> the name of its twin.
_TWIN_OF = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "token": "token",
    "positions": "positions",
    "mean": "mean",
    "deviation": "deviation",
}
_CONVERTIBLE = (
    "Conv2D",
    "DepthwiseConv2D",
    "Dense",
    "BatchNormalization",
    "LayerNormalization",
    "MultiHeadAttention",
    "ClassTokenAndPositions",
    "DepthImage",
)
# The four layers inside Keras's attention, which are twins of Linear layers.
_PROJECTION = "EinsumDense"
_PROJECTIONS = ("query", "key", "value", "output")
# Layers behind which a flattened map still stands in the order in which it was flattened.
_KEEP_ORDER = ("Activation", "BatchNormalization", "Dropout", "ELU", "LeakyReLU", "ReLU")

# Classes that are one activation, in Keras, where most are settings of the class Activation, and in PyTorch.
_KERAS_ACTIVATIONS = {"ELU": "elu", "LeakyReLU": "leaky_relu"}
_TORCH_ACTIVATIONS = {nn.ELU: "elu", nn.GELU: "gelu", nn.SiLU: "silu", nn.LeakyReLU: "leaky_relu"}

# Class of a Keras layer and its setting, its twin's, and what differs where they do.
_SAME_SPEC = "build both from the same spec"
_SETTINGS = (
    (
        "Standardize",
        "epsilon",
        Standardize,
        "epsilon",
        "they scale pixels differently; a Keras model that began with ImageNet weights has no twin",
    ),
    ("DepthImage", "reading", DepthImage, "reading", f"they read depth differently; {_SAME_SPEC}"),
    ("MultiHeadAttention", "num_heads", Attention, "heads", f"their attention has other heads; {_SAME_SPEC}"),
    ("LayerNormalization", "epsilon", nn.LayerNorm, "eps", f"they normalise tokens differently; {_SAME_SPEC}"),
)


@dataclass(frozen=True)
class Pair:
    """A Keras layer with weights and its twin.

    Attributes:
        layer: The Keras layer.
        path: Where its twin stands in the PyTorch model.
        order: For a layer behind a Flatten, for each of its input values in PyTorch's order, the place in Keras's.
    """

    layer: "Layer"
    path: str
    order: np.ndarray | None

    @property
    def kind(self) -> str:
        """Class of the Keras layer."""
        return type(self.layer).__name__

    def key(self, variable: "Variable") -> str:
        """What the twin of a variable is called in the PyTorch model's `state_dict`."""
        return f"{self.path}.{_TWIN_OF[variable.name]}"

    def to_torch(self, variable: "Variable", value: np.ndarray) -> np.ndarray:
        """Put the axes of a value of `variable` into PyTorch's order."""
        if variable.name == "kernel" and self.kind == "Conv2D":
            return value.transpose(3, 2, 0, 1)  # (height, width, in, out) -> (out, in, height, width)
        if variable.name == "kernel" and self.kind == "DepthwiseConv2D":
            # (height, width, in, each) -> (in * each, 1, height, width)
            return value.transpose(2, 3, 0, 1).reshape(-1, 1, *value.shape[:2])
        if self.kind == _PROJECTION:
            # (in, heads, width) or (heads, width, out) -> (out, in); a bias (heads, width) -> (out,)
            return value.reshape(self._inputs, -1).T if variable.name == "kernel" else value.ravel()
        if self._follows_flatten(variable):
            value = value[self.order]
        return value.T if variable.name == "kernel" else value  # a Dense kernel (in, out) -> (out, in)

    def to_keras(self, variable: "Variable", value: np.ndarray) -> np.ndarray:
        """Put the axes of a value of the twin of `variable` into Keras's order."""
        if variable.name == "kernel" and self.kind == "Conv2D":
            return value.transpose(2, 3, 1, 0)
        if variable.name == "kernel" and self.kind == "DepthwiseConv2D":
            height, width, inputs, each = variable.shape
            return value.reshape(inputs, each, height, width).transpose(2, 3, 0, 1)
        value = value.T if variable.name == "kernel" else value
        if self.kind == _PROJECTION:
            return value.reshape(variable.shape)
        return value[np.argsort(self.order)] if self._follows_flatten(variable) else value

    @property
    def _inputs(self) -> int:
        """Values that a projection takes: the axes of its kernel that its bias lacks."""
        kernel, bias = self.layer.kernel.shape, self.layer.bias.shape
        return math.prod(kernel[: len(kernel) - len(bias)])

    def _follows_flatten(self, variable: "Variable") -> bool:
        return self.order is not None and (variable.name == "kernel" or self.kind == "BatchNormalization")


def pair_layers(keras_model: "Model", torch_model: nn.Module) -> list[Pair]:
    """Pair every layer that has weights with its twin.

    Raises:
        UserError: The two models are no twins; the line names the first difference.
    """
    modules = {
        path.removeprefix("layers.").replace(".", "_"): path
        for path, module in torch_model.named_modules()
        if any("." not in key for key in module.state_dict())
    }
    layers = _weighted_layers(keras_model)
    _check_names(layers, modules)
    _check_alike(keras_model, torch_model)
    orders = _flattened_orders(keras_model)
    pairs = [Pair(layer, modules[name], orders.get(name)) for name, layer in layers.items()]
    for pair in pairs:
        _check_pair(pair, torch_model.get_submodule(pair.path))
    return pairs


def _weighted_layers(keras_model: "Model") -> dict[str, "Layer"]:
    """The layers with weights by name, attention taken apart into its projections."""
    layers: dict[str, Layer] = {}
    for layer in keras_model.layers:
        if type(layer).__name__ == "MultiHeadAttention":
            layers |= {f"{layer.name}_{part}": getattr(layer, f"{part}_dense") for part in _PROJECTIONS}
        elif layer.weights:
            layers[layer.name] = layer
    return layers


def _check_names(layers: dict[str, "Layer"], modules: dict[str, str]) -> None:
    for names, others, framework in ((layers, modules, "PyTorch"), (modules, layers, "Keras")):
        missing = [name for name in names if name not in others]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"the models are no twins: the {framework} one has no layer {missing[0]!r}{more}; "
                "build both from the same spec"
            )


def _check_alike(keras_model: "Model", torch_model: nn.Module) -> None:
    """Refuse models with settings that differ and that no name or shape of a weight would show."""
    for kind, attribute, twin, twin_attribute, difference in _SETTINGS:
        ours = [getattr(layer, attribute) for layer in keras_model.layers if type(layer).__name__ == kind]
        theirs = [getattr(module, twin_attribute) for module in torch_model.modules() if isinstance(module, twin)]
        if ours != theirs:
            raise UserError(f"the models are no twins: {difference}")
    if _keras_activations(keras_model) != _torch_activations(torch_model):
        raise UserError(f"the models are no twins: their activations differ; {_SAME_SPEC}")


def _keras_activations(model: "Model") -> set[str]:
    """Names of the activations, all but the ReLU, that a model has layers of."""
    functions = {layer.activation.__name__ for layer in model.layers if type(layer).__name__ == "Activation"}
    kinds = {_KERAS_ACTIVATIONS.get(type(layer).__name__) for layer in model.layers}
    return (functions | kinds) & set(_TORCH_ACTIVATIONS.values())


def _torch_activations(model: nn.Module) -> set[str]:
    return {_TORCH_ACTIVATIONS[type(module)] for module in model.modules() if type(module) in _TORCH_ACTIVATIONS}


def _check_pair(pair: Pair, module: nn.Module) -> None:
    """Refuse twins of unequal kind, shape or setting."""
    layer, kind = pair.layer, pair.kind
    if kind not in (*_CONVERTIBLE, _PROJECTION):
        raise UserError(f"layer {layer.name!r} is of kind {kind}; only {', '.join(_CONVERTIBLE)} can be converted")
    ours: dict[str, Any] = {
        _TWIN_OF[variable.name]: pair.to_torch(variable, np.empty(variable.shape, np.uint8)).shape
        for variable in layer.weights
    }
    theirs: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if kind == "BatchNormalization" and isinstance(module, BatchNorm):
        ours |= {"momentum": layer.momentum, "epsilon": layer.epsilon}
        theirs |= {"momentum": module.momentum, "epsilon": module.epsilon}
    different = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if different:
        key = different[0]
        raise UserError(
            f"the models are no twins: {key} of layer {layer.name!r} ({kind}) is {ours.get(key)} in Keras and "
            f"{theirs.get(key)} in PyTorch; build both from the same spec, input shape and number of classes"
        )


def _flattened_orders(keras_model: "Model") -> dict[str, np.ndarray]:
    """For each layer that takes a flattened map: for each value in PyTorch's order, its place in Keras's.

    Raises:
        UserError: A layer takes one whose effect on the order is not known.
    """
    orders: dict[int, np.ndarray] = {}  # by the identity of the tensor
    taken: dict[str, np.ndarray] = {}
    for layer in keras_model.layers:
        kind = type(layer).__name__
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        known = [orders[id(tensor)] for tensor in inputs if id(tensor) in orders]
        if kind == "Flatten" and not known:
            orders[id(layer.output)] = _flattened_order(inputs[0].shape[1:])
        if known:
            taken[layer.name] = known[0]
            if kind in _KEEP_ORDER:
                orders[id(layer.output)] = known[0]
            elif kind != "Dense":
                raise UserError(f"layer {layer.name!r} ({kind}) takes a flattened map; a Dense layer must come first")
    return taken


def _flattened_order(shape: tuple[int | None, ...]) -> np.ndarray:
    """Places of the values of a map (height, width, channels), its channels put first."""
    if None in shape:
        raise UserError(f"a map of shape {shape} is flattened; only models of a fixed image size can be converted")
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), -1, 0).ravel()
