"""RAF-DB's basic emotions (Li, Deng and Du, CVPR 2017): the official layout, or Kaggle's numbered folders."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.sources import _pixel_csv
from fer_hierarchy.hierarchy.data.sources._listing import (
    any_image,
    class_folders,
    list_faces,
    listed_manifest,
    note_unlisted,
    subfolders,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.own_classes import meaning

IMAGE_SIZE = None  # aligned faces are 100x100, originals of any size
LAYOUT = (
    "basic/EmoLabel/list_patition_label.txt with basic/Image/aligned, "
    "or DATASET/train/1..7/<image> beside DATASET/test/1..7/<image>"
)
EMOTION_IDS = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}

_NAME = "rafdb"
# The first is how the authors spell it.
_LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_SPLITS = {"train": "train", "test": "test"}
_FILE = re.compile(r"(train|test)_\d+(_aligned)?\.")


def detect(path: Path) -> bool:
    """Whether `path` holds the official label list, or numbered folders with the official file names."""
    if _label_list(path) is not None:
        return True
    root = _kaggle_root(path)
    if root is None:
        return False
    # Numbers alone prove nothing (other sets number other emotions): the file names must be RAF-DB's.
    folders = [root / folder for _, _, folder in class_folders(root, _SPLITS)] or [root / split for split in _SPLITS]
    return any(any_image(folder, _FILE.match) for folder in folders)


def fits(path: Path) -> bool:
    """Whether `path` can be read as this data set where the user names it."""
    return _label_list(path) is not None or _kaggle_root(path) is not None


def _label_list(path: Path) -> Path | None:
    """The official list, in `path` or in its folder `basic`."""
    places = [base / "EmoLabel" / name for base in (path / "basic", path) for name in _LISTS]
    return next((place for place in places if place.is_file()), None)


def _kaggle_root(path: Path) -> Path | None:
    """The folder with train/ and test/: `path` or its folder DATASET; its folders are numbers, or csv files label."""
    for root in (path / "DATASET", path):
        if set(subfolders(root)) >= set(_SPLITS):
            words = {word for split, word, _ in class_folders(root, _SPLITS) if split}
            if words and all(_emotion(word) for word in words):
                return root
            if not words and _label_csvs(root).keys() == _SPLITS.keys():
                return root
    return None


def _emotion(word: str) -> str | None:
    return meaning(word, EMOTION_IDS.get(int(word)) if word.isdecimal() else None)


def _label_csvs(root: Path) -> dict[str, Path]:
    """train_labels.csv and test_labels.csv by split, in `root` or beside it."""
    places = [(split, folder / f"{split}_labels.csv") for folder in (root.parent, root) for split in _SPLITS]
    return {split: place for split, place in places if place.is_file()}


def read(path: Path) -> pd.DataFrame:
    """Read the manifest with the official train and test splits.

    Args:
        path: The folder with `basic` or `DATASET` in it, or that folder itself.

    Raises:
        UserError: Neither layout is there, or a label is unknown.
    """
    labels = _label_list(path)
    if labels is not None:
        return _read_official(labels)
    root = _kaggle_root(path)
    if root is None:
        raise UserError(f"{path} does not look like {_NAME}, which is {LAYOUT}")
    numbered = any(split for split, _, _ in class_folders(root, _SPLITS))
    return _read_numbered(root) if numbered else _read_listed(root, _label_csvs(root))


def _read_official(labels: Path) -> pd.DataFrame:
    """Read `EmoLabel/list_patition_label.txt`: a line is `train_00001.jpg 5`."""
    base = labels.parent.parent
    try:
        lines = labels.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{labels}: cannot be read as text ({error})") from error
    found = [_parse(labels, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UserError(f"{labels}: is empty; lines like 'train_00001.jpg 5' are needed")
    folder, ending = _image_folder(base)
    rows = [(f"Image/{folder}/{ending(name)}", emotion, name.partition("_")[0]) for name, emotion in found]
    note_unlisted(base, f"Image/{folder}", [file for file, *_ in rows])
    return listed_manifest(base, pd.DataFrame(rows, columns=["file", "emotion", "split"]), _NAME)


def _parse(labels: Path, number: int, line: str) -> tuple[str, str]:
    name, label = (*line.split(), "")[:2]
    emotion = _emotion(label)
    if emotion is None or not _FILE.match(name):
        raise UserError(f"{labels}: line {number} is {line.strip()!r}; lines like 'train_00001.jpg 5', labels 1 to 7")
    return name, emotion


def _image_folder(base: Path) -> tuple[str, Callable[[str], str]]:
    """Which of the two image folders to use, and how a listed name becomes a file name in it."""
    images = base / "Image"
    for folder, ending in (("aligned", lambda name: name.replace(".", "_aligned.")), ("original", str)):
        if (images / folder).is_dir() and any_image(images / folder):
            return folder, ending
    raise UserError(f"{images}: neither aligned/ nor original/ holds an image")


def _read_numbered(root: Path) -> pd.DataFrame:
    """DATASET/{train,test}/{1..7}/<image>; the folder's number is the label."""
    known = ", ".join(f"{number} {name}" for number, name in EMOTION_IDS.items())
    faces = list_faces(root, emotion_of=_emotion, known=known, split_folders=_SPLITS)
    return listed_manifest(root, faces, _NAME)


def _read_listed(root: Path, tables: dict[str, Path]) -> pd.DataFrame:
    """DATASET/{train,test}/<image> without class folders; train_labels.csv and test_labels.csv give the labels."""
    parts = []
    for split, csv in tables.items():
        frame = _pixel_csv.read_columns(csv, ("image", "label"))
        emotions = _pixel_csv.names_by_id(csv, frame["label"], EMOTION_IDS)
        parts.append(pd.DataFrame({"file": f"{split}/" + frame["image"], "emotion": emotions, "split": split}))
        note_unlisted(root, split, parts[-1]["file"])
    return listed_manifest(root, pd.concat(parts), _NAME)
