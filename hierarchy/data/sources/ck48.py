"""CK+48: frames of CK+ (Lucey et al., CVPR workshops 2010) cut to 48x48, in class folders, subject in the file name."""

import re
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.sources import _listing
from fer_hierarchy.hierarchy.errors import UserError

IMAGE_SIZE = (48, 48)
LAYOUT = "CK+48/<emotion>/S010_004_00000017.png, named by subject, session and frame"

_NAME = "ck48"
_STEM = re.compile(r"(S\d{3})_\d{3}_\d{8}")


def detect(path: Path) -> bool:
    """Whether `path` holds class folders with CK+'s file names."""
    folders = [folder for _, word, folder in _listing.class_folders(path) if _listing.emotion_word(word)]
    return any(_listing.any_image(path / folder, _STEM.match) for folder in folders)


def read(path: Path) -> pd.DataFrame:
    """Read the manifest; no splits, every image with its subject, because a person's frames must stay together.

    Args:
        path: The folder that holds the class folders.

    Raises:
        UserError: A folder names no emotion, or a file name has no subject.
    """
    faces = _listing.list_faces(path)
    ids = _listing.stems(faces["file"])
    matches = [_STEM.fullmatch(stem) for stem in ids]
    odd = [file for file, match in zip(faces["file"], matches, strict=True) if match is None]
    if odd:
        raise UserError(
            f"{path}: {len(odd)} file names lack the subject (first: {odd[0]}); "
            f"names like S010_004_00000017.png are needed, or --dataset folder, which knows no subjects"
        )
    return _listing.listed_manifest(path, faces, _NAME, ids=ids, subjects=[match[1] for match in matches if match])
