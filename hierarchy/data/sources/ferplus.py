"""FER+ (see `_votes`) in the folders of Microsoft's code: pictures beside a label.csv of their votes."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.sources import _pixel_csv
from fer_hierarchy.hierarchy.data.sources._ferplus import voted_manifest
from fer_hierarchy.hierarchy.data.sources._listing import absolute, any_image, images_below, stems
from fer_hierarchy.hierarchy.data.sources._votes import CHOICES, label_faces, read_votes
from fer_hierarchy.hierarchy.errors import UserError

IMAGE_SIZE = (48, 48)
LAYOUT = (
    "FER2013Train, FER2013Valid or FER2013Test with pictures fer0000000.png and a label.csv without a header: "
    "name, box and ten columns of votes"
)

_SPLITS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}
_TABLE = "label.csv"
_COLUMNS = ("name", "box", *CHOICES)
_FACE = re.compile(r"fer\d{7}\.")


def detect(path: Path) -> bool:
    """Whether `path` holds one of the three folders, with a table of votes or with pictures of FER+'s names."""
    folders = [path / name for name in _SPLITS if (path / name).is_dir()]
    return any((folder / _TABLE).is_file() or any_image(folder, _FACE.match) for folder in folders)


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
    return voted_manifest(labelled, ids=stems(labelled["file"]), paths=absolute(path, labelled["file"]))


def _read_split(root: Path, name: str) -> pd.DataFrame:
    """Columns `file` (relative to `root`), `split` and the ten choices, int64; a row a picture."""
    folder, table = root / name, root / name / _TABLE
    if not table.is_file():
        raise UserError(f"{table} is missing: it holds the votes for the pictures beside it")
    frame = _read_table(table)
    there = set(images_below(folder))
    if not there:
        raise UserError(f"{folder} holds no picture, but {table.name} has votes for {len(frame)}; add the pictures")
    _check_pictures(folder, frame["name"], there)
    votes = read_votes(table, frame, np.ones(len(frame), dtype=bool), _line)
    return pd.DataFrame(votes, columns=list(CHOICES)).assign(file=f"{name}/" + frame["name"], split=_SPLITS[name])


def _read_table(table: Path) -> pd.DataFrame:
    first = _pixel_csv.header(table)
    needed = 'a picture\'s name, its box "(0, 0, 48, 48)" and ten columns of votes'
    if len(first) != len(_COLUMNS):
        raise UserError(f"{table} has {len(first)} columns; needed are {len(_COLUMNS)}: {needed}")
    if not _FACE.match(first[0]):
        raise UserError(f"{table}: its first row names no picture ({first[0]!r}); it has no header, but {needed}")
    frame = _pixel_csv.read_columns(table, _COLUMNS, names=_COLUMNS)
    return frame.assign(name=frame["name"].str.strip())


def _check_pictures(folder: Path, names: pd.Series, there: set[str]) -> None:
    """Refuse names that stand twice, that are not there, or pictures without a row."""
    twice = names[names.duplicated()]
    if len(twice):
        raise UserError(f"{folder / _TABLE}: {len(twice)} names stand twice, first {twice.iloc[0]!r}; once is right")
    absent = names[~names.isin(there)]
    if len(absent):
        raise UserError(
            f"{folder / _TABLE}: {len(absent)} of {len(names)} pictures are not in {folder.name} (first "
            f"{absent.iloc[0]!r}); is it the table of another folder?"
        )
    bare = sorted(there - set(names))
    if bare:
        raise UserError(
            f"{folder / _TABLE} has no votes for {len(bare)} of the {len(there)} pictures in {folder.name} (first "
            f"{bare[0]}); a row for every picture is needed"
        )


def _line(row: int) -> str:
    return f"line {row + 1}"
