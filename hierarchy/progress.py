"""One line of progress with the time that is left, for anything that takes more than a few seconds."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from fer_hierarchy.hierarchy.printing import printable, table_lines

ANNOUNCED = "announced"  # attribute of the log records that a command line prints on stdout

log = logging.getLogger("fer_hierarchy")


def announce(line: str) -> None:
    """Log a result or a step of the work; a command line prints it on stdout, a program that imports us decides."""
    log.info("%s", line, extra={ANNOUNCED: True})


def announce_table(rows: Iterable[Sequence[str]]) -> None:
    """Announce the rows of a table, the headings first, line by line."""
    for line in table_lines(rows):
        announce(line)


_shown: ContextVar[bool] = ContextVar("progress_shown", default=True)


@contextmanager
def progress_shown(shown: bool) -> Iterator[None]:
    """Show or hide the progress of everything that the block does."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


def _renews_line() -> bool:
    """Whether what shows stderr takes a carriage return for a new start of the line: a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts work done against work planned and writes it to stderr.

    A terminal or a notebook sees one line that renews itself every second; a file sees a line where `text` is final.

    Args:
        total: Planned work in any unit (images, multiply-adds).
        done: Work that an earlier, interrupted run has finished; it does not count in the speed, nor does what is added
            to the attribute `done` later.
    """

    def __init__(self, total: float, *, done: float = 0.0) -> None:
        self.total = total
        self.done = done
        self._fresh = 0.0
        self._start = time.monotonic()
        self._shown = 0.0

    def advance(self, work: float, text: str) -> None:
        """Count `work` as done and renew the line at most once a second."""
        self.done += work
        self._fresh += work
        now = time.monotonic()
        if _shown.get() and _renews_line() and now - self._shown >= 1:
            self._shown = now
            sys.stderr.write(f"\r\033[K{self.line(text)}")
            sys.stderr.flush()

    def settle(self, text: str) -> None:
        """End the renewing line with one that stays."""
        if not _shown.get():
            return
        lead = "\r\033[K" if _renews_line() else ""
        sys.stderr.write(f"{lead}{self.line(text)}\n")
        sys.stderr.flush()

    def line(self, text: str) -> str:
        """Share done, `text`, and the time left at the speed so far."""
        spent = time.monotonic() - self._start
        left = clock(spent / self._fresh * max(self.total - self.done, 0)) if self._fresh > 0 else "?"
        return f"{self.done / self.total:4.0%}  {printable(text)}  [{clock(spent)} spent, {left} left]"
