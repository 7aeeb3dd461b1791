import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.tuning.report.figures import look_of, number, score_text, window_of

GOOD = np.linspace(0.50, 0.56, 30)


def test_far_worse_trials_do_not_squeeze_the_others():
    scores = np.append(GOOD, [0.1, 0.15])
    window = window_of(scores, "macro_f1")
    assert window.outside(scores).tolist() == [False] * 30 + [True, True]
    assert 0.48 < window.worst < 0.50
    assert window.best == pytest.approx(0.56)
    assert window.drawn(scores)[-1] == window.worst
    assert window.shares(np.array([0.1, 0.56])).tolist() == [0, 1]


def test_the_same_holds_where_lower_is_better():
    scores = np.append(1 - GOOD, [5.0])
    window = window_of(scores, "nll")
    assert window.outside(scores).tolist() == [False] * 30 + [True]
    assert window.best < window.worst < 0.55
    assert window.shares(np.array([window.best, 5.0])).tolist() == [1, 0]


def test_of_few_trials_none_is_cut_off():
    scores = np.array([0.55, 0.54, 0.56, 0.1])
    assert not window_of(scores, "macro_f1").outside(scores).any()


def test_the_band_of_fresh_seeds_is_always_seen():
    window = window_of(GOOD, "macro_f1", (0.45, 0.47))
    assert window.worst == pytest.approx(0.45)


def test_equal_scores_stand_in_the_middle():
    window = window_of([0.5] * 20, "macro_f1")
    assert window.shares(np.array([0.5])).tolist() == [0.5]


def test_epochs_of_hyperband_have_looks_of_their_own():
    done = pd.DataFrame({"rung": [0, 0, 1], "epochs_asked": [2, 2, 6]}).astype("Int64")
    look = look_of(done)
    assert look.colours[0] == look.colours[1] != look.colours[2]
    assert look.sizes[2] > look.sizes[0]
    assert [text for text, _, _ in look.legend] == ["2 epochs", "6 epochs"]
    plain = look_of(done.assign(rung=pd.NA))
    assert [text for text, _, _ in plain.legend] == ["a trial"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.001, "0.001"), (1e-4, "1e-4"), (2.5e-5, "2.5e-5"), (0, "0"), (20.0, "20")]
)
def test_ticks_are_short(value, text):
    assert number(value) == text


def test_scores_in_words():
    assert score_text(0.5632, "macro_f1") == "56.3"
    assert score_text(0.5632, "nll") == "0.563"
