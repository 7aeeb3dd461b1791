"""Plots of several runs: heat maps, differences with intervals, scores of folds, and predictions on one face."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from fer_hierarchy.hierarchy.palette import class_colour
from fer_hierarchy.hierarchy.reports.figures import (
    ACCENT,
    HAIRLINE,
    INK,
    MUTED,
    SECOND,
    THIRD,
    learning_curve,
)

# Shares of less than this leave no room for their number.
_LEAST_WRITTEN = 0.14

# Colours whose parts sum to less than this carry white letters.
_DARK = 1.25

# The colours of a heat map span at least so much, so that noise does not seem large.
_LEAST_SPAN = 0.06

_COLOURS = (ACCENT, SECOND, THIRD, MUTED)


def heat_map(ax: Axes, means: pd.DataFrame, spreads: pd.DataFrame) -> None:
    """Shares as coloured cells with the number, in percent, in each.

    Args:
        ax: Where to draw.
        means: Shares from 0 to 1 by row and column name, NaN where there is none; the columns' own name is written.
        spreads: Standard deviations in the same places, written behind the numbers; NaN where there is none.
    """
    low, high = _colour_limits(means.to_numpy())
    ax.imshow(means, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    turned = max(map(len, means.columns)) > 9
    style: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    ax.set_xticks(range(means.shape[1]), means.columns, **style)
    ax.set_yticks(range(len(means)), means.index)
    ax.set_xticks(np.arange(means.shape[1] - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(means) - 1) + 0.5, minor=True)
    ax.grid(True, which="minor", color="white", linewidth=2)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel(str(means.columns.name))
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(means.to_numpy()):
        dark = value > low + 0.6 * (high - low)
        spread = spreads.iloc[row, column]
        text = "-" if np.isnan(value) else f"{100 * value:.1f}" + ("" if np.isnan(spread) else f" ± {100 * spread:.1f}")
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else INK)


def _colour_limits(values: np.ndarray) -> tuple[float, float]:
    if np.isnan(values).all():
        return 0.0, 1.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    gap = max(_LEAST_SPAN - (high - low), 0) / 2
    return low - gap - 0.25 * (high - low), high + gap  # the lowest cell is not white: it is there


def differences(ax: Axes, rows: Sequence[tuple[str, Mapping[str, float]]], *, xlabel: str) -> None:
    """Differences in percentage points as dots with their 95 % intervals around zero.

    Args:
        ax: Where to draw.
        rows: (name, `difference`, `low` and `high` as fractions).
        xlabel: What is subtracted from what.
    """
    for position, (_, row) in enumerate(rows):
        delta, low, high = (100 * row[key] for key in ("difference", "low", "high"))
        colour = MUTED if low <= 0 <= high else ACCENT
        ax.plot([low, high], [position, position], color=colour, linewidth=2.4, alpha=0.5)
        ax.plot(delta, position, "o", color=colour, ms=5.5)
    _name_lines(ax, [name for name, _ in rows])
    _around_zero(ax, xlabel, unit=1)


def _name_lines(ax: Axes, names: Sequence[str]) -> None:
    """Names from top to bottom instead of a y axis."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def _around_zero(ax: Axes, xlabel: str, *, unit: float) -> None:
    """A line at zero, and signed percentage points, of which a value has `unit`."""
    ax.axvline(0, color=INK, linewidth=0.9)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{unit * x:+.3g}" if abs(x) > 1e-9 else "0"))


