"""What a twin costs, counted as `models.cost` counts."""

import torch
from torch import nn

from fer_hierarchy.pt_files.transformer import Attention


def parameters(model: nn.Module) -> int:
    """Count every weight, the running statistics of batch normalisation included, and step counters left out."""
    return sum(tensor.numel() for tensor in model.state_dict().values() if tensor.is_floating_point())


def multiply_adds(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Count the multiplications, each with its addition, that one image's forward pass takes.

    Args:
        model: What `create_model` returned; its convolutions, Linear layers and the products of attention count.
        input_shape: (height, width, channels) in pixels.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: tuple, output: torch.Tensor) -> None:
        positions = output[0].numel() // layer.weight.shape[0]
        counts.append(layer.weight.numel() * positions)

    def count_products(_layer: Attention, _: tuple, output: torch.Tensor) -> None:
        counts.append(2 * output.shape[1] * output[0].numel())  # queries with keys, scores with values

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    attentions = [layer for layer in model.modules() if isinstance(layer, Attention)]
    hooks += [layer.register_forward_hook(count_products) for layer in attentions]
    height, width, channels = input_shape
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, channels, height, width))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return sum(counts)
