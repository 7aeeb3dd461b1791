"""What pixels are like, whatever they show: brightness, histogram, sharpness, JPEG blocks, borders, colour.

Each measure is one number a picture, taken at the picture's own size. Pictures of one shape are measured together.
"""

from collections.abc import Mapping

import numpy as np

# Name -> what it is and its unit, in the order of the columns that `measure` returns.
MEASURES: Mapping[str, str] = {
    "brightness": "mean grey level, 0 to 255",
    "contrast": "standard deviation of the grey levels",
    "clipped": "share of the pixels that are black (0) or white (255)",
    "empty_levels": "share of the grey levels between darkest and brightest that no pixel has",
    "evenness": "share of the pixels whose level is where histogram equalisation would put it, within 12 levels",
    "sharpness": "root mean square of the Laplacian, divided by the contrast",
    "blockiness": "grey steps across the borders of 8x8 blocks, divided by those elsewhere; 1 without JPEG blocks",
    "likeness": "correlation with an average face at 8x8 pixels; negative where light and dark are exchanged",
    "border": "share of the rows and columns that are constant, counted from the edges",
    "colour": "mean difference between the largest and the smallest of red, green and blue",
    "cast": "largest difference between the means of red, green and blue",
    "false_colour": "1 where three equal channels store a grey picture, else 0",
}
COLUMN: Mapping[str, int] = {name: column for column, name in enumerate(MEASURES)}
# Larger pictures are measured on their middle: texture shows there as well, and memory stays small.
LARGEST_SIDE = 512

_WAITING_BYTES = 1 << 19  # of pictures that are measured together; more would leave the processor's cache
_BLOCK = 8  # pixels; JPEG codes blocks of this side
_FLAT_RANGE = 2  # grey levels by which a constant row or column may vary
_EVEN_RANGE = 12  # grey levels from the place that equalisation gives; JPEG moves equalised levels by a few
_NEAR_ENDS = 8  # grey levels from black and white where JPEG smears large even areas: not counted for evenness
# Mean of FER-2013's training faces, averaged over an 8x8 grid, in grey levels. It serves as a pattern of light and dark
# only: bright forehead, nose and cheeks, darker eyes and mouth, dark corners.
_AVERAGE_FACE = np.array(
    [
        [111, 112, 132, 144, 143, 131, 111, 110],
        [108, 120, 142, 156, 155, 140, 119, 107],
        [112, 122, 124, 143, 143, 122, 121, 111],
        [119, 134, 135, 149, 150, 136, 135, 119],
        [122, 145, 158, 155, 156, 157, 145, 122],
        [120, 133, 143, 138, 138, 142, 133, 119],
        [117, 122, 131, 126, 126, 130, 122, 115],
        [115, 113, 122, 129, 129, 123, 113, 113],
    ],
    dtype=np.float32,
).ravel()


