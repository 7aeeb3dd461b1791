"""Plots of a cross-validation: scores of all folds, small confusions, small curves, paired differences."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from fer_hierarchy.hierarchy.reports.figures import ACCENT, HAIRLINE, INK, MUTED, PALE, SECOND, THIRD

_COLOURS = (ACCENT, SECOND, THIRD, MUTED)
_DARK = 0.55  # shares above this carry white letters
_SPREAD = 0.3  # how far the dots of repeats stand apart


def fold_scores(ax: Axes, measures: Mapping[str, Sequence[float]]) -> None:
    """A dot for each fold, the mean as a line and one standard deviation to each side as a band.

    Args:
        ax: Where to draw.
        measures: Name -> shares of all folds, in one order; the dots are spread in height by that order.
    """
    for position, (values, colour) in enumerate(zip(measures.values(), _COLOURS, strict=False)):
        shares = np.asarray(values, dtype=float)
        mean, spread = shares.mean(), shares.std(ddof=1) if len(shares) > 1 else 0.0
        ax.fill_betweenx(
            [position - 0.32, position + 0.32], mean - spread, mean + spread, color=colour, alpha=0.14, lw=0
        )
        ax.plot([mean, mean], [position - 0.32, position + 0.32], color=colour, linewidth=2)
        heights = position + np.linspace(-_SPREAD + 0.08, _SPREAD - 0.08, len(shares))
        ax.plot(shares, heights, "o", color=colour, ms=5, mec="white", mew=0.7, zorder=3)
    ax.set_yticks(range(len(measures)), list(measures))
    ax.set_ylim(len(measures) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def small_confusion(
    ax: Axes, confusion: Sequence[Sequence[int]], classes: Sequence[str], *, title: str, left: bool, bottom: bool
) -> None:
    """Shares of each true class by predicted class as colours, with numbers on the diagonal only.

    Args:
        ax: Where to draw.
        confusion: Counts, shape (classes, classes), rows = true.
        classes: Names in the order of the rows; axes show their first letters.
        title: What the matrix is of.
        left: Whether the true classes are named.
        bottom: Whether the predicted classes are named.
    """
    counts = np.asarray(confusion, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    ax.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for place in range(len(classes)):
        share = shares[place, place]
        text, colour = ("-", MUTED) if np.isnan(share) else (f"{100 * share:.0f}", "white" if share > _DARK else INK)
        ax.text(place, place, text, ha="center", va="center", fontsize=6, color=colour)
    short, ticks = [name[:3] for name in classes], range(len(classes))
    ax.set_xticks(ticks, short if bottom else [""] * len(short), fontsize=6.5, rotation=90)
    ax.set_yticks(ticks, short if left else [""] * len(short), fontsize=6.5)
    ax.tick_params(length=0, pad=1.5)
    ax.spines[:].set(visible=True, color=HAIRLINE)
    ax.set_title(title, fontsize=7.5)


def small_curve(ax: Axes, history: pd.DataFrame, *, title: str, left: bool) -> None:
    """Accuracy by epoch on train (pale) and validation faces.

    Args:
        ax: Where to draw.
        history: Columns `epoch`, `accuracy`, `val_accuracy`; a missing one is left out.
        title: What was trained.
        left: Whether the shares are written.
    """
    marker = "o" if len(history) <= 12 else None
    for column, colour in (("accuracy", PALE), ("val_accuracy", ACCENT)):
        if column in history:
            ax.plot(history["epoch"], history[column], color=colour, linewidth=1.5, marker=marker, ms=2.5)
    ax.set_ylim(0, 1.02)
    ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"] if left else ["", "", ""], fontsize=7)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    ax.tick_params(axis="x", labelsize=7)
    ax.grid(True, axis="y")
    ax.set_title(title, fontsize=7.5)


def fold_differences(ax: Axes, measures: Mapping[str, Sequence[float]], *, xlabel: str) -> None:
    """Paired differences of all folds in percentage points as dots, with mean and standard deviation, around zero.

    Args:
        ax: Where to draw.
        measures: Name -> differences of all folds as shares.
        xlabel: What is subtracted from what.
    """
    fold_scores(ax, measures)
    ax.axvline(0, color=INK, linewidth=0.9)
    ax.set_xlabel(xlabel)
    points = FuncFormatter(lambda value, _: f"{100 * value:+.3g}" if abs(value) > 1e-9 else "0")
    ax.xaxis.set_major_formatter(points)
