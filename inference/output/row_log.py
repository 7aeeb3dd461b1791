"""A csv file that grows while it is looked at."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fer_hierarchy.hierarchy.errors import UserError


class RowLog:
    """The file; a context manager.

    The rows of a frame go to the system in one piece, and at once: a kill leaves whole lines.

    Args:
        path: The file; what it held is lost.
        columns: Names in order.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
        self._file: io.FileIO | None = None

    def __enter__(self) -> Self:
        self._file = io.FileIO(self.path, "w")
        self._add([dict(zip(self.columns, self.columns, strict=True))])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add rows.

        Raises:
            UserError: The disk is full; the file then ends with the row before.
        """
        records = list(records)
        if records:
            self._add(records)

    def _add(self, records: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(records)
        content, before = text.getvalue().encode(), self._file.tell()
        try:
            written = self._file.write(content)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); its rows so far are kept") from error
        if written < len(content):
            self._file.truncate(before)
            raise UserError(f"{self.path} cannot be written (the disk is full); its rows so far are kept")
