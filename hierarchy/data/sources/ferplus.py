"""FER+ labels (see `_votes`): in the folders of Microsoft's code, or joined to FER-2013's csv or folder copy."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.manifest import SOFT_PREFIX
from fer_hierarchy.hierarchy.data.sources import _listing, _pixel_csv
from fer_hierarchy.hierarchy.data.sources._votes import CHOICES, label_faces, read_votes
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS

LOG = logging.getLogger("fer_hierarchy")

IMAGE_SIZE = (48, 48)
LAYOUT = (
    "FER2013Train, FER2013Valid or FER2013Test with pictures fer0000000.png and a label.csv without a header: "
    "name, box and ten columns of votes"
)

_NAME = "ferplus"
_SPLITS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}
_TABLE = "label.csv"
_COLUMNS = ("name", "box", *CHOICES)
_FACE = re.compile(r"fer\d{7}\.")
_IMAGE_NAME = "Image name"  # in fer2013new.csv
# FER+ and the first labels agree on about two faces in three, shuffled rows on about one in six.
_LEAST_AGREEMENT = 1 / 3
_ROWS_TO_COMPARE = 500
_IN_ORDER = "FER+ labels go by row number, so they fit only the complete csv in its original order"


def detect(path: Path) -> bool:
    """Whether `path` holds one of the three folders, with a table of votes or with pictures of FER+'s names."""
    folders = [path / name for name in _SPLITS if (path / name).is_dir()]
    return any((folder / _TABLE).is_file() or _listing.any_image(folder, _FACE.match) for folder in folders)


def read(path: Path) -> pd.DataFrame:
    """Read the manifest, with the official splits by folder.

    Args:
        path: The folder around FER2013Train, FER2013Valid and FER2013Test, of which some may be missing.

    Raises:
        UserError: A table or pictures are missing, or do not belong to each other.
    """
    folders = [name for name in _SPLITS if (path / name).is_dir()]
    frame = pd.concat([_read_split(path, name) for name in folders], ignore_index=True)
    votes = frame[list(CHOICES)].to_numpy()
    labelled = label_faces(frame[["file", "split"]], votes, np.ones(len(votes), dtype=bool), origin=str(path))
    return _listing.listed_manifest(path, labelled, _NAME, ids=_listing.stems(labelled["file"]), **_soft(labelled))


def read_csv(csv: Path, faces: pd.DataFrame, ferplus: Path) -> pd.DataFrame:
    """The manifest of fer2013.csv with FER+'s labels.

    Args:
        csv: FER-2013.
        faces: `emotion` and `split` of every data row of `csv`.
        ferplus: fer2013new.csv, in the row order of fer2013.csv.

    Raises:
        UserError: The files do not belong together row by row, or `ferplus` is not a table of votes.
    """
    frame = _pixel_csv.read_columns(ferplus, ("Usage", _IMAGE_NAME, *CHOICES))
    _check_same_rows(faces, frame, csv, ferplus)
    has_image = (frame[_IMAGE_NAME].str.strip() != "").to_numpy()
    votes = read_votes(ferplus, frame, has_image, _pixel_csv.place)
    labelled = label_faces(faces[["split"]], votes, has_image, origin=str(ferplus))
    agree = (faces["emotion"][labelled.index] == labelled["emotion"])[~labelled["undecided"]]
    if len(agree) >= _ROWS_TO_COMPARE and agree.mean() < _LEAST_AGREEMENT:
        raise UserError(f"{ferplus} agrees with only {agree.mean():.0%} of the labels in {csv}; {_IN_ORDER}")
    return _pixel_csv.rows_manifest(csv, labelled, "fer", _NAME, **_soft(labelled))


def read_folder(root: Path, faces: pd.DataFrame, table: Path) -> pd.DataFrame:
    """The manifest of Kaggle's folder copy with FER+'s labels.

    Args:
        root: The copy.
        faces: `file` (relative to `root`), `emotion` and official `split` of every picture.
        table: Votes by file name: the columns `file`, `image` (FER+'s name of it, empty where FER+ has none) and the
            ten choices. With a column `emotion` (the original label) pictures of one name and different emotions are
            distinguished.

    Raises:
        UserError: Pictures without votes, names that are not unique, or `table` is not such a table.
    """
    names = [name.lower() for name in _pixel_csv.header(table)]
    if "file" not in names and _IMAGE_NAME.lower() in names:
        raise UserError(
            f"{table} goes by the row number of fer2013.csv, which the pictures of {root} lack; give "
            f"fer2013.csv as data, or a table with the columns file, image and the ten choices"
        )
    key = ["emotion", "file"] if "emotion" in names else ["file"]
    frame = _pixel_csv.read_columns(table, (*key, "image", *CHOICES)).apply(lambda column: column.str.strip())
    has_image = (frame["image"] != "").to_numpy()
    votes = read_votes(table, frame, has_image, _pixel_csv.place)
    if "emotion" in key:
        words = frame["emotion"]
        frame["emotion"] = _pixel_csv.known_values(table, words, words.map(_listing.emotion_word), ", ".join(EMOTIONS))
    _check_unique(table, frame, key)
    _check_unique(table, frame[has_image], ["image"])
    rows = _rows_of(root, faces, table, frame, key)
    if absent := len(frame) - len(set(rows)):
        LOG.warning("%s has votes for %d pictures that are not in %s.", table.name, absent, root.name)
    labelled = label_faces(faces[["split", "file"]], votes[rows], has_image[rows], origin=str(table))
    ids = frame["image"].iloc[rows[labelled.index]].str.rpartition(".")[0]
    return _listing.listed_manifest(root, labelled, _NAME, ids=ids, **_soft(labelled))


