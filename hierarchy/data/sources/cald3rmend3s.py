"""CalD3r & MenD3s: colour and depth of spontaneous expressions, in two parts.

Ulrich et al., "CalD3r and MenD3s: Spontaneous 3D facial expression databases", JVCIR 2024.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth.depth_planes import DepthScale
from fer_hierarchy.hierarchy.data.depth.png import read_units
from fer_hierarchy.hierarchy.data.sources import _listing
from fer_hierarchy.hierarchy.errors import UserError

LOG = logging.getLogger("fer_hierarchy")

# Intel RealSense SR300: its depth unit is 0.125 mm and its range 0.2 to 1.5 m (Intel's data sheet); the papers of the
# data set state no unit.
DEPTH = DepthScale(kind="metric", mm_per_unit=0.125, nearest_mm=200.0, farthest_mm=1500.0)
IMAGE_SIZE = None  # 224x224 as published; tools that align the faces choose their own
LAYOUT = (
    "CalD3r/<emotion>/RGB/F_001_1120_anger_Color.png with DEPTH/F_001_1120_anger_Depth.png, "
    "and the like in MenD3s, or one of the two"
)

_NAME = "cald3rmend3s"
_PARTS = {"cald3r": "CalD3r", "mend3s": "MenD3s"}
_KINDS = {"RGB": "color", "DEPTH": "depth"}
_WORDS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")  # in the files' names
_FILE = re.compile(r"(aligned_)?([FM])_(\d{2,3})_([^_]+)_([^_]+)_(color|depth)\.\w+", re.IGNORECASE)
_LEAST_VALID = 0.01  # share of the pixels that must have been measured
_MOST_LONELY = 0.9  # share of the depth files without picture from which on the names must be wrong
_OTHER_UNITS = (1.0, 0.1, 0.01)  # millimetres: what programs that rewrite depth choose instead


@dataclass(frozen=True)
class _Face:
    """One colour or depth file: `file` is relative to the root, `key` what a pair has in common."""

    file: str
    part: str
    folder: str
    key: str
    aligned: bool
    subject: str

    @property
    def name(self) -> str:
        """The face, whichever of its files this is."""
        return f"{self.part}/{self.folder}/{self.key}"


def detect(path: Path) -> bool:
    """Whether `path` holds the two parts or is one, from the names of the files."""
    return any(_listing.any_image(path / folder, _FILE.fullmatch) for folder, *_ in _folders(path))


def _folders(path: Path) -> list[tuple[str, str, str, str]]:
    """(folder relative to `path`, part or "", emotion's folder, "RGB" or "DEPTH") of all folders with images."""
    return [
        (f"{prefix}{emotion}/{kind}", _PARTS.get(name.lower(), ""), emotion, kind)
        for name, prefix, emotion in _emotions(path)
        for kind in _KINDS
        if (path / prefix / emotion / kind).is_dir()
    ]


def _emotions(path: Path) -> list[tuple[str, str, str]]:
    """(part's folder, that as the beginning of paths relative to `path`, name) of all folders in the parts."""
    parts = [(name, f"{name}/") for name in _listing.subfolders(path) if name.lower() in _PARTS]
    return [
        (name, prefix, emotion)
        for name, prefix in parts or [(path.name, "")]
        for emotion in _listing.subfolders(path / prefix)
    ]


def _refuse_empty(path: Path, colours: list[_Face]) -> None:
    """Refuse an emotion's folder without a colour picture; nobody would miss the emotion otherwise."""
    for _, prefix, emotion in _emotions(path):
        place = f"{prefix}{emotion}/RGB"
        known = _listing.emotion_word(emotion) is not None
        if known and not any(face.file.startswith(f"{place}/") for face in colours):
            raise UserError(f"{path}: {place} holds no image; fill it, or remove the folder {prefix}{emotion}")


def read(path: Path) -> pd.DataFrame:
    """Read the manifest; no splits. A subject is a number within its part, as "CalD3r-001": the parts' numbers overlap.

    Args:
        path: The folder with CalD3r and MenD3s, or one of them.

    Raises:
        UserError: A folder names no emotion, or the names of depth and colour files do not fit each other.
    """
    folders = _folders(path)
    unknown = sorted({emotion for _, _, emotion, _ in folders if _listing.emotion_word(emotion) is None})
    if unknown:
        raise UserError(f"{path}: folder {unknown[0]!r} names no emotion; known: {_listing.EMOTION_WORDS}")
    colours, depths = (_faces(path, [folder for folder in folders if folder[-1] == kind]) for kind in _KINDS)
    _refuse_empty(path, colours)
    partners = {(face.name, face.aligned): face.file for face in depths}
    _note_lonely(path, colours, depths)
    rows = [
        (face.name, face.file, partners.get((face.name, face.aligned), ""), face.folder, f"{face.part}-{face.subject}")
        for face in _chosen(path, colours, partners)
    ]
    table = pd.DataFrame(rows, columns=["id", "file", "depth", "emotion", "subject"])
    return _listing.paired_manifest(
        path, table.assign(emotion=table["emotion"].map(_listing.emotion_word)), _NAME, DEPTH.kind
    )


def _faces(path: Path, folders: list[tuple[str, str, str, str]]) -> list[_Face]:
    return [
        _face(file, *facts)
        for place, *facts in folders
        for file in _listing.files_in(path, [place])
        if _listing.is_image(file)
    ]


def _face(file: str, part: str, folder: str, kind: str) -> _Face:
    """What a file's name means; a strange name is a face of its own."""
    name = file.rpartition("/")[2]
    match = _parsed(name, kind)
    if match is None:
        return _Face(file, part or "unnamed", folder, name, False, "unnamed")
    aligned, gender, subject, code, word, _ = match.groups()
    part = part or ("CalD3r" if len(subject) == 3 else "MenD3s")
    return _Face(file, part, folder, f"{gender.upper()}_{subject}_{code}_{word.lower()}", bool(aligned), subject)


def _parsed(name: str, kind: str) -> re.Match | None:
    match = _FILE.fullmatch(name)
    return match if match and match[6].lower() == _KINDS[kind] else None


def _chosen(path: Path, colours: list[_Face], partners: dict) -> list[_Face]:
    """One colour file of each face: with depth before without, aligned before not."""
    best: dict[str, _Face] = {}
    for face in sorted(colours, key=lambda face: ((face.name, face.aligned) in partners, face.aligned)):
        best[face.name] = face
    if len(best) < len(colours):
        LOG.warning(
            f"{path}: {len(colours) - len(best)} faces are there twice, as aligned_ and as plain file; "
            f"the aligned one of each is taken (the plain one where only that has depth)"
        )
    return [best[name] for name in sorted(best)]


def _note_lonely(path: Path, colours: list[_Face], depths: list[_Face]) -> None:
    """Name the depth files that belong to no colour file; nobody would notice otherwise."""
    names = {(face.name, face.aligned) for face in colours}
    lonely = [face.file for face in depths if (face.name, face.aligned) not in names]
    if not lonely:
        return
    found = f"{path}: {len(lonely)} of {len(depths)} depth files have no colour picture"
    if len(lonely) >= _MOST_LONELY * len(depths) and len(depths) > 1:
        raise UserError(f"{found} (first: {lonely[0]}); pairs like {LAYOUT} are needed")
    LOG.warning(f"{found} and are ignored (first: {lonely[0]})")


def problem(path: str, _depth_path: str) -> str | None:
    """Why a face cannot be what its name promises; None without a contradiction."""
    match = _parsed(Path(path).name, "RGB")
    if match is None:
        return "file name is not like F_001_1120_anger_Color.png: it has neither subject nor emotion"
    word, folder = match[5], Path(path).parent.parent.name
    known = word.lower() in (*_WORDS, folder.lower())
    if not known or _listing.emotion_word(word) != _listing.emotion_word(folder):
        return f"file name has {word!r}, the folder {folder}"
    return None


def read_depth(path: str, picture: tuple[int, int]) -> np.ndarray:
    """Read the distances of a face from the camera.

    Args:
        path: A 16-bit PNG.
        picture: (height, width) of the colour picture.

    Returns:
        (height, width) float32 millimetres; NaN where nothing was measured or the sensor cannot measure.

    Raises:
        BadImageError: No such depth, of another size or in another unit, or holes only.
    """
    units = read_units(path, picture)
    measured = units > 0
    if measured.mean() < _LEAST_VALID:
        raise BadImageError(f"depth is all holes: {int(measured.sum())} of {units.size} pixels were measured")
    _check_unit(float(np.median(units[measured])))
    distance = units * np.float32(DEPTH.mm_per_unit)
    return np.where((distance >= DEPTH.nearest_mm) & (distance <= DEPTH.farthest_mm), distance, np.float32(np.nan))


def _check_unit(median: float) -> None:
    """Refuse depth whose middle value the sensor cannot have measured."""
    distance = median * DEPTH.mm_per_unit
    if DEPTH.nearest_mm <= distance <= DEPTH.farthest_mm:
        return
    fitting = [unit for unit in _OTHER_UNITS if DEPTH.nearest_mm <= median * unit <= DEPTH.farthest_mm]
    guess = f"; in units of {fitting[0]:g} mm it would be {median * fitting[0]:.0f} mm" if fitting else ""
    raise BadImageError(
        f"depth is in another unit: its median of {median:.0f} in units of {DEPTH.mm_per_unit:g} mm is "
        f"{distance:.0f} mm, but the sensor measures {DEPTH.nearest_mm:.0f} to {DEPTH.farthest_mm:.0f} mm{guess}"
    )
