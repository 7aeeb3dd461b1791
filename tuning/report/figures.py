"""Plots of a search: scores along it, slices and importance; each draws on the `ax` it is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from fer_hierarchy.hierarchy.reports.figures import ACCENT, INK, MUTED, SECOND, THIRD
from fer_hierarchy.hierarchy.wording import decimals, points
from fer_hierarchy.tuning.report.trials import Axis, best_so_far, several_epochs
from fer_hierarchy.tuning.settings import OBJECTIVES

TITLES = {
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "nll": "negative log-likelihood",
}
_DARK = "#08306b"
_EARLY_TO_LATE = LinearSegmentedColormap.from_list("early_to_late", ["#c3d5e3", ACCENT, _DARK])
WORST_TO_BEST = LinearSegmentedColormap.from_list("worst_to_best", ["#d3dae0", "#7fb2d5", _DARK])
_LEAST_REACH = 0.005  # of scores closer together than this none is far from the others
_FEW = 12  # so many trials all have a place of their own
_MOST_SPREAD = 2.0  # how many times as far below the median as the best is above it a score may lie and be drawn
GOLDEN = 0.6180339887  # steps of this fraction fill a range evenly, however many there are


@dataclass(frozen=True)
class Window:
    """The scores that are drawn; one that is far worse stands at the edge.

    Attributes:
        worst: The worst score that has a place of its own.
        best: The best one.
        objective: What the scores are.
    """

    worst: float
    best: float
    objective: str

    def outside(self, scores: np.ndarray) -> np.ndarray:
        """Which scores are worse than any that is drawn, shape (scores,)."""
        return scores > self.worst if OBJECTIVES[self.objective] == "min" else scores < self.worst

    def drawn(self, scores: np.ndarray) -> np.ndarray:
        """The scores with those outside at the edge, shape (scores,)."""
        return np.where(self.outside(scores), self.worst, scores)

    def shares(self, scores: np.ndarray) -> np.ndarray:
        """Where the scores lie between worst (0) and best (1), shape (scores,)."""
        reach = self.best - self.worst
        return (self.drawn(scores) - self.worst) / reach if reach else np.full(len(scores), 0.5)

    def apply(self, ax: Axes, *, bottom: float = 0.06) -> None:
        """Set the vertical axis so that better is up; `bottom` is the room below the worst score, as a share."""
        reach = self.best - self.worst
        if not reach:
            reach = np.copysign(0.02, 1 if OBJECTIVES[self.objective] == "max" else -1)
        ax.set_ylim(self.worst - bottom * reach, self.best + 0.08 * reach)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        if self.objective != "nll":
            digits = 0 if abs(reach) > 0.05 else 1 if abs(reach) > 0.005 else 2
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=digits, symbol=" %"))


def window_of(scores: Sequence[float], objective: str, others: Sequence[float] = ()) -> Window:
    """The scores to draw: all but those that lie very far below the rest, and `others` in any case."""
    sign = -1 if OBJECTIVES[objective] == "min" else 1
    held = sign * np.asarray(scores, dtype=float)  # larger is better
    best, median = held.max(), np.median(held)
    floor = median - _MOST_SPREAD * max(best - median, _LEAST_REACH)
    near = held[held >= floor] if len(held) > _FEW else held
    worst, best = (choose([*near, *(sign * np.asarray(others, dtype=float))]) for choose in (min, max))
    if len(near) < len(held):
        worst -= 0.08 * (best - worst)  # so that the edge is nobody's own place
    return Window(sign * worst, sign * best, objective)


def score_text(value: float | None, objective: str) -> str:
    """A score as readers see it: percent without its sign, or three decimals of a likelihood."""
    return decimals(value) if objective == "nll" else points(value)


def score_title(objective: str) -> str:
    """What a score is called on an axis."""
    return f"{TITLES[objective]}, lower is better" if OBJECTIVES[objective] == "min" else TITLES[objective]


@dataclass(frozen=True)
class TrialStyle:
    """Colour and size of each trial's dot, and what the legend says of them.

    Attributes:
        colours: One for each trial.
        sizes: Square points, one for each trial.
        legend: (text, colour, size) of each kind.
    """

    colours: list[str]
    sizes: np.ndarray
    legend: list[tuple[str, str, float]]


def look_of(done: pd.DataFrame) -> TrialStyle:
    """Dots of one kind, or by the number of epochs where the search gave trials different ones, as Hyperband does."""
    base = float(np.clip(1800 / max(len(done), 1), 13, 30))
    levels = sorted(done["epochs_asked"].dropna().unique())
    if not several_epochs(done):
        return TrialStyle([ACCENT] * len(done), np.full(len(done), base), [("a trial", ACCENT, base)])
    shades = {
        level: to_hex(WORST_TO_BEST(place))
        for level, place in zip(levels, np.linspace(0.2, 1, len(levels)), strict=True)
    }
    area = dict(zip(levels, np.linspace(0.7, 1.9, len(levels)) * base, strict=True))
    legend = [(f"{level} epoch{'' if level == 1 else 's'}", shades[level], area[level]) for level in levels]
    given = done["epochs_asked"].fillna(levels[0])
    return TrialStyle([shades[level] for level in given], np.array([area[level] for level in given]), legend)


def progress(
    ax: Axes,
    done: pd.DataFrame,
    places: Sequence[float],
    *,
    window: Window,
    look: TrialStyle,
    best: int,
    failures: Sequence[float],
    fresh: tuple[float, float] | None,
) -> None:
    """Every trial as a dot, the best so far as a line, failed trials as crosses at the bottom.

    Args:
        ax: Where to draw.
        done: The completed trials, in the order of `places`.
        places: Where each stands along the search, rising.
        window: Scores to draw.
        look: Of each trial.
        best: Position of the best trial.
        failures: Where trials failed along the search.
        fresh: Mean and standard deviation of the best trial with fresh seeds.
    """
    scores, objective = done["score"].to_numpy(dtype=float), window.objective
    far = window.outside(scores)
    end = max([*places, *failures])
    if fresh is not None:
        ax.axhspan(fresh[0] - fresh[1], fresh[0] + fresh[1], color=THIRD, alpha=0.18, lw=0, zorder=0)
        ax.axhline(fresh[0], color=THIRD, linewidth=1.2, zorder=1)
    so_far = window.drawn(best_so_far(scores, objective))
    ax.step([*places, end], [*so_far, so_far[-1]], where="post", color=INK, linewidth=1.3, zorder=2)
    places, colours = np.asarray(places, dtype=float), np.array(look.colours, dtype=object)
    for which, marker in ((~far, "o"), (far, "v")):
        ax.scatter(
            places[which], window.drawn(scores)[which], s=look.sizes[which], c=list(colours[which]), marker=marker,
            edgecolor="white", linewidth=0.5, zorder=3,
        )  # fmt: skip
    ax.scatter(places[best], scores[best], s=64, marker="D", color=SECOND, edgecolor="white", linewidth=0.9, zorder=5)
    floor = ax.get_xaxis_transform()
    ax.plot(failures, [0.035] * len(failures), "x", color=MUTED, ms=4.5, mew=1.2, transform=floor, zorder=4)
    reach = max(end, 0.1) if end % 1 else max(end, 1)
    ax.set_xlim(-0.04 * reach, 1.04 * reach)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=end > 3 or end % 1 == 0))
    window.apply(ax, bottom=0.14 if len(failures) else 0.06)
    ax.set_ylabel(score_title(objective))
    ax.grid(True, axis="y")


def progress_legend(ax: Axes, look: TrialStyle, *, failures: int, far: int, fresh: str) -> None:
    """The legend of `progress`, below the figure that holds `ax`.

    Args:
        ax: One of the figure's axes.
        look: Of the trials.
        failures: Number of failed trials.
        far: Number of trials below the drawn scores.
        fresh: What the band is, or nothing.
    """
    handles = [_dot(text, colour, size) for text, colour, size in look.legend]
    handles.append(_dot("the best", SECOND, 40, "D"))
    handles.append(Line2D([], [], color=INK, linewidth=1.3, label="best so far"))
    if far:
        handles.append(_dot(f"off the scale ({far})", look.legend[0][1], 26, "v"))
    if failures:
        mark = {"marker": "x", "linestyle": "", "color": MUTED, "ms": 4.5, "mew": 1.2}
        handles.append(Line2D([], [], label=f"failed ({failures})", **mark))
    if fresh:
        handles.append(Patch(color=THIRD, alpha=0.35, label=fresh))
    legend(ax, handles)


def slice_of(
    ax: Axes, axis: Axis, scores: np.ndarray, *, window: Window, sizes: np.ndarray, best: int, left: bool
) -> None:
    """Scores against one hyperparameter; the darker a dot, the later the trial.

    Args:
        ax: Where to draw.
        axis: The values of all completed trials.
        scores: (trials,).
        window: Scores to draw.
        sizes: Square points of each dot, (trials,).
        best: Position of the best trial.
        left: Whether the scores are written.
    """
    places, far = axis.places.copy(), window.outside(scores)
    if axis.words:
        places = places + 0.5 * ((np.arange(len(places)) * GOLDEN) % 1 - 0.5)
        for position in np.unique(axis.places):
            median = window.drawn(np.array([np.median(scores[axis.places == position])]))
            ax.plot([position - 0.36, position + 0.36], [median[0]] * 2, color=INK, linewidth=1.2, zorder=2)
    order = np.linspace(0, 1, len(scores)) if len(scores) > 1 else np.ones(1)
    for which, marker in ((~far, "o"), (far, "v")):
        ax.scatter(
            places[which], window.drawn(scores)[which], s=0.8 * sizes[which], c=_EARLY_TO_LATE(order[which]),
            marker=marker, edgecolor="white", linewidth=0.4, zorder=3,
        )  # fmt: skip
    ax.scatter(places[best], scores[best], s=52, marker="D", color=SECOND, edgecolor="white", linewidth=0.9, zorder=5)
    window.apply(ax)
    _value_ticks(ax, axis)
    ax.tick_params(labelsize=7.5)
    ax.tick_params(axis="y", labelleft=left)
    ax.set_title(axis.key, fontsize=8.5)
    ax.grid(True, axis="y")


def slices_legend(ax: Axes, *, words: bool, columns: int) -> None:
    """The legend of `slice_of`, below the figure that holds `ax`; `words` where a panel shows medians."""
    handles = [
        _dot("first trial", _EARLY_TO_LATE(0.0), 26),
        _dot("last trial", _EARLY_TO_LATE(1.0), 26),
        _dot("the best", SECOND, 40, "D"),
    ]
    if words:
        handles.append(Line2D([], [], color=INK, linewidth=1.2, label="median"))
    legend(ax, handles, columns=columns)


def importances(ax: Axes, table: pd.DataFrame) -> None:
    """A bar for each hyperparameter with its interval, the most important at the top.

    Args:
        ax: Where to draw.
        table: Columns `key`, `importance`, `low`, `high`, as `tuning.report.importance.importance` gives them.
    """
    heights = np.arange(len(table))
    ax.barh(heights, table["importance"], color=ACCENT, height=0.6, alpha=0.85)
    ax.hlines(heights, table["low"], table["high"], color=INK, linewidth=1.4, zorder=3)
    ax.axvline(0, color=MUTED, linewidth=0.9)
    ax.set_yticks(heights, table["key"])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.set_xlabel("share of the variance of ranks")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def _value_ticks(ax: Axes, axis: Axis) -> None:
    """Ticks of a slice: words, numbers, or numbers on a logarithmic scale."""
    if axis.words:
        every = -(-len(axis.words) // 9)
        shown = range(0, len(axis.words), every)
        texts = [short(axis.words[i], 16) for i in shown]
        tilted = sum(map(len, texts)) > 24 or max(map(len, texts)) * len(texts) > 30
        tilt = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if tilted else {}
        ax.set_xticks(list(shown), texts, **tilt)
        ax.set_xlim(-0.6, len(axis.words) - 0.4)
        return
    if axis.log:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=log_steps(axis.places.min(), axis.places.max()), numticks=5))
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10], integer=axis.whole))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def log_steps(low: float, high: float) -> tuple[float, ...]:
    """Which multiples of the powers of ten make a good number of ticks from `low` to `high`."""
    decades = np.log10(high / low) if low < high else 0
    return (1,) if decades > 2.5 else (1, 3) if decades > 1.2 else (1, 2, 5)


def number(value: float) -> str:
    """A tick: 0.001, 1e-4, 20, 0.25."""
    if value and abs(value) < 0.001:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.6g}"


def short(text: str, letters: int) -> str:
    """The text, or its beginning where it has more than so many letters."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _dot(text: str, colour: str | tuple[float, ...], size: float, marker: str = "o") -> Line2D:
    return Line2D([], [], marker=marker, linestyle="", color=colour, mec="white", mew=0.5, ms=size**0.5, label=text)


def legend(ax: Axes, handles: Sequence[Line2D | Patch], *, columns: int = 3) -> None:
    """A legend below the figure that holds `ax`."""
    style = {"fontsize": 7.5, "handletextpad": 0.4, "columnspacing": 1.2, "borderpad": 0.2, "frameon": False}
    ax.figure.legend(handles=handles, loc="outside lower left", ncols=min(columns, len(handles)), **style)
