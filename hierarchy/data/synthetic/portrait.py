"""Draws one procedural face: FaceParameters -> grey pixels, by way of tone, crease and height layers.

A face is a list of shapes in face coordinates plus a height field of smooth bumps. Shapes are projected with the pose
and filled into the tone layer; the height field lights it. `portrait_rgbd` draws the same shapes in
colour, over a surface measured in millimetres.

Face coordinates: x to the right, y down, an upright face's picture spans [-1, 1]; eyes near y = -0.2, mouth near 0.5,
chin near 0.9. Left and right are those of the picture: `side` is -1 for the left half and 1 for the right one.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.synthetic.parameters import FaceParameters, Identity, View

SIZE = 48  # pixels of the finished picture, height and width
_CANVAS = 96  # pixels drawn; twice the finished size, then reduced by area
EXTENT = 1.2  # the canvas spans -1.2 to 1.2 in face coordinates, so that small or shifted faces keep their surroundings
_SHIFT = 4  # fractional bits of the coordinates that cv2 draws with
HEAD_DEPTH = 0.75  # how far the face bulges towards the camera, in face coordinates

PARTS = ("behind", "skin", "ear", "hair", "brow", "white", "iris", "lip", "mouth", "teeth", "frame", "hand", "bar")


class Layers(NamedTuple):
    """A drawn face before light and camera, each (96, 96)."""

    tone: np.ndarray  # uint8, grey tone of the surface
    crease: np.ndarray  # float32, share of light that wrinkles and soft shadows take away, 0 to 1
    height: np.ndarray  # float32, distance towards the camera in face coordinates


class Shape(NamedTuple):
    """One polygon (`width` 0) or line; `parallax` is 1 on the face, 0 at the turning axis."""

    points: np.ndarray  # (n, 2) face coordinates
    tone: float
    width: float = 0.0  # pixels of a canvas of 96
    parallax: float = 1.0
    crease: bool = False  # drawn into the crease layer, where `tone` is the darkening
    part: str = "skin"  # one of `PARTS`


_T = np.linspace(-1.0, 1.0, 13)
_ARCH = 1.0 - _T**2  # 0 at the ends, 1 in the middle
_DOME = np.sqrt(_ARCH)
_ALONG = np.linspace(0.0, 1.0, 9)
_TAPER = (1.0 - 0.75 * _ALONG**1.5) * np.minimum(1.0, 0.6 + _ALONG * 3)
_TURN = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)
_GRID = ((np.arange(_CANVAS, dtype=np.float32) + 0.5) * (2.0 / _CANVAS) - 1.0) * EXTENT


def render(face: FaceParameters) -> np.ndarray:
    """Draw, light and photograph one face.

    Returns:
        (48, 48) uint8.
    """
    return photograph(draw_layers(face), face.view)


def draw_layers(face: FaceParameters) -> Layers:
    """Draw a face without light: the tone, crease and height layers."""
    rng = np.random.default_rng(face.view.texture)
    tone = _background(face.view, rng)
    crease = np.zeros((_CANVAS, _CANVAS), np.uint8)
    shapes = face_shapes(face, rng)
    for shape, points in zip(shapes, project(shapes, face.view, _CANVAS), strict=True):
        fill(crease if shape.crease else tone, shape, points, float(min(max(shape.tone, 0.0), 255.0)))
    soft = cv2.GaussianBlur(crease, (7, 7), 1.3).astype(np.float32) / 255.0
    return Layers(tone=tone, crease=soft, height=_height(face))


def face_shapes(face: FaceParameters, rng: np.random.Generator) -> list[Shape]:
    """Everything that is seen of a face from the back to the front; `rng` places the strands of hair before it."""
    parts = chain(_back(face), _head(face), _eyes(face), _nose(face), _mouth(face), _creases(face), _front(face, rng))
    return [shape for shape in parts if not (shape.crease and shape.tone < 8)]


def fill(
    canvas: np.ndarray, shape: Shape, points: np.ndarray, tint: float | Sequence[float], *, soft: bool = True
) -> None:
    """Draw a shape at its projected `points` into a square uint8 canvas, with smooth edges unless it holds labels."""
    line = cv2.LINE_AA if soft else cv2.LINE_8
    if shape.width:
        width = max(1, round(shape.width * len(canvas) / _CANVAS))
        cv2.polylines(canvas, [points], False, tint, width, line, _SHIFT)
    else:
        cv2.fillPoly(canvas, [points], tint, line, _SHIFT)


def photograph(layers: Layers, view: View) -> np.ndarray:
    """Light the layers and take the picture: shading, pose in the plane, reduction, blur, contrast and noise.

    Returns:
        (48, 48) uint8.
    """
    lit = layers.tone * shading(layers.height, view) * (1.0 - layers.crease)
    turn = plane_turn(view, _CANVAS)
    placed = cv2.warpAffine(lit, turn, (_CANVAS, _CANVAS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(placed, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    if view.blur > 0.2:
        small = cv2.GaussianBlur(small, (5, 5), view.blur)
    grain = np.random.default_rng([view.texture, 1]).standard_normal((SIZE, SIZE), dtype=np.float32)
    picture = (small - 128.0) * view.gain + (128.0 + view.bias) + grain * view.noise
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def plane_turn(view: View, side: int) -> np.ndarray:
    """Roll, scale and shift about the middle of a canvas of `side` pixels as cv2's source-to-target matrix, (2, 3)."""
    middle = (side - 1) / 2.0
    zoom = view.scale * EXTENT
    cos, sin = zoom * math.cos(view.roll), zoom * math.sin(view.roll)
    right, down = view.shift_x * side / 2.0, view.shift_y * side / 2.0
    return np.array(
        [[cos, -sin, middle + right - (cos - sin) * middle], [sin, cos, middle + down - (sin + cos) * middle]]
    )


