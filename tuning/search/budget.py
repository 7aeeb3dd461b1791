"""The time that a search may take, looked at before every trial and after every step."""

import time
from dataclasses import dataclass, field

from fer_hierarchy.hierarchy.progress import Progress, clock
from fer_hierarchy.tuning.settings import seconds


class BudgetSpentError(Exception):
    """The time is over."""


@dataclass
class Budget:
    """Seconds from now on.

    Attributes:
        limit: Seconds, None for no limit.
        start: When it began, by the monotonic clock.
    """

    limit: float | None = None
    start: float = field(default_factory=lambda: time.monotonic())

    @classmethod
    def of(cls, text: str | None) -> "Budget":
        """The budget that the user gave as `90m`."""
        return cls(None if text is None else seconds(text, "--budget"))

    @property
    def end(self) -> float | None:
        """When it is over, by the monotonic clock."""
        return None if self.limit is None else self.start + self.limit

    def check(self) -> None:
        """Raise `BudgetSpentError` when the time is over."""
        if self.end is not None and time.monotonic() >= self.end:
            raise BudgetSpentError(f"the budget of {clock(self.limit)} is spent")


class TrialProgress(Progress):
    """A training's progress as a share of the whole search's, which also watches the budget.

    Args:
        whole: The search's progress, in trials.
        share: What this training is of a trial.
        work: The training's own work, in the unit that it counts.
        label: What lines call the trial.
        budget: Checked after every step.
    """

    def __init__(self, whole: Progress, *, share: float, work: float, label: str, budget: Budget) -> None:
        self.whole = whole
        self.total = work
        self.share = share
        self.label = label
        self.budget = budget
        self._done = 0.0

    @property
    def done(self) -> float:
        """Work done, that of earlier parts included."""
        return self._done

    @done.setter
    def done(self, work: float) -> None:
        self.whole.done += self._of_whole(work - self._done)
        self._done = work

    def _of_whole(self, work: float) -> float:
        return work / self.total * self.share if self.total else 0.0

    def advance(self, work: float, text: str) -> None:
        """Count `work`, and end the search when its time is over."""
        self._done += work
        self.whole.advance(self._of_whole(work), f"{self.label}: {text}")
        self.budget.check()

    def settle(self, text: str) -> None:
        """An epoch's line renews the line of progress: hundreds of them would hide the trials."""
        self.whole.advance(0.0, f"{self.label}: {text}")
