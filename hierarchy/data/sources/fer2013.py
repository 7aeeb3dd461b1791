"""FER-2013 (Goodfellow et al., "Challenges in representation learning", ICONIP 2013), as Kaggle's folders or as csv."""

from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.sources import _listing, _pixel_csv
from fer_hierarchy.hierarchy.data.sources import ferplus as ferplus_labels
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS

IMAGE_SIZE = (48, 48)
READS_CSV = True
LAYOUT = (
    "train/<emotion>/Training_<id>.jpg and test/<emotion>/PublicTest_<id>.jpg or PrivateTest_<id>.jpg, "
    "or fer2013.csv or icml_face_data.csv with the columns emotion, pixels, Usage"
)
EMOTION_IDS = dict(enumerate(EMOTIONS[:7]))

_NAME = "fer2013"
_CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")


def detect(path: Path) -> bool:
    """Whether `path` is a csv of FER-2013, a folder with one, or class folders with the official file names."""
    if path.is_file():
        return _pixel_csv.has_columns(path)
    return _pixel_csv.find_csv(path, _CSV_NAMES) is not None or _is_folder_copy(path)


def _is_folder_copy(root: Path) -> bool:
    folders = [folder for _, word, folder in _listing.class_folders(root) if _listing.emotion_word(word)]
    return any(_listing.any_image(root / folder, _usage) for folder in folders)


def _usage(name: str) -> str:
    """The Usage that a file name begins with, "" if none."""
    prefix = name.partition("_")[0]
    return prefix if prefix in _pixel_csv.USAGE_SPLITS else ""


def read(path: Path, *, ferplus: Path | None = None) -> pd.DataFrame:
    """Read the manifest.

    Args:
        path: A csv, a folder with one, or Kaggle's folder copy.
        ferplus: The votes of FER+ to take labels from: fer2013new.csv for a csv, a table by file name for the folder
            copy. The manifest's source is then ferplus.

    Returns:
        The manifest with the official splits: by `Usage`, or by what the file names begin with.

    Raises:
        UserError: The content is not FER-2013's, or `ferplus` does not belong to it.
    """
    csv = path if path.is_file() else _pixel_csv.find_csv(path, _CSV_NAMES)
    if csv is not None:
        return _read_csv(csv, ferplus)
    return _read_folder(path, ferplus)


def _read_csv(csv: Path, ferplus: Path | None) -> pd.DataFrame:
    faces = _pixel_csv.read_faces(csv, EMOTION_IDS)
    if ferplus is not None:
        return ferplus_labels.read_csv(csv, faces, ferplus)
    return _pixel_csv.rows_manifest(csv, faces, "fer", _NAME)


def _read_folder(root: Path, ferplus: Path | None) -> pd.DataFrame:
    faces = _listing.list_faces(root)
    names = pd.Series(_listing.stems(faces["file"]))
    # Kaggle's test folder merges PublicTest and PrivateTest, so that only the file name holds the split.
    splits = names.map(_usage).map(_pixel_csv.USAGE_SPLITS)
    if splits.isna().any():
        odd = faces["file"][splits.isna()]
        raise UserError(
            f"{root}: {len(odd)} file names do not begin with Training_, PublicTest_ or PrivateTest_ (first: "
            f"{odd.iloc[0]}), so the official split is unknown; --dataset folder takes the split from the folders"
        )
    faces = faces.assign(split=splits)
    if ferplus is not None:
        return ferplus_labels.read_folder(root, faces, ferplus)
    # Kaggle's copy gives one name to two faces of different emotions.
    ids = names.where(~names.duplicated(keep=False), names + "_" + faces["emotion"])
    return _listing.listed_manifest(root, faces, _NAME, ids=ids)
