"""Bosphorus: faces of 105 people with range files beside the pictures (Savran et al., BIOID 2008).

Only pictures of the six acted emotions (E_*) and of the neutral face (N_N) are faces here. Action units (LFAU, UFAU,
CAU), rotated heads (YR, PR, CR) and covered faces (O) are left out. Others have taken some action units for emotions;
we do not, because what was asked of the person was a raised brow, not surprise.
"""

import logging
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.depth.bnt import read_bnt, surface
from fer_hierarchy.hierarchy.data.depth.depth_planes import SCALES, at_nominal
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.data.sources._listing import EMOTION_WORDS, any_image, emotion_word, is_image, subfolders
from fer_hierarchy.hierarchy.errors import UserError

IMAGE_SIZE = None
LAYOUT = "BosphorusDB/bs000/bs000_E_ANGER_0.png with the range file bs000_E_ANGER_0.bnt beside it"
CACHED = True

_NAME = "bosphorus"
_SUBJECT = re.compile(r"bs\d{3}")
_PICTURE = re.compile(r"(bs\d{3})_([A-Z]+)_")
_FACE = re.compile(r"(bs\d{3})_(?:E_([A-Z]+)|N_N)_\d+")
_NEUTRAL = "neutral"
_log = logging.getLogger("hierarchy")


def detect(path: Path) -> bool:
    """Whether `path` holds subjects' folders with the data set's file names."""
    return any(any_image(path / folder, _PICTURE.match) for folder in _subjects(path))


def read(path: Path) -> pd.DataFrame:
    """Read the manifest; no splits, every picture with its subject and, where it is there, its range file.

    Args:
        path: The folder that holds the subjects' folders.

    Raises:
        UserError: A file name tells an emotion that we do not know, or none shows an emotion.
    """
    pictures, ranges = _files(path)
    faces = {stem: match for stem in pictures if (match := _FACE.fullmatch(stem))}
    _tell_left_out([stem for stem in pictures if stem not in faces], [stem for stem in ranges if stem not in pictures])
    if not faces:
        raise UserError(f"{path}: none of {len(pictures)} pictures shows an emotion; names like {LAYOUT.split('/')[2]}")
    return make_manifest(
        ids=list(faces),
        paths=[pictures[stem] for stem in faces],
        emotions=[_emotion(path, match) for match in faces.values()],
        subjects=[match[1] for match in faces.values()],
        depth_paths=[ranges.get(stem, "") for stem in faces],
        depth_kinds=[SCALES[_NAME].kind if stem in ranges else "" for stem in faces],
        source=_NAME,
    )


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
    return at_nominal(surface(read_bnt(path), picture) * SCALES[_NAME].mm_per_unit)


def _subjects(path: Path) -> list[str]:
    return [folder for folder in subfolders(path) if _SUBJECT.fullmatch(folder)]


def _files(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Absolute paths of the pictures and of the range files by file name without suffix, sorted."""
    pictures, ranges = {}, {}
    for folder in _subjects(path):
        place = os.path.join(path.resolve(), folder)  # noqa: PTH118 - a path object for every file would be slow
        for name in sorted(os.listdir(place)):  # noqa: PTH208 - likewise
            stem, _, suffix = name.rpartition(".")
            if is_image(name):
                pictures[stem] = f"{place}{os.sep}{name}"
            elif suffix.lower() == "bnt":
                ranges[stem] = f"{place}{os.sep}{name}"
    return pictures, ranges


def _emotion(path: Path, match: re.Match) -> str:
    if match[2] is None:
        return _NEUTRAL
    emotion = emotion_word(match[2])
    if emotion is None:
        raise UserError(f"{path}: {match[0]} names no emotion ({match[2]!r}); known: {EMOTION_WORDS}")
    return emotion


def _tell_left_out(pictures: list[str], ranges: list[str]) -> None:
    """One line for what is not read, by kind."""
    if pictures:
        kinds = Counter(match[2] if (match := _PICTURE.match(stem)) else "other" for stem in pictures)
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        _log.warning("%s: %d pictures left out, they show no emotion (%s)", _NAME, len(pictures), told)
    lonely = [stem for stem in ranges if _FACE.fullmatch(stem)]
    if lonely:
        _log.warning("%s: %d range files have no picture (first: %s)", _NAME, len(lonely), lonely[0])
