"""The one way to the screen for text that is not the program's own: names of files, emotions and models, addresses."""

import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence

# Control characters, which a terminal obeys, marks that turn the direction of writing, and bytes that are no text.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# A path may hold an @ as well as a password: what stands before the last one is hidden.
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^:@/\s]*):\S*@", re.IGNORECASE)
_GAP = "  "  # between the columns of a table
_NARROWEST, _LONG = 12, 24  # letters that a column keeps; of more than figures with their intervals have
_SECRET = re.compile(r"([?&;][^=&;\s]*(?:pass|pwd|token|secret|auth|key)[^=&;\s]*=)[^&;\s]+", re.IGNORECASE)


def printable(text: str, keep: str = "") -> str:
    r"""Text without passwords of addresses, and with escapes for every character that a terminal would obey.

    Args:
        text: Any text.
        keep: Control characters that stay.

    Examples:
        >>> printable("a\x1b[2J.jpg from rtsp://me:secret@camera/1")
        'a\\x1b[2J.jpg from rtsp://me:***@camera/1'
    """
    hidden = without_password(text)
    return _HARMFUL.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), hidden)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def without_password(text: str) -> str:
    """Text in which the passwords of addresses are three stars."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1:***@", text)) if "://" in text else text


def without_middle(text: str, most: int) -> str:
    """Text of at most `most` letters, an even number; of longer ones the middle becomes an ellipsis."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def erase_line() -> None:
    """Erase the line of progress that may stand unfinished on a terminal, before something else is printed."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def show(*lines: str) -> None:
    """Print lines on stdout, each made printable."""
    erase_line()
    print("\n".join(map(printable, lines)), flush=True)


def table_lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows of a table, the headings first, as lines in columns, each cell made printable.

    On a terminal that is narrower than the lines, long cells lose their middle; what differs stays different.
    """
    columns = list(zip(*(map(printable, row) for row in rows), strict=True))
    if sys.stdout.isatty():
        columns = _fitted(columns, shutil.get_terminal_size().columns)
    widths = [max(map(len, column)) for column in columns]
    return [
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def _fitted(columns: Sequence[Sequence[str]], room: int) -> list[Sequence[str]]:
    """Columns of lines of `room` letters, if need be without the middle of names and of what else is long."""
    widths = [max(map(len, column)) for column in columns]
    least = [
        max(_NARROWEST, len(column[0])) if place == 0 or width > _LONG else width
        for place, (column, width) in enumerate(zip(columns, widths, strict=True))
    ]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > room:
        spare = [width if width > least[place] else 0 for place, width in enumerate(widths)]
        if not any(spare):
            break
        widths[spare.index(max(spare))] -= 1
    return [_shortened(column, width) for column, width in zip(columns, widths, strict=True)]


def _shortened(cells: Sequence[str], width: int) -> Sequence[str]:
    """Cells of at most `width` letters, of more where different ones would become the same."""
    for letters in range(width, max(map(len, cells))):
        for head in sorted(range(letters), key=lambda place: abs(place - letters // 2)):
            tail = letters - head - 1
            short = [cell if len(cell) <= letters else f"{cell[:head]}…{cell[len(cell) - tail :]}" for cell in cells]
            if len(set(short)) == len(set(cells)):
                return short
    return cells


class PrintableFormatter(logging.Formatter):
    """Makes records of the log printable; line breaks stay where `keep` has them."""

    def __init__(self, form: str, *, keep: str = "") -> None:
        super().__init__(form)
        self._keep = keep

    def format(self, record: logging.LogRecord) -> str:
        """The record as printable text."""
        return printable(super().format(record), self._keep)


def prepare_streams() -> None:
    """Let output of any encoding print any name, and replace closed streams by ones that are empty.

    A file that is opened later would otherwise get the number of the closed stream, and what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - as long as the process
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
