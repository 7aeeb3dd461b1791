"""Faces by OpenCV's cascade of Haar-like features: nothing to install, fast, frontal and upright faces only."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector, shrunk

# Tried: OpenCV's cascades default, alt and alt2 with several steps and numbers of neighbours. Among those that saw no
# face in 20 pictures of other things this one found the most: 0.74 of 300 FER-2013 faces, enlarged four times.
_CASCADE = "haarcascade_frontalface_alt2.xml"
_SCALE_STEP, _NEIGHBOURS = 1.1, 4
_MOST_PIXELS = 1280 * 960  # the time grows with them
# Median over 618 FER-2013 training faces (of 800, enlarged four times, their border repeated around them) with one box
# each: the face's side is 1.03 of the box's, quartiles 0.96 and 1.11; the middles agree to 0.01.
_MARGIN = 0.015
_own = threading.local()  # a cascade keeps state while it searches: one for each thread


class Haar(Detector):
    """OpenCV's cascade for faces seen from the front.

    Its faces have no score: what OpenCV calls level weights is a sum of votes, 54 to 59 for faces, without a scale.
    OpenCV's own threads stay on beside ours: they shorten the wait for one picture, and cost many at a time little.

    Raises:
        UserError: OpenCV has no cascades.
    """

    margin = _MARGIN

    def __init__(self, smallest: int) -> None:
        super().__init__(smallest)
        if not hasattr(cv2, "CascadeClassifier"):
            raise UserError(
                f"detector haar needs OpenCV's cascades, which {cv2.__version__} has no more: opencv-python<5"
            )
        self._pool = ThreadPoolExecutor(max_workers=cv2.getNumberOfCPUs(), thread_name_prefix="haar")

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of each picture, see `Detector.find`; several pictures at a time."""
        return list(self._pool.map(self._find, pictures))

    def _find(self, picture: np.ndarray) -> list[Face]:
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        small, factor = shrunk(grey, 1.0, _MOST_PIXELS)
        least = int(np.ceil(self.smallest / factor.max()))
        found = _cascade().detectMultiScale(small, _SCALE_STEP, _NEIGHBOURS, minSize=(least, least))
        return self.faces(picture, factor, np.reshape(found, (-1, 4)).astype(float))


def _cascade() -> "cv2.CascadeClassifier":
    """This thread's detector."""
    if not hasattr(_own, "cascade"):
        folder = Path(cv2.data.haarcascades)  # type: ignore[attr-defined]  # OpenCV's own stubs leave it out
        _own.cascade = cv2.CascadeClassifier(str(folder / _CASCADE))
    return _own.cascade
