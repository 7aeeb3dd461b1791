"""The embedded faces in colour and depth: each person's appearance, and what both sensors make of each picture.

Expressions and persons are those of `embedded` under the same (seed, index). A picture's light and its
depth's quality are drawn independently of each other and of the expression.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from fer_hierarchy.hierarchy.data.synthetic.embedded import (
    FACES_PER_SUBJECT,
    FaceEntry,
    SyntheticSpec,
    sample_face,
    stream,
)
from fer_hierarchy.hierarchy.data.synthetic.parameters import FaceParameters, Identity, View, normal, sample
from fer_hierarchy.hierarchy.data.synthetic.portrait_rgbd import Palette, Shot, render_pair
from fer_hierarchy.hierarchy.data.synthetic.portrait_surface import Build

# Faces of each emotion in any hundred: uneven as in recorded sets, and enough of the rarest for folds by person.
RGBD_SHARES = {"angry": 13, "disgust": 9, "fear": 12, "happy": 21, "sad": 15, "surprise": 13, "neutral": 17}


@dataclass(frozen=True, kw_only=True)
class RgbdSpec(SyntheticSpec):
    """How many faces with colour and depth of which seed; see `SyntheticSpec`."""

    source: ClassVar[str] = "synthetic-rgbd"
    version: ClassVar[int] = 1  # raise it whenever the same (seed, index) gives other pixels
    shares: ClassVar[Mapping[str, int]] = RGBD_SHARES

    train: int = 1200
    validation: int = 300
    test: int = 400

    def pictures(self, face: FaceEntry) -> dict[Path, np.ndarray]:
        """Draw one face: pixels as OpenCV writes them, by file below the folder of the spec."""
        colour, depth = render_rgbd(face.seed, face.index)
        return dict(zip(self.files(face), (colour[..., ::-1], depth), strict=True))

    def files(self, face: FaceEntry) -> list[Path]:
        """Where the colour picture and its depth stand."""
        return [face.file, Path("depth") / face.file]


def render_rgbd(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw face `index` of `seed`.

    Returns:
        Colour (64, 64, 3) uint8 RGB and depth (64, 64) uint16, see `portrait_rgbd.render_pair`.
    """
    face = sample_face(seed, index, RGBD_SHARES)
    rng = stream(seed, 3, index // FACES_PER_SUBJECT)
    palette, build = sample_palette(face.identity, rng), sample(Build, rng)
    return render_pair(_before_sensors(face), palette, build, sample_shot(face.view, stream(seed, 4, index)))


def _before_sensors(face: FaceParameters) -> FaceParameters:
    """The face without what only a printed picture has: a bar over it."""
    view = face.view
    return replace(face, view=replace(view, occlusion="none")) if view.occlusion == "bar" else face


def sample_palette(who: Identity, rng: np.random.Generator) -> Palette:
    """Colours that go with the grey tones of a person."""
    fair = (who.skin - 100.0) / 115.0  # 0 to 1
    warmth = 0.03 * normal(rng)
    skin = (1.32 - 0.16 * fair + warmth, 0.92 + 0.03 * fair, 0.72 + 0.13 * fair - warmth)
    redness = 1.0 + 0.1 * normal(rng)
    lips = (skin[0] * (1.08 + 0.14 * redness), skin[1] * (0.98 - 0.13 * redness), skin[2] * (1.06 - 0.06 * redness))
    return Palette(skin=skin, lips=lips, hair=_hair_colour(who.hair, rng), iris=_iris_colour(who, rng))


def _hair_colour(tone: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Black, brown, blond or red by tone; the light tones are grey hair."""
    if tone > 135.0:
        return 1.0, 1.0, 1.02
    if tone > 45.0 and rng.random() < 0.12:
        return 1.6, 0.85, 0.5
    strength = float(np.clip((tone - 20.0) / 60.0, 0.0, 1.0))
    return 1.0 + 0.32 * strength, 1.0 - 0.05 * strength, 1.0 - 0.45 * strength


def _iris_colour(who: Identity, rng: np.random.Generator) -> tuple[float, float, float]:
    """Brown in dark eyes and dark faces, else blue or green."""
    if who.iris < 55.0 or who.skin < 135.0:
        return 1.45, 0.95, 0.55
    return (0.65, 1.0, 1.5) if rng.random() < 0.6 else (0.85, 1.1, 0.75)


def sample_shot(view: View, rng: np.random.Generator) -> Shot:
    """Light and sensor of one picture."""
    warm = 0.06 * normal(rng)
    dim = rng.random() < 0.4
    return sample(
        Shot,
        rng,
        light=(1.0 + warm, 1.0, 1.0 - warm),
        exposure=lambda: rng.uniform(0.18, 0.5) if dim else rng.uniform(0.7, 1.1),
        contrast=lambda: rng.uniform(0.35, 0.7) if rng.random() < 0.3 else 1.0,
        noise=lambda: view.noise + rng.uniform(0.0, 4.0),
    )
