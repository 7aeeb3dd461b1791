"""Rows of predictions in a file that grows: csv as it is written, JSON and Parquet made of it at the end.

Rows are appended a chunk at a time, each file's rows together, so that an interrupted call loses little and a repeated
one goes on where it stopped. What grows is always a csv: the file itself, or `FILE.part` beside a .json or .parquet.
"""

import csv
import glob
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import parse_json
from fer_hierarchy.hierarchy.paths import atomic_write, is_temporary

KINDS = (".csv", ".json", ".parquet")
NESTED = (".json", ".parquet")  # those whose cells can hold a face's points
POINTS = "points"
FORMULA = tuple("=+-@")  # a spreadsheet computes a cell that begins so
_SAME = ("prior", "coverage")  # marks that are the same in all rows of a file
_WORDS = {  # so is the gate's own column
    *("file", "run", "resting", "emotion", "route", "answer", "level", "set", "reason", "error"),
    *_SAME,
}
_WHOLE = {"frame", "faces", "face", "track", "left", "top", "width", "height"}
_CHUNK = 50_000  # rows that are converted together
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names need not be text
_CSV = {**_TEXT, "newline": "\n"}


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Let no other process write the same file of rows while the block runs; a killed one leaves no lock behind.

    Raises:
        UserError: Another one does.
    """
    from filelock import FileLock, Timeout  # the calls that write no file do without it

    lock = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            for left in path.parent.glob(f".{glob.escape(path.stem)}*"):
                if is_temporary(left) and left.is_file():  # of a killed process: nobody else writes this file now
                    left.unlink(missing_ok=True)
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise UserError(
            f"--out {path}: another call is writing it; wait until it has ended, or name another file"
        ) from None


class RowFile:
    """A file of rows to which a repeated call adds what is missing.

    Args:
        path: .csv, .json or .parquet.
        columns: Names in order.
        words: Those of the columns that hold words.
        runs: The models that predict; a file of other models' predictions is refused.
        marks: What rows hold of the predictions besides, such as the prior that they are for.

    Attributes:
        done: Names of the files whose rows are complete.
        failed: How many of them have an error.
        journal: Where the rows are until `finish`.

    Raises:
        UserError: Another kind of file, one that holds something else, or that cannot be written.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        *,
        words: Iterable[str],
        runs: Sequence[str],
        marks: Mapping[str, str] | None = None,
    ) -> None:
        if formula := next((run for run in runs if run.startswith(FORMULA)), None):
            raise UserError(f"--out: a spreadsheet would compute the model's name {formula}; rename the model")
        self.path = path
        self._marks = {name: (marks or {}).get(name, "") for name in _SAME}
        self.columns = list(columns)
        words = _WORDS | set(words)
        self._kinds: dict[str, Callable[[str], Any]] = {
            name: str if name in words else int if name in _WHOLE else float for name in columns
        }
        if POINTS in self._kinds:
            self._kinds[POINTS] = parse_json
        self.done: set[str] = set()
        self.failed = 0
        self.journal = path if path.suffix.lower() == ".csv" else path.with_name(f"{path.name}.part")
        unpacked = self.path != self.journal and self.path.is_file() and not self.journal.is_file()
        if unpacked:
            self._write_journal(self._finished_rows())
        try:
            self._continue(runs)
        except UserError:
            if unpacked:
                self.journal.unlink()
            raise

    def _continue(self, runs: Sequence[str]) -> None:
        """Take up what an earlier call has written, without the rows of a file that it was in the middle of."""
        there = self.journal.is_file() and self.journal.stat().st_size
        self._write_journal(self._complete_rows(runs) if there else [])

    def _complete_rows(self, runs: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """The rows of the files whose rows are all there, which count as done from then on."""
        file: list[Mapping[str, str]] = []
        for row in self._rows():
            if row["run"] not in runs:
                raise UserError(
                    f"--out {self.path} holds predictions of {row['run']}, not of {', '.join(runs)}; name another file"
                )
            for name, own in self._marks.items() if row["faces"] != "0" else ():
                if (other := row.get(name, "")) != own:
                    raise UserError(
                        f"--out {self.path} holds predictions for the {name} {other!r}, not {own!r}; name another file"
                    )
            if file and file[0]["file"] != row["file"]:
                file = []  # one that was cut off, where its rows could not be taken away
            file.append(row)
            if row["faces"].isdecimal() and len(file) == max(int(row["faces"]), 1) * len(runs):
                yield from file
                self.done.add(row["file"])
                self.failed += any(one["error"] for one in file)
                file = []

    def _rows(self) -> Iterator[Mapping[str, str]]:
        """Rows of the journal, without a line that a kill cut off."""
        with self.journal.open(**_CSV) as journal:
            reader = csv.reader(line for line in journal if line.endswith("\n"))
            try:
                if next(reader, []) != self.columns:
                    raise self._no_table_of_ours()
                for values in reader:
                    if len(values) == len(self.columns):
                        yield dict(zip(self.columns, values, strict=True))
            except csv.Error as error:
                raise UserError(f"--out {self.journal} is damaged ({error}); remove it or name another file") from error

    def _no_table_of_ours(self) -> UserError:
        columns = ", ".join(self.columns[:4])
        return UserError(
            f"--out {self.path} exists and is no table of this call's columns ({columns}, ...); name another file"
        )

    def _finished_rows(self) -> Iterable[Mapping[str, Any]]:
        """Rows of a .json or .parquet that an earlier call has finished."""
        try:
            if self.path.suffix.lower() == ".json":
                rows = parse_json(self.path.read_bytes().decode(**_TEXT))
                ours = isinstance(rows, list) and all(list(row) == self.columns for row in rows)
            else:
                import pyarrow.parquet

                table = pyarrow.parquet.read_table(self.path)
                rows, ours = table.to_pylist(), table.column_names == self.columns
        except Exception as error:  # whatever is no such file makes pyarrow raise almost any kind
            raise UserError(f"--out {self.path} exists and is no file of predictions; name another file") from error
        if not ours:
            raise self._no_table_of_ours()
        return rows

    def _write_journal(self, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            with atomic_write(self.journal) as temporary, temporary.open("w", **_CSV) as file:
                file.write(_line(self.columns))
                file.writelines(_line(row[name] for name in self.columns) for row in rows)
        except OSError as error:
            raise UserError(f"--out {self.path}: cannot be written ({error.strerror}); choose another place") from error

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add all rows of some files, or none of them.

        Raises:
            UserError: The disk is full or the file cannot be written any more.
        """
        before = self.journal.stat().st_size
        try:
            with self.journal.open("a", **_CSV) as journal:
                journal.writelines(_line(row[name] for name in self.columns) for row in rows)
                journal.flush()
                os.fsync(journal.fileno())
        except OSError as error:
            os.truncate(self.journal, before)
            raise UserError(
                f"--out {self.path}: cannot be written ({error.strerror}); fix that, then give the command again"
            ) from error

    def finish(self) -> None:
        """Make the .json or .parquet of what has grown beside it."""
        if self.journal == self.path:
            return
        write = _write_json if self.path.suffix.lower() == ".json" else _write_parquet
        with atomic_write(self.path) as temporary:
            kinds = self._kinds
            rows = ({name: kinds[name](text) if text else None for name, text in row.items()} for row in self._rows())
            write(temporary, rows, kinds)
        self.journal.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.finish()


def _line(values: Iterable[Any]) -> str:
    """A line of the csv, in which a carriage return is quoted like a line feed: Python quotes what could end a line."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(map(_cell, values))
    return line.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    """A value as the csv holds it: an array as the lists of JSON."""
    return value.tolist() if hasattr(value, "tolist") else value


def _write_json(path: Path, rows: Iterable[dict], _kinds: Mapping[str, Callable]) -> None:
    """An array with a row a line."""
    with path.open("w", **_TEXT) as file:
        file.write("[")
        for number, row in enumerate(rows):
            file.write(("," if number else "") + "\n" + json.dumps(row, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n")


def _write_parquet(path: Path, rows: Iterable[dict], kinds: Mapping[str, Callable]) -> None:
    import pyarrow
    import pyarrow.parquet

    points = pyarrow.list_(pyarrow.list_(pyarrow.float64()))
    types: dict[Callable, Any] = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        parse_json: points,
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        printable = ({name: _printable(value) for name, value in row.items()} for row in rows)
        while part := list(islice(printable, _CHUNK)):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))


def _printable(value: Any) -> Any:
    """Parquet holds UTF-8 alone: a file name of other bytes shows them escaped."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


class RowLog:
    """A csv file that can be read while it grows; a context manager.

    The rows of a frame go to the system in one piece, and at once: a kill leaves complete lines.

    Args:
        path: The file; it is overwritten.
        columns: Names in order; other values of a row are left out.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
        self._file = io.FileIO(self.path, "w")
        self._add([dict(zip(self.columns, self.columns, strict=True))])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows.

        Raises:
            UserError: The disk is full; the file then ends with the row before.
        """
        if rows:
            self._add(rows)

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n").writerows(rows)
        content, before = text.getvalue().encode(), self._file.tell()
        try:
            written = self._file.write(content)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); its rows so far are kept") from error
        if written < len(content):
            self._file.truncate(before)
            raise UserError(f"{self.path} cannot be written (the disk is full); its rows so far are kept")