def probability_bars(
    ax: Axes, runs: Sequence[Mapping], *, classes: Sequence[str], true: str, names: Sequence[str] | None, title: str
) -> None:
    """Predictions of each run on one face: a bar of all emotions, the true one first, and the prediction behind it.

    Args:
        ax: Where to draw.
        runs: `answer` and `probabilities` (in class order) of each run.
        classes: Emotions in class order.
        true: The face's emotion.
        names: What the runs are called; None leaves the names out.
        title: What the face is called.
    """
    order = [true, *(emotion for emotion in classes if emotion != true)]
    for position, run in enumerate(runs):
        share = dict(zip(classes, run["probabilities"], strict=True))
        left = 0.0
        for emotion in order:
            ax.barh(position, share[emotion], left=left, height=0.72, color=class_colour(emotion), linewidth=0)
            left += share[emotion]
        ax.barh(position, share[true], height=0.72, fill=False, edgecolor=INK, linewidth=1.3, zorder=3)
        if share[true] >= _LEAST_WRITTEN:
            ink = "white" if sum(to_rgb(class_colour(true))) < _DARK else INK
            text = f"{100 * share[true]:.0f} %"
            ax.text(share[true] / 2, position, text, ha="center", va="center", color=ink)
        right = run["answer"] == true
        text = f" {'✓' if right else '✗'} {run['answer']}"
        ax.text(left, position, text, va="center", color=THIRD if right else SECOND)
    ax.set_yticks(range(len(runs)), names or [""] * len(runs))
    ax.set_ylim(len(runs) - 0.45, -0.55)
    ax.set_xlim(0, 1.4)  # the predictions stand behind the bars
    ax.set_xticks([0, 0.5, 1])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.xaxis.grid(True, color=HAIRLINE)
    ax.set_title(title)


def emotion_keys(classes: Sequence[str]) -> list[Patch]:
    """The legend of `probability_bars`: the colours of the emotions, and the outline."""
    outline = Patch(fill=False, edgecolor=INK, linewidth=1.3, label="the true emotion")
    return [*(Patch(color=class_colour(name), linewidth=0, label=name) for name in classes), outline]


def fold_scores(ax: Axes, measures: Mapping[str, Sequence[float]]) -> None:
    """A dot for each fold, the mean as a line and one standard deviation to each side as a band.

    Args:
        ax: Where to draw.
        measures: Name -> shares of all folds, in one order; the dots are spread in height by that order.
    """
    for position, (values, colour) in enumerate(zip(measures.values(), _COLOURS, strict=False)):
        shares, height = np.asarray(values, dtype=float), [position - 0.32, position + 0.32]
        mean, spread = shares.mean(), shares.std(ddof=1) if len(shares) > 1 else 0.0
        ax.fill_betweenx(height, mean - spread, mean + spread, color=colour, alpha=0.14, lw=0)
        ax.plot([mean, mean], height, color=colour, linewidth=2)
        heights = position + np.linspace(-0.22, 0.22, len(shares))
        ax.plot(shares, heights, "o", color=colour, ms=5, mec="white", mew=0.7, zorder=3)
    _name_lines(ax, list(measures))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def small_confusion(ax: Axes, confusion: ArrayLike, classes: Sequence[str], *, left: bool, bottom: bool) -> None:
    """Shares of each true class by predicted class as colours, with numbers on the diagonal only.

    Args:
        ax: Where to draw.
        confusion: Counts, shape (classes, classes), rows = true.
        classes: Names in the order of the rows; axes show their first letters.
        left: Whether the true classes are named.
        bottom: Whether the predicted classes are named.
    """
    counts = np.asarray(confusion, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    ax.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for place, share in enumerate(shares.diagonal()):
        text, colour = ("-", MUTED) if np.isnan(share) else (f"{100 * share:.0f}", "white" if share > 0.55 else INK)
        ax.text(place, place, text, ha="center", va="center", fontsize=6, color=colour)  # 100 must fit its cell
    short, ticks = [name[:3] for name in classes], range(len(classes))
    ax.set_xticks(ticks, short if bottom else [""] * len(short), rotation=90)
    ax.set_yticks(ticks, short if left else [""] * len(short))
    ax.tick_params(length=0, pad=1.5)
    ax.spines[:].set(visible=True, color=HAIRLINE)


def small_curve(ax: Axes, history: pd.DataFrame, *, left: bool) -> None:
    """Accuracy by epoch on train (pale) and validation faces.

    Args:
        ax: Where to draw.
        history: As for `learning_curve`.
        left: Whether the shares are written.
    """
    learning_curve(ax, history, measure="accuracy", best_epoch=None, ylabel="")
    ax.set_ylim(0, 1.02)
    ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"] if left else ["", "", ""])


def fold_differences(ax: Axes, measures: Mapping[str, Sequence[float]], *, xlabel: str) -> None:
    """Paired differences of all folds in percentage points as dots, with mean and standard deviation, around zero.

    Args:
        ax: Where to draw.
        measures: Name -> differences of all folds as shares.
        xlabel: What is subtracted from what.
    """
    fold_scores(ax, measures)
    _around_zero(ax, xlabel, unit=100)
