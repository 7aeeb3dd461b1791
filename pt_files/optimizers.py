"""Optimisers that step as Keras's do, also where PyTorch's own would not: both frameworks train by the same rule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.training.schedule import peak_rate

_EPSILON = 1e-7  # Keras's, added to the root of the second moment before its bias is corrected


class NesterovSGD(torch.optim.Optimizer):
    """Nesterov's momentum: m <- mu m - rate g, then w <- (1 - rate decay) w + mu m - rate g.

    PyTorch's own multiplies by the rate after the momentum, so that a rate that changes also changes what earlier
    gradients weigh; and its decay is no decoupled one (Loshchilov and Hutter, "Decoupled Weight Decay
    Regularization", ICLR 2019).

    Args:
        params: Parameter groups; `lr` and `weight_decay` may differ between them.
        lr: Learning rate.
        momentum: mu.
        weight_decay: Decoupled weight decay.
    """

    def __init__(self, params: Any, *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            rate, mu = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].mul_(mu).sub_(weight.grad, alpha=rate)
                weight.mul_(1 - rate * group["weight_decay"]).add_(momentum, alpha=mu).sub_(weight.grad, alpha=rate)
        return loss


class AdamW(torch.optim.AdamW):
    """AdamW with Keras's epsilon (Loshchilov and Hutter, 2019).

    Keras divides by sqrt(v) + epsilon and corrects the bias of both moments afterwards (the second form in section 2 of
    Kingma and Ba, "Adam", ICLR 2015), PyTorch corrects v first; an epsilon divided by that correction is the same.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            group["eps"] = _EPSILON / math.sqrt(1 - group["betas"][1] ** group["steps"])
        return super().step(closure)


def build_optimizer(network: nn.Module, config: StageConfig) -> torch.optim.Optimizer:
    """The settings' optimiser; biases and the weights of batch normalisation are not decayed, as in Keras."""
    weights = list(network.parameters())
    groups = [
        {"params": [w for w in weights if _decays(w)], "weight_decay": config.weight_decay},
        {"params": [w for w in weights if not _decays(w)], "weight_decay": 0.0},
    ]
    if config.optimizer == "nadam":
        # Keras's momentum nears its limit 250 times as fast as PyTorch's by default.
        return torch.optim.NAdam(
            groups, lr=peak_rate(config), eps=_EPSILON, momentum_decay=1.0, decoupled_weight_decay=True
        )
    kind = {"sgd": NesterovSGD, "adamw": AdamW}[config.optimizer]
    return kind(groups, lr=peak_rate(config))


def average_and_clip(weights: Iterable[Tensor], *, count: int, clip_norm: float) -> None:
    """Make the mean of summed gradients, and scale it down where its norm is larger than `clip_norm`, as Keras does.

    Args:
        weights: With the sums in `grad`, which are changed.
        count: Batches that were summed.
        clip_norm: Largest norm of all gradients together; 0 leaves them as they are.
    """
    if count == 1 and not clip_norm:
        return
    slopes = [weight.grad.div_(count) for weight in weights if weight.grad is not None]
    if clip_norm:
        scale = torch.clamp(clip_norm / torch.nn.utils.get_total_norm(slopes), max=1.0)
        for slope in slopes:
            slope.mul_(scale)


def _decays(weight: Tensor) -> bool:
    """Whether it is a kernel; biases and the scales of a normalisation are vectors."""
    return weight.ndim > 1
