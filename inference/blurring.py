"""The blurred copies of one call: which faces are hidden in them, where they go, and how many have none."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector, make_detector
from fer_hierarchy.inference.output.blur import blurred
from fer_hierarchy.inference.output.console import counted
from fer_hierarchy.inference.output.drawing import save_picture
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources.inputs import Item, place_of_copy

# Least score of BlazeFace's faces here: a patch too many is better than a face too few. Of 300 FER-2013 training faces,
# turned by up to 60 degrees, darkened and blurred, 76 % have it (74 % that of predictions, 0.5), and so have 10 things
# in 120 pictures without a face (3).
_BOLD = 0.35
_SURE = 0.5  # in films: their frames give each thing many chances to be taken for a face, and each face to be found


class Blurring:
    """Finds all faces, those as well that are not predicted, and writes the copies.

    Args:
        folder: Of the copies.
        faces: How the faces are found that are predicted.
    """

    def __init__(self, folder: Path, faces: FaceConfig) -> None:
        self.folder = folder
        bold = faces.min_score is None and faces.detector == "blazeface"
        least = _BOLD if bold else faces.min_score
        self._sure = _SURE if bold else 0.0
        everyone = dataclasses.replace(faces, faces="all", max_faces=None, min_score=least)
        finder = make_detector(everyone)
        assert finder is not None  # only faces that are cut out need none
        self.finder: Detector = finder
        self._copies = self._empty = self._frames = self._blurred_frames = 0

    def is_sure(self, face: Face) -> bool:
        """Whether a face that was found in a frame of a film is believed to be one."""
        return face.score is None or face.score >= self._sure

    def place(self, item: Item) -> Path:
        """Where the copy of a file goes; its folder is made."""
        return place_of_copy(item, self.folder, "--blur")

    def picture(self, item: Item, picture: np.ndarray, predicted: Sequence[Face]) -> np.ndarray:
        """Write the copy of a picture; gives its pixels.

        Args:
            item: The file.
            picture: uint8 (h, w) or (h, w, 3) RGB, upright.
            predicted: Its faces that are predicted.

        Raises:
            UserError: The copy cannot be written.
        """
        boxes = [face.box for face in (*predicted, *self.finder.find([picture])[0])]
        hidden = blurred(picture, boxes)
        save_picture(self.place(item), hidden)
        self._copies += 1
        self._empty += not boxes
        return hidden

    def count_film(self, *, frames: int, blurred: int) -> None:
        """Count the copy of a film, and its frames with a blurred face."""
        self._copies += 1
        self._empty += not blurred
        self._frames += frames
        self._blurred_frames += blurred

    def lines(self, skipped: int) -> list[str]:
        """What was done; copies in which nothing is blurred are the user's to check.

        Args:
            skipped: Files that an earlier call has done.
        """
        films = f"; faces are blurred in {self._blurred_frames} of {counted(self._frames, 'frame')} of films"
        lines = [f"blurred copies: {self._copies} in {self.folder}{films if self._frames else ''}"]
        if self._empty:
            were = "them were copied as they are" if self._empty > 1 else "them was copied as it is"
            lines.append(f"{self._empty} of {were}: no face was found there; look before you pass them on")
        if skipped:
            lines.append(f"{counted(skipped, 'file')} done before: their copies, if any, are the earlier call's")
        return lines
