"""The surface of a procedural face in millimetres: a rounded head, its features, and what action units do to them.

Nothing here was measured on people: sizes are those of an average adult head, and a unit moves its part by the few
millimetres that the same unit's shapes in `portrait` suggest. Face coordinates as there; one of their
lengths is `MM_PER_LENGTH`, so that a head is about 145 mm wide.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.synthetic.parameters import FaceParameters, View, about
from fer_hierarchy.hierarchy.data.synthetic.portrait import (
    EXTENT,
    HEAD_DEPTH,
    brow_curve,
    mouth_curves,
    side_force,
)

MM_PER_LENGTH = 100.0
_HEAD = 76.0  # mm from the ears to the middle of the face, without the nose
_LIP_POINTS = (1, 3, 5, 6, 7, 9, 11)  # of the thirteen along the mouth


@dataclass(frozen=True, kw_only=True)
class Build:
    """What a person's surface has beside the proportions of `Identity`, millimetres."""

    cheeks: float = about(3.0, 2.0)  # their fullness
    ridge: float = about(3.0, 1.0)  # fullness of the brow ridge
    chin: float = about(8.0, 2.0)  # its fullness
    muzzle: float = about(7.0, 1.5)  # fullness around the mouth
    bridge: float = about(9.0, 1.5)  # height of the nose's bridge
    length: float = about(1.0, 0.06)  # depth of the whole head, factor


def surface(face: FaceParameters, build: Build, side: int) -> np.ndarray:
    """Heights of a turned face over the plane of its ears.

    Args:
        face: The face; of its view, yaw and pitch are used.
        build: The person's own features.
        side: Pixels of the square canvas, which spans `portrait.EXTENT` in face coordinates to either side.

    Returns:
        (side, side) float32 millimetres towards the camera.
    """
    grid = ((np.arange(side, dtype=np.float32) + 0.5) * (2.0 / side) - 1.0) * EXTENT
    bumps = np.array([*_features(face, build), *_movements(face), *_lips(face)], dtype=np.float32)
    across = np.exp(-(((grid - bumps[:, 0, None]) / bumps[:, 2, None]) ** 2))
    down = np.exp(-(((grid - bumps[:, 1, None]) / bumps[:, 3, None]) ** 2)) * bumps[:, 4, None]
    # cv2's product: BLAS wakes threads for small matrices and rounds differently between machines.
    straight = cv2.gemm(down, across, 1.0, _head(face, build, grid), 1.0, flags=cv2.GEMM_1_T)
    return _turned(straight, grid, face.identity.width, face.view)


def _head(face: FaceParameters, build: Build, grid: np.ndarray) -> np.ndarray:
    """The head without features: round from ear to ear, falling back above the forehead and below the chin."""
    who = face.identity
    below = np.maximum((grid + 0.05) / 0.95, 0.0)
    above = np.maximum(-0.45 - grid, 0.0)
    half = 1.06 * who.width * (1.0 - 0.8 * who.jaw * np.minimum(below, 1.1) ** 2)
    middle = _HEAD * build.length * (1.0 - 0.75 * above**2 - 0.12 * below**3)
    share = np.minimum((grid / half[:, None]) ** 2, 1.0)
    return (middle[:, None] * (1.0 - share * (0.35 + 0.65 * share)) ** 0.75).astype(np.float32)


def _features(face: FaceParameters, build: Build) -> Iterator[tuple[float, float, float, float, float]]:
    """Bumps (x, y, spread x, spread y, millimetres) of a face at rest; jaw, nose and brows move some of them."""
    who, unit = face.identity, face.unit
    nose, lift, jaw = who.nose_size, 0.05 * unit(9), 0.14 * unit(26)
    yield 0.0, -0.04, 0.075 * nose, 0.24, build.bridge
    yield 0.0, 0.17 - lift, 0.10 * nose, 0.12, 15.0 * nose
    yield 0.0, 0.21 - lift, 0.06 * nose, 0.06, 6.0 * nose
    yield 0.0, -0.62, 0.5, 0.25, 4.0
    yield 0.0, 0.47 + jaw / 2, 0.30, 0.20, build.muzzle
    yield 0.0, 0.80 + jaw, 0.17, 0.11, build.chin
    for side in (-1, 1):
        eye = side * 0.3 * who.eye_gap
        yield side * 0.115 * nose, 0.225 - lift, 0.06, 0.05, 6.0 + 3.5 * unit(9)
        yield eye, -0.18, 0.17, 0.10, -9.0
        yield eye, -0.18, 0.11 * who.eye_size, 0.07 * who.eye_size, 4.0
        yield side * 0.42, 0.2, 0.2, 0.17, build.cheeks
        x, y = brow_curve(face, side)
        for place in (1, 4, 7):
            yield x[place], y[place] + 0.01, 0.11, 0.055, build.ridge + 2.5 * unit(4)


