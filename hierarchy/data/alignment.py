"""Faces turned in the picture until their eyes are level, the depth with them.

The eyes come from the landmarks beside a picture (.lm2, .lm3, as the Bosphorus database has them), or else from a
detector. A face whose eyes are not found stays as it is: a wrong turn harms more than none.
"""

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_bytes
from fer_hierarchy.hierarchy.data.depth.depth_planes import warped
from fer_hierarchy.hierarchy.errors import UserError

_SIDES = ("left", "right")  # as seen in the picture
_CORNERS = ("inner {} eye corner", "outer {} eye corner")
_COUNT_LINE = re.compile(r"\d+ landmarks:?", re.IGNORECASE)
_LABELS, _PLACES = "labels:", "2d image coordinates:"

_CASCADE = "haarcascade_eye.xml"
_SEARCH_WIDTH = 320  # pixels: at 224, one face in ten lost an eye
_SCALE_STEP, _NEIGHBOURS = 1.05, 5
_EYE = (1 / 14, 1 / 3)  # of the picture's width: the smallest and the largest box
_UPPER = 0.6  # share of the picture's height that eyes lie in
_ALIKE = 1.6  # largest ratio of the two boxes' sides
_APART = (0.15, 0.6)  # of the picture's width, from eye to eye
_MOST_TURN = 30.0  # degrees
Distance = TypeVar("Distance", np.ndarray, None)
_own = threading.local()  # OpenCV's cascade keeps state while it searches: one for each thread


@dataclass(frozen=True, kw_only=True)
class EyeLine:
    """Where the eyes are.

    Attributes:
        middle: (column, row) in pixels, half way between them.
        degrees: How far the line from the picture's left eye to the right one falls; negative where it rises.
    """

    middle: tuple[float, float]
    degrees: float


def leveled(path: str | None, colour: np.ndarray, distance: Distance) -> tuple[np.ndarray, Distance]:
    """Turn a face until its eyes are level; unchanged where they are not found.

    Args:
        path: The picture's file, beside which landmarks may stand; None where it is in no file.
        colour: uint8 (h, w) or (h, w, 3) at native size.
        distance: float32 (h, w) millimetres, NaN in holes; None without depth.

    Raises:
        BadImageError: There are landmarks, but they cannot be read.
    """
    line = eye_line(path, colour)
    return (colour, distance) if line is None else turned(colour, distance, line)


def turned(colour: np.ndarray, distance: Distance, line: EyeLine) -> tuple[np.ndarray, Distance]:
    """Turn a face about the middle of its eyes until they are level.

    Both keep their size; what comes in from outside is 0 in the colours and a hole in the depth.
    """
    matrix = cv2.getRotationMatrix2D(line.middle, line.degrees, 1.0)
    size = (colour.shape[1], colour.shape[0])
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_CONSTANT
    level = cv2.warpAffine(colour, matrix, size, flags=flags, borderMode=border, borderValue=0)
    if distance is None:
        return level, distance
    return level, warped(distance, matrix, size, flags=flags, border=border)


def eye_line(path: str | None, colour: np.ndarray) -> EyeLine | None:
    """Find the eyes of a picture: from the landmarks beside it, or by looking.

    Args:
        path: The picture's file; None where it is in no file.
        colour: uint8 (h, w) or (h, w, 3).

    Returns:
        None where the eyes are not found, or where it is doubtful which of the things found they are.

    Raises:
        BadImageError: There are landmarks, but they cannot be read.
        UserError: OpenCV has no detector.
    """
    return (_from_landmarks(Path(path), colour) if path else None) or _detected(colour)


def _from_landmarks(picture: Path, colour: np.ndarray) -> EyeLine | None:
    flat, solid = picture.with_suffix(".lm2"), picture.with_suffix(".lm3")
    if flat.is_file() and (eyes := _eyes(_flat_landmarks(flat))) is not None:
        return _line(*eyes)
    if solid.is_file() and (eyes := _eyes(_solid_landmarks(solid))) is not None:
        # Millimetres upwards, without a place in the picture: the angle counts, about the middle.
        height, width = colour.shape[:2]
        degrees = _line(*(eyes * [1, -1])).degrees
        return EyeLine(middle=((width - 1) / 2, (height - 1) / 2), degrees=degrees)
    return None


