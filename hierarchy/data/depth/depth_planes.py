"""Depth as the program keeps it: what the numbers of a source mean, and planes with holes.

A depth plane is uint16: distance from the camera in twentieths of a millimetre, larger is farther, 0 is a hole. Where a
source knows no camera (`relative`), the face stands at a nominal distance and only differences within it count.
A stack of planes of one face is uint16 too: the colours in 0..255, then its depth plane.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

UNIT_MM = 0.05  # of a stored plane: finer than any of the sensors, and 3.2 m fit
NOMINAL_MM = 600.0  # where the middle of a face without a camera stands
MOST_RELIEF_MM = 120.0  # half a head: what lies further before or behind the face's mean is cut off there
_LEAST_COVER = 0.5  # share of a new pixel that must have been measured
_CHUNK = 256  # faces at once


@dataclass(frozen=True, kw_only=True)
class DepthScale:
    """What the numbers of a source's depth mean: `DEPTH` of its module."""

    kind: str  # "metric" (distance from the sensor) or "relative" (shape only)
    mm_per_unit: float  # millimetres of one unit of the file
    nearest_mm: float = 0.0  # least distance that the sensor can measure; a face that is nearer is in another unit
    farthest_mm: float = float("inf")  # largest distance


def has_depth(pixels: np.ndarray) -> bool:
    """Whether the last plane of faces (..., height, width, planes) is depth: stacks with depth are uint16."""
    return pixels.dtype == np.uint16


def colours(pixels: np.ndarray) -> np.ndarray:
    """The colour planes of faces (..., height, width, planes), uint8."""
    return pixels[..., :-1].astype(np.uint8) if has_depth(pixels) else pixels


def to_plane(distance: np.ndarray) -> np.ndarray:
    """Distances in millimetres, NaN where nothing was measured, as a plane; what does not fit is cut off."""
    units = np.clip(np.nan_to_num(distance) / UNIT_MM, 1, 65535)
    return np.where(np.isnan(distance), 0, np.rint(units)).astype(np.uint16)


def to_distance(plane: np.ndarray) -> np.ndarray:
    """A plane as distances in millimetres, float32, NaN in the holes."""
    return np.where(plane > 0, plane * np.float32(UNIT_MM), np.float32(np.nan))


def at_nominal(distance: np.ndarray) -> np.ndarray:
    """A relative shape, millimetres away from the viewer, moved so that its median stands at the nominal distance."""
    return (distance - np.nanmedian(distance) + NOMINAL_MM).astype(np.float32)


def resized(distance: np.ndarray, size: int) -> np.ndarray:
    """Distances (h, w), NaN in holes, at size x size: holes take no part in an average, and stay holes."""
    way = cv2.INTER_AREA if min(distance.shape) >= size else cv2.INTER_LINEAR
    return _around_holes(distance, lambda part: cv2.resize(part, (size, size), interpolation=way))


def warped(distance: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, flags: int, border: int) -> np.ndarray:
    """Distances (h, w), NaN in holes, through `cv2.warpAffine`: holes take no part in an interpolation.

    Args:
        distance: Millimetres.
        matrix: (2, 3) as OpenCV takes it.
        size: (width, height) of the result.
        flags: OpenCV's interpolation and direction.
        border: OpenCV's border mode; with BORDER_CONSTANT nothing is measured outside.
    """
    return _around_holes(distance, lambda part: cv2.warpAffine(part, matrix, size, flags=flags, borderMode=border))


def _around_holes(distance: np.ndarray, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    total = transform(np.nan_to_num(distance, nan=0.0).astype(np.float32))
    cover = transform((~np.isnan(distance)).astype(np.float32))
    return np.where(cover >= _LEAST_COVER, total / np.maximum(cover, 1e-6), np.nan).astype(np.float32)


def relief(planes: np.ndarray) -> np.ndarray:
    """Heights towards the camera over each face's own mean.

    Args:
        planes: (n, h, w) uint16 depth planes.

    Returns:
        (n, h, w) float32 millimetres within +-`MOST_RELIEF_MM`, NaN in holes.
    """
    distance = to_distance(planes)
    count = np.maximum((planes > 0).sum(axis=(1, 2), keepdims=True), 1)
    middle = np.nansum(distance, axis=(1, 2), keepdims=True, dtype=np.float64) / count
    return np.clip(middle - distance, -MOST_RELIEF_MM, MOST_RELIEF_MM).astype(np.float32)


def depth_statistics(pixels: np.ndarray, rows: np.ndarray, *, reading: str) -> tuple[float, float]:
    """Mean and standard deviation of depth over train faces, holes left out.

    Args:
        pixels: (n, height, width, planes) uint16, all faces.
        rows: The train rows of `pixels`.
        reading: "relief" or "distance", see `StageConfig.depth`; normals are unit vectors and need none.

    Returns:
        Millimetres; (0, 1) where nothing is measured.
    """
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(rows), _CHUNK):
        planes = pixels[np.sort(rows[start : start + _CHUNK])][..., -1]
        values = (relief(planes) if reading == "relief" else to_distance(planes))[planes > 0].astype(np.float64)
        count, total, squares = count + len(values), total + values.sum(), squares + (values**2).sum()
    mean = total / max(count, 1)
    deviation = float(np.sqrt(max(squares / max(count, 1) - mean**2, 0.0)))
    return float(mean), deviation or 1.0
