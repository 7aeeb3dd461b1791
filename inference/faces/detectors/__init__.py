"""The face detectors, one a file, and what they share: pictures are shrunk first, boxes scaled back after."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.settings import FaceConfig


class Detector(ABC):
    """Finds faces in pictures. Safe for several threads at once.

    Args:
        smallest: Side in pixels of the smallest face to find. Large pictures are shrunk first, so that faces may have
            to be larger there.

    Attributes:
        margin: Of its faces, see `Face`.
    """

    margin: ClassVar[float] = 0.0

    def __init__(self, smallest: int) -> None:
        self.smallest = smallest

    @abstractmethod
    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of each picture.

        Args:
            pictures: Each uint8 (h, w) grey or (h, w, 3) RGB, of any size.

        Returns:
            A list of faces for each picture, the largest first; empty where there is none.
        """

    def faces(
        self,
        picture: np.ndarray,
        factor: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray | None = None,
        points: np.ndarray | None = None,
        meshes: np.ndarray | None = None,
    ) -> list[Face]:
        """Convert what was found in a shrunk picture into faces of the picture, the largest first.

        Args:
            picture: The picture before it was shrunk.
            factor: As `shrunk` gives it.
            boxes: (n, 4) left, top, width, height in the shrunk picture's pixels.
            scores: (n,), or None.
            points: (n, k, 2) each face's points as `Face.points` has them, in the shrunk picture's pixels; or None.
            meshes: (n, 468, 3) as `Face.mesh` has them, in the pixels of the picture itself; or None.
        """
        height, width = picture.shape[:2]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) * np.tile(factor, 2)
        corners = np.rint(corners).clip(0, [width, height, width, height]).astype(int)
        faces = []
        for index, (left, top, right, bottom) in enumerate(corners.tolist()):
            sides = (right - left, bottom - top)
            if min(sides) < 1 or max(sides) < self.smallest:
                continue
            score = None if scores is None else float(scores[index])
            own = None if points is None else (points[index].astype(np.float64) + 0.5) * factor - 0.5
            mesh = None if meshes is None else meshes[index]
            faces.append(Face(box=(left, top, *sides), score=score, points=own, margin=self.margin, mesh=mesh))
        return sorted(faces, key=lambda face: (-face.box[2] * face.box[3], face.box))


class _Chosen(Detector):
    """Another detector's faces: those of turned pictures as well, and only so many of each picture."""

    def __init__(self, detector: Detector, *, any_angle: bool, most: int | None) -> None:
        super().__init__(detector.smallest)
        self._detector, self._any_angle, self._most = detector, any_angle, most

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of each picture, see `Detector.find`."""
        found = self._detector.find(pictures)
        for quarters in (1, 2, 3) if self._any_angle else ():
            empty = [row for row, faces in enumerate(found) if not faces]
            turned = self._detector.find([np.ascontiguousarray(np.rot90(pictures[row], quarters)) for row in empty])
            for row, faces in zip(empty, turned, strict=True):
                found[row] = [unturned(face, quarters, pictures[row].shape[:2]) for face in faces]
        return [faces[: self._most] for faces in found]


def unturned(face: Face, quarters: int, shape: tuple[int, int]) -> Face:
    """A face that was found in `np.rot90(picture, quarters)`, in the picture itself.

    Args:
        face: As found in the turned picture.
        quarters: Of counter-clockwise turns.
        shape: (height, width) of the picture itself.
    """
    for left_over in range(quarters, 0, -1):
        width = shape[left_over % 2]  # before this turn
        left, top, across, down = face.box
        points, mesh = (_turned_back(places, width) for places in (face.points, face.mesh))
        face = dataclasses.replace(face, box=(width - top - down, left, down, across), points=points, mesh=mesh)
    return dataclasses.replace(face, quarters=quarters)


def _turned_back(places: np.ndarray | None, width: int) -> np.ndarray | None:
    """(n, 2 or more) column, row and other values, before a picture of this width was turned counter-clockwise."""
    if places is None:
        return None
    return np.concatenate([width - 1 - places[:, 1:2], places[:, :1], places[:, 2:]], axis=1)


def make_detector(settings: FaceConfig) -> Detector | None:
    """The detector of these settings; None where every picture is a face already.

    Raises:
        UserError: It lacks a package or a model file.
    """
    if settings.cropped:
        return None
    detector = _named_detector(settings)
    most = 1 if settings.faces == "largest" else settings.max_faces
    if most is None and not settings.any_angle:
        return detector
    return _Chosen(detector, any_angle=settings.any_angle, most=most)


def _named_detector(settings: FaceConfig) -> Detector:
    if (settings.detector == "yunet") != (settings.detector_model is not None):
        wrong = "needs --detector-model FILE" if settings.detector == "yunet" else "takes no --detector-model"
        raise UserError(f"--detector {settings.detector} {wrong}")
    if settings.detector == "mtcnn":
        from fer_hierarchy.inference.faces.detectors.mtcnn import Mtcnn

        return Mtcnn(settings.min_face, settings.min_score)
    if settings.detector_model:
        from fer_hierarchy.inference.faces.detectors.yunet import Yunet

        return Yunet(settings.min_face, settings.detector_model, settings.min_score)
    if settings.detector == "haar":
        from fer_hierarchy.inference.faces.detectors.haar import Haar

        if settings.min_score is not None:
            raise UserError("--min-score does not go with --detector haar, whose faces have no score")
        return Haar(settings.min_face)
    from fer_hierarchy.inference.faces.detectors.blazeface import BlazeFace

    return BlazeFace(settings.min_face, settings.min_score)


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
