"""Faces and six points of each by BlazeFace, a small network that LiteRT runs.

Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019, arXiv:1907.05047. The face
mesh confirms what it finds: textures that look like a face to the one are none to the other.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector, coloured
from fer_hierarchy.inference.faces.landmarks import FaceMesh, bounds, features
from fer_hierarchy.inference.faces.networks import Network
from fer_hierarchy.inference.faces.tracking import overlaps

_SIZE = 128  # pixels of the input's side
_DIGEST = "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633"
_GRIDS = ((16, 2), (8, 6))  # (cells along a side, anchors in each cell), in the order of the outputs
_POINTS = 6  # the person's right eye, left eye, nose, mouth, right ear, left ear
_VALUES = 4 + 2 * _POINTS  # of a detection: left, top, width, height and the points
_PLACES = [0, *range(2, 2 + _POINTS)]  # of these as pairs, the ones that move with the picture; 1 is the size
# Pixels of the input that a face needs. Portraits with hair and neck are found at 16 (all of 60); of 120 bare FER-2013
# faces 69 % at 20, 84 % at 24, 97 % at 32. The full-range network (192 pixels) needs 16 and 64 for the same.
_LEAST = 16
_STEP = 2  # how much larger each size of tiles is than the next
_MOST_TILES = 400  # of one size in one picture; beyond, the smallest face that is found is larger
_CANDIDATE = 0.2  # score from which the mesh is asked to confirm
_CLEAR, _MOST_DOUBTFUL = 0.5, 40  # below that score only so many are confirmed: each costs as a tile does
# Of the mean of both networks' scores. Of 500 FER-2013 training faces, enlarged twice with their border repeated, 96 %
# have it, and 4 things in 312 pictures of scikit-image and scikit-learn, cut and scaled, that show no face.
_SURE = 0.5
_OVERLAP = 0.3  # intersection over union from which two boxes are one face, as in the paper's pipeline
_ALIKE = 0.5  # from which their mean is taken
_WITHIN = 0.7  # share of the smaller box that lies in the larger one from which they are one face


class BlazeFace(Detector):
    """The short-range network on the whole picture and on overlapping tiles of several sizes.

    Args:
        smallest: Side in pixels of the smallest face to find.
        least_score: Least score of a face, 0 to 1; None for the one that was measured.

    Raises:
        UserError: The package with the networks is not installed, or is another version's.
    """

    def __init__(self, smallest: int, least_score: float | None = None) -> None:
        super().__init__(smallest)
        self._least = _SURE if least_score is None else least_score
        self._anchors = _SIZE * np.concatenate([_centres(cells, count) for cells, count in _GRIDS])
        self._network, self._mesh = Network("face_detection_short_range.tflite", _SIZE, _DIGEST), FaceMesh()
        self._pool = ThreadPoolExecutor(max_workers=cv2.getNumberOfCPUs(), thread_name_prefix="blazeface")

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of each picture, see `Detector.find`; several pictures at a time."""
        return list(self._pool.map(self._find, pictures))

    def _find(self, picture: np.ndarray) -> list[Face]:
        rgb = coloured(picture)
        levels, scaled = [], rgb
        for scale in reversed(list(_scales(rgb.shape[:2], self.smallest))):
            size = tuple(max(1, round(length * scale)) for length in rgb.shape[1::-1])
            scaled = cv2.resize(scaled, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            scores, shapes = self._level(scaled)
            levels.append((scores, shapes * np.tile(np.divide(rgb.shape[1::-1], size), _VALUES // 2)))
        scores, shapes = _merged(*map(np.concatenate, zip(*levels, strict=True)))
        likely = (shapes[:, 2:4].max(axis=1) >= self.smallest) & (
            (scores >= _CLEAR) | (_ranks(scores) < _MOST_DOUBTFUL)
        )
        scores, shapes = scores[likely], shapes[likely]
        faces = [self._confirmed(rgb, score, shape) for score, shape in zip(scores, shapes, strict=True)]
        sure = [face for face in faces if face[0] >= self._least]
        if not sure:
            return []
        scores, meshes = np.array([face[0] for face in sure]), np.stack([face[2] for face in sure])
        once = _distinct(scores, np.array([bounds(mesh) for mesh in meshes]))
        points = np.stack([features(meshes[row]) for row in once])
        shapes = np.stack([sure[row][1] for row in once])
        return self.faces(picture, np.ones(2), shapes[:, :4], scores[once], points, meshes[once])

    def _confirmed(self, picture: np.ndarray, score: float, shape: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The mean of both networks' scores of a candidate, its shape, and the points of its mesh."""
        eyes = shape[4:8].reshape(2, 2)
        likely, mesh = self._mesh.confirm(picture, tuple(shape[:4]), eyes, least=2 * self._least - score)
        return (score + likely) / 2, shape, mesh

    def _level(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find candidates in the tiles of a picture.

        Returns:
            (n,) scores, and (n, 16) left, top, width, height and six (column, row), in the picture's pixels.
        """
        height, width = picture.shape[:2]
        below, right = max(_SIZE - height, 0), max(_SIZE - width, 0)
        canvas = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT)
        starts = [(left, top) for top in _starts(height) for left in _starts(width)]
        scores, shapes = zip(*(self._tile(canvas, start, (width, height)) for start in starts), strict=True)
        return np.concatenate(scores), np.concatenate(shapes)

    def _tile(self, canvas: np.ndarray, start: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The same in one tile, of a picture of (width, height) `size`."""
        tile = canvas[start[1] : start[1] + _SIZE, start[0] : start[0] + _SIZE]
        raw, logits = self._network.run(tile / np.float32(127.5) - 1)
        likely = np.flatnonzero(logits[:, 0] >= math.log(_CANDIDATE / (1 - _CANDIDATE)))
        pairs = raw[likely].reshape(-1, _VALUES // 2, 2)
        pairs[:, _PLACES] += self._anchors[likely, None] + start
        pairs[:, 0] -= pairs[:, 1] / 2
        low, high = pairs[:, 0], pairs[:, 0] + pairs[:, 1]
        end = np.add(start, _SIZE)
        cut = ((low < start) & np.greater(start, 0) | (high > end) & np.less(end, size)).any(axis=1)
        if max(size) > _SIZE:  # larger tiles see it whole
            cut |= pairs[:, 1].max(axis=1) > _SIZE / 2
        return 1 / (1 + np.exp(-logits[likely[~cut], 0])), pairs[~cut].reshape(-1, _VALUES)


def _scales(shape: tuple[int, ...], smallest: int) -> Iterator[float]:
    """How the picture is scaled for the whole of it to fit, then for smaller and smaller tiles."""
    scale = _SIZE / max(shape)
    yield scale
    while scale < _LEAST / smallest:
        scale = min(scale * _STEP, _LEAST / smallest)
        if math.prod(len(_starts(round(length * scale))) for length in shape) > _MOST_TILES:
            return
        yield scale


def _starts(length: int) -> list[int]:
    """Where tiles begin along a side of the scaled picture: evenly, and so that they overlap by a face.

    That face is the smallest one of the next larger tiles, so that no face is cut in all tiles.
    """
    if length <= _SIZE:
        return [0]
    count = 1 + math.ceil((length - _SIZE) / (_SIZE - _STEP * _LEAST))
    return np.linspace(0, length - _SIZE, count).round().astype(int).tolist()


def _centres(cells: int, count: int) -> np.ndarray:
    """(cells * cells * count, 2) centres (column, row) of the anchors of a grid, 0 to 1."""
    rows, columns = (np.indices((cells, cells)) + 0.5) / cells
    return np.repeat(np.stack([columns, rows], axis=-1).reshape(-1, 2), count, axis=0)


def _merged(scores: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detections of one face as one, the surest, moved to the mean of those like it, weighted by their scores."""
    order = np.argsort(-scores, kind="stable")
    scores, shapes = scores[order], shapes[order]
    kept_scores, kept = [], []
    while len(scores):
        union = overlaps(shapes[:1, :4], shapes[:, :4])[0]
        areas = shapes[:, 2:4].prod(axis=1)
        shared = union * (areas[0] + areas) / (1 + union)
        alike = union >= _ALIKE
        kept_scores.append(scores[0])
        kept.append(np.average(shapes[alike], axis=0, weights=scores[alike]))
        others = (union < _OVERLAP) & (shared < _WITHIN * np.minimum(areas[0], areas))
        scores, shapes = scores[others], shapes[others]
    return np.array(kept_scores), np.array(kept).reshape(-1, _VALUES)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """The place of each by its score, from 0 for the largest."""
    return np.argsort(np.argsort(-scores, kind="stable"))


def _distinct(scores: np.ndarray, boxes: np.ndarray) -> list[int]:
    """Rows of the surest of all whose meshes are one face's."""
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if not kept or overlaps(boxes[[row]], boxes[kept]).max() < _OVERLAP:
            kept.append(row)
    return kept
