"""Imbalance: which train rows are drawn, how often, and how much a class weighs."""

import numpy as np
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
    from imblearn.over_sampling import RandomOverSampler  # half a second that answering a photo must not pay

    drawn, _ = RandomOverSampler(random_state=seed).fit_resample(positions[:, None], labels)
    return drawn[:, 0]


def draw_shares(labels: np.ndarray, balance: str) -> np.ndarray | None:
    """Probability of each drawn row in every single draw of an epoch, for `TrainBatches.shares`.

    Args:
        labels: Class index of each drawn row, int (m,).
        balance: "sampler" makes every class that has rows equally likely, and the rows of a class alike.

    Returns:
        float64 (m,), sum 1; None where an epoch passes over each drawn row once.
    """
    if balance != "sampler":
        return None
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[place])


def class_weights(labels: np.ndarray, num_classes: int) -> list[float]:
    """Loss weight n / (K n_k) of each class; 0 for one without rows.

    Args:
        labels: Class index of each train row, int (n,).
        num_classes: K.
    """
    classes = np.unique(labels)
    weights = np.zeros(num_classes)
    weights[classes] = compute_class_weight("balanced", classes=classes, y=labels)
    return weights.tolist()


def class_prior(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Relative frequency of each class, float64 (num_classes,)."""
    return np.bincount(labels, minlength=num_classes) / len(labels)
