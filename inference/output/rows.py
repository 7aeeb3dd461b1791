"""Rows of answers in a file that grows: csv as it is written, JSON and Parquet made of it at the end.

Rows are appended a chunk at a time, each file's rows together, so that an interrupted call loses little and a repeated
one goes on where it stopped. What grows is always a csv: the file itself, or `FILE.part` beside a .json or .parquet.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write

KINDS = (".csv", ".json", ".parquet")
_TEXT = {"file", "run", "emotion", "route", "error"}  # the gate's own column is one of words as well
_WHOLE = {"frame", "faces", "face", "track", "left", "top", "width", "height"}
_CHUNK = 50_000  # rows that are converted together
_SURROGATES = "surrogateescape"  # file names need not be text


class RowFile:
    """A file of rows that can be gone on with.

    Args:
        path: .csv, .json or .parquet.
        columns: Names in order.
        words: Those of the columns that hold words.
        runs: The models that answer; a file of other models' answers is refused.

    Attributes:
        done: Names of the files whose rows are complete.
        failed: How many of them have an error.
        journal: Where the rows are until `finish`.

    Raises:
        UserError: Another kind of file, one that holds something else, or that cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, words: Iterable[str], runs: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
        self.words = _TEXT | set(words)
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
        if not self.journal.is_file() or not self.journal.stat().st_size:
            self._write_journal([])
            return
        size = 0
        for end, file, rows in self._complete_files(runs):
            size = end
            self.done.add(file)
            self.failed += any(row["error"] for row in rows)
        with self.journal.open("r+b") as journal:
            journal.truncate(size or len(self._line(self.columns)))

    def _complete_files(self, runs: Sequence[str]) -> Iterator[tuple[int, str, list[dict[str, str]]]]:
        """(end in bytes, file, its rows) for each file whose rows are all there."""
        kept: list[dict[str, str]] = []
        for end, row in self._rows_with_ends():
            if row["run"] not in runs:
                raise UserError(
                    f"--out {self.path} holds answers of {row['run']}, not of {', '.join(runs)}; name another file"
                )
            if kept and kept[0]["file"] != row["file"]:
                kept = []  # a file that was cut off, where its rows could not be taken away
            kept.append(row)
            if row["faces"].isdecimal() and len(kept) == max(int(row["faces"]), 1) * len(runs):
                yield end, row["file"], kept
                kept = []

    def _rows_with_ends(self) -> Iterator[tuple[int, dict[str, str]]]:
        with self.journal.open("rb") as journal:
            lines = _Lines(journal)
            reader = csv.reader(lines)
            header = next(reader, [])
            if header != self.columns:
                raise UserError(
                    f"--out {self.path} exists and is no table of this call's columns "
                    f"({', '.join(self.columns[:4])}, ...); name another file"
                )
            for values in reader:
                if not lines.whole or len(values) != len(self.columns):
                    return  # the line that a kill cut off
                yield lines.end, dict(zip(self.columns, values, strict=True))

    def _finished_rows(self) -> Iterable[Mapping[str, Any]]:
        """Rows of a .json or .parquet that an earlier call has finished."""
        try:
            if self.path.suffix.lower() == ".json":
                rows = json.loads(self.path.read_text(encoding="utf-8", errors=_SURROGATES))
            else:
                import pyarrow.parquet

                rows = pyarrow.parquet.read_table(self.path).to_pylist()
            return [{name: row.get(name) for name in self.columns} for row in rows]
        except Exception as error:  # whatever is no such file makes pyarrow raise almost any kind
            raise UserError(f"--out {self.path} exists and is no file of answers; name another file") from error

    def _write_journal(self, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            with atomic_write(self.journal) as temporary:
                temporary.write_bytes(self._line(self.columns) + self._lines(rows))
        except OSError as error:
            raise UserError(f"--out {self.path}: cannot be written ({error.strerror}); choose another place") from error

    def _line(self, values: Iterable[Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue().encode(errors=_SURROGATES)

    def _lines(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        return b"".join(self._line(["" if row[name] is None else row[name] for name in self.columns]) for row in rows)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows of whole files, all or none of them.

        Raises:
            UserError: The disk is full or the file cannot be written any more.
        """
        before = self.journal.stat().st_size
        try:
            with self.journal.open("ab") as journal:
                journal.write(self._lines(rows))
                journal.flush()
                os.fsync(journal.fileno())
        except OSError as error:
            os.truncate(self.journal, before)
            raise UserError(
                f"--out {self.path}: cannot be written ({error.strerror}); mend that, then give the command again"
            ) from error

    def finish(self) -> None:
        """Make the .json or .parquet of what has grown beside it."""
        if self.journal == self.path:
            return
        write = _write_json if self.path.suffix.lower() == ".json" else _write_parquet
        with atomic_write(self.path) as temporary:
            write(temporary, self._typed_rows(), self.columns, {name: self._kind(name) for name in self.columns})
        self.journal.unlink()

    def _typed_rows(self) -> Iterator[dict[str, Any]]:
        kinds = {name: self._kind(name) for name in self.columns}
        for _, row in self._rows_with_ends():
            yield {name: kinds[name](text) if text else None for name, text in row.items()}

    def _kind(self, name: str) -> type:
        return str if name in self.words else int if name in _WHOLE else float

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.finish()


class _Lines:
    """Text lines of a binary file, with where the last one ended and whether it was whole."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.end = 0
        self.whole = True

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.end += len(line)
            self.whole = line.endswith(b"\n")
            yield line.decode(errors=_SURROGATES)


def _write_json(path: Path, rows: Iterable[dict], _columns: Sequence[str], _kinds: Mapping[str, type]) -> None:
    """An array with a row a line."""
    with path.open("w", encoding="utf-8", errors=_SURROGATES) as file:
        file.write("[")
        for number, row in enumerate(rows):
            file.write(("," if number else "") + "\n" + json.dumps(row, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n")


def _write_parquet(path: Path, rows: Iterable[dict], columns: Sequence[str], kinds: Mapping[str, type]) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kinds[name]]) for name in columns])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        part: list[dict] = []
        for row in rows:
            part.append({name: _printable(value) for name, value in row.items()})
            if len(part) == _CHUNK:
                writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))
                part = []
        writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))


def _printable(value: Any) -> Any:
    """Parquet holds UTF-8 alone: a file name of other bytes shows them escaped."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
