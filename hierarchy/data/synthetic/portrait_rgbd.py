"""Draws one procedural face as a camera with a depth sensor sees it: FaceParameters -> colour and registered depth.

The shapes are those of `portrait`, each part in a colour of the person's own; the light falls on the
surface of `portrait_surface`, and the sensor measures the same surface. What makes a colour picture
hard (light, contrast) and what makes a depth picture hard (distance, holes) are drawn apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.synthetic.parameters import FaceParameters, View, between, seed
from fer_hierarchy.hierarchy.data.synthetic.portrait import (
    PARTS,
    Shape,
    face_shapes,
    fill,
    plane_turn,
    project,
    shading,
)
from fer_hierarchy.hierarchy.data.synthetic.portrait_surface import MM_PER_LENGTH, Build, surface

SIZE = 64  # pixels of the finished pictures, height and width
UNIT_MM = 0.125  # of the finished depth
_CANVAS = 128  # pixels drawn; twice the finished size, then reduced by area
_ROOM = 0.93  # how much smaller the head is than in the grey pictures, so that a dropped chin stays inside
_PIXEL_MM = 2.0 * MM_PER_LENGTH / (SIZE * _ROOM)  # what a finished pixel covers of a face at scale 1

# Probability that the sensor sees nothing of a part, beside the speckle that falls on all of them: hair swallows its
# pattern, ears lie too steep, eyes, teeth and glasses throw it elsewhere, and the open mouth lies in its shadow.
_BLIND = {
    "behind": 1.0,
    "skin": 0.0,
    "ear": 1.0,
    "hair": 1.0,
    "brow": 0.03,
    "white": 0.3,
    "iris": 0.35,
    "lip": 0.01,
    "mouth": 0.45,
    "teeth": 0.25,
    "frame": 0.5,
    "hand": 0.0,
    "bar": 1.0,
}
# Millimetres that a part lies behind (or, negative, before) the surface around it.
_SUNK = {"mouth": 16.0, "teeth": 5.0, "frame": -6.0, "hand": -25.0}


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colours of one person: (red, green, blue) factors on a part's grey tone, with a luminance near 1.

    Attributes:
        skin: Also of ears, lids and hands; `lips`, `hair` (with brows) and `iris` likewise.
    """

    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]

    def of(self, part: str) -> tuple[float, float, float]:
        """Factors of one of `portrait.PARTS`."""
        own = {"hair": self.hair, "brow": self.hair, "iris": self.iris, "lip": self.lips}
        plain = {"white": (1.02, 1.0, 0.97), "teeth": (1.04, 1.0, 0.9), "mouth": (1.5, 0.8, 0.8)}
        return own.get(part) or plain.get(part) or ((1.0, 1.0, 1.0) if part in ("frame", "bar") else self.skin)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What both sensors do to one picture."""

    light: tuple[float, float, float]  # colour of the light, (red, green, blue) factors
    exposure: float  # brightness, factor
    contrast: float  # draws all tones towards the face's mean, 1 leaves them
    noise: float  # of the colours, standard deviation in grey levels
    distance: float = between(480.0, 1080.0)  # from the camera to the plane of the ears, millimetres
    # Standard deviation of the depth in millimetres at half a metre; it grows with the square of the distance.
    depth_noise: float = between(0.2, 0.5)
    speckle: float = between(0.02, 0.05)  # share of the face where nothing is measured, beside eyes and mouth
    seed: int = seed()  # of noise and holes


class _Layers(NamedTuple):
    """A drawn face before camera and sensor, each of one square canvas."""

    colour: np.ndarray  # (n, n, 3) uint8 RGB, unlit
    crease: np.ndarray  # (n, n) float32, share of light that wrinkles take away, 0 to 1
    part: np.ndarray  # (n, n) uint8 index into `PARTS`
    relief: np.ndarray  # (n, n) float32, millimetres towards the camera


def render_pair(face: FaceParameters, palette: Palette, build: Build, shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Draw, light, photograph and measure one face.

    Returns:
        Colour (64, 64, 3) uint8 RGB, 0 behind the head and never on it; depth (64, 64) uint16 in units of `UNIT_MM`, 0
        where nothing was measured: in holes and on everything that is no face.
    """
    layers = _draw(face, palette, build)
    turn = plane_turn(face.view, _CANVAS)
    turn[:, :2] *= _ROOM
    turn[:, 2] = turn[:, 2] * _ROOM + (1.0 - _ROOM) * (_CANVAS - 1) / 2.0
    head = _finished((layers.part > 0).astype(np.float32), turn) >= 0.5
    return _photograph(layers, face.view, shot, turn, head), _measured(layers, shot, turn, head)


