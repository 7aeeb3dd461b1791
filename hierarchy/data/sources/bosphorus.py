"""Bosphorus: faces of 105 people with range files beside the pictures (Savran et al., BIOID 2008).

Only pictures of the six acted emotions (E_*) and of the neutral face (N_N) are faces here. Action units (LFAU, UFAU,
CAU), rotated heads (YR, PR, CR) and covered faces (O) are left out. Others have taken some action units for emotions;
we do not, because the person was to raise a brow, not to be surprised.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.depth.bnt import read_bnt, surface
from fer_hierarchy.hierarchy.data.depth.depth_planes import DepthScale, at_nominal
from fer_hierarchy.hierarchy.data.sources import _listing
from fer_hierarchy.hierarchy.errors import UserError

IMAGE_SIZE = None
LAYOUT = "BosphorusDB/bs000/bs000_E_ANGER_0.png with the range file bs000_E_ANGER_0.bnt beside it"
DEPTH = DepthScale(kind="relative", mm_per_unit=1.0)
CACHED = True

_NAME = "bosphorus"
_SUBJECT = re.compile(r"bs\d{3}")
_PICTURE = re.compile(r"(bs\d{3})_([A-Z]+)_")
_FACE = re.compile(r"(bs\d{3})_(?:E_([A-Z]+)|N_N)_\d+")
_NEUTRAL = "neutral"
_log = logging.getLogger("fer_hierarchy")


def detect(path: Path) -> bool:
    """Whether `path` holds subjects' folders with the data set's file names."""
    return any(_listing.any_image(path / folder, _PICTURE.match) for folder in _subjects(path))


def read(path: Path) -> pd.DataFrame:
    """Read the manifest; no splits, every picture with its subject and, where it is there, its range file.

    Args:
        path: The folder that holds the subjects' folders.

    Raises:
        UserError: A file name has an unknown emotion, or no picture shows an emotion.
    """
    files = _listing.files_in(path, _subjects(path))
    pictures = _by_stem(file for file in files if _listing.is_image(file))
    ranges = _by_stem(file for file in files if file.lower().endswith(".bnt"))
    faces = {stem: match for stem in pictures if (match := _FACE.fullmatch(stem))}
    _note_left_out([stem for stem in pictures if stem not in faces], [stem for stem in ranges if stem not in pictures])
    if not faces:
        raise UserError(f"{path}: none of {len(pictures)} pictures shows an emotion; names like {LAYOUT.split('/')[2]}")
    rows = [
        (stem, pictures[stem], ranges.get(stem, ""), _emotion(path, match), match[1]) for stem, match in faces.items()
    ]
    table = pd.DataFrame(rows, columns=["id", "file", "depth", "emotion", "subject"])
    return _listing.paired_manifest(path, table, _NAME, DEPTH.kind)


def read_depth(path: str, picture: tuple[int, int]) -> np.ndarray:
    """Depth of a face from its range file, the face at the nominal distance.

    Args:
        path: The .bnt file.
        picture: (height, width) of the picture that it belongs to.

    Returns:
        (height, width) float32 millimetres away from the camera, NaN in holes, registered to the picture.

    Raises:
        BadImageError: The file cannot be used.
    """
    return at_nominal(surface(read_bnt(path), picture) * DEPTH.mm_per_unit)


def _subjects(path: Path) -> list[str]:
    return [folder for folder in _listing.subfolders(path) if _SUBJECT.fullmatch(folder)]


def _by_stem(files: Iterable[str]) -> dict[str, str]:
    """Files by their name without folder and suffix."""
    return {file.rpartition("/")[2].rpartition(".")[0]: file for file in files}


def _emotion(path: Path, match: re.Match) -> str:
    if match[2] is None:
        return _NEUTRAL
    emotion = _listing.emotion_word(match[2])
    if emotion is None:
        raise UserError(f"{path}: {match[0]} names no emotion ({match[2]!r}); known: {_listing.EMOTION_WORDS}")
    return emotion


def _note_left_out(pictures: list[str], ranges: list[str]) -> None:
    """One line for what is not read, by kind."""
    if pictures:
        kinds = Counter(match[2] if (match := _PICTURE.match(stem)) else "other" for stem in pictures)
        listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        _log.warning("%s: %d pictures left out, they show no emotion (%s)", _NAME, len(pictures), listed)
    lonely = [stem for stem in ranges if _FACE.fullmatch(stem)]
    if lonely:
        _log.warning("%s: %d range files have no picture (first: %s)", _NAME, len(lonely), lonely[0])
