"""The embedded default data: which face stands at which index, with what expression, person, pose and light.

A face's expression is a set of FACS action units (Ekman & Friesen, "Facial Action Coding System", 1978) around the
EMFACS prototype of its emotion: scaled by a random intensity, some units missing, some faces blended with the emotion
that people confuse it with. No label is wrong on purpose. Face i of seed s depends on (s, i) and on nothing else.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import SPLITS
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.data.synthetic.parameters import (
    HAIR_STYLES,
    OCCLUSIONS,
    FaceParameters,
    Identity,
    View,
    sample,
)
from fer_hierarchy.hierarchy.data.synthetic.portrait import render
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_folder, cache_dir

_log = logging.getLogger("fer_hierarchy")

GENERATOR_VERSION = 1  # part of the cache key: raise it whenever the same (seed, index) gives other pixels


class _Expression(NamedTuple):
    """How the faces of an emotion move; keys are numbers of FACS action units."""

    prototype: dict[int, float]  # activations at full intensity
    extras: dict[int, tuple[float, float]]  # units of some faces only: (probability, activation)
    partner: str  # the emotion that some faces are blended with
    blended: float  # share of the blended faces
    most: float  # largest weight of the blend


_EXPRESSIONS = {
    "angry": _Expression(
        {4: 1.2, 5: 0.5, 7: 1.0, 23: 1.0}, {9: (0.35, 0.5), 25: (0.25, 0.7)}, "disgust", blended=0.45, most=0.5
    ),
    "disgust": _Expression(
        {4: 0.5, 7: 0.4, 9: 1.0, 15: 0.6, 16: 0.6}, {25: (0.4, 0.6), 6: (0.2, 0.4)}, "angry", blended=0.45, most=0.5
    ),
    "fear": _Expression(
        {1: 0.9, 2: 0.6, 4: 0.6, 5: 0.9, 20: 0.9, 26: 0.4}, {25: (0.6, 0.7)}, "surprise", blended=0.45, most=0.55
    ),
    "happy": _Expression({6: 0.8, 12: 1.0}, {25: (0.65, 1.0), 26: (0.15, 0.4)}, "surprise", blended=0.10, most=0.35),
    "sad": _Expression({1: 0.9, 4: 0.5, 15: 0.9}, {7: (0.15, 0.4), 25: (0.1, 0.5)}, "neutral", blended=0.20, most=0.35),
    "surprise": _Expression({1: 0.9, 2: 1.0, 5: 0.8, 26: 0.9}, {25: (0.5, 0.6)}, "fear", blended=0.40, most=0.5),
    "neutral": _Expression({}, {25: (0.12, 0.4)}, "sad", blended=0.20, most=0.30),
}

# Faces of each emotion in any hundred: FER-2013's shares (3995, 436, 4097, 7215, 4830, 3171, 4965 of 28,709), but
# disgust at twice its 1.5 so that the default splits hold enough of it to train on and to score.
SHARES = {"angry": 14, "disgust": 3, "fear": 14, "happy": 25, "sad": 16, "surprise": 11, "neutral": 17}

FACES_PER_SUBJECT = 5
SMALLEST_SPLIT = 50  # any fifty consecutive faces hold every emotion
LARGEST_SPLIT = 1_000_000  # also the distance between the first indices of two splits


@dataclass(frozen=True, kw_only=True)
class SyntheticSpec:
    """How many faces of which seed.

    The splits' indices start `LARGEST_SPLIT` apart, so that a change of one size leaves the other splits' faces alone
    and no subject stands in two splits.

    Attributes:
        source: Name of the data source; `version` of its generator and `shares` of its emotions belong to the class.
        seed: Seed of everything; from 0.
        train: Number of faces; `validation` and `test` likewise.
    """

    source: ClassVar[str] = "synthetic"
    version: ClassVar[int] = GENERATOR_VERSION
    shares: ClassVar[Mapping[str, int]] = SHARES

    seed: int = 2013
    train: int = 2600
    validation: int = 500
    test: int = 700

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"synthetic faces: seed is {self.seed}; it must be 0 or more")
        for split in SPLITS:
            size = getattr(self, split)
            if not SMALLEST_SPLIT <= size <= LARGEST_SPLIT:
                raise UserError(f"synthetic faces: {split} is {size}; it must be {SMALLEST_SPLIT} to {LARGEST_SPLIT}")

    @property
    def key(self) -> str:
        """Name of the folder that holds these faces."""
        return f"v{self.version}-seed{self.seed}-{self.train}-{self.validation}-{self.test}"

    def pictures(self, face: "FaceEntry") -> dict[Path, np.ndarray]:
        """Draw one face: pixels as OpenCV writes them, by file below the folder of the spec."""
        return {face.file: render_face(face.seed, face.index)}

    def files(self, face: "FaceEntry") -> list[Path]:
        """The files of `pictures` without drawing them."""
        return [face.file]


@dataclass(frozen=True, kw_only=True)
class FaceEntry:
    """One face of a spec before it is drawn."""

    source: str = "synthetic"
    index: int  # its number within the seed
    seed: int
    split: str
    emotion: str  # canonical
    subject: str  # name of the person; `FACES_PER_SUBJECT` faces share one

    @property
    def name(self) -> str:
        """The face's id, unique between seeds too."""
        return f"{self.source}{self.seed}_{self.index:07d}"

    @property
    def file(self) -> Path:
        """Where the face's picture stands below the folder of its spec."""
        return Path(self.split, self.emotion, f"{self.name}.png")