def middle(picture: np.ndarray) -> np.ndarray:
    """The part of a picture that is measured: all of it, or a copy of the middle 512 rows and columns.

    Args:
        picture: (h, w) or (h, w, 3) uint8.
    """
    if max(picture.shape[:2]) <= LARGEST_SIDE:
        return picture
    top, left = (max(0, (side - LARGEST_SIDE) // 2) for side in picture.shape[:2])
    return picture[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE].copy()  # a view would keep the whole alive


def measure(pictures: np.ndarray) -> np.ndarray:
    """Measure pictures of one shape.

    Args:
        pictures: (n, h, w) grey or (n, h, w, 3) RGB, uint8.

    Returns:
        (n, len(MEASURES)) float32, a column a measure. What a picture is too small or too blank for is 0; `blockiness`
        is then 1.
    """
    grey, colour = _grey_and_colour(pictures)
    spread = grey.std(axis=(1, 2))
    columns = {
        "brightness": grey.mean(axis=(1, 2)),
        "contrast": spread,
        **_histogram(grey),
        "sharpness": _sharpness(grey, spread),
        "blockiness": _blockiness(grey),
        "likeness": _likeness(grey),
        "border": _border(grey),
        **colour,
    }
    return np.stack([columns[name] for name in MEASURES], axis=1).astype(np.float32)


class Meter:
    """Measures pictures of any shapes as they come, many of one shape at once; memory holds a few of them only."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        self._bytes = 0
        self._done: list[tuple[np.ndarray, np.ndarray]] = []
        self._added = 0

    def add(self, picture: np.ndarray) -> None:
        """Take the next picture, (h, w) or (h, w, 3) uint8, as `middle` gives it."""
        self._waiting.setdefault(picture.shape, []).append((self._added, picture))
        self._added += 1
        self._bytes += picture.nbytes
        if self._bytes >= _WAITING_BYTES:
            self._measure()

    def result(self) -> np.ndarray:
        """(n, len(MEASURES)) float32, a row a picture in the order in which they were added."""
        self._measure()
        table = np.empty((self._added, len(MEASURES)), np.float32)
        for places, measured in self._done:
            table[places] = measured
        return table

    def _measure(self) -> None:
        for group in self._waiting.values():
            places, pictures = zip(*group, strict=True)
            self._done.append((np.array(places), measure(np.stack(pictures))))
        self._waiting, self._bytes = {}, 0


def _grey_and_colour(pictures: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(n, h, w) float32 grey levels, and the measures of colour."""
    n = len(pictures)
    if pictures.ndim == 3:
        return pictures.astype(np.float32), dict.fromkeys(("colour", "cast", "false_colour"), np.zeros(n))
    spread = pictures.max(axis=3) - pictures.min(axis=3)
    means = pictures.mean(axis=(1, 2), dtype=np.float64)
    measured = {
        "colour": spread.mean(axis=(1, 2), dtype=np.float64),
        "cast": np.ptp(means, axis=1),
        "false_colour": ~spread.any(axis=(1, 2)),
    }
    # ITU-R BT.601, as the decoder has it, rounded to whole levels so that histograms mean the same.
    return np.rint(pictures @ np.array([0.299, 0.587, 0.114], np.float32)), measured


def _histogram(grey: np.ndarray) -> dict[str, np.ndarray]:
    n, pixels = len(grey), grey[0].size
    places = grey.reshape(n, -1).astype(np.int64) + 256 * np.arange(n)[:, None]
    counts = np.bincount(places.ravel(), minlength=256 * n).reshape(n, 256)
    used = counts > 0
    first, last = used.argmax(axis=1), 255 - used[:, ::-1].argmax(axis=1)
    return {
        "clipped": (counts[:, 0] + counts[:, 255]) / pixels,
        "empty_levels": 1 - used.sum(axis=1) / (last - first + 1),
        "evenness": _evenness(counts, counts[np.arange(n), first]),
    }


def _evenness(counts: np.ndarray, darkest: np.ndarray) -> np.ndarray:
    """(n,) from (n, 256) histograms and the (n,) counts of their darkest level."""
    cumulative = counts.cumsum(axis=1)
    pixels, darkest = cumulative[:, -1:], darkest[:, None]
    # Programs disagree on the darkest level: some put it at 0 (OpenCV, Pillow), some at its share (scikit-image).
    targets = ((cumulative - darkest) / np.maximum(pixels - darkest, 1), cumulative / pixels)
    inner = slice(_NEAR_ENDS, -_NEAR_ENDS)
    counted, levels = counts[:, inner], np.arange(256)[inner]
    near = [np.abs(255 * target[:, inner] - levels) <= _EVEN_RANGE for target in targets]
    shares = [(counted * close).sum(axis=1) / np.maximum(counted.sum(axis=1), 1) for close in near]
    return np.maximum(*shares)


def _sharpness(grey: np.ndarray, spread: np.ndarray) -> np.ndarray:
    if min(grey.shape[1:]) < 3:
        return np.zeros(len(grey))
    inner = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * inner
    energy = np.sqrt(np.square(laplacian).mean(axis=(1, 2)))
    return np.divide(energy, spread, out=np.zeros_like(energy), where=spread > 0)


def _blockiness(grey: np.ndarray) -> np.ndarray:
    if min(grey.shape[1:]) <= _BLOCK:
        return np.ones(len(grey))
    borders, elsewhere = np.zeros(len(grey)), np.zeros(len(grey))
    for axis in (1, 2):
        steps = np.abs(np.diff(grey, axis=axis)).mean(axis=3 - axis)  # (n, side - 1)
        at_border = np.arange(1, steps.shape[1] + 1) % _BLOCK == 0
        borders += steps[:, at_border].mean(axis=1)
        elsewhere += steps[:, ~at_border].mean(axis=1)
    return np.divide(borders, elsewhere, out=np.ones_like(borders), where=elsewhere > 0)


def _likeness(grey: np.ndarray) -> np.ndarray:
    side = round(_AVERAGE_FACE.size**0.5)
    height, width = (length // side * side for length in grey.shape[1:])
    if not height or not width:
        return np.zeros(len(grey))
    cells = grey[:, :height, :width].reshape(len(grey), side, height // side, side, width // side).mean(axis=(2, 4))
    cells = cells.reshape(len(grey), -1)
    cells -= cells.mean(axis=1, keepdims=True)
    face = _AVERAGE_FACE - _AVERAGE_FACE.mean()
    size = np.linalg.norm(cells, axis=1) * np.linalg.norm(face)
    return np.divide(cells @ face, size, out=np.zeros_like(size), where=size > 0)


def _border(grey: np.ndarray) -> np.ndarray:
    share = np.zeros(len(grey))
    for axis in (1, 2):
        flat = np.ptp(grey, axis=3 - axis) <= _FLAT_RANGE  # (n, side): which rows or columns are constant
        share += flat.cumprod(axis=1).sum(axis=1) + flat[:, ::-1].cumprod(axis=1).sum(axis=1)
    return np.minimum(share / sum(grey.shape[1:]), 1)
