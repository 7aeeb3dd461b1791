import io
import sys

import pytest

from fer_hierarchy.hierarchy import progress as progress_module
from fer_hierarchy.hierarchy.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """A clock that the test sets; seconds."""
    time = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: time[0])
    return time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (9.4, "0:09"), (59.6, "1:00"), (61, "1:01"), (3599.7, "1:00:00"), (7325, "2:02:05")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_a_line_shows_the_share_done_and_the_time_left(now):
    progress = Progress(200)
    now[0] += 30
    progress.advance(50, "")
    assert progress.line("negative, epoch 2 of 24") == " 25%  negative, epoch 2 of 24  [0:30 spent, 1:30 left]"


def test_before_any_work_the_time_left_is_unknown(now):
    assert Progress(200).line("start") == "  0%  start  [0:00 spent, ? left]"


def test_work_of_an_earlier_run_counts_as_done_but_not_as_speed(now):
    progress = Progress(100, done=50)
    now[0] += 10
    progress.advance(10, "")
    assert progress.line("x") == " 60%  x  [0:10 spent, 0:40 left]"


def test_epochs_found_in_a_checkpoint_later_do_not_count_as_speed_either(now):
    progress = Progress(100)
    progress.done += 50
    now[0] += 10
    progress.advance(10, "")
    assert progress.line("x") == " 60%  x  [0:10 spent, 0:40 left]"


def test_more_work_than_planned_leaves_no_negative_time(now):
    progress = Progress(100)
    now[0] += 10
    progress.advance(120, "")
    assert "0:00 left" in progress.line("x")


def test_a_terminal_sees_one_line_that_renews_itself_each_second(now, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress(100)
    for _ in range(10):
        now[0] += 0.25
        progress.advance(1, "training")
    assert 2 <= screen.getvalue().count("\r") <= 4
    assert "\n" not in screen.getvalue()
    progress.settle("epoch 1")
    assert screen.getvalue().endswith("10%  epoch 1  [0:02 spent, 0:22 left]\n")


def test_a_file_sees_only_the_lines_that_stay(now, capsys):
    progress = Progress(100)
    for _ in range(5):
        now[0] += 2
        progress.advance(10, "training")
    assert capsys.readouterr().err == ""
    progress.settle("epoch 1")
    assert capsys.readouterr().err == " 50%  epoch 1  [0:10 spent, 0:10 left]\n"
