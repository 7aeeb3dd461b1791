"""Csv files of faces in FER-2013's manner: labels and splits are read here, pixels when images are decoded."""

import codecs
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.own_classes import current

COLUMNS = ("emotion", "pixels", "Usage")
USAGE_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}

_HEAD_BYTES = 65536  # A header line is far shorter; a file without line breaks must not be read whole.


def header(path: Path) -> list[str]:
    """Column names of a csv without surrounding blanks, in file order.

    Raises:
        UserError: The file is empty, is not text or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path}: is not text; a folder, a .zip or a csv in UTF-8 is needed")
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise UserError(f"{path}: is empty; a csv with a header line is needed")
    return [name.strip() for name in next(csv.reader([first]))]


def has_columns(path: Path, columns: Sequence[str] = COLUMNS) -> bool:
    """Whether `path` is a csv with at least these columns; False for anything unreadable."""
    if not path.is_file():
        return False
    try:
        require_columns(path, columns, header(path))
    except UserError:
        return False
    return True


def require_columns(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    """Check that `columns` are among the `names` of a csv.

    Raises:
        UserError: Names the first that is missing, and what is there.
    """
    missing = [column for column in columns if column.lower() not in map(str.lower, names)]
    if missing:
        there = ", ".join(repr(name) for name in names[:12])
        raise UserError(f"{path}: the column {missing[0]!r} is missing; found {there}; needed are {', '.join(columns)}")


def read_columns(path: Path, columns: Sequence[str], *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Read some columns of a csv as text; the others are skipped while parsing and never held in memory.

    Args:
        path: The csv.
        columns: Names without surrounding blanks; upper and lower case count as the same.
        names: All column names, where the file has no header line; else None.

    Returns:
        One str column each in the order of `columns`, "" for an empty cell; row i is data row i of the file.

    Raises:
        UserError: A column is missing, there is no data row, or the file is no proper csv.
    """
    present = list(names or header(path))
    require_columns(path, columns, present)
    lower = [name.lower() for name in present]
    places = {lower.index(column.lower()): column for column in columns}
    chunks = read_chunks(path, sorted(places), headless=names is not None)
    frame = pd.concat(chunks, ignore_index=True)
    if frame.empty:
        raise UserError(f"{path}: holds a header but no data row")
    frame.columns = [places[at] for at in sorted(places)]
    return frame[list(columns)].fillna("")


def read_chunks(
    path: Path, columns: Sequence[int] | Callable[[str], bool], *, headless: bool = False
) -> Iterator[pd.DataFrame]:
    """Parse columns of a csv as text, a thousand rows at a time: the parser holds whole rows, pixels included.

    Args:
        path: The csv.
        columns: Their places, or whether a name is one of them.
        headless: Whether the file has no header line.

    Raises:
        UserError: The file cannot be read, or is no proper csv.
    """
    try:
        reader = pd.read_csv(
            path,
            header=None if headless else 0,
            usecols=columns,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            chunksize=1024,
        )
        with reader:
            yield from reader
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no proper csv ({' '.join(str(error).split())[:200]})") from error


def place(row: int) -> str:
    """How messages name a data row: counted from 0 as in the manifest, and as the line that an editor shows."""
    return f"data row {row} (line {row + 2})"


def known_values(path: Path, words: pd.Series, values: pd.Series, known: str) -> pd.Series:
    """The `values` that the words of a column stand for.

    Args:
        path: The csv, for error messages.
        words: The column as text.
        values: What each word means, missing where it means nothing.
        known: The words that mean something, for error messages.

    Raises:
        UserError: A word means nothing; names the data row and the word.
    """
    unknown = values.isna().to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise UserError(f"{path}: unknown {words.name} {words.iloc[row].strip()!r} in {place(row)}; known: {known}")
    return values


def names_by_id(path: Path, ids: pd.Series, known: Mapping[int, str]) -> pd.Series:
    """Names for a text column of whole numbers, or of the user's own words.

    Raises:
        UserError: An id is not among the `known`.
    """
    own = ids.map({word: current().of(word) for word in ids.unique()})
    listed = ", ".join(f"{number} {name}" for number, name in known.items())
    usual = pd.to_numeric(ids, errors="coerce").map(known)
    return known_values(path, ids, own.where(own.notna(), usual), listed)


def splits_by_usage(path: Path, usage: pd.Series) -> pd.Series:
    """Splits for a column `Usage`.

    Raises:
        UserError: A value is unknown.
    """
    return known_values(path, usage, usage.str.strip().map(USAGE_SPLITS), ", ".join(USAGE_SPLITS))


def read_faces(path: Path, known: Mapping[int, str]) -> pd.DataFrame:
    """Labels and splits of a csv of faces: columns `emotion` and `split`, row i for data row i.

    Args:
        path: A csv with the columns `COLUMNS`, in any order.
        known: Canonical emotion by id.

    Raises:
        UserError: A column is missing or a label or split is unknown.
    """
    require_columns(path, COLUMNS, header(path))
    frame = read_columns(path, ("emotion", "Usage"))
    emotions = names_by_id(path, frame["emotion"], known)
    return pd.DataFrame({"emotion": emotions, "split": splits_by_usage(path, frame["Usage"])})


def rows_manifest(path: Path, faces: pd.DataFrame, prefix: str, source: str, **columns: Any) -> pd.DataFrame:
    """The manifest of faces whose pixels stand in a csv.

    Args:
        path: The csv.
        faces: Columns `emotion` and `split`; the index is the data row.
        prefix: What the ids begin with, before the number of the row.
        source: Name of the data source.
        columns: Others of `make_manifest`.
    """
    return make_manifest(
        ids=[f"{prefix}{row:07d}" for row in faces.index],
        paths=str(path.resolve()),
        rows=faces.index,
        emotions=faces["emotion"],
        splits=faces["split"],
        source=source,
        **columns,
    )


def find_csv(path: Path, names: Sequence[str]) -> Path | None:
    """The csv of faces at `path`: itself, or in a folder the first of `names`, else the only one that has the columns.

    Args:
        path: A file or a folder.
        names: Lower-case file names to prefer.
    """
    if path.is_file():
        return path if has_columns(path) else None
    files = sorted(file for file in path.glob("*.[cC][sS][vV]") if not file.name.startswith("."))
    named = [file for name in names for file in files if file.name.lower() == name]
    if named:
        return named[0]
    fitting = [file for file in files if has_columns(file)]
    return fitting[0] if len(fitting) == 1 else None