def _soft(labelled: pd.DataFrame) -> dict[str, Any]:
    """What `label_faces` gave, as columns of `make_manifest`."""
    return {"soft": labelled.filter(like=SOFT_PREFIX), "undecided": labelled["undecided"]}


def _read_split(root: Path, name: str) -> pd.DataFrame:
    """Columns `file` (relative to `root`), `split` and the ten choices, int64; a row a picture."""
    folder, table = root / name, root / name / _TABLE
    if not table.is_file():
        raise UserError(f"{table} is missing: it holds the votes for the pictures beside it")
    frame = _read_table(table)
    there = set(_listing.images_below(folder))
    if not there:
        raise UserError(f"{folder} holds no picture, but {table.name} has votes for {len(frame)}; add the pictures")
    _check_pictures(folder, frame, there)
    votes = read_votes(table, frame, np.ones(len(frame), dtype=bool), _line)
    return pd.DataFrame(votes, columns=list(CHOICES)).assign(file=f"{name}/" + frame["name"], split=_SPLITS[name])


def _line(row: int) -> str:
    return f"line {row + 1}"


def _read_table(table: Path) -> pd.DataFrame:
    first = _pixel_csv.header(table)
    needed = 'a picture\'s name, its box "(0, 0, 48, 48)" and ten columns of votes'
    if len(first) != len(_COLUMNS):
        raise UserError(f"{table} has {len(first)} columns; needed are {len(_COLUMNS)}: {needed}")
    if not _FACE.match(first[0]):
        raise UserError(f"{table}: its first row names no picture ({first[0]!r}); it has no header, but {needed}")
    frame = _pixel_csv.read_columns(table, _COLUMNS, names=_COLUMNS)
    return frame.assign(name=frame["name"].str.strip())


def _check_pictures(folder: Path, frame: pd.DataFrame, there: set[str]) -> None:
    """Refuse names that stand twice, that are not there, or pictures without a row."""
    table, names = folder / _TABLE, frame["name"]
    _check_unique(table, frame, ["name"], _line)
    absent = names[~names.isin(there)]
    if len(absent):
        raise UserError(
            f"{table}: {len(absent)} of {len(names)} pictures are not in {folder.name} (first {absent.iloc[0]!r}); "
            f"is it the table of another folder?"
        )
    _check_voted(table, folder, len(there), sorted(there - set(names)))


def _check_same_rows(faces: pd.DataFrame, frame: pd.DataFrame, csv: Path, ferplus: Path) -> None:
    if len(frame) != len(faces):
        raise UserError(f"{ferplus} has {len(frame)} data rows and {csv} has {len(faces)}; {_IN_ORDER}")
    differ = (_pixel_csv.splits_by_usage(ferplus, frame["Usage"]) != faces["split"]).to_numpy()
    if differ.any():
        first = _pixel_csv.place(int(differ.argmax()))
        raise UserError(
            f"{ferplus} and {csv} name different Usage in {differ.sum()} rows, first in {first}; {_IN_ORDER}"
        )


def _check_unique(
    table: Path, rows: pd.DataFrame, columns: list[str], place: Callable[[int], str] = _pixel_csv.place
) -> None:
    twice = rows.duplicated(columns)
    if twice.any():
        named = "/".join(rows.loc[twice.idxmax(), columns])
        hint = "; a column emotion distinguishes pictures of one name" if columns == ["file"] else ""
        raise UserError(
            f"{table}: {twice.sum()} rows repeat the {' and '.join(columns)} of another, first {named!r} in "
            f"{place(int(twice.idxmax()))}; each picture needs one row{hint}"
        )


def _check_voted(table: Path, folder: Path, pictures: int, bare: list[str]) -> None:
    if bare:
        raise UserError(
            f"{table} has no votes for {len(bare)} of the {pictures} pictures of {folder} (first {bare[0]}); "
            f"a table with a row for every picture is needed"
        )


def _rows_of(root: Path, faces: pd.DataFrame, table: Path, frame: pd.DataFrame, key: list[str]) -> np.ndarray:
    """(n,) the row of `frame` that belongs to each face."""
    own = faces[["emotion"]].assign(file=faces["file"].str.rpartition("/")[2])[key]
    twice = own.duplicated()
    if twice.any():
        raise UserError(
            f"{root}: {twice.sum()} file names stand for two pictures (first {own.loc[twice.idxmax(), 'file']}), and "
            f"{table} leaves open which is meant; it needs the column emotion, and each picture once in a class"
        )
    rows = pd.MultiIndex.from_frame(frame[key]).get_indexer(pd.MultiIndex.from_frame(own))
    _check_voted(table, root, len(rows), faces["file"][rows < 0].tolist())
    return rows