def _line(left: np.ndarray, right: np.ndarray) -> EyeLine:
    """The line between two eyes, (column, row) each."""
    (column, row), (across, down) = (left + right) / 2, right - left
    return EyeLine(middle=(float(column), float(row)), degrees=float(np.degrees(np.arctan2(down, across))))


def _eyes(landmarks: dict[str, np.ndarray]) -> np.ndarray | None:
    """Centres (2, 2) of the eye on the left and on the right; None where a corner is not among the landmarks."""
    names = [[corner.format(side) for corner in _CORNERS] for side in _SIDES]
    if not all(name in landmarks for pair in names for name in pair):
        return None
    centres = np.array([np.mean([landmarks[name][:2] for name in pair], axis=0) for pair in names])
    return centres[np.argsort(centres[:, 0])]


def _flat_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Landmarks (column, row) by lower-case name from an .lm2 file: all names, then all places."""
    lines = _lines(path)
    lower = [line.lower() for line in lines]
    if _LABELS not in lower or _PLACES not in lower:
        raise BadImageError(f"landmarks {path.name}: no lines {_LABELS!r} and {_PLACES!r}")
    names = lower[lower.index(_LABELS) + 1 : lower.index(_PLACES)]
    return _named(path, names, lines[lower.index(_PLACES) + 1 :], 2)


def _solid_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Landmarks (x, y, z) in millimetres by lower-case name from an .lm3 file: each name before its place."""
    lines = _lines(path)
    start = next((number for number, line in enumerate(lines, 1) if _COUNT_LINE.fullmatch(line)), None)
    if start is None:
        raise BadImageError(f"landmarks {path.name}: no line with their number")
    return _named(path, [line.lower() for line in lines[start::2]], lines[start + 1 :: 2], 3)


def _lines(path: Path) -> list[str]:
    text = read_bytes(path).decode("latin-1")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _named(path: Path, names: list[str], places: list[str], numbers: int) -> dict[str, np.ndarray]:
    if len(names) != len(places):
        raise BadImageError(f"landmarks {path.name}: {len(names)} names for {len(places)} places")
    try:
        values = [[float(word) for word in place.split()] for place in places]
    except ValueError as error:
        raise BadImageError(f"landmarks {path.name}: {error}") from error
    if not all(len(value) == numbers and np.isfinite(value).all() for value in values):
        raise BadImageError(f"landmarks {path.name}: every place needs {numbers} finite numbers")
    return {name: np.array(value) for name, value in zip(names, values, strict=True)}


def _detected(colour: np.ndarray) -> EyeLine | None:
    """The one pair among the detector's boxes that can be the eyes."""
    grey = colour if colour.ndim == 2 else cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    scale = _SEARCH_WIDTH / grey.shape[1]
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    upper = cv2.resize(grey[: max(1, round(_UPPER * len(grey)))], None, fx=scale, fy=scale, interpolation=way)
    low, high = (round(share * _SEARCH_WIDTH) for share in _EYE)
    found = _cascade().detectMultiScale(upper, _SCALE_STEP, _NEIGHBOURS, minSize=(low, low), maxSize=(high, high))
    boxes = np.reshape(found, (-1, 4)).astype(float)  # left, top, width, height
    pairs = [(a, b) for a in boxes for b in boxes if _is_pair(a, b)]
    if len(pairs) != 1:
        return None
    return _line(*((_centre(box) + 0.5) / scale - 0.5 for box in pairs[0]))


def _centre(box: np.ndarray) -> np.ndarray:
    return box[:2] + (box[2:] - 1) / 2


def _is_pair(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two boxes can be a face's eyes: as large, as far apart and as level as eyes are."""
    across, down = _centre(right) - _centre(left)
    apart = np.hypot(across, down) / _SEARCH_WIDTH
    return (
        across > 0
        and max(left[2], right[2]) <= _ALIKE * min(left[2], right[2])
        and _APART[0] <= apart <= _APART[1]
        and abs(np.degrees(np.arctan2(down, across))) < _MOST_TURN
    )


def _cascade() -> "cv2.CascadeClassifier":
    """This thread's detector."""
    if not hasattr(cv2, "CascadeClassifier"):
        raise UserError(f"finding eyes needs OpenCV's cascades, which {cv2.__version__} has no more: opencv-python<5")
    if not hasattr(_own, "cascade"):
        folder = cv2.data.haarcascades  # type: ignore[attr-defined]  # missing in OpenCV's own types
        _own.cascade = cv2.CascadeClassifier(str(Path(folder) / _CASCADE))
    return _own.cascade
