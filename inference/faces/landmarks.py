"""468 points of a face, and whether it is one, by the network of Google's face mesh.

Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019, arXiv:1907.06724.
"""

import math

import cv2
import numpy as np

from fer_hierarchy.inference.faces.crop import Face, eye_line
from fer_hierarchy.inference.faces.detectors import coloured
from fer_hierarchy.inference.faces.networks import Network

COUNT = 468
_DIGEST = "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493"
_WIDENED = 1.5  # of the detector's box: the square that the network was trained on
# Among the points: the corners of the person's right and left eye, the tip of the nose, the lips' middles.
_EYES, _NOSE, _LIPS = ([33, 133], [362, 263]), [4], [13, 14]
_FACE = 0.5  # least probability that it is a face
_LIKELY = 60.0  # logits beyond which a probability is 0 or 1 in float64 anyway

Box = tuple[float, float, float, float]  # left, top, width, height


def bounds(points: np.ndarray) -> Box:
    """The upright box around the 468 points."""
    (left, top), (right, bottom) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return left, top, right - left, bottom - top


def features(points: np.ndarray) -> np.ndarray:
    """(4, 2) (column, row) of the person's right eye, left eye, nose and mouth, of the 468 points."""
    return np.stack([points[some, :2].mean(axis=0) for some in (*_EYES, _NOSE, _LIPS)])


class FaceMesh:
    """The network of 468 points; safe for several threads.

    Raises:
        UserError: Its file is missing, or is another version's.
    """

    def __init__(self) -> None:
        self._network = Network("face_landmark.tflite", 192, _DIGEST)

    def find(self, picture: np.ndarray, box: Box, eyes: np.ndarray) -> tuple[float, np.ndarray]:
        """Find the points of a face.

        Args:
            picture: uint8 (h, w, 3) RGB.
            box: Left, top, width, height of the face in pixels.
            eyes: (2, 2) (column, row) of the person's right and left eye.

        Returns:
            The probability that it is a face, and (468, 3) float64: column and row in the picture's pixels, and how far
            behind the middle of the head (in pixels, growing away from the camera).
        """
        square, matrix = self._square(picture, box, eyes)
        likely, points = self._run(square)
        points[:, :2] = cv2.transform(points[None, :, :2], cv2.invertAffineTransform(matrix))[0]
        points[:, 2] = points[:, 2] / math.hypot(*matrix[0, :2])
        return likely, points

    def confirm(self, picture: np.ndarray, box: Box, eyes: np.ndarray, *, least: float) -> tuple[float, np.ndarray]:
        """Find the points of a face more exactly, and be surer that it is one.

        What is a face to the network by chance seldom is one mirrored as well, and cut out anew by its own points.

        Args:
            picture: As for `find`.
            box: As for `find`.
            eyes: As for `find`.
            least: Probability below which the others are not computed.

        Returns:
            The least of the three probabilities, and the points that were found last.
        """
        likely, points = self.find(picture, box, eyes)
        if likely >= least:
            likely = min(likely, self._run(self._square(picture, box, eyes)[0][:, ::-1])[0])
        if likely >= least:
            again, points = self.find(picture, bounds(points), features(points)[:2])
            likely = min(likely, again)
        return likely, points

    def trace(self, picture: np.ndarray, face: Face) -> np.ndarray | None:
        """Find the points of a face that any detector has found, at last in the square that they themselves give.

        A square that is not level gives points that are turned too little: by 10 degrees where it is off by 30.

        Args:
            picture: uint8 (h, w) or (h, w, 3) RGB, the one that the face was found in.
            face: The face; where neither its mesh nor its eyes are known, these are level as it was found.

        Returns:
            (468, 3) as `find` gives them; None where there is no face to the network.
        """
        rgb, points = coloured(picture), face.mesh
        if points is None:
            line = eye_line(face)
            angle = math.radians(line.degrees if line else 90 * face.quarters)
            _, points = self.find(rgb, face.box, np.array([[0, 0], [math.cos(angle), math.sin(angle)]]))
        likely, points = self.find(rgb, bounds(points), features(points)[:2])
        return points if likely >= _FACE else None

    def _square(self, picture: np.ndarray, box: Box, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The square around a face, leveled and of the network's size, and the (2, 3) matrix that made it."""
        left, top, width, height = box
        side = max(width, height) * _WIDENED
        middle = np.array([left + (width - 1) / 2, top + (height - 1) / 2])
        across, down = eyes[1] - eyes[0]
        size = self._network.size
        matrix = cv2.getRotationMatrix2D(middle.tolist(), math.degrees(math.atan2(down, across)), size / side)
        matrix[:, 2] = matrix[:, 2] + (size - 1) / 2 - middle
        return cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), matrix

    def _run(self, square: np.ndarray) -> tuple[float, np.ndarray]:
        points, logit = self._network.run(square.astype(np.float32) / 255)
        return 1 / (1 + math.exp(-np.clip(logit.item(), -_LIKELY, _LIKELY))), points.reshape(COUNT, 3)
