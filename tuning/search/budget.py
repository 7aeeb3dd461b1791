"""The time that a search may take, checked before every trial and after every step."""

import math
import time

from fer_hierarchy.hierarchy.progress import Progress, clock
from fer_hierarchy.tuning.settings import seconds


class BudgetSpentError(Exception):
    """The time is over."""


class Budget:
    """Time from now on.

    Args:
        text: As the user gave it: `90m`; None for no limit.

    Attributes:
        end: When it is over, by the monotonic clock.
    """

    def __init__(self, text: str | None = None) -> None:
        self._seconds = math.inf if text is None else seconds(text, "--budget")
        self.end = time.monotonic() + self._seconds

    def check(self) -> None:
        """Raise `BudgetSpentError` when the time is over."""
        if time.monotonic() >= self.end:
            raise BudgetSpentError(f"the budget of {clock(self._seconds)} is spent")


class TrialProgress(Progress):
    """A training's progress as a part of the whole search's, which also checks the budget.

    Args:
        work: The training's own work, in the unit that it counts.
        budget: Checked after every step.
    """

    def __init__(self, work: float, *, budget: Budget) -> None:
        super().__init__(work)
        self.budget = budget

    def advance(self, work: float, text: str) -> None:
        """Count `work`, and end the search when its time is over."""
        super().advance(work, text)
        self.budget.check()

    def settle(self, text: str) -> None:
        """An epoch's line renews the line of progress: hundreds of them would hide the trials."""
        self.advance(0.0, text)
