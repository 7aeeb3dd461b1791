import io
import time

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.tuning.search.budget import Budget, BudgetSpentError, TrialProgress
from fer_hierarchy.tuning.settings import seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("45s", 45), (" 1H5S ", 3605)]
)
def test_times_as_people_write_them(text, expected):
    assert seconds(text, "--budget") == expected


@pytest.mark.parametrize("text", ["90", "", "0m", "h", "5 minutes", "-3m", "1.5h"])
def test_no_time_is_one_line(text):
    with pytest.raises(UserError, match=r"--budget: expected a time such as 90m"):
        seconds(text, "--budget")


def test_a_budget_ends_a_training_at_the_next_step(monkeypatch):
    budget, unlimited = Budget("60s"), Budget()
    progress = TrialProgress(10, budget=budget)
    progress.advance(1, "epoch 1")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    with pytest.raises(BudgetSpentError, match="1:00"):
        progress.advance(1, "epoch 2")
    unlimited.check()


def test_a_trial_moves_the_whole_by_its_share(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    whole = Progress(4)
    with whole.part(0.5, "trial 1: "), TrialProgress(10, budget=Budget()) as half:
        half.done += 4  # what a checkpoint holds
        half.advance(6, "epoch 2")
        half.settle("epoch 2: loss 1")
    assert whole.done == pytest.approx(0.5)
