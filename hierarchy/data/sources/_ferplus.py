"""FER+ votes for FER-2013: joined to fer2013.csv by row number, to Kaggle's folder copy by file name."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.manifest import SOFT_PREFIX, make_manifest
from fer_hierarchy.hierarchy.data.sources import _pixel_csv
from fer_hierarchy.hierarchy.data.sources._listing import absolute
from fer_hierarchy.hierarchy.data.sources._votes import CHOICES, label_faces, read_votes
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS, canonical_emotion, is_emotion

LOG = logging.getLogger("hierarchy")

SOURCE = "ferplus"
IMAGE_NAME = "Image name"

# FER+ and the first labels agree on about two faces in three, shuffled rows on about one in six.
_LEAST_AGREEMENT = 1 / 3
_ROWS_TO_JUDGE = 500


def read_csv(csv: Path, faces: pd.DataFrame, ferplus: Path) -> pd.DataFrame:
    """The manifest of fer2013.csv with FER+'s labels.

    Args:
        csv: FER-2013.
        faces: `emotion` and `split` of every data row of `csv`.
        ferplus: fer2013new.csv, in the row order of fer2013.csv.

    Raises:
        UserError: The files do not belong together row by row, or `ferplus` is not a table of votes.
    """
    frame = _pixel_csv.read_columns(ferplus, ("Usage", IMAGE_NAME, *CHOICES))
    _check_same_rows(faces, frame, csv, ferplus)
    has_image = (frame[IMAGE_NAME].str.strip() != "").to_numpy()
    votes = read_votes(ferplus, frame, has_image, _pixel_csv.place)
    labelled = label_faces(faces[["split"]], votes, has_image, origin=str(ferplus))
    _check_agreement(faces.loc[labelled.index, "emotion"], labelled, csv, ferplus)
    ids = [f"fer{row:07d}" for row in labelled.index]
    return voted_manifest(labelled, ids=ids, paths=str(csv.resolve()), rows=labelled.index)


def read_folder(root: Path, faces: pd.DataFrame, table: Path) -> pd.DataFrame:
    """The manifest of Kaggle's folder copy with FER+'s labels.

    Args:
        root: The copy.
        faces: `file` (relative to `root`), `emotion` and official `split` of every picture.
        table: Votes by file name: the columns `file`, `image` (FER+'s name of it, empty where FER+ has none) and the
            ten choices. With a column `emotion` (the original label) pictures of one name and different emotions are
            told apart.

    Raises:
        UserError: Pictures without votes, names that are not unique, or `table` is not such a table.
    """
    names = _pixel_csv.header(table)
    if "file" not in map(str.lower, names) and IMAGE_NAME.lower() in map(str.lower, names):
        raise UserError(
            f"{table} goes by the row number of fer2013.csv, which the pictures of {root} do not tell; give "
            f"fer2013.csv as data, or a table with the columns file, image and the ten choices"
        )
    by_emotion = "emotion" in map(str.lower, names)
    key = ["emotion", "file"] if by_emotion else ["file"]
    frame = _pixel_csv.read_columns(table, (*key, "image", *CHOICES)).apply(lambda column: column.str.strip())
    has_image = (frame["image"] != "").to_numpy()
    votes = read_votes(table, frame, has_image, _pixel_csv.place)
    if by_emotion:
        frame["emotion"] = _emotions(table, frame["emotion"])
    _check_unique(table, frame, key, has_image)
    rows = _rows_of(root, faces, table, frame, key)
    _note_absent(root, table, len(frame) - len(set(rows)))
    labelled = label_faces(faces[["split", "file"]], votes[rows], has_image[rows], origin=str(table))
    ids = frame["image"].iloc[rows[labelled.index]].str.rpartition(".")[0]
    return voted_manifest(labelled, ids=ids, paths=absolute(root, labelled["file"]))


def voted_manifest(labelled: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """A manifest of what `label_faces` gave; `columns` are the others of `make_manifest`."""
    return make_manifest(
        emotions=labelled["emotion"],
        splits=labelled["split"],
        source=SOURCE,
        soft=labelled.filter(like=SOFT_PREFIX),
        undecided=labelled["undecided"],
        **columns,
    )


def _check_same_rows(faces: pd.DataFrame, frame: pd.DataFrame, csv: Path, ferplus: Path) -> None:
    if len(frame) != len(faces):
        raise UserError(
            f"{ferplus} has {len(frame)} data rows and {csv} has {len(faces)}; FER+ labels go by row number, "
            f"so they fit only the complete csv in its original order"
        )
    differ = (_pixel_csv.splits_by_usage(ferplus, frame["Usage"]) != faces["split"]).to_numpy()
    if differ.any():
        raise UserError(
            f"{ferplus} and {csv} name different Usage in {differ.sum()} rows, first in "
            f"{_pixel_csv.place(int(differ.argmax()))}; FER+ labels go by row number, so they fit only the csv in its "
            f"original order"
        )


def _check_agreement(before: pd.Series, labelled: pd.DataFrame, csv: Path, ferplus: Path) -> None:
    agree = (before == labelled["emotion"])[~labelled["undecided"]]
    if len(agree) >= _ROWS_TO_JUDGE and agree.mean() < _LEAST_AGREEMENT:
        raise UserError(
            f"{ferplus} agrees with only {agree.mean():.0%} of the labels in {csv}; FER+ labels go by row number, "
            f"so they fit only the csv in its original order"
        )


def _emotions(table: Path, words: pd.Series) -> pd.Series:
    """The canonical emotions of a column of words."""
    unknown = ~words.map(is_emotion)
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise UserError(
            f"{table}: emotion {words.iloc[row]!r} in {_pixel_csv.place(row)} is unknown; known: {', '.join(EMOTIONS)}"
        )
    return words.map(canonical_emotion)


def _check_unique(table: Path, frame: pd.DataFrame, key: list[str], has_image: np.ndarray) -> None:
    for columns, rows in ((key, frame), (["image"], frame[has_image])):
        twice = rows.duplicated(columns)
        if twice.any():
            named = "/".join(rows.loc[twice.idxmax(), columns])
            hint = "; a column emotion tells pictures of one name apart" if columns == ["file"] else ""
            raise UserError(
                f"{table}: {twice.sum()} rows repeat the {' and '.join(columns)} of another, first {named!r} in "
                f"{_pixel_csv.place(int(twice.idxmax()))}; each picture needs one row{hint}"
            )


def _rows_of(root: Path, faces: pd.DataFrame, table: Path, frame: pd.DataFrame, key: list[str]) -> np.ndarray:
    """(n,) the row of `frame` that belongs to each face."""
    own = faces[["emotion"]].assign(file=faces["file"].str.rpartition("/")[2])[key]
    twice = own.duplicated()
    if twice.any():
        raise UserError(
            f"{root}: {twice.sum()} file names stand for two pictures (first {own.loc[twice.idxmax(), 'file']}), and "
            f"{table} does not tell which is meant; it needs the column emotion, and each picture once in a class"
        )
    rows = pd.MultiIndex.from_frame(frame[key]).get_indexer(pd.MultiIndex.from_frame(own))
    missing = rows < 0
    if missing.any():
        first = faces["file"][missing].iloc[0]
        raise UserError(
            f"{table} has no votes for {missing.sum()} of the {len(rows)} pictures of {root} (first {first}); "
            f"a table with a row for every picture is needed"
        )
    return rows


def _note_absent(root: Path, table: Path, absent: int) -> None:
    if absent:
        LOG.warning("%s has votes for %d pictures that are not in %s.", table.name, absent, root.name)