def shading(height: np.ndarray, view: View) -> np.ndarray:
    """Light on a square height field: ambient, diffuse and a little gloss; 1 where the surface faces the camera."""
    per_length = len(height) / (16.0 * EXTENT)  # Sobel's weights sum to 8 a pixel, and a length of 1 has so many pixels
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=per_length)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=per_length)
    toward = 1.0 / math.sqrt(1.0 + view.light_x**2 + view.light_y**2)
    facing = (1.0 - view.light_x * slope_x - view.light_y * slope_y) / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    facing = np.maximum(facing * toward, 0.0)
    gloss = facing**4
    gloss *= gloss * gloss * 0.14
    return view.ambient + (1.0 - view.ambient) / toward * facing * 0.93 + gloss


def project(shapes: list[Shape], view: View, side: int) -> list[np.ndarray]:
    """Turn all shapes' points with the head and give them as cv2 fixed-point pixels of a canvas of `side` pixels.

    Returns:
        One (n, 2) int32 array a shape.
    """
    sizes = [len(shape.points) for shape in shapes]
    points = np.concatenate([shape.points for shape in shapes])
    parallax = np.repeat([shape.parallax for shape in shapes], sizes)
    x, y = turned(points[:, 0], points[:, 1], parallax, view)
    # A pixel's centre has whole-number coordinates in cv2, so the canvas runs from -0.5 to side - 0.5.
    pixels = (_line(x, y) / EXTENT + 1.0) * (side / 2.0) - 0.5
    fixed = np.rint(pixels * (1 << _SHIFT)).astype(np.int32)
    ends = list(accumulate(sizes))
    return [fixed[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def turned(x: np.ndarray, y: np.ndarray, parallax: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Orthographic projection of points on the turned, bulging face."""
    depth = parallax * HEAD_DEPTH * (1.0 - 0.9 * np.minimum(x * x, 1.0) - 0.35 * np.minimum(y * y, 1.0))
    across = x * (1.0 - parallax * (1.0 - math.cos(view.yaw))) + depth * math.sin(view.yaw)
    down = y * (1.0 - parallax * (1.0 - math.cos(view.pitch))) + depth * math.sin(view.pitch)
    return across, down


def _background(view: View, rng: np.random.Generator) -> np.ndarray:
    """An uneven plain background, (96, 96) uint8."""
    coarse = view.background + view.clutter * rng.standard_normal((4, 4))
    return np.clip(cv2.resize(coarse, (_CANVAS, _CANVAS), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def _height(face: FaceParameters) -> np.ndarray:
    """The height field: a rounded head plus bumps for brows, sockets, nose, cheeks, lips and chin, (96, 96) float32."""
    who = face.identity
    radius = np.minimum((_GRID / (who.width * 1.08)) ** 2 + ((_GRID + 0.03) / 1.08)[:, None] ** 2, 1.0)
    bumps = np.array(list(_bumps(face)), dtype=np.float32)  # columns: x, y, spread x, spread y, height
    x, y = turned(bumps[:, 0], bumps[:, 1], np.ones(len(bumps), np.float32), face.view)
    across = np.exp(-(((_GRID - x[:, None]) / bumps[:, 2, None]) ** 2))
    down = np.exp(-(((_GRID - y[:, None]) / bumps[:, 3, None]) ** 2)) * bumps[:, 4, None]
    head = np.float32(HEAD_DEPTH / 4.0) * (2.0 - radius - radius * radius)
    # cv2's product, because BLAS wakes threads for these small matrices and rounds differently between machines.
    return cv2.gemm(down, across, 1.0, head, 1.0, flags=cv2.GEMM_1_T)


def _bumps(face: FaceParameters) -> Iterator[tuple[float, float, float, float, float]]:
    """(x, y, spread x, spread y, height) of every bump."""
    who, unit = face.identity, face.unit
    nose, lift = who.nose_size, 0.05 * unit(9)
    jaw = 0.14 * unit(26)
    yield 0.0, -0.02, 0.075 * nose, 0.26, 0.09 * nose
    yield 0.0, 0.19 - lift, 0.11 * nose, 0.10, 0.13 * nose
    yield 0.0, -0.62, 0.5, 0.25, 0.05
    yield 0.0, 0.47 + jaw / 2, 0.32, 0.2, 0.06
    yield 0.0, 0.8 + jaw, 0.18, 0.12, 0.08
    yield 0.0, -0.42, 0.09, 0.10, 0.035 * unit(4) + 0.03 * unit(9)
    for side in (-1, 1):
        yield side * 0.115 * nose, 0.225 - lift, 0.065, 0.06, 0.055 + 0.02 * unit(9)
        yield side * 0.3, -0.43 + 0.06 * unit(4), 0.22, 0.075, 0.045 + 0.03 * unit(4)
        yield side * 0.3 * who.eye_gap, -0.18, 0.18, 0.11, -0.075
        smile = max(unit(6), unit(12))
        yield side * 0.42, 0.2 - 0.06 * smile, 0.2, 0.16, 0.05 + 0.08 * smile + 0.03 * unit(9)


def _back(face: FaceParameters) -> Iterator[Shape]:
    """What stands behind the head: long hair, neck and shoulders."""
    who = face.identity
    if who.hair_style == "long":
        yield Shape(_CIRCLE * [who.width + 0.2, 1.05] + [0.0, -0.1], who.hair * 0.8, parallax=-0.1, part="hair")
        yield Shape(_box(-who.width - 0.2, 0.1, who.width + 0.2, 1.4), who.hair * 0.7, parallax=-0.1, part="hair")
    shoulders = np.array([[-1.3, 1.6], [-1.1, 1.12], [-0.4, 0.95], [0.4, 0.95], [1.1, 1.12], [1.3, 1.6]])
    yield Shape(shoulders, who.hair, parallax=0.0, part="behind")
    neck = who.width * 0.68
    yield Shape(_box(-neck, 0.4, neck, 1.05), who.skin * 0.62, parallax=0.0, part="behind")


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The curve y(x) as points, (n, 2)."""
    points = np.empty((len(x), 2))
    points[:, 0] = x
    points[:, 1] = y
    return points


def _band(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The closed outline between two curves over the same x, (2n, 2)."""
    points = np.empty((2 * len(x), 2))
    points[: len(x), 0] = x
    points[: len(x), 1] = top
    points[len(x) :, 0] = x[::-1]
    points[len(x) :, 1] = bottom[::-1]
    return points


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _head(face: FaceParameters) -> Iterator[Shape]:
    """Ears, skin and hair of the head, drawn from the back to the front."""
    who = face.identity
    for side in (-1, 1):
        if who.hair_style != "long":
            yield Shape(
                _CIRCLE * [0.09, 0.17] + [side * (who.width + 0.03), -0.05], who.skin * 0.86, parallax=-0.15, part="ear"
            )
    if who.hair_style != "bald":
        volume = 0.1 * (1.0 + 0.35 * np.cos(7 * _TURN[:, None])) if who.hair_style == "curly" else 0.0
        yield Shape(
            _CIRCLE * [who.width + 0.06, 0.76] * (1.0 + volume) + [0.0, -0.3], who.hair, parallax=0.0, part="hair"
        )
    yield Shape(outline(face), who.skin, parallax=0.12)
    if who.beard > 0:
        yield Shape(_beard_points(face), 190 * who.beard, crease=True, parallax=0.5)
    if who.hair_style != "bald":
        yield from _hair(who)


def outline(face: FaceParameters) -> np.ndarray:
    """The face's edge, (24, 2): an ellipse that narrows to the jaw and grows longer with a dropped jaw."""
    who = face.identity
    down = np.maximum(_CIRCLE[:, 1], 0.0)
    x = who.width * np.sign(_CIRCLE[:, 0]) * np.abs(_CIRCLE[:, 0]) ** 0.8 * (1.0 - who.jaw * down**2)
    y = -0.05 + 0.95 * _CIRCLE[:, 1] + 0.13 * face.unit(26) * down**2
    return _line(x, y)


def _beard_points(face: FaceParameters) -> np.ndarray:
    """Lower face: from ear to ear over the chin, above by way of the upper lip, (n, 2)."""
    edge = outline(face)
    jaw = edge[_CIRCLE[:, 1] > 0.2] * [0.99, 1.0]
    cheek = np.array([[-0.45, 0.42], [-0.2, 0.33], [0.2, 0.33], [0.45, 0.42]])
    return np.concatenate([jaw, cheek])


def _hairline(who: Identity) -> np.ndarray:
    """Height of the hair's lower edge over the forehead from left to right, (13,)."""
    temples = 0.34 * _T**4
    return who.hairline + {
        "short": temples,
        "receding": -0.16 + 0.1 * np.cos(_T * 4.5) + 0.2 * _T**2 + 0.2 * _T**6,
        "curly": 0.9 * temples + 0.03 * np.cos(_T * 17.0),
        "fringe": 0.09 + 0.3 * temples + 0.03 * np.cos(_T * 14.0 + 20.0 * who.hairline),
        "parted": -0.08 + 0.16 * np.abs(_T - 0.35) + 0.28 * _T**4,
        "long": -0.1 + 0.42 * np.abs(_T) ** 1.4,
    }.get(who.hair_style, temples)


def _hair(who: Identity) -> Iterator[Shape]:
    """Hair that falls over the forehead: everything between the crown and the hairline."""
    x, line = _T * (who.width + 0.05), _hairline(who)
    crown = -0.3 - 0.74 * _DOME
    yield Shape(_band(x, line, crown), who.hair, parallax=0.35, part="hair")
    for number, strand in enumerate((1, 3, 4, 5, 7, 9, 10, 11)):
        sweep = _band(x[strand : strand + 1], line[strand : strand + 1] - 0.03, 0.8 * crown[strand : strand + 1] - 0.18)
        tone = who.hair * 0.7 if number % 3 else who.hair * 0.8 + 40
        yield Shape(sweep * [[1.0, 1.0], [0.75, 1.0]], tone, 1, 0.35, part="hair")
    if who.hair_style == "long":
        for side in (-1, 1):
            edge = side * (who.width + 0.1)
            lock = np.array([[edge, -0.7], [edge * 0.8, -0.45], [edge * 0.86, 1.3], [edge * 1.25, 1.3]])
            yield Shape(lock, who.hair, parallax=0.2, part="hair")


def side_force(face: FaceParameters, side: int) -> float:
    """How strongly one half of the face moves."""
    return 1.0 - side * face.identity.asymmetry


def _eyes(face: FaceParameters) -> Iterator[Shape]:
    """Both eyes with lids and brows."""
    for side in (-1, 1):
        yield from _eye(face, side)
        yield from _brow(face, side)


def lids(face: FaceParameters, side: int) -> tuple[float, float]:
    """Height of the upper and the lower lid above and below the eye's middle line, face coordinates."""
    unit, force = face.unit, side_force(face, side)
    upper = 0.075 + face.identity.lid_rest
    upper += force * (0.055 * unit(5) - 0.028 * unit(7) - 0.03 * unit(9) - 0.016 * unit(6) - 0.012 * unit(4))
    upper -= 0.016 * unit(15) + 0.08 * face.view.blink
    lower = 0.055 + force * (0.012 * unit(5) - 0.03 * unit(7) - 0.036 * unit(6) - 0.022 * unit(9))
    return max(upper, 0.008), max(lower, 0.004)


def _eye(face: FaceParameters, side: int) -> Iterator[Shape]:
    """White, iris and pupil, then the lids over them; lids cut the iris off as they do in life."""
    who, view = face.identity, face.view
    upper, lower = (height * who.eye_size for height in lids(face, side))
    x = side * 0.3 * who.eye_gap + 0.165 * who.eye_size * _T
    # The outer corner stands a little higher than the inner one; sadness (1 with 15) lets it sink.
    middle = -0.18 - side * _T * (0.012 - 0.03 * face.unit(15) * face.unit(1))
    top, bottom = middle - upper * _DOME, middle + lower * _ARCH
    yield Shape(_band(x, top, bottom), 118 + 0.48 * who.skin, part="white")
    pupil = [side * 0.3 * who.eye_gap + 0.05 * view.gaze_x, -0.185 + 0.02 * view.gaze_y]
    yield Shape(_CIRCLE * (0.08 * who.eye_size) + pupil, who.iris, part="iris")
    yield Shape(_CIRCLE * (0.036 * who.eye_size) + pupil, 15, part="iris")
    yield Shape(_CIRCLE[::4] * 0.018 + pupil + [0.025, -0.03], 235, part="white")
    fold = middle - (upper + 0.055) * _DOME - 0.012
    yield Shape(_band(x, top, fold), who.skin * 0.9)
    yield Shape(_band(x, bottom, middle + lower + 0.055 * _ARCH + 0.02), who.skin * 0.97)
    yield Shape(_line(x, top), who.skin * 0.2 + 10, 2)
    yield Shape(_line(x, bottom), who.skin * 0.62, 1)
    yield Shape(_line(x, fold), 60, 1, crease=True)


def _brow(face: FaceParameters, side: int) -> Iterator[Shape]:
    """A brow, thinner towards its outer end."""
    who = face.identity
    x, y = brow_curve(face, side)
    half = 0.025 * who.brow_weight * _TAPER
    yield Shape(_band(x, y - half, y + half), 0.75 * who.hair + 0.12 * who.skin, part="brow")


def brow_curve(face: FaceParameters, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Places x and heights y of a brow, (9,) each, through three points that action units 1, 2 and 4 move."""
    who, unit, force = face.identity, face.unit, side_force(face, side)
    base = -0.40 - who.brow_rest
    inner = base + 0.03 + who.brow_tilt + force * (-0.12 * unit(1) + 0.12 * unit(4) + 0.05 * unit(9))
    mid = base - 0.035 + force * (-0.05 * unit(1) - 0.09 * unit(2) + 0.08 * unit(4) + 0.04 * unit(9))
    outer = base + 0.03 - who.brow_tilt + force * (-0.10 * unit(2) + 0.025 * unit(4) + 0.02 * unit(1))
    # The parabola through the three heights at 0, 1/2 and 1 of the brow's length.
    y = inner + _ALONG * (4 * mid - 3 * inner - outer) + _ALONG**2 * (2 * inner - 4 * mid + 2 * outer)
    start = 0.12 - 0.035 * unit(4)
    return side * (start + (0.52 - start) * _ALONG), y


def _nose(face: FaceParameters) -> Iterator[Shape]:
    """Nostrils and the shadows beside and below the nose; its body comes from the height field."""
    who, lift = face.identity, 0.05 * face.unit(9)
    wide = who.nose_size * (1.0 + 0.18 * face.unit(9) + 0.06 * face.unit(12))
    for side in (-1, 1):
        yield Shape(_CIRCLE * [0.034, 0.02] + [side * 0.065 * wide, 0.275 - lift], who.skin * 0.3)
        wing = np.array([[0.13, 0.15], [0.165, 0.21], [0.15, 0.27], [0.12, 0.285]]) * [side * wide, 1.0] - [0.0, lift]
        yield Shape(wing, 75, 2, crease=True)
    yield Shape(np.array([[-0.1 * wide, 0.30], [0.0, 0.315], [0.1 * wide, 0.30]]) - [0.0, lift], 80, 2, crease=True)


def _mouth(face: FaceParameters) -> Iterator[Shape]:
    """Lips, the dark between them and the teeth, from four curves that meet in the mouth's corners."""
    who = face.identity
    x, top, above, below, bottom = mouth_curves(face)
    yield Shape(_band(x, top, above), who.skin * 0.60, part="lip")
    yield Shape(_band(x, below, bottom), who.skin * 0.74, part="lip")
    if (below - above).max() > 0.02:
        yield Shape(_band(x, above, below), 30, part="mouth")
        yield from _teeth(face, x, above, below)
    yield Shape(_line(x, above), who.skin * 0.28, 1.4, part="lip")
    yield Shape(_line(x * 0.5, bottom + 0.035), 80, 3, crease=True)


def mouth_curves(face: FaceParameters) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places x and heights of the upper lip's top and edge and of the lower lip's edge and bottom, each (13,)."""
    who, unit = face.identity, face.unit
    half = (
        0.25 * who.mouth_width + 0.08 * unit(12) + 0.07 * unit(20) - 0.05 * unit(23) - 0.05 * unit(26) + 0.02 * unit(16)
    )
    force = 1.0 - who.asymmetry * _T
    corner = who.mouth_rest + force * (-0.17 * unit(12) + 0.11 * unit(15) + 0.035 * unit(20))
    middle = 0.53 + 0.02 * unit(12) - 0.03 * unit(15) + corner * np.abs(_T) ** 1.7 + 0.01 * unit(26)
    parted = 0.06 * unit(25)
    raised = 0.03 * unit(26) + 0.045 * unit(9) + parted * (0.5 + 0.5 * unit(12)) * (1 - unit(23))
    dropped = 0.24 * unit(26) + 0.06 * unit(16) + parted * (1.0 + 1.4 * unit(12)) + 0.02 * unit(20)
    # A pressed mouth (23) stays shut unless the jaw opens it.
    opening = _DOME if unit(26) > 0.3 else _ARCH
    open_up = raised * (0.25 if unit(25) + unit(26) < 0.1 else 1.0)
    open_down = dropped * (0.35 if unit(25) + unit(26) + unit(16) < 0.1 else 1.0)
    lip = who.lip * (1.0 - 0.65 * unit(23)) * (1.0 - 0.25 * unit(20)) * (1.0 - 0.25 * unit(12))
    bow = 1.0 - 0.3 * np.exp(-((_T / 0.18) ** 2))
    lift = 0.035 * unit(9) * _ARCH
    above, below = middle - open_up * opening - lift, middle + open_down * opening - lift * 0.5
    return half * _T, above - 0.06 * lip * _DOME * bow, above, below, below + 0.075 * lip * _ARCH


def _teeth(face: FaceParameters, x: np.ndarray, above: np.ndarray, below: np.ndarray) -> Iterator[Shape]:
    """Upper teeth where the upper lip is up, lower teeth where the lower lip is drawn down, inside the opening."""
    gap = below - above
    tone = 175 + 0.2 * face.identity.skin
    upper = 0.025 + 0.075 * face.unit(12) + 0.04 * face.unit(9)
    edge = np.minimum(above + upper * _DOME, above + 0.85 * gap)
    yield Shape(_band(x, above, edge), tone, part="teeth")
    if face.unit(16) + face.unit(20) > 0.3:
        edge = np.maximum(below - 0.045, above + 0.65 * gap)
        yield Shape(_band(x, edge, below), tone * 0.9, part="teeth")


def _creases(face: FaceParameters) -> Iterator[Shape]:
    """Wrinkles that the action units fold, deeper with age."""
    unit, depth = face.unit, 0.7 + 0.6 * face.identity.age
    raised = max(unit(1), unit(2)) * (0.5 + face.identity.age * 0.5)
    for row in (-0.58, -0.66):
        line = _line(0.36 * _T, row - 0.02 * _ARCH * (1 + unit(2)) + 0.02 * unit(4))
        yield Shape(line, 85 * raised * depth, 1, crease=True)
    if unit(9) > 0.15:
        for y in (-0.24, -0.17, -0.1):
            yield Shape(np.array([[-0.07, y], [0.0, y - 0.035], [0.07, y]]), 110 * unit(9) * depth, 1, crease=True)
    for side in (-1, 1):
        yield from _side_creases(face, side, depth)


def _side_creases(face: FaceParameters, side: int, depth: float) -> Iterator[Shape]:
    """One half's wrinkles: frown, nasolabial fold, crow's feet, lower lid and the corner of the mouth."""
    unit, age = face.unit, face.identity.age
    frown = np.array([[side * 0.06, -0.43], [side * 0.05, -0.3]])
    yield Shape(frown, 110 * unit(4) * depth, 1, crease=True)
    fold = 0.12 + 0.25 * age + 0.6 * max(unit(12), unit(9), 0.5 * unit(20), 0.4 * unit(15))
    reach = 0.05 * unit(12) + 0.02 * unit(20)
    nasolabial = np.array(
        [[0.16, 0.17 - 0.05 * unit(9)], [0.27 + reach, 0.31], [0.33 + reach, 0.46], [0.32 + reach, 0.54]]
    )
    yield Shape(nasolabial * [side, 1.0], 120 * fold, 2, crease=True)
    if unit(6) > 0.2:
        for rise in (-0.05, 0.03):
            feet = np.array([[0.49, -0.17 + rise * 0.4], [0.58, -0.17 + rise * 1.6]]) * [side, 1.0]
            yield Shape(feet, 110 * unit(6) * depth, 1, crease=True)
    pouch = _line(side * 0.3 + 0.13 * _T, -0.07 + 0.03 * _ARCH - 0.03 * unit(6))
    yield Shape(pouch, 25 + 70 * max(unit(6), unit(7), 0.7 * unit(9)) + 40 * age, 1, crease=True)
    if unit(15) > 0.15:
        sag = np.array([[0.27, 0.62], [0.32, 0.72]]) * [side, 1.0]
        yield Shape(sag, 130 * unit(15) * depth, 2, crease=True)


def _front(face: FaceParameters, rng: np.random.Generator) -> Iterator[Shape]:
    """What stands before the face: glasses, and a hand, a bar or a strand of hair."""
    who, view = face.identity, face.view
    if who.glasses:
        yield from _glasses(who)
    if view.occlusion == "hand":
        yield from _hand(who, view)
    elif view.occlusion == "bar":
        top = -0.9 + 1.5 * view.occlusion_place
        tone = 20 if view.texture % 2 else 225
        bar = np.array([[-1.5, top], [1.5, top + 0.15], [1.5, top + 0.37], [-1.5, top + 0.22]])
        yield Shape(bar, tone, parallax=0.0, part="bar")
    elif view.occlusion == "strand":
        place = 1.1 * view.occlusion_place - 0.55
        for offset in rng.uniform(-0.12, 0.12, 7):
            lock = np.array([[place * 0.4, -0.95], [place + offset, -0.3], [place * 1.2 + offset, 0.25 + offset]])
            yield Shape(lock, who.hair + 60 * offset, 2, part="hair")


def _glasses(who: Identity) -> Iterator[Shape]:
    """Two rims, a bridge and the temples."""
    tone = 25 if who.skin > 110 else 10
    for side in (-1, 1):
        rim = np.sign(_CIRCLE) * np.abs(_CIRCLE) ** 0.7 * [0.215, 0.155] + [side * 0.3 * who.eye_gap, -0.16]
        yield Shape(np.concatenate([rim, rim[:1]]), tone, who.glasses, part="frame")
        yield Shape(
            np.array([[side * 0.52, -0.2], [side * (who.width + 0.02), -0.22]]), tone, who.glasses, 0.6, part="frame"
        )
    yield Shape(np.array([[-0.09, -0.18], [0.0, -0.2], [0.09, -0.18]]), tone, who.glasses, part="frame")


def _hand(who: Identity, view: View) -> Iterator[Shape]:
    """Four fingers that reach in from below at one side and cover cheek, chin or part of the mouth."""
    side = 1 if view.texture % 2 else -1
    reach = 0.15 + 0.45 * view.occlusion_place
    for finger, length in enumerate((0.08, 0.0, 0.02, 0.1)):
        x = side * (0.22 + 0.15 * finger)
        bone = np.array([[x + side * 0.12, 1.3], [x, reach + length]])
        yield Shape(bone, who.skin * 0.55, 9, 0.6, part="hand")
        yield Shape(bone + 0.006, who.skin * (1.02 - 0.03 * finger), 7, 0.6, part="hand")
