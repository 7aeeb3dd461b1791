"""A model and a detector of a few lines, whose predictions a test knows beforehand."""

import numpy as np

from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector
from fer_hierarchy.inference.model import Metadata, Model

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])


def facts(*, run="bars", size=48, channels=1, align=False, synthetic=False, taxonomy=SEVEN, **shares):
    return Metadata(
        run=run,
        mode="hierarchical",
        taxonomy=taxonomy,
        image_size=size,
        channels=channels,
        align=align,
        synthetic=synthetic,
        **shares,
    )


class BarModel(Model):
    """Reads the bar of `tests.conftest.draw_face`: nine parts in ten for its emotion, the rest shared."""

    def __init__(self, name="bars", **options):
        self.facts = facts(run=name, **options)
        self.source = name
        self.batches = []

    def emotions(self, faces):
        self.batches.append(len(faces))
        count = len(self.facts.taxonomy.emotions)
        scale = faces.shape[1] / 48
        rows = [slice(round((4 + 6 * i) * scale), round((9 + 6 * i) * scale)) for i in range(count)]
        light = np.stack([faces[:, part].mean(axis=(1, 2, 3)) for part in rows], axis=1)
        return np.where(np.eye(count, dtype=bool)[light.argmax(axis=1)], 0.9, 0.1 / (count - 1))


class SquareDetector(Detector):
    """Finds white squares of one size by their left upper corners, in a picture that is black elsewhere."""

    def __init__(self, side):
        self.side = side
        self.batches = []

    def find(self, pictures):
        self.batches.append(len(pictures))
        return [self._squares(picture) for picture in pictures]

    def _squares(self, picture):
        grey = picture if picture.ndim == 2 else picture[..., 0]
        lit = grey > 0
        above = np.pad(lit, ((1, 0), (1, 0)))
        corners = np.argwhere(lit & ~above[:-1, 1:] & ~above[1:, :-1])
        return [Face(box=(int(x), int(y), self.side, self.side), score=1.0, points=None) for y, x in corners]


class FixedDetector(Detector):
    """Finds one face, always in the same place."""

    def __init__(self, box):
        self.box = box

    def find(self, pictures):
        return [[Face(box=self.box)] for _ in pictures]
