"""Imbalance: which train rows are drawn, how often, and what class prior a stage therefore sees."""

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from sklearn.utils.class_weight import compute_class_weight


def draw_rows(labels: np.ndarray, balance: str, *, seed: int) -> np.ndarray:
    """Positions of the train rows that one epoch passes over; pixels are never copied.

    Args:
        labels: Class index of each train row, int (n,).
        balance: "oversample" repeats random rows until every class is as frequent as the largest; else all rows once.
        seed: Decides which rows are repeated.

    Returns:
        Positions into `labels`, int64 (m,), m >= n.
    """
    positions = np.arange(len(labels), dtype=np.int64)
    if balance != "oversample":
        return positions
    drawn, _ = RandomOverSampler(random_state=seed).fit_resample(positions[:, None], labels)
    return drawn[:, 0]


def class_weights(labels: np.ndarray, balance: str) -> dict[int, float] | None:
    """Loss weight n / (K n_k) of each class for balance "class-weight", else None.

    Args:
        labels: Class index of each train row, int (n,).
        balance: The stage's imbalance handling.
    """
    if balance != "class-weight":
        return None
    classes = np.unique(labels)
    weights = compute_class_weight("balanced", classes=classes, y=labels)
    return {int(c): float(w) for c, w in zip(classes, weights, strict=True)}


def class_prior(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Relative frequency of each class, float64 (num_classes,)."""
    return np.bincount(labels, minlength=num_classes) / len(labels)


def trained_prior(labels: np.ndarray, balance: str, num_classes: int) -> np.ndarray:
    """The class prior that training with `balance` presents, float64 (num_classes,): uniform where it rebalances."""
    if balance == "none":
        return class_prior(labels, num_classes)
    return np.full(num_classes, 1 / num_classes)
