"""The face detectors, one a file, and what they share: pictures shrunk before the search, boxes brought back after."""

import math

import cv2
import numpy as np

from fer_hierarchy.inference.faces.crop import Face


def shrunk(picture: np.ndarray, scale: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a picture smaller; never larger.

    Args:
        picture: uint8 (h, w) or (h, w, 3).
        scale: By which factor at least; 1 or more leaves it.
        most: Pixels that the result may have.

    Returns:
        The smaller picture, and (2,) how many (columns, rows) of the picture one of its pixels stands for.
    """
    height, width = picture.shape[:2]
    scale = min(scale, math.sqrt(most / (height * width)))
    if scale >= 1:
        return picture, np.ones(2)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.array([width, height]) / size


def coloured(picture: np.ndarray) -> np.ndarray:
    """A picture with three channels, (h, w, 3) RGB."""
    return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)


def as_faces(
    boxes: np.ndarray,
    scores: np.ndarray | None,
    eyes: np.ndarray | None,
    *,
    factor: np.ndarray,
    picture: np.ndarray,
    smallest: int,
    margin: float,
) -> list[Face]:
    """Bring what was found in a shrunk picture back into the picture, the largest face first.

    Args:
        boxes: (n, 4) left, top, width, height in the shrunk picture's pixels.
        scores: (n,), or None.
        eyes: (n, 2, 2) the two eyes' (column, row) in the shrunk picture, in either order; or None.
        factor: As `shrunk` gives it.
        picture: The whole picture.
        smallest: Side in pixels below which a face is left out.
        margin: Of the faces, see `Face`.
    """
    height, width = picture.shape[:2]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) * np.tile(factor, 2)
    corners = np.rint(corners).clip(0, [width, height, width, height]).astype(int)
    faces = []
    for index, (left, top, right, bottom) in enumerate(corners.tolist()):
        sides = (right - left, bottom - top)
        if min(sides) < 1 or max(sides) < smallest:
            continue
        score = None if scores is None else float(scores[index])
        pair = None if eyes is None else _from_left((eyes[index] + 0.5) * factor - 0.5)
        faces.append(Face(box=(left, top, *sides), score=score, eyes=pair, margin=margin))
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


def _from_left(eyes: np.ndarray) -> np.ndarray:
    return eyes[np.argsort(eyes[:, 0])].astype(np.float64)
