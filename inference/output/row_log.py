"""A csv file that can be read while it grows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fer_hierarchy.hierarchy.errors import UserError


class RowLog:
    """The file; a context manager.

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
