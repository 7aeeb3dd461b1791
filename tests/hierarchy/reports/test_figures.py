"""Every plot draws what its table holds, survives undefined figures, and is marked where the faces are synthetic."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fer_hierarchy.hierarchy.palette import class_colour
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS


@pytest.fixture
def ax():
    return Figure().subplots()


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.usefixtures("rendered")
def test_drawing_saves_a_png_of_the_asked_size_and_leaves_nothing_else(tmp_path):
    with figures.drawing(tmp_path / "a.png", title="A", synthetic=False, width=4, height=2) as axes:
        axes[0, 0].plot([0, 1], [0, 1])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (4 * figures.DPI, 2 * figures.DPI)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_synthetic_figure_says_so_in_the_picture(tmp_path, synthetic):
    with figures.drawing(tmp_path / "a.png", title="Curves", synthetic=synthetic, width=4, height=2) as axes:
        figure = axes[0, 0].figure
    assert any("synthetic" in text.get_text() for text in figure.texts) == synthetic


def test_a_failed_drawing_leaves_no_file(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        figures.drawing(tmp_path / "a.png", title="A", synthetic=False, width=4, height=2),
    ):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_figures_need_no_pyplot():
    assert "pyplot" not in Path(sys.modules["fer_hierarchy.hierarchy.reports.figures"].__file__).read_text()


def test_emotions_have_colours_of_their_own():
    assert len({class_colour(name) for name in EMOTIONS}) == len(EMOTIONS)


def test_confusion_shows_shares_of_the_true_class_and_counts(ax):
    figures.confusion_matrix(ax, [[3, 1], [0, 0]], ["happy", "sad"])
    assert texts(ax) == ["75 %", "3", "25 %", "1", "-", "0", "-", "0"]


def test_reliability_leaves_empty_bins_out(ax):
    bins = [
        {"lower": 0.0, "upper": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"lower": 0.5, "upper": 1.0, "count": 8, "confidence": 0.9, "accuracy": 0.5},
    ]
    figures.reliability(ax, bins, ece=0.4)
    assert ax.collections[-1].get_offsets().tolist() == [[0.9, 0.5]]
    assert "ECE 0.400" in texts(ax)


def test_learning_curve_marks_the_kept_epoch(ax):
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "val_loss": [3.0, 1.5, 2]})
    figures.learning_curve(ax, history, measure="loss", best_epoch=2, ylabel="loss")
    labels = [line.get_label() for line in ax.lines]
    assert {"train", "validation", "kept: epoch 2"} <= set(labels)
    assert [2, 1.5] in [line.get_xydata()[0].tolist() for line in ax.lines if len(line.get_xydata()) == 1]


def test_learning_curve_without_validation_draws_train_alone(ax):
    figures.learning_curve(
        ax, pd.DataFrame({"epoch": [1], "loss": [3.0]}), measure="loss", best_epoch=None, ylabel="loss"
    )
    assert [line.get_label() for line in ax.lines] == ["train"]


def test_class_counts_write_count_and_share(ax):
    figures.class_counts(ax, {"happy": 3, "sad": 1}, split="train")
    assert [text.strip() for text in texts(ax)] == ["3  (75.0 %)", "1  (25.0 %)"]
    assert ax.get_title() == "train: 4 faces" or ax.get_title(loc="left") == "train: 4 faces"


def test_class_scores_accept_undefined_figures(ax):
    rows = [{"class": "fear", "precision": None, "recall": 0.5, "f1": None, "support": 2}]
    figures.class_scores(ax, rows)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fear  (n = 2)"]


def test_intervals_draw_the_bounds(ax):
    scores = {"top1": 0.6, "balanced_accuracy": 0.5, "macro_f1": None, "intervals": {"top1": [0.55, 0.65]}}
    figures.intervals(ax, [("soft", scores)])
    assert [0.55, 0.65] in [line.get_xdata().tolist() for line in ax.lines if len(line.get_xdata()) == 2]


def test_recall_deltas_are_percentage_points(ax):
    rows = [{"class": "fear", "support": 9, "recall_delta": -0.1}, {"class": "sad", "support": 9, "recall_delta": None}]
    figures.recall_deltas(ax, rows, a="flat", b="tree")
    assert ax.patches[0].get_width() == pytest.approx(-10)


@pytest.mark.parametrize("values", [(100.0, 100.0), (100.0, 130.0), (10.0, 90000.0)])
def test_cost_axis_has_ticks_at_any_range(tmp_path, values):
    rows = [{"name": f"run {v}", "top1": 0.5, "intervals": {"top1": [0.4, 0.6]}, "cpu": v} for v in values]
    with figures.drawing(tmp_path / "c.png", title="c", synthetic=False, width=4, height=3) as axes:
        figures.accuracy_against_cost(axes[0, 0], rows, cost="cpu", xlabel="CPU-seconds")
        low, high = axes[0, 0].get_xlim()
        assert any(low <= tick <= high for tick in axes[0, 0].get_xticks())


def test_a_run_is_drawn_alike_whatever_runs_are_left_out_and_hides_no_other(ax):
    rows = [{"name": f"run {i}", "place": i, "top1": 0.66, "cpu": 100.0} for i in range(3)]
    figures.accuracy_against_cost(ax, rows, cost="cpu", xlabel="CPU-seconds")
    figures.accuracy_against_cost(ax, rows[1:], cost="cpu", xlabel="CPU-seconds")
    *all_runs, second, _ = [line for line in ax.lines if "run" in str(line.get_label())]
    assert (second.get_color(), second.get_marker()) == (all_runs[1].get_color(), all_runs[1].get_marker())
    assert len({line.get_color() for line in all_runs}) == len({line.get_xdata()[0] for line in all_runs}) == 3


def test_ticks_half_a_percent_apart_have_different_labels(ax):
    rows = [{"name": "run", "top1": 0.66, "intervals": {"top1": [0.6475, 0.6785]}, "cpu": 100.0}]
    figures.accuracy_against_cost(ax, rows, cost="cpu", xlabel="CPU-seconds")
    labels = [ax.yaxis.get_major_formatter()(tick, 0) for tick in (0.655, 0.66, 0.665, 1.0, 0.0)]
    assert labels == ["65.5 %", "66 %", "66.5 %", "100 %", "0 %"]


def test_feature_map_has_a_legend_in_the_emotions_order_and_rare_emotions_on_top(ax):
    points = pd.DataFrame({"emotion": ["happy"] * 3 + ["angry"] * 2 + ["odd"], "x": range(6), "y": range(6)})
    figures.feature_map(ax, points, note="n = 6")
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["angry  (n = 2)", "happy  (n = 3)", "odd  (n = 1)"]
    layers = {dots.get_label().split()[0]: dots.get_zorder() for dots in ax.collections}
    assert layers["happy"] < layers["angry"] < layers["odd"]
    assert ax.get_xlabel() == "n = 6"


def test_feature_map_tells_emotions_apart_without_colour(ax):
    points = pd.DataFrame({"emotion": EMOTIONS, "x": range(len(EMOTIONS)), "y": 0})
    figures.feature_map(ax, points, note="")
    shapes = {dots.get_paths()[0].vertices.tobytes() for dots in ax.collections}
    assert len(shapes) == len(EMOTIONS)


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 5)), (3, (4, 5, 3)), (4, (4, 5, 3))])
def test_displayable_pixels(channels, shape):
    assert figures.displayable(np.zeros((4, 5, channels), np.uint8)).shape == shape


def test_a_dozen_runs_have_a_marker_each():
    rows = [{"name": f"run {i}", "top1": 0.5, "cpu": 10.0 + i} for i in range(12)]
    ax = Figure().subplots()
    figures.accuracy_against_cost(ax, rows, cost="cpu", xlabel="CPU-seconds")
    shown = [(line.get_marker(), line.get_markerfacecolor()) for line in ax.lines if "run" in str(line.get_label())]
    assert len(set(shown)) == 12