def entries(spec: SyntheticSpec) -> list[FaceEntry]:
    """Every face of a spec in order: train, validation, test."""
    return [
        FaceEntry(
            source=spec.source,
            index=index,
            seed=spec.seed,
            split=split,
            emotion=face_emotion(spec.seed, index, spec.shares),
            subject=f"{spec.source}{spec.seed}_p{index // FACES_PER_SUBJECT:06d}",
        )
        for number, split in enumerate(SPLITS)
        for index in range(number * LARGEST_SPLIT, number * LARGEST_SPLIT + getattr(spec, split))
    ]


def spec_manifest(spec: SyntheticSpec, depth_kind: str = "") -> pd.DataFrame:
    """Draw the faces of a spec, or find them in the cache, and give their manifest with its own three splits.

    Raises:
        UserError: The cache cannot be written.
    """
    folder, faces = rendered_folder(spec), entries(spec)
    paths, *depths = zip(*([str(folder / file) for file in spec.files(face)] for face in faces), strict=True)
    return make_manifest(
        ids=[face.name for face in faces],
        paths=paths,
        emotions=[face.emotion for face in faces],
        splits=[face.split for face in faces],
        subjects=[face.subject for face in faces],
        depth_paths=depths[0] if depths else "",
        depth_kinds=depth_kind,
        source=spec.source,
    )


def rendered_folder(spec: SyntheticSpec) -> Path:
    """Folder that holds a spec's pictures at `FaceEntry.file`; draws them where the cache does not have them all.

    Raises:
        UserError: The cache cannot be written.
    """
    folder = cache_dir().resolve() / spec.source / spec.key
    faces = entries(spec)
    files = [file for face in faces for file in spec.files(face)]
    if _complete(folder, files):
        return folder
    _log.info("drawing %d synthetic faces once, into %s", len(faces), folder)
    try:
        with atomic_folder(folder, keep=lambda: _complete(folder, files)) as temporary:
            for parent in {(temporary / file).parent for file in files}:
                parent.mkdir(parents=True)
            for face in faces:
                for file, pixels in spec.pictures(face).items():
                    # Encoded in memory: cv2.imwrite hides that the disk is full.
                    (temporary / file).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    except OSError as error:
        raise UserError(
            f"synthetic faces: cannot write {folder} ({error.strerror or error}); "
            f"free some space there or set FER_CACHE to another folder"
        ) from error
    return folder


def _complete(folder: Path, files: Iterable[Path]) -> bool:
    """Whether every picture is there and none is empty."""
    try:
        return all((folder / file).stat().st_size for file in files)
    except OSError:
        return False


