"""Faces and their eyes by YuNet, a small network that OpenCV runs from a model file of the user's.

Wu et al., "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research 20, 2023. OpenCV's model zoo
has the file, face_detection_yunet_2023mar.onnx.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_bytes
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector, coloured, shrunk

_RIGHT = "expected the ONNX file of YuNet from OpenCV's model zoo, face_detection_yunet_2023mar.onnx"
_SEARCHED = 16  # pixels: the network finds faces of 10 to 300
_MOST_PIXELS = 640 * 640  # what it was trained at
_MARGIN = -0.02  # mtcnn's, whose boxes are the most alike: this network's were not measured
_PROBE = 64  # pixels
_SCORE, _OVERLAP, _MOST_BOXES = 0.9, 0.3, 5000  # OpenCV's own defaults


class Yunet(Detector):
    """YuNet.

    Args:
        smallest: Side in pixels of the smallest face to find.
        model: The model file.
        least_score: Least score of a face, 0 to 1; None for OpenCV's.

    Raises:
        UserError: There is no file, or it is another model's.
    """

    margin = _MARGIN

    def __init__(self, smallest: int, model: str, least_score: float | None = None) -> None:
        super().__init__(smallest)
        self._network = _network(model)
        if least_score is not None:
            self._network.setScoreThreshold(least_score)
        self._lock = threading.Lock()  # it keeps the picture's size as its state, and uses all cores already

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of each picture, see `Detector.find`."""
        return [self._find(picture) for picture in pictures]

    def _find(self, picture: np.ndarray) -> list[Face]:
        small, factor = shrunk(coloured(picture), _SEARCHED / self.smallest, _MOST_PIXELS)
        with self._lock:
            found = _search(self._network, cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        return self.faces(picture, factor, found[:, :4], found[:, 14], found[:, 4:8].reshape(-1, 2, 2))


def _search(network: "cv2.FaceDetectorYN", picture: np.ndarray) -> np.ndarray:
    """(n, 15) float64: left, top, width, height, (column, row) of five landmarks, the eyes first, and the score."""
    network.setInputSize((picture.shape[1], picture.shape[0]))
    _, found = network.detect(picture)
    return np.zeros((0, 15)) if found is None else found.astype(np.float64)


def _network(model: str) -> "cv2.FaceDetectorYN":
    """The network of a file, tried once: OpenCV reads any ONNX file and fails at the first picture only."""
    try:
        content = np.frombuffer(read_bytes(Path(model)), np.uint8)
    except BadImageError as error:
        raise UserError(f"face model {model}: {error}; {_RIGHT}") from error
    try:
        with _quiet():
            network = cv2.FaceDetectorYN.create(
                "onnx", content, np.zeros(0, np.uint8), (_PROBE, _PROBE), _SCORE, _OVERLAP, _MOST_BOXES
            )
            _search(network, np.zeros((_PROBE, _PROBE, 3), np.uint8))
    except cv2.error as error:
        raise UserError(f"face model {model} is not YuNet's; {_RIGHT}") from error
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from printing pages about a network that it cannot use."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
