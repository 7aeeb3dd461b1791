"""The 468 points of a face drawn on a picture: its features as lines, dots where they have room, its direction."""

import math

import cv2
import numpy as np

from fer_hierarchy.inference.faces.pose import facing

Colour = tuple[int, int, int]

# Paths through the points of the mesh, those that come back to their start first.
_CLOSED = (
    "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 "  # the face, from the forehead to the chin
    "152 148 176 149 150 136 172 58 132 93 234 127 162 21 54 103 67 109",
    "33 7 163 144 145 153 154 155 133 173 157 158 159 160 161 246",  # the right eye
    "263 249 390 373 374 380 381 382 362 398 384 385 386 387 388 466",  # the left eye
    "61 146 91 181 84 17 314 405 321 375 291 409 270 269 267 0 37 39 40 185",  # the lips
    "78 95 88 178 87 14 317 402 318 324 308 415 310 311 312 13 82 81 80 191",  # the mouth
)
_OPEN = ("70 63 105 66 107", "46 53 52 65 55", "300 293 334 296 336", "276 283 282 295 285")  # the brows
_PATHS = [([int(word) for word in path.split()], path in _CLOSED) for path in (*_CLOSED, *_OPEN)]
_NOSE = 4  # among the points: its tip
_ARROW = 0.6  # length, in widths of the face, of the arrow of a face that looks to a side
_AT_CAMERA = 0.2  # share of that below which an arrow would be a dot: a face within 12 degrees
_RIMMED, _DOTTED = 160, 240  # pixels of a face's width from which lines have a dark rim, and all points are drawn
_RIM = 4  # pixels around the face
_OPACITY = 0.7
_SHIFT = 4  # fractions of pixels, as a power of two, in which OpenCV draws
_DARK, _LIGHT, _AMBER = (10, 14, 18), (240, 244, 247), (255, 209, 82)


def draw_mesh(canvas: np.ndarray, points: np.ndarray) -> None:
    """Draw a face's features, its points where it is large enough, and an arrow from its nose to where it looks.

    Args:
        canvas: uint8 (h, w, 3) RGB; drawn on.
        points: (468, 3) in its pixels.
    """
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    width = float(high[0] - low[0])
    first = np.maximum(np.floor(low - _RIM), 0).astype(int)
    part = canvas[first[1] : max(int(high[1]) + _RIM, 0), first[0] : max(int(high[0]) + _RIM, 0)]
    if part.size:
        drawn = part.copy()
        _draw_features(drawn, points[:, :2] - first, width)
        cv2.addWeighted(drawn, _OPACITY, part, 1 - _OPACITY, 0, dst=part)
    _draw_arrow(canvas, points, width)


def _draw_features(part: np.ndarray, points: np.ndarray, width: float) -> None:
    """Lines with a dark rim where they have room for one, and dots."""
    places = np.rint(points * 2**_SHIFT).astype(np.int32)
    thick = max(1, round(width / 250))
    layers = ((_DARK, thick + 2), (_LIGHT, thick)) if width >= _RIMMED else ((_LIGHT, thick),)
    for colour, thickness in layers:
        for path, closed in _PATHS:
            cv2.polylines(part, [places[path]], closed, colour, thickness, cv2.LINE_AA, _SHIFT)
    if width >= _DOTTED:
        radius = round(width / 300 * 2**_SHIFT)
        for place in places.tolist():
            cv2.circle(part, place, radius, _LIGHT, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_arrow(canvas: np.ndarray, points: np.ndarray, width: float) -> None:
    start, looking = points[_NOSE, :2], facing(points)
    if math.hypot(*looking) < _AT_CAMERA:
        return
    tail, tip = np.rint([start, start + _ARROW * width * looking]).astype(int).tolist()
    thick = max(1, round(width / 120))
    for colour, thickness in ((_DARK, thick + 2), (_AMBER, thick)):
        cv2.arrowedLine(canvas, tail, tip, colour, thickness, cv2.LINE_AA, tipLength=0.2)
