"""Where a call spends its time."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PARTS = ("loading", "reading", "faces", "landmarks", "network", "writing")


class Timings:
    """Seconds that parts of the work took, by name; safe for several threads, whose seconds add up.

    Attributes:
        seconds: So far.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._busy = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the seconds of a block, one of `PARTS`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._busy:
                self.seconds[name] += time.perf_counter() - start


def time_line(after_loading: float, timings: Sequence[Timings]) -> str:
    """The seconds of a call and of its parts, those that took any time; some are at work at the same time.

    Examples:
        >>> predicting = Timings()
        >>> predicting.seconds.update(loading=0.5, faces=1.25)
        >>> time_line(1.6, [predicting])
        'time: 2.1 s (loading 0.5, faces 1.2)'
    """
    seconds = {name: sum(one.seconds[name] for one in timings) for name in PARTS}
    total = seconds["loading"] + after_loading
    parts = ", ".join(f"{name} {seconds[name]:.1f}" for name in PARTS if seconds[name] >= 0.05)
    return f"time: {total:.1f} s" + f" ({parts})" * bool(parts)
