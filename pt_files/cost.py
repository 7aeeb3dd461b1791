"""What a twin costs, counted as `models.cost` counts."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Count every weight, the running statistics of batch normalisation included, and step counters left out."""
    return sum(tensor.numel() for tensor in model.state_dict().values() if tensor.is_floating_point())


def multiply_adds(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Count the multiplications, each with its addition, that one image's forward pass takes.

    Args:
        model: What `create_model` returned; its convolutions, Linear layers and the products of attention count.
        input_shape: (height, width, channels) in pixels.
    """
    height, width, channels = input_shape
    training = model.training
    try:
        # Attention as plain products of matrices, which PyTorch's counter knows.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(1, channels, height, width))
    finally:
        model.train(training)
    return counter.get_total_flops() // 2
