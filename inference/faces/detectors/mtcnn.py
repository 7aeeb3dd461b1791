"""Faces and their eyes by three small networks, each refining what the one before let through.

Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", IEEE Signal
Processing Letters 23(10), 2016; here the package `mtcnn`, which brings the weights and runs on TensorFlow.
"""

import threading
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector, coloured, shrunk

if TYPE_CHECKING:
    from mtcnn import MTCNN

# The smallest face that the package finds. Pictures are shrunk until the smallest wanted one is of this size: from a
# `min_face_size` of about 24 on, the package makes pictures smaller than its first network takes and then finds none.
_SEARCHED = 20  # pixels
_MOST_PIXELS = 1280 * 960
_BATCH = 8  # pictures at a time: a quarter of the time of one by one, and more brings no more
_SURE = 0.9  # of 1; the package's 0.8 lets a motorcycle through, and one face in thirty lies between
# Median over 690 FER-2013 training faces (of 800, enlarged four times, their border repeated around them) with one box
# each: the face's side is 0.96 of the box's longer one, quartiles 0.87 and 1.07; the middles agree to 0.01.
_MARGIN = -0.02
_FIRST, _SECOND = [6, 11], [7, 12]  # columns of an eye's place among the 16 of a detection
_SCORE = 5


class Mtcnn(Detector):
    """Three cascaded networks.

    Args:
        smallest: Side in pixels of the smallest face to find, not below 20.
        least_score: Least score of a face, 0 to 1; None for ours.

    Raises:
        UserError: The package is not installed, or is too old.
    """

    margin = _MARGIN

    def __init__(self, smallest: int, least_score: float | None = None) -> None:
        super().__init__(smallest)
        self._least = _SURE if least_score is None else least_score
        self._networks = _networks()
        self._lock = threading.Lock()  # TensorFlow spreads one search over all cores already

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of each picture, see `Detector.find`; pictures of one size are searched together."""
        small = [shrunk(coloured(picture), _SEARCHED / self.smallest, _MOST_PIXELS) for picture in pictures]
        faces: list[list[Face]] = [[] for _ in pictures]
        for rows in _alike([picture.shape for picture, _ in small]):
            found = self._search([small[row][0] for row in rows])
            for number, row in enumerate(rows):
                own = found[found[:, 0] == number]
                boxes = np.concatenate([own[:, 1:3], own[:, 3:5] - own[:, 1:3]], axis=1)
                eyes = np.stack([own[:, _FIRST], own[:, _SECOND]], axis=1)
                faces[row] = self.faces(pictures[row], small[row][1], boxes, own[:, _SCORE], eyes)
        return faces

    def _search(self, pictures: list[np.ndarray]) -> np.ndarray:
        """(n, 16) number of the picture, left, top, right, bottom, score, five columns and five rows of landmarks."""
        batch = [picture.astype(np.float32) for picture in pictures]  # uint8 becomes float64 inside, twice the memory
        with self._lock:
            found = self._networks.detect_faces(
                batch,
                output_type="numpy",
                box_format="xyxy",
                fit_to_image=False,
                min_face_size=_SEARCHED,
                threshold_onet=self._least,
            )
        return found if len(found) else np.zeros((0, 16))


def _alike(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Rows of pictures of one shape, a batch at a time.

    The package takes pictures of different sizes together, but where one has no face it then misplaces the others'.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(row)
    for rows in groups.values():
        yield from (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _networks() -> "MTCNN":
    try:
        from mtcnn import MTCNN
    except ModuleNotFoundError as error:
        raise UserError(f"detector mtcnn: no package {error.name} is installed; pip install mtcnn") from error
    version = metadata.version("mtcnn")
    if int(version.partition(".")[0]) < 1:
        raise UserError(f"detector mtcnn: the package mtcnn is {version}, expected 1 or newer; pip install -U mtcnn")
    return MTCNN()
