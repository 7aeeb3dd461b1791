import io
import math
import re
import sys

import pytest

from fer_hierarchy.hierarchy import progress as progress_module
from fer_hierarchy.hierarchy.progress import Progress, clock, count_predictions, current, step


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


def command(now, screen):
    """A training of 100 units of work at a second each, and what is done before and after it, in slow steps."""
    with Progress(math.inf, steps={"reading": 5, "report": 10}):
        with step("reading"):
            now[0] += 10
        current().plan(100)
        current().plan(30)  # evaluation
        with current().part(100):
            for epoch in range(8):  # the training ends early
                now[0] += 10
                current().advance(10, f"epoch {epoch}")
        for _ in range(9):
            now[0] += 10
            count_predictions(30, "predicting")
            current().done = min(current().done, 130)
        for _ in range(2):
            with step("report"):
                now[0] += 20
        screen.append("the end")


def shares(text):
    return [int(found) for found in re.findall(r"(\d+)%", text)]


def test_a_command_has_one_progress_that_never_falls_and_ends_when_it_ends(now, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    command(now, [])
    seen = shares(screen.getvalue())
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert seen.count(100) == 1
    assert screen.getvalue().endswith("100%  done  [3:40 spent]\n")
    assert "predicting" in screen.getvalue()
    assert "report" in screen.getvalue()


def test_an_interrupted_command_is_never_at_its_end(now, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())

    def call():
        with Progress(1):
            now[0] += 5
            current().advance(1, "work")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call()
    assert 100 not in shares(screen.getvalue())


def test_evaluation_after_training_is_estimated_by_the_speed_of_training(now):
    with Progress(math.inf, steps={"report": 10}) as progress:
        assert "? left" in progress.line("x")
        progress.plan(60)
        progress.plan(30)
        now[0] += 30
        progress.advance(30, "epoch 1")
        assert progress.line("x") == " 30%  x  [0:30 spent, 1:10 left]"
        now[0] += 30
        progress.advance(30, "epoch 2")
        assert progress.line("x") == " 60%  x  [1:00 spent, 0:40 left]"


def test_a_step_that_takes_longer_than_others_is_not_at_its_end(now):
    with Progress(steps={"report": 10}) as progress, progress.step("report"):
        assert progress.line("x").endswith("[0:00 spent, 0:10 left]")
        now[0] += 40
        assert progress.line("x") == " 80%  x  [0:40 spent, 0:10 left]"


def test_a_part_counts_as_it_was_planned_however_the_work_in_it_is_counted(now):
    with Progress(4, done=1, steps={"report": 20}) as cells:
        with cells.part(1, "cell 2 of 4: "), Progress(1000, steps={"report": 5}) as run:
            now[0] += 45
            run.advance(900, "epoch 1")
            assert 1.8 < cells.done < 1.9
            with step("report"):
                now[0] += 5
        assert cells.done == 2
        assert cells.line("x") == " 45%  x  [0:50 spent, 2:00 left]"
        with cells.part(1):  # one that fails at once
            pass
        assert cells.done == 3


def test_a_cell_that_goes_on_is_not_taken_for_a_fast_one(now):
    with Progress(2) as cells, cells.part(1), Progress(100, done=50) as run:
        assert cells.done == 0.5
        now[0] += 25
        run.advance(25, "")
        assert cells.line("x").endswith("[0:25 spent, 2:05 left]"), (
            "a whole cell takes 100 seconds; one is to come, and a quarter of this"
        )


def test_predictions_count_only_where_work_is_planned_in_multiply_adds(now):
    count_predictions(3, "outside of any command")
    with Progress(4) as trials:
        count_predictions(3, "in a search, which counts trials")
        assert trials.done == 0
        trials.plan(10)
        count_predictions(3, "in a run")
        assert trials.done == 1


def test_a_file_is_told_of_the_steps_of_a_command_that_takes_its_time(now, capsys):
    with Progress(10, steps={"reading": 1, "report": 10}) as progress:
        with step("reading"):
            now[0] += 1
        assert capsys.readouterr().err == ""
        now[0] += 20
        progress.advance(10, "")
        with step("report"):
            now[0] += 10
    assert capsys.readouterr().err == " 67%  report  [0:21 spent, 0:10 left]\n100%  done  [0:31 spent]\n"
