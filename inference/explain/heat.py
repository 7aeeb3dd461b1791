"""Heat maps as numbers: brought to the picture's size, averaged, and shared out over its thirds."""

from collections.abc import Iterable

import cv2
import numpy as np

THIRDS = ("upper", "middle", "lower")


def enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A heat map at the size of its picture, its hottest place at 1.

    Args:
        heat: (rows, columns), at least 0.
        size: (height, width) of the picture in pixels.

    Returns:
        (height, width) float32 in [0, 1], interpolated bilinearly; all zero where `heat` is.
    """
    wide = cv2.resize(heat.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    top = wide.max()
    return wide / top if top > 0 else wide


def is_blank(heat: np.ndarray) -> np.ndarray:
    """Which of (n, rows, columns) heat maps are zero everywhere, (n,) bool."""
    return ~(heat > 0).any(axis=(1, 2))


def mean_heat(maps: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Mean of heat maps that each count alike: every one is scaled to its own maximum first.

    Args:
        maps: (rows, columns) each; those that are zero everywhere take no part.
        size: (height, width) of the pictures.

    Returns:
        (height, width) float32 in [0, 1]; zero where no map has any heat.
    """
    total, count = np.zeros(size, np.float64), 0
    for heat in maps:
        if (heat > 0).any():
            total, count = total + enlarged(heat, size), count + 1
    return (total / max(count, 1)).astype(np.float32)


def thirds(heat: np.ndarray) -> np.ndarray:
    """Shares of a map's heat in the upper, middle and lower third of the picture.

    Args:
        heat: (height, width), at least 0; a row that a border cuts counts on both sides in part.

    Returns:
        (3,) float64 that sum to 1; NaN where there is no heat.
    """
    rows = heat.sum(axis=1, dtype=np.float64)
    edges = np.linspace(0, len(rows), len(THIRDS) + 1)
    starts = np.arange(len(rows))
    inside = np.minimum(starts + 1, edges[1:, None]) - np.maximum(starts, edges[:-1, None])
    sums = np.clip(inside, 0, 1) @ rows
    return sums / sums.sum() if sums.sum() > 0 else np.full(len(THIRDS), np.nan)
