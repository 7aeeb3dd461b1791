"""Twin of `models/losses.py`: cross-entropy, plain, weighted or focal, on targets that may be shares."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.data.sampling import class_weights

_SMALLEST = 1e-7  # of 1 - p: keeps the slope of a power finite


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Mean over the faces of w sum_k -y_k (1 - p_k)^gamma log p_k, with smoothed y, and w = sum_k y_k w_k.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; gamma 0 is cross-entropy.

    Attributes:
        label_smoothing: Share of each label that is spread over all classes.
        gamma: How much easy faces are ignored.
        class_weights: (classes,) float32; None for no weighting.
    """

    label_smoothing: float = 0.0
    gamma: float = 0.0
    class_weights: Tensor | None = None

    def to(self, device: torch.device) -> "Loss":
        """The same on a device."""
        weights = None if self.class_weights is None else self.class_weights.to(device)
        return replace(self, class_weights=weights)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar from logits and targets, both float32 (batch, classes)."""
        shares = (1 - self.label_smoothing) * targets + self.label_smoothing / targets.shape[1]
        logarithms = torch.log_softmax(logits, dim=1)
        terms = -shares * logarithms
        if self.gamma:
            terms = terms * (-torch.expm1(logarithms)).clamp_min(_SMALLEST) ** self.gamma
        losses = terms.sum(dim=1)
        if self.class_weights is not None:
            losses = losses * (targets @ self.class_weights)
        return losses.mean()


def build_loss(config: StageConfig, labels: np.ndarray, num_classes: int) -> Loss:
    """What training minimises.

    Args:
        config: The stage's settings.
        labels: (n,) class index of each train row, before rebalancing.
        num_classes: Number of classes.
    """
    weights = torch.tensor(class_weights(labels, num_classes)) if config.weighs_classes else None
    gamma = config.focal_gamma if config.loss == "focal" else 0.0
    return Loss(label_smoothing=config.label_smoothing, gamma=gamma, class_weights=weights)