def _movements(face: FaceParameters) -> Iterator[tuple[float, float, float, float, float]]:
    """Bumps that only a moving face has."""
    unit = face.unit
    yield 0.0, 0.92, 0.55, 0.32, -9.0 * unit(26)
    yield 0.0, -0.40, 0.08, 0.10, 3.5 * unit(4) + 2.5 * unit(9)
    yield 0.0, -0.56, 0.22, 0.07, 2.5 * unit(1)
    yield 0.0, 0.76, 0.16, 0.08, 4.5 * unit(15) + 2.0 * unit(23)
    yield 0.0, 0.36 - 0.02 * unit(9), 0.14, 0.06, 4.0 * unit(9) - 2.0 * unit(20)
    for side in (-1, 1):
        force = side_force(face, side)
        smile = force * max(unit(6), unit(12))
        yield side * 0.41, 0.19 - 0.06 * smile, 0.17, 0.14, 7.0 * smile - 3.0 * unit(26) - 1.5 * unit(20)
        yield side * 0.34, -0.03, 0.15, 0.06, force * (2.5 * unit(6) + 2.0 * unit(7) + 3.5 * unit(9))
        yield side * 0.38, -0.52, 0.16, 0.07, force * 2.5 * unit(2)
        yield side * 0.30, -0.28, 0.13, 0.05, force * (-2.0 * unit(5) + 1.5 * unit(7))
        yield from _fold(face, side)


def _fold(face: FaceParameters, side: int) -> Iterator[tuple[float, float, float, float, float]]:
    """The nasolabial groove, where the crease of `portrait` runs."""
    unit = face.unit
    depth = 0.5 + face.identity.age + 4.0 * max(unit(12), unit(9), 0.5 * unit(20), 0.4 * unit(15))
    reach = 0.05 * unit(12) + 0.02 * unit(20)
    for x, y in ((0.20, 0.20 - 0.05 * unit(9)), (0.27 + reach, 0.31), (0.32 + reach, 0.42)):
        yield side * x, y, 0.055, 0.07, -depth * side_force(face, side)


def _lips(face: FaceParameters) -> Iterator[tuple[float, float, float, float, float]]:
    """Two rows of bumps along the lips, the groove below them, and the mouth's corners."""
    unit = face.unit
    x, top, above, below, bottom = mouth_curves(face)
    for at in _LIP_POINTS:
        for upper, lower in ((top[at], above[at]), (below[at], bottom[at])):
            yield x[at], (upper + lower) / 2, 0.07, 0.045, 45.0 * (lower - upper) - 0.6 * unit(20)
    yield 0.0, bottom[6] + 0.06, 0.15, 0.045, -3.5
    for end in (0, -1):
        pulled = 4.5 * unit(12) + 3.5 * unit(15) + 4.0 * unit(20)
        yield x[end] * 1.05, above[end], 0.07, 0.06, -1.0 - pulled * side_force(face, 1 if end else -1)


def _turned(straight: np.ndarray, grid: np.ndarray, width: float, view: View) -> np.ndarray:
    """The surface after yaw and pitch: every pixel takes the height that the turn brings there, and tilts."""
    across, down = np.meshgrid(grid, grid)
    x, y = across, down
    for _ in range(3):  # the inverse of `portrait.turned`, which has no closed form
        depth = HEAD_DEPTH * (1.0 - 0.9 * np.minimum(x * x, 1.0) - 0.35 * np.minimum(y * y, 1.0))
        depth = depth * (1.0 - 0.88 * np.minimum((x / width) ** 2, 1.0) ** 3)  # the outline stays nearly where it is
        x = (across - depth * math.sin(view.yaw)) / math.cos(view.yaw)
        y = (down - depth * math.sin(view.pitch)) / math.cos(view.pitch)
    side = len(grid)
    columns, rows = ((value / EXTENT + 1.0) * (side / 2.0) - 0.5 for value in (x, y))
    heights = cv2.remap(straight, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    tilt = MM_PER_LENGTH * (x * math.sin(view.yaw) + y * math.sin(view.pitch))
    return (heights * (math.cos(view.yaw) * math.cos(view.pitch)) - tilt).astype(np.float32)
