"""Plots of several runs: heat maps of a grid, differences with intervals, and what each run says of one face."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, PercentFormatter

from fer_hierarchy.hierarchy.reports.figures import ACCENT, HAIRLINE, INK, MUTED, SECOND, THIRD, emotion_colour

# Shares of less than this leave no room for their number.
_LEAST_WRITTEN = 0.14

# Colours whose parts sum to less than this carry white letters.
_DARK = 1.25

# The colours of a heat map span at least so much, so that noise does not look like a mountain range.
_LEAST_SPAN = 0.06


def heat_map(
    ax: Axes,
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    spreads: np.ndarray,
    across: str,
) -> None:
    """Shares as coloured cells with the number, in percent, in each.

    Args:
        ax: Where to draw.
        values: (rows, columns) shares from 0 to 1, NaN where there is none.
        rows: Names of the rows.
        columns: Names of the columns.
        spreads: (rows, columns) standard deviations, written behind the numbers; NaN where there is none.
        across: What the columns are.
    """
    low, high = _colour_limits(values)
    ax.imshow(values, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    turned = max(map(len, columns)) > 9
    style = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    ax.set_xticks(range(len(columns)), columns, **style)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    ax.grid(True, which="minor", color="white", linewidth=2)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel(across)
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        dark = value > low + 0.6 * (high - low)
        spread = spreads[row, column]
        text = "-" if np.isnan(value) else f"{100 * value:.1f}" + ("" if np.isnan(spread) else f" ± {100 * spread:.1f}")
        ax.text(column, row, text, ha="center", va="center", fontsize=8.5, color="white" if dark else INK)


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
    ax.axvline(0, color=INK, linewidth=0.9)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}" if value else "0"))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def probability_bars(
    ax: Axes, runs: Sequence[Mapping], *, classes: Sequence[str], true: str, names: Sequence[str] | None, title: str
) -> None:
    """What each run says of one face: a bar of all emotions, the true one first, and the answer behind it.

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
            ax.barh(position, share[emotion], left=left, height=0.72, color=emotion_colour(emotion), linewidth=0)
            left += share[emotion]
        ax.barh(position, share[true], height=0.72, fill=False, edgecolor=INK, linewidth=1.3, zorder=3)
        if share[true] >= _LEAST_WRITTEN:
            ink = "white" if sum(to_rgb(emotion_colour(true))) < _DARK else INK
            text = f"{100 * share[true]:.0f} %"
            ax.text(share[true] / 2, position, text, ha="center", va="center", fontsize=7, color=ink)
        right = run["answer"] == true
        text = f" {'✓' if right else '✗'} {run['answer']}"
        ax.text(left, position, text, va="center", fontsize=8, color=THIRD if right else SECOND)
    ax.set_yticks(range(len(runs)), names or [""] * len(runs))
    ax.set_ylim(len(runs) - 0.45, -0.55)
    ax.set_xlim(0, 1.4)  # the answers stand behind the bars
    ax.set_xticks([0, 0.5, 1])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.xaxis.grid(True, color=HAIRLINE)
    ax.set_title(title, fontsize=8)


def emotion_keys(classes: Sequence[str]) -> list[Patch]:
    """What a legend says of `probability_bars`: the colours of the emotions, and the outline."""
    outline = Patch(fill=False, edgecolor=INK, linewidth=1.3, label="the true emotion")
    return [*(Patch(color=emotion_colour(name), linewidth=0, label=name) for name in classes), outline]
