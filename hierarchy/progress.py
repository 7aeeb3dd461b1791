"""One line of progress with the time that is left, for anything that takes more than a few seconds."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Self

from fer_hierarchy.hierarchy.printing import printable, table_lines

_LONG = 5.0  # seconds after which steps are written to a file as well
FORWARD = 1 / 3  # of the time that a face takes in training, where a backward pass follows
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


_report: ContextVar[Callable[[float], None] | None] = ContextVar("progress_report", default=None)


@contextmanager
def progress_reported(report: Callable[[float], None]) -> Iterator[None]:
    """Give the share done of everything that the block does to a function, whenever it has grown."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def _renews_line() -> bool:
    """Whether what shows stderr takes a carriage return for a new start of the line: a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """The progress of a whole command, which is at 100 % when the `with` block of it ends, and not before.

    A command has work that is counted (multiply-adds, trials, files), whose speed is measured, and steps beside it, of
    which seconds are known from others like it. A Progress that is made in a `part` of another counts as that part: a
    training knows nothing of the grid that it belongs to. A terminal or a notebook sees one line that renews itself
    every second; a file sees the lines of `settle`, and of steps once the command has taken a few seconds.

    Args:
        total: Planned work in any unit; infinite until `plan` adds what is known.
        done: Work that an earlier, interrupted call has finished; it does not count in the speed, nor does what is
            added to the attribute `done` later.
        steps: Seconds that each step beside the counted work is expected to take.
    """

    def __init__(self, total: float = 0.0, *, done: float = 0.0, steps: Mapping[str, float] | None = None) -> None:
        self.total = total
        self._steps = dict(steps or {})
        self._done = self._fresh = self._aside = self._share = self._told = self._shown = 0.0
        self._start = time.monotonic()
        self._step: tuple[float, float] | None = None  # when it began, and the seconds that it should take
        self._part, self._label = 0.0, ""
        self._outer = _current.get()
        self._worth, self._lead = (self._outer._part, self._outer._label) if self._outer else (0.0, "")
        self._finished = self._written = self.multiply_adds = False
        self.done = done

    @property
    def done(self) -> float:
        """Work done, that of earlier calls included."""
        return self._done

    @done.setter
    def done(self, work: float) -> None:
        self._done = work
        self._tell(fresh=False)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _current.reset(self._token)
        if kind is None:
            self._finished = True
            self._tell(fresh=True)
            if not self._outer and self._written:
                self.settle("done")

    def plan(self, work: float, *, done: float = 0.0) -> None:
        """Add multiply-adds, once they are known, of which an earlier call has finished `done`."""
        self.total = work if self.total == math.inf else self.total + work
        self.multiply_adds = True
        self.done += done

    def advance(self, work: float, text: str) -> None:
        """Count `work` as done and renew the line at most once a second."""
        self._done += work
        self._fresh += work
        self._tell(fresh=True)
        self._renew(text)

    @contextmanager
    def part(self, work: float, label: str = "") -> Iterator[None]:
        """Work that is done when the block is, however much of it the block has counted."""
        token, before, end = _current.set(self), (self._part, self._label), self._done + work
        self._part, self._label = work, label
        try:
            yield
        finally:
            _current.reset(token)
            self._part, self._label = before
        self.done = end

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step beside the counted work, by the name that it was announced by."""
        began = time.monotonic()
        self._step = began, self._steps.pop(text, 0.0)
        self._renew(text, step=True)
        try:
            yield
        finally:
            self._aside += time.monotonic() - began
            self._step = None
        self._tell(fresh=True)

    def settle(self, text: str) -> None:
        """End the renewing line with one that stays."""
        if self._outer:
            self._outer.settle(self._lead + text)
        elif _shown.get():
            lead = "\r\033[K" if _renews_line() else ""
            sys.stderr.write(f"{lead}{self.line(text)}\n")
            sys.stderr.flush()
            self._written = True

    def line(self, text: str) -> str:
        """Share done, `text`, and the time left at the speed so far."""
        share, left = self._estimate()
        # Rounded down: what is not finished is not at 100 %.
        return f"{math.floor(100 * share + 1e-9):3d}%  {printable(text)}  [{self._clocks(left)}]"

    @property
    def clocks(self) -> str:
        """Time spent and left, as in the line."""
        return self._clocks(self._estimate()[1])

    def _clocks(self, left: float | None) -> str:
        spent = clock(time.monotonic() - self._start)
        return f"{spent} spent" if self._finished else f"{spent} spent, {'?' if left is None else clock(left)} left"

    def _estimate(self) -> tuple[float, float | None]:
        """Share done, which never falls, and seconds left; None while no work was counted yet."""
        if self._finished:
            return 1.0, 0.0
        now, ahead, aside = time.monotonic(), sum(self._steps.values()), self._aside
        if self._step:
            taken = now - self._step[0]
            aside += taken
            ahead += max(self._step[1] - taken, taken / 4)  # one that takes longer than others did is not at its end
        work = max(self.total - self._done, 0.0)
        known = self.total < math.inf and (self._fresh > 0 or not work)
        if not known:
            self._share = max(self._share, min(self._done / (self.total or 1.0), 0.99))
            return self._share, None
        rate = (now - self._start - aside) / self._fresh if self._fresh else 0.0
        left = work * rate + ahead
        whole = self._done * rate + aside + left
        self._share = max(self._share, min(1 - left / whole if whole else 0.0, 0.99))
        return self._share, left

    def _tell(self, *, fresh: bool) -> None:
        """Count for the outer progress what has been done of its part."""
        if not self._outer or not self._worth:
            return
        share = self._estimate()[0]
        work = (share - self._told) * self._worth
        self._told = share
        self._outer._done += work
        self._outer._fresh += work * fresh
        self._outer._tell(fresh=fresh)

    def _renew(self, text: str, *, step: bool = False) -> None:
        if self._outer:
            self._outer._renew(self._lead + text, step=step)
            return
        if report := _report.get():
            report(self._estimate()[0])
        now = time.monotonic()
        if step and not _renews_line() and now - self._start >= _LONG:
            self.settle(text)
        elif _shown.get() and _renews_line() and (step or now - self._shown >= 1):
            self._shown, self._written = now, True
            sys.stderr.write(f"\r\033[K{self.line(text)}")
            sys.stderr.flush()


_current: ContextVar[Progress | None] = ContextVar("progress", default=None)


def current() -> Progress:
    """The progress of the command, or of the part of it, that the caller works for; a new one outside of any."""
    return _current.get() or Progress()


def step(text: str) -> AbstractContextManager[None]:
    """A step of the command that the caller works for; outside of any nothing is shown."""
    progress = _current.get()
    return progress.step(text) if progress else nullcontext()


def count_predictions(multiply_adds: float, text: str) -> None:
    """Count predictions, which take no backward pass, for a command whose work is planned in multiply-adds."""
    progress = _current.get()
    if progress and progress.multiply_adds:
        progress.advance(multiply_adds * FORWARD, text)
