import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_hierarchy.tuning.report import figures
from fer_hierarchy.tuning.report.figures import outside, score_limits, score_text
from fer_hierarchy.tuning.report.trials import Axis

GOOD = np.linspace(0.50, 0.56, 30)


@pytest.mark.parametrize(("objective", "far"), [("macro_f1", 0.1), ("nll", 1.2)])
def test_far_worse_trials_do_not_squeeze_the_others(objective, far):
    scores = np.append(GOOD, [far, far])
    limits = score_limits(scores, objective)
    assert limits == pytest.approx((0.5, 0.56))
    assert outside(scores, limits).tolist() == [False] * 30 + [True, True]


def test_of_few_trials_none_is_cut_off():
    scores = np.array([0.55, 0.54, 0.56, 0.1])
    assert not outside(scores, score_limits(scores, "macro_f1")).any()


def test_the_band_of_fresh_seeds_is_always_seen():
    assert score_limits(GOOD, "macro_f1", (0.45, 0.47)) == pytest.approx((0.45, 0.56))


def drawn(epochs, objective="macro_f1"):
    """The axes of the progress of three trials."""
    done = pd.DataFrame({"score": [0.4, 0.5, 0.6], "rung": [0, 0, 1], "epochs_asked": epochs})
    ax = Figure().subplots()
    places, limits = pd.Series([0, 1, 3]), (0.4, 0.6)
    figures.progress(ax, done, places, objective, limits=limits, best=2, failures=[2], fresh=(0.55, 0.01))
    return ax


def test_trials_of_hyperband_are_shown_by_their_epochs():
    dots = {"epochs: 2", "epochs: 6"}
    marks = {"best trial, fresh seeds", "best so far", "the best", "failed (1)"}
    assert set(drawn([2, 2, 6]).get_legend_handles_labels()[1]) == marks | dots
    assert set(drawn([6, 6, 6]).get_legend_handles_labels()[1]) == marks | {"a trial"}


def test_better_is_up():
    assert not drawn([6, 6, 6]).yaxis_inverted()
    assert drawn([6, 6, 6], "nll").yaxis_inverted()


def test_every_setting_is_named_on_its_axis():
    axes = [Axis("rate", np.array([0.001, 0.1, 0.01]), log=True), Axis("loss", np.array([0, 1, 0]), ("ce", "focal"))]
    ax = Figure().subplots()
    figures.parallel(ax, axes, np.array([0.4, 0.5, 0.6]), "macro_f1", limits=(0.4, 0.6), best=2)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["rate", "loss", "macro F1"]
    assert [text.get_text() for text in ax.texts] == ["0.001", "0.1", "ce", "focal", "0.4", "0.6"]
    assert ax.lines[-1].get_ydata().tolist() == pytest.approx([0.5, 0, 1])  # the best one, on top


def test_scores_in_words():
    assert score_text(0.5632, "macro_f1") == "56.3"
    assert score_text(0.5632, "nll") == "0.563"
