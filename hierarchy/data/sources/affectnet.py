"""AffectNet (Mollahosseini, Hasani and Mahoor, IEEE Trans. Affective Computing 2019) in its three layouts."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.sources import _listing, _pixel_csv
from fer_hierarchy.hierarchy.errors import BAD_ARRAY, UserError
from fer_hierarchy.hierarchy.own_classes import meaning

LOG = logging.getLogger("fer_hierarchy")

IMAGE_SIZE = None
LAYOUT = (
    "train_set/ and val_set/ with images/<id>.jpg and annotations/<id>_exp.npy or with class folders, "
    "or Manually_Annotated_file_lists/training.csv and validation.csv beside Manually_Annotated_Images/"
)
_EMOTIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
_NO_EMOTION = ("none", "uncertain", "no-face")  # faces that are left out
EXPRESSIONS = dict(enumerate(_EMOTIONS + _NO_EMOTION))

_NAME = "affectnet"
_LISTS = "Manually_Annotated_file_lists"
_IMAGES = "Manually_Annotated_Images"
_LIST_SPLITS = {"training.csv": "train", "validation.csv": "validation"}
_LIST_COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
_SETS = {"train_set": "train", "val_set": "validation"}


def detect(path: Path) -> bool:
    """Whether `path` holds the old release's lists, or the folders train_set or val_set of the later ones."""
    return (path / _LISTS).is_dir() or any(_is_set(path / name) for name in _SETS)


def _is_set(folder: Path) -> bool:
    return (folder / "annotations").is_dir() or any(_expression(word) for _, word, _ in _listing.class_folders(folder))


def fits(path: Path) -> bool:
    """Whether `path` can be read as this data set where the user names it."""
    return detect(path) or any(_expression(word) for _, word, _ in _listing.class_folders(path))


def _expression(word: str) -> str | None:
    """A class folder's expression: by name, or by AffectNet's number."""
    return meaning(word, EXPRESSIONS.get(int(word))) if word.isdecimal() else _listing.emotion_word(word)


def read(path: Path) -> pd.DataFrame:
    """Read the manifest; the validation set stays the validation split, AffectNet's own test set is not public.

    Args:
        path: The folder that holds the lists, the two sets or the class folders.

    Raises:
        UserError: A list, annotation or folder name is not AffectNet's.
    """
    if (path / _LISTS).is_dir():
        return _manifest(path, _read_lists(path))
    if any((path / name / "annotations").is_dir() for name in _SETS):
        return _manifest(path, _read_annotations(path))
    known = f"{_listing.EMOTION_WORDS}; or {', '.join(f'{number} {name}' for number, name in EXPRESSIONS.items())}"
    faces = _listing.list_faces(
        path, emotion_of=_expression, known=known, split_folders={**_listing.SPLIT_FOLDERS, **_SETS}
    )
    return _manifest(path, faces)


def _manifest(root: Path, faces: pd.DataFrame) -> pd.DataFrame:
    """Columns `file` (relative to root), `emotion` and `split` -> manifest without the faces that have no emotion."""
    left_out = faces["emotion"].isin(_NO_EMOTION)
    if left_out.any():
        counts = faces.loc[left_out, "emotion"].value_counts()
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        LOG.warning(f"AffectNet: {left_out.sum()} of {len(faces)} faces left out, they have no emotion ({listed})")
    return _listing.listed_manifest(root, faces[~left_out], _NAME)


def _read_lists(root: Path) -> pd.DataFrame:
    """The old release: training.csv and validation.csv name a file and an expression a row."""
    parts = []
    for name, split in _LIST_SPLITS.items():
        csv = root / _LISTS / name
        if not csv.is_file():
            continue
        frame = _pixel_csv.read_columns(csv, ("subDirectory_filePath", "expression"), names=_names(csv))
        emotions = _pixel_csv.names_by_id(csv, frame["expression"], EXPRESSIONS)
        files = f"{_IMAGES}/" + frame["subDirectory_filePath"].str.strip()
        parts.append(pd.DataFrame({"file": files, "emotion": emotions, "split": split}))
    if not parts:
        raise UserError(f"{root / _LISTS}: neither {' nor '.join(_LIST_SPLITS)} is there")
    faces = pd.concat(parts)
    if (root / _IMAGES).is_dir():
        _listing.note_unlisted(root, _IMAGES, faces["file"])
    return faces


def _names(csv: Path) -> tuple[str, ...] | None:
    """The columns of a list without a header line, whose first line is a picture; None where there is a header."""
    first = _pixel_csv.header(csv)
    headless = len(first) == len(_LIST_COLUMNS) and "/" in first[0]
    return _LIST_COLUMNS if headless else None


def _read_annotations(root: Path) -> pd.DataFrame:
    """The later release: each image has a file with its expression."""
    parts = [_read_set(root, name, split) for name, split in _SETS.items() if (root / name).is_dir()]
    return pd.concat(parts)


def _read_set(root: Path, name: str, split: str) -> pd.DataFrame:
    images, annotations = root / name / "images", root / name / "annotations"
    files = _listing.images_below(images) if images.is_dir() else []
    labels = [_annotation(annotations / f"{file.rpartition('.')[0]}_exp.npy") for file in files]
    faces = pd.DataFrame({"file": [f"{name}/images/{file}" for file in files], "emotion": labels, "split": split})
    unlabelled = faces["emotion"].isna()
    if unlabelled.any():
        LOG.warning(f"AffectNet: {unlabelled.sum()} images of {name} left out, they have no annotation")
    return faces[~unlabelled]


def _annotation(path: Path) -> str | None:
    """The expression in an annotation file, None if the file is missing.

    Raises:
        UserError: The file is damaged or holds something else.
    """
    try:
        # The releases store the number as text or as a number; 3.0 finds the key 3, and 3.5 finds none.
        number: Any = float(np.load(path, allow_pickle=False).item())
        return EXPRESSIONS[number]
    except FileNotFoundError:
        return None
    except BAD_ARRAY as error:
        raise UserError(f"{path}: holds no expression from 0 to 10 ({' '.join(str(error).split())[:120]})") from error
