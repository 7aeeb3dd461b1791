"""`--annotate DIR`: marked copies of pictures, laid out as the originals are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.output.drawing import PICTURES, FaceAnswer, annotated, save_picture
from fer_hierarchy.inference.sources.inputs import Item


class AnnotatedFiles:
    """Writes copies into a folder.

    Args:
        folder: Where to.
        synthetic: Whether the model learned from faces that a program drew; every copy then says so.
    """

    def __init__(self, folder: Path, *, synthetic: bool) -> None:
        self.folder = folder
        self.synthetic = synthetic

    def write(self, item: Item, picture: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> None:
        """Mark one picture.

        Args:
            item: Its file.
            picture: uint8 (h, w) or (h, w, 3) RGB.
            rows: One model's answers for its faces; a row without a face draws nothing.

        Raises:
            UserError: The copy would take the original's place, or cannot be written.
        """
        faces = [FaceAnswer.from_record(row) for row in rows if row["face"]]
        save_picture(self.place(item), annotated(picture, faces, synthetic=self.synthetic))

    def place(self, item: Item, suffixes: Sequence[str] = tuple(PICTURES), otherwise: str = ".png") -> Path:
        """Where the copy of a file goes; its folder is made.

        Args:
            item: The file.
            suffixes: Kinds that can be written.
            otherwise: The kind that takes the place of all others.

        Raises:
            UserError: It is the original's own place, or the folder cannot be made.
        """
        path = self.folder / item.below
        if path.suffix.lower() not in suffixes:
            path = path.with_name(f"{path.name}{otherwise}")
        if path.resolve() == item.path.resolve():
            raise UserError(f"--annotate {self.folder}: the copy of {item.name} would replace it; name another folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--annotate: folder {path.parent} cannot be made ({error.strerror})") from error
        return path