def face_emotion(seed: int, index: int, shares: Mapping[str, int] = SHARES) -> str:
    """Emotion of face `index`: any hundred faces in a row hold exactly the `shares`."""
    order = _emotion_cycle(seed, tuple(shares.items()))
    return order[index % len(order)]


@cache
def _emotion_cycle(seed: int, shares: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """A hundred emotions, each spread evenly over the cycle and shifted by the seed."""
    phases = stream(seed, 2).random(len(shares))
    places = [
        ((k + phase) / count, emotion)
        for (emotion, count), phase in zip(shares, phases, strict=True)
        for k in range(count)
    ]
    return tuple(emotion for _, emotion in sorted(places))


def render_face(seed: int, index: int) -> np.ndarray:
    """Draw face `index` of `seed`.

    Returns:
        (48, 48) uint8.
    """
    return render(sample_face(seed, index))


def sample_face(seed: int, index: int, shares: Mapping[str, int] = SHARES) -> FaceParameters:
    """Draw all parameters of face `index` of `seed`; a function of these numbers and the emotions' `shares` alone."""
    emotion = face_emotion(seed, index, shares)
    rng = stream(seed, 0, index)
    identity = _sample_identity(stream(seed, 1, index // FACES_PER_SUBJECT))
    units = _sample_units(emotion, rng)
    occlusion = str(rng.choice(OCCLUSIONS, p=[0.88, 0.05, 0.02, 0.05]))
    view = sample(View, rng, occlusion=occlusion)
    return FaceParameters(emotion=emotion, units=units, identity=identity, view=view)


def stream(seed: int, *numbers: int) -> np.random.Generator:
    """Random numbers that belong to one purpose; 0 to 2 are the face, its person and the order of emotions."""
    return np.random.default_rng([seed, *numbers])


def _sample_units(emotion: str, rng: np.random.Generator) -> dict[int, float]:
    """Action units of one face: prototype, blend, missing and additional units, and the restlessness of any face."""
    expression = _EXPRESSIONS[emotion]
    units = expression.prototype
    if rng.random() < expression.blended:
        weight, other = rng.uniform(0.1, expression.most), _EXPRESSIONS[expression.partner].prototype
        units = {n: (1 - weight) * units.get(n, 0.0) + weight * other.get(n, 0.0) for n in sorted({*units, *other})}
    lead = max(units, key=lambda number: units[number], default=0)  # never missing, or the face would be neutral
    units = {n: a for n, a in units.items() if rng.random() > 0.1 or n == lead}
    for number, (probability, activation) in expression.extras.items():
        if rng.random() < probability:
            units[number] = max(units.get(number, 0.0), activation)
    intensity = 0.5 + 0.65 * rng.beta(2.0, 1.6)
    units = {n: a * intensity * rng.uniform(0.75, 1.2) for n, a in units.items()}
    for number in (1, 2, 4, 5, 7, 12, 15, 20):
        units[number] = units.get(number, 0.0) + max(0.0, 0.1 * rng.standard_normal())
    return {n: float(min(a, 1.2)) for n, a in sorted(units.items())}


def _sample_identity(rng: np.random.Generator) -> Identity:
    """A person."""
    skin = rng.uniform(100, 215)
    grey = rng.random() < 0.12
    age = rng.beta(1.3, 2.2)
    beard = rng.random() < 0.25
    style = str(rng.choice(HAIR_STYLES, p=(0.06, 0.1, 0.22, 0.1, 0.14, 0.14, 0.24)))
    return sample(
        Identity,
        rng,
        skin=skin,
        hair=lambda: rng.uniform(140, 205) if grey else min(rng.uniform(15, 120), 0.6 * skin),
        age=age,
        hair_style=style,
        hairline=lambda: rng.uniform(-0.78, -0.6) if style != "bald" else -1.0,
        beard=lambda: float(rng.uniform(0.15, 0.75)) if beard and style != "long" else 0.0,
        glasses=lambda: float(rng.uniform(1.0, 2.4)) if rng.random() < 0.13 else 0.0,
    )
