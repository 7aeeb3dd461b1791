"""Faces that stand in a data set more than once: pixel for pixel, or the same picture saved again."""

from collections.abc import Iterator

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Normalised correlation from which two images count as the same picture. In FER-2013 pairs show one photograph (another
# watermark, crop or compression) down to 0.93; in CK+48 one person's different emotions reach 0.95, and from 0.97 up
# 98 % of the pairs are neighbouring frames of one emotion. The threshold holds for both.
NEAR_CORRELATION = 0.97
# Standard deviation in grey levels below which an image shows nothing.
BLANK_DEVIATION = 2.0
# Candidates are found on images of this side: averaging raises a correlation more often than it lowers it, so that the
# same threshold loses next to nothing, and the search costs a ninth of one at 48 pixels.
_SEARCH_SIDE = 16
_TILE = (1024, 8192)  # images compared at once: 32 MB of correlations
_VERIFIED_AT_ONCE = 2048


def exact_groups(hashes: np.ndarray) -> list[np.ndarray]:
    """Positions of equal hashes, one array for each hash that occurs at least twice, in order of first position.

    Args:
        hashes: (n,) str.
    """
    return _groups_of(np.unique(np.asarray(hashes, dtype=str), return_inverse=True)[1])


def blank_images(pixels: np.ndarray) -> np.ndarray:
    """(n,) bool: which images show nothing (a deviation of less than two grey levels).

    Args:
        pixels: (n, h, w, c) uint8.
    """
    return np.array([float(image.std(dtype=np.float64)) < BLANK_DEVIATION for image in pixels], dtype=bool)


def near_groups(pixels: np.ndarray, hashes: np.ndarray) -> list[np.ndarray]:
    """Positions of images that show the same picture without being equal.

    Every pair of different images is compared at 16x16 pixels, likely ones again at full size. Groups are joined
    pair by pair, so two members may resemble each other less than both resemble a third. Blank images are left out.

    Args:
        pixels: (n, h, w, c) uint8.
        hashes: (n,) str, equal for equal images.

    Returns:
        One array for each group of at least two different images, exact copies included, in order of first position.
    """
    _, first, which = np.unique(np.asarray(hashes, dtype=str), return_index=True, return_inverse=True)
    shown = first[~blank_images(pixels[first])]
    groups = np.arange(len(pixels))
    for left, right in _candidates(_standardised(pixels, shown, _SEARCH_SIDE)):
        groups = _joined(groups, pixels, shown[left], shown[right])
    _, place, size = np.unique(groups[first], return_inverse=True, return_counts=True)
    # An image without a near copy forms no group, not even with its exact copies.
    labels = np.where(size[place] > 1, place, -1)[which]
    return _groups_of(labels, without=-1)


def _candidates(vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (i, j) index arrays, i < j, of pairs whose coarse correlation reaches the threshold.

    Args:
        vectors: (m, d) float32 of length 1.
    """
    rows, columns = _TILE
    for top in range(0, len(vectors), rows):
        for left in range(top, len(vectors), columns):
            close = vectors[top : top + rows] @ vectors[left : left + columns].T >= NEAR_CORRELATION
            i, j = np.nonzero(close)
            i, j = i + top, j + left
            yield i[i < j], j[i < j]


def _joined(groups: np.ndarray, pixels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The group of every image, after those of the pairs (left, right) that correlate at full size are joined."""
    for start in range(0, len(left), _VERIFIED_AT_ONCE):
        first, second = left[start : start + _VERIFIED_AT_ONCE], right[start : start + _VERIFIED_AT_ONCE]
        apart = groups[first] != groups[second]  # the others need no further comparison
        first, second = first[apart], second[apart]
        correlations = np.einsum("nd,nd->n", _standardised(pixels, first), _standardised(pixels, second))
        alike = correlations >= NEAR_CORRELATION
        pairs = coo_array((alike[alike], (groups[first[alike]], groups[second[alike]])), shape=(len(groups),) * 2)
        groups = connected_components(pairs, directed=False)[1][groups]
    return groups


def _standardised(pixels: np.ndarray, chosen: np.ndarray, side: int | None = None) -> np.ndarray:
    """(len(chosen), d) float32: grey images as vectors of mean 0 and length 1, shrunk to `side` where it is given."""
    height, width = (side, side) if side else pixels.shape[1:3]
    vectors = np.empty((len(chosen), height * width), np.float32)
    for vector, position in zip(vectors, chosen, strict=True):
        grey = pixels[position].mean(axis=2, dtype=np.float32)
        vector[:] = (cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA) if side else grey).ravel()
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors


def _groups_of(labels: np.ndarray, without: int | None = None) -> list[np.ndarray]:
    """Positions of equal labels, for labels that occur at least twice, in order of first position."""
    order = np.argsort(labels, kind="stable")
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    groups = [part for part in np.split(order, bounds) if len(part) > 1 and labels[part[0]] != without]
    return sorted(groups, key=lambda part: part[0])
