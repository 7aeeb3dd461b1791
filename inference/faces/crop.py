"""A face in a picture, and the square around it that a model predicts."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.alignment import EyeLine, turned

_EYES_APART = 0.15  # of the box's longer side: nearer eyes are a profile's, whose line is no use
# Medians over 760 FER-2013 training faces (of 800, enlarged four times, their border repeated around them) with one
# face each by BlazeFace, as shares of the picture's side: from eye to eye, from their middle to the mouth, and how far
# the eyes lie above and the mouth below the picture's middle.
_EYE_TO_EYE, _EYES_TO_MOUTH = 0.371, 0.381
_EYES_ABOVE, _MOUTH_BELOW = 0.101, 0.281
_BENT = 0.8  # of the size by the eyes: what a head that is bent, mouth and eyes close together, has at least
_MOUTH = 3  # among the points


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face in a picture.

    Attributes:
        box: (left, top, width, height) in pixels of the picture, within it.
        score: How sure the detector is, the surer the larger; None where it gives none.
        points: (2 or more, 2) float64, (column, row) of the person's right eye and left eye, then, where the detector
            finds them, of nose and mouth; None where unknown.
        margin: How much further than the box the square around the face reaches at each side, as a share of the box's
            longer side, to be like the faces that models are trained on.
        quarters: Counter-clockwise turns by 90 degrees after which the detector saw the face upright.
        mesh: (468, 3) float64, the points as `inference.faces.landmarks.FaceMesh` finds them; None where unknown.
    """

    box: tuple[int, int, int, int]
    score: float | None = None
    points: np.ndarray | None = field(default=None, compare=False)
    margin: float = 0.0
    quarters: int = 0
    mesh: np.ndarray | None = field(default=None, compare=False)


def crop(picture: np.ndarray, face: Face, *, margin: float | None = None, align: bool = True) -> np.ndarray:
    """Cut out the square around a face; what lies outside the picture repeats its border.

    Args:
        picture: uint8 (h, w) or (h, w, 3), the one that the face was found in.
        face: The face.
        margin: How much further than the box the square reaches at each side, as a share of the box's longer side;
            None for the face's own.
        align: Turn the face until its eyes are level, where they are known.

    Returns:
        uint8 (s, s) or (s, s, 3) at the picture's own resolution.
    """
    line = eye_line(face)
    middle, side = _boxed(face) if face.points is None or len(face.points) <= _MOUTH else _featured(face.points, line)
    side = max(1, round(side * (1 + 2 * (face.margin if margin is None else margin))))
    if line and align:
        return _leveled(picture, middle, side, line)
    return np.ascontiguousarray(np.rot90(_square(picture, middle, side), face.quarters))


def _boxed(face: Face) -> tuple[np.ndarray, float]:
    """Middle (column, row) and side of the square around a face's box."""
    left, top, width, height = face.box
    return np.array([left + (width - 1) / 2, top + (height - 1) / 2]), max(width, height)


def _featured(points: np.ndarray, line: EyeLine | None) -> tuple[np.ndarray, float]:
    """Middle and side of the square in which eyes and mouth are where they are in FER-2013.

    The distance of eyes and mouth decides the size, as the one between the eyes shrinks when a head turns away. On 840
    FER-2013 validation faces that were pasted into pictures at four sizes and angles, this is right on 65.4 %, the
    longer of both distances on 64.3 %, the detector's box on 64.9 %; the faces as they are on 66.0 %.
    """
    eyes, mouth = points[:2].mean(axis=0), points[_MOUTH]
    apart, below = np.linalg.norm(points[1] - points[0]), np.linalg.norm(mouth - eyes)
    side = max(below / _EYES_TO_MOUTH, _BENT * apart / _EYE_TO_EYE)
    angle = math.radians(line.degrees) if line else 0.0
    down = np.array([-math.sin(angle), math.cos(angle)])
    return (eyes + mouth + down * side * (_EYES_ABOVE - _MOUTH_BELOW)) / 2, float(side)


def eye_line(face: Face) -> EyeLine | None:
    """The line between the eyes; None where they are unknown, or too near to each other to tell anything."""
    if face.points is None:
        return None
    across, down = face.points[1] - face.points[0]
    if math.hypot(across, down) < _EYES_APART * max(face.box[2:]):
        return None
    column, row = face.points[:2].mean(axis=0)
    return EyeLine(middle=(float(column), float(row)), degrees=math.degrees(math.atan2(down, across)))


def _leveled(picture: np.ndarray, middle: np.ndarray, side: int, line: EyeLine) -> np.ndarray:
    """The square around a face whose eyes are turned level: its middle turns with the face.

    Only the neighbourhood is turned, with the repeated border around it, so that nothing black comes in.
    """
    eyes = np.array(line.middle)
    turn = cv2.getRotationMatrix2D((0, 0), line.degrees, 1.0)[:, :2]
    centre = turn @ (middle - eyes)  # from the middle of the eyes
    reach = math.ceil(math.hypot(*centre) + side * math.sqrt(0.5)) + 2
    around = np.rint(eyes)
    patch = _square(picture, around, 2 * reach + 1)
    in_patch = eyes - around + reach
    level, _ = turned(patch, None, EyeLine(middle=(in_patch[0], in_patch[1]), degrees=line.degrees))
    return _square(level, in_patch + centre, side)


def _square(picture: np.ndarray, middle: np.ndarray, side: int) -> np.ndarray:
    """A copy of the square of `side` pixels whose middle is nearest to (column, row)."""
    height, width = picture.shape[:2]
    left, top = (math.floor(place - (side - 1) / 2 + 0.5) for place in middle)
    # One pixel of the picture at least, so that there is a border to repeat.
    left, top = min(max(left, 1 - side), width - 1), min(max(top, 1 - side), height - 1)
    inside = picture[max(top, 0) : top + side, max(left, 0) : left + side]
    below, right = max(top + side - height, 0), max(left + side - width, 0)
    return cv2.copyMakeBorder(inside, max(-top, 0), below, max(-left, 0), right, cv2.BORDER_REPLICATE)
