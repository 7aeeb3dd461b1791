"""Parallel coordinates of a search, lying on their side so that names and values are read without turning the head."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fer_hierarchy.hierarchy.reports.figures import MUTED, SECOND
from fer_hierarchy.tuning.report.figures import GOLDEN, TITLES, WORST_TO_BEST, Window, legend, log_steps, number, short
from fer_hierarchy.tuning.report.trials import Axis

_ENOUGH = 20  # trials, of which the best tenth stands out


def parallel(ax: Axes, axes: Sequence[Axis], scores: np.ndarray, *, window: Window, best: int) -> None:
    """Each trial as a line down through all hyperparameters to its score; better trials are darker and on top.

    Args:
        ax: Where to draw.
        axes: Values of all completed trials, one a row of the figure.
        scores: (trials,).
        window: Scores to draw.
        best: Position of the best trial.
    """
    columns = [_across(axis) for axis in axes] + [window.shares(scores)]
    across, rows = np.column_stack(columns), np.arange(len(columns))
    shares = columns[-1]
    order = np.argsort(shares, kind="stable")
    order = np.append(order[order != best], best)
    faint = float(np.clip(12 / len(scores), 0.16, 0.7))
    leading = shares >= np.quantile(shares, 0.9) if _tenth_shown(scores) else np.zeros(len(scores), dtype=bool)
    colours = [(*WORST_TO_BEST(shares[i])[:3], 0.9 if leading[i] else faint) for i in order[:-1]]
    lines = [np.column_stack([across[i], rows]) for i in order]
    widths = [1.3 if leading[i] else 1.0 for i in order[:-1]]
    ax.add_collection(LineCollection(lines, colors=[*colours, SECOND], linewidths=[*widths, 2.2], zorder=2))
    ax.plot(across[best], rows, "D", color=SECOND, ms=4.5, mec="white", mew=0.7, zorder=5)
    for row, axis in enumerate(axes):
        _scale(ax, row, *_marks(axis))
    _scale(ax, len(axes), *_score_marks(window))
    ax.set_yticks(rows, [*(axis.key for axis in axes), TITLES[window.objective]])
    ax.get_yticklabels()[-1].set_fontweight("bold")
    ax.set(xlim=(-0.03, 1.03), ylim=(len(axes) + 0.45, -0.15), xticks=[])
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)


def parallel_legend(ax: Axes, scores: np.ndarray) -> None:
    """The legend of `parallel` with `scores`, below the figure that holds `ax`."""
    better = ("the best tenth", 0.95) if _tenth_shown(scores) else ("better", 0.75)
    colours = {"the worst": WORST_TO_BEST(0.0), better[0]: WORST_TO_BEST(better[1]), "the best": SECOND}
    legend(ax, [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in colours.items()])


def _tenth_shown(scores: np.ndarray) -> bool:
    return len(scores) >= _ENOUGH


def _across(axis: Axis) -> np.ndarray:
    """Where each trial crosses an axis, from 0 to 1, shape (trials,); the trials of one word are spread a little."""
    if axis.words:
        spread = (np.arange(len(axis.places)) * GOLDEN) % 1 - 0.5
        return (axis.places + 0.5 + 0.4 * spread) / len(axis.words)
    low, high = axis.heights.min(), axis.heights.max()
    return (axis.heights - low) / (high - low) if high > low else np.full(len(axis.places), 0.5)


def _marks(axis: Axis) -> tuple[list[float], list[str]]:
    """Places from 0 to 1 on an axis of `parallel`, and what stands there."""
    if axis.words:
        every = -(-len(axis.words) // 8)
        shown = range(0, len(axis.words), every)
        letters = 72 // max(len(shown), 1)
        return [(i + 0.5) / len(axis.words) for i in shown], [short(axis.words[i], letters) for i in shown]
    low, high = axis.places.min(), axis.places.max()
    if low == high:
        return [0.5], [number(low)]
    even = MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=axis.whole)
    values = _log_values(low, high) if axis.log else even.tick_values(low, high)
    values = np.array([value for value in values if low <= value <= high])
    heights = np.log10(values) if axis.log else values
    ends = np.log10([low, high]) if axis.log else (low, high)
    return list((heights - ends[0]) / (ends[1] - ends[0])), [number(value) for value in values]


def _score_marks(window: Window) -> tuple[list[float], list[str]]:
    low, high = sorted((window.worst, window.best))
    if low == high:
        return [0.5], [_score_number(low, window.objective)]
    values = [v for v in MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= v <= high]
    return list(window.shares(np.array(values))), [_score_number(value, window.objective) for value in values]


def _score_number(value: float, objective: str) -> str:
    return f"{value:.4g}" if objective == "nll" else f"{100 * value:.4g} %"


def _scale(ax: Axes, row: int, places: Sequence[float], texts: Sequence[str]) -> None:
    """One axis of `parallel`: a line with ticks and words below it that no trial's line hides."""
    ax.plot([0, 1], [row, row], color=MUTED, linewidth=0.9, zorder=1)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
    for place, text in zip(places, texts, strict=True):
        ax.plot([place, place], [row, row + 0.07], color=MUTED, linewidth=0.9, zorder=4)
        ax.text(place, row + 0.11, text, ha="center", va="top", fontsize=7.5, bbox=box, zorder=4)


def _log_values(low: float, high: float) -> list[float]:
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [step * 10.0**power for power in powers for step in log_steps(low, high)]