def _draw(face: FaceParameters, palette: Palette, build: Build) -> _Layers:
    """All layers of a face, from its shapes from the back to the front."""
    colour = np.zeros((_CANVAS, _CANVAS, 3), np.uint8)
    crease, part = np.zeros((2, _CANVAS, _CANVAS), np.uint8)
    shapes = face_shapes(face, np.random.default_rng(face.view.texture))
    for shape, points in zip(shapes, project(shapes, face.view, _CANVAS), strict=True):
        if shape.crease:
            fill(crease, shape, points, min(shape.tone, 255.0))
            continue
        fill(colour, shape, points, _tint(shape, palette))
        fill(part, shape, points, PARTS.index(shape.part), soft=False)
    soft = cv2.GaussianBlur(crease, (9, 9), 1.7).astype(np.float32) / 255.0
    return _Layers(colour=colour, crease=soft, part=part, relief=surface(face, build, _CANVAS))


def _tint(shape: Shape, palette: Palette) -> Sequence[float]:
    return [float(min(max(shape.tone * factor, 0.0), 255.0)) for factor in palette.of(shape.part)]


def _finished(layer: np.ndarray, turn: np.ndarray, outside: float = 0.0) -> np.ndarray:
    """A layer turned in the plane and reduced to the finished size."""
    placed = cv2.warpAffine(layer, turn, (_CANVAS, _CANVAS), flags=cv2.INTER_LINEAR, borderValue=(outside,) * 4)
    return cv2.resize(placed, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _photograph(layers: _Layers, view: View, shot: Shot, turn: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Light, exposure, contrast, blur and noise: (64, 64, 3) uint8."""
    light = shading(layers.relief / MM_PER_LENGTH, view) * (1.0 - layers.crease)
    small = _finished(layers.colour * light[..., None].astype(np.float32), turn)
    if view.blur > 0.2:
        small = cv2.GaussianBlur(small, (5, 5), view.blur)
    small *= np.float32(shot.exposure) * np.asarray(shot.light, np.float32)
    middle = small[head].mean() if head.any() else 0.0
    grain = np.random.default_rng([shot.seed, 0]).standard_normal(small.shape, dtype=np.float32)
    picture = middle + (small - middle) * shot.contrast + grain * shot.noise
    return np.where(head[..., None], np.clip(picture + 0.5, 1, 255), 0).astype(np.uint8)


def _measured(layers: _Layers, shot: Shot, turn: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Distance with noise, steps and holes: (64, 64) uint16."""
    rng = np.random.default_rng([shot.seed, 1])
    sunk = np.array([_SUNK.get(part, 0.0) for part in PARTS], np.float32)[layers.part]
    relief = _finished(layers.relief - cv2.GaussianBlur(sunk, (5, 5), 1.2), turn)
    distance = shot.distance - relief
    growth = (distance / 500.0) ** 2
    # Half of the noise is a sensor's grain, half drifts over some pixels, as matching windows make it.
    grain = (_field(rng, 0.0) + _field(rng, 1.5)) * np.float32(0.5**0.5)
    units = (distance + shot.depth_noise * growth * grain) / UNIT_MM
    step = np.maximum(np.rint(2.0 * growth), 1.0)
    units = np.clip(np.rint(units / step) * step, 1, 65535)
    return np.where(head & ~_holes(layers, shot, turn, relief, rng), units, 0).astype(np.uint16)


def _holes(layers: _Layers, shot: Shot, turn: np.ndarray, relief: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where the sensor saw nothing: (64, 64) bool, in spots of some pixels."""
    blind = _finished(np.array([_BLIND[part] for part in PARTS], np.float32)[layers.part], turn, outside=1.0)
    steep = np.hypot(*np.gradient(relief)) / _PIXEL_MM
    blind = np.maximum(blind, np.clip((steep - 2.0) / 3.0, 0.0, 0.8))
    seen = (1.0 - blind) * (1.0 - shot.speckle)
    chance = 1.0 / (1.0 + np.exp(-1.702 * _field(rng, 0.6)))  # a normal number's place among all, 0 to 1
    return chance >= seen


def _field(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Normal noise (64, 64) float32 of deviation 1 that is alike over `spread` pixels."""
    noise = rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    if spread == 0.0:
        return noise
    noise = cv2.GaussianBlur(noise, (0, 0), spread)
    return noise / noise.std()
