"""Faces made unrecognisable: what is left of each is a few patches of colour."""

import math
from collections.abc import Iterable

import cv2
import numpy as np

_PATCHES = 4  # along a face's longer side: colours of skin and hair are left, no feature
_BESIDE, _ABOVE = 0.25, 0.35  # share of the longer side that is hidden beyond the box: ears, hair, chin
_SOFT = 0.15  # share of the ellipse's size in which the patches fade into the picture, outside of it

Box = tuple[float, float, float, float]  # left, top, width, height


def blurred(picture: np.ndarray, boxes: Iterable[Box]) -> np.ndarray:
    """A copy of a picture in which an ellipse around each box is averaged over large patches, which run into another.

    The averages cannot be undone: a face of any size keeps about as many values as a picture of 4 x 5 pixels has.

    Args:
        picture: uint8 (h, w) or (h, w, 3).
        boxes: Of the faces, in pixels; they may reach beyond the picture.
    """
    picture = picture.copy()
    for box in boxes:
        _hide(picture, box)
    return picture


def _hide(picture: np.ndarray, box: Box) -> None:
    left, top, width, height = box
    longer = max(width, height)
    column, row = left + (width - 1) / 2, top + (height - 1) / 2
    across, down = width / 2 + _BESIDE * longer, height / 2 + _ABOVE * longer
    columns = _span(column, across * (1 + _SOFT), picture.shape[1])
    rows = _span(row, down * (1 + _SOFT), picture.shape[0])
    part = picture[rows, columns]
    if not part.size:
        return
    x = (np.arange(columns.start, columns.stop) - column) / across
    y = (np.arange(rows.start, rows.stop) - row) / down
    outside = np.hypot(x[None, :], y[:, None]) - 1
    share = np.clip(1 - outside / _SOFT, 0, 1).astype(np.float32).reshape(*part.shape[:2], *[1] * (part.ndim - 2))
    part[:] = np.rint(share * _patches(part, longer / _PATCHES) + (1 - share) * part)


def _patches(part: np.ndarray, side: float) -> np.ndarray:
    """Means over patches of about `side` pixels, float32, smooth in between."""
    height, width = part.shape[:2]
    few = max(round(width / side), 1), max(round(height / side), 1)
    means = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
    return cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32).reshape(part.shape)


def _span(middle: float, reach: float, length: int) -> slice:
    """The pixels of a side of `length` that are nearer to `middle` than `reach`."""
    start, stop = max(math.floor(middle - reach), 0), min(math.ceil(middle + reach) + 1, length)
    return slice(start, max(stop, start))
