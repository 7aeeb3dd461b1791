"""Plots of a search: scores along it, by hyperparameter, all settings together, and importance; each draws on `ax`."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter
from pandas.plotting import parallel_coordinates

from fer_hierarchy.hierarchy.reports.figures import ACCENT, INK, MUTED, PALE, SECOND, THIRD
from fer_hierarchy.hierarchy.wording import decimals, points
from fer_hierarchy.tuning.report.trials import Axis, best_so_far, several_epochs
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.validation_faces import MEASURES

TITLES = {**MEASURES, "nll": "negative log-likelihood"}
_DARK = "#08306b"
_SHADES = LinearSegmentedColormap.from_list("shades", ["#c3d5e3", ACCENT, _DARK])
_LEAST_REACH = 0.005  # scores closer together than this are never far from each other
_FEW = 12  # so many trials are all drawn at their own score
_MOST_SPREAD = 2.0  # how many times as far below the median as the best is above it a score may be and be drawn
_GOLDEN = 0.6180339887  # steps of this fraction fill a range evenly, however many there are

Limits = tuple[float, float]  # the least and the largest score that is drawn


def score_limits(scores: np.ndarray, objective: str, others: Sequence[float] = ()) -> Limits:
    """The scores to draw: all but those that are very far worse than the rest, and `others` in any case."""
    sign = -1 if OBJECTIVES[objective] == "min" else 1
    larger = sign * scores  # larger is better
    floor = np.median(larger) - _MOST_SPREAD * max(larger.max() - np.median(larger), _LEAST_REACH)
    near = scores[larger >= floor] if len(scores) > _FEW else scores
    return min(near.min(), *others, np.inf), max(near.max(), *others, -np.inf)


def outside(scores: np.ndarray, limits: Limits) -> np.ndarray:
    """Which scores are worse than any that is drawn, shape (scores,)."""
    return np.clip(scores, *limits) != scores


def score_text(value: float | None, objective: str) -> str:
    """A score as readers see it: percent without its sign, or three decimals of a likelihood."""
    return decimals(value) if objective == "nll" else points(value)


def progress(
    ax: Axes,
    done: pd.DataFrame,
    places: pd.Series,
    objective: str,
    *,
    limits: Limits,
    best: int,
    failures: Sequence[float],
    fresh: tuple[float, float] | None,
) -> None:
    """Every trial as a dot, the best so far as a line, failed trials as crosses at the bottom.

    Args:
        ax: Where to draw.
        done: The completed trials, in the order of `places`.
        places: Where each is along the search, rising.
        objective: What the scores are.
        limits: Scores to draw.
        best: Position of the best trial.
        failures: Where trials failed along the search.
        fresh: Mean and standard deviation of the best trial with fresh seeds.
    """
    scores, end = done["score"].to_numpy(dtype=float), max([*places, *failures])
    if fresh is not None:
        ax.axhspan(fresh[0] - fresh[1], fresh[0] + fresh[1], color=THIRD, alpha=0.18, linewidth=0, zorder=0)
        ax.axhline(fresh[0], color=THIRD, linewidth=1.2, zorder=1, label="best trial, fresh seeds")
    line = np.clip(best_so_far(scores, objective), *limits)
    ax.step([*places, end], [*line, line[-1]], where="post", color=INK, linewidth=1.3, zorder=2, label="best so far")
    rungs, shades = {"a trial": done}, [ACCENT]
    if several_epochs(done):
        rungs = {f"epochs: {epochs}": rung for epochs, rung in done.groupby("epochs_asked")}
        shades = _SHADES(np.linspace(0.2, 1, len(rungs)))
    dots = partial(ax.scatter, s=24, edgecolor="white", linewidth=0.5, zorder=3)
    for (label, rung), shade in zip(rungs.items(), shades, strict=True):
        dots(places[rung.index], rung["score"].clip(*limits), color=shade, label=label)
    _mark(ax, places.to_numpy(dtype=float), scores, limits, best)
    if len(failures):
        heights, label = [0.035] * len(failures), f"failed ({len(failures)})"
        ax.plot(failures, heights, "x", color=MUTED, ms=4.5, transform=ax.get_xaxis_transform(), label=label)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=end > 3 or end % 1 == 0))
    score_axis(ax, objective, limits)
    legend(ax)


def _mark(ax: Axes, places: np.ndarray, scores: np.ndarray, limits: Limits, best: int) -> None:
    """Mark the best score, and at the edge those that are not drawn."""
    far = outside(scores, limits)
    if far.any():
        edge = np.clip(scores, *limits)[far]
        ax.scatter(places[far], edge, s=34, marker="v", color=MUTED, zorder=4, label=f"off the scale ({far.sum()})")
    diamond = partial(ax.scatter, s=56, marker="D", color=SECOND, edgecolor="white", linewidth=0.9, zorder=5)
    diamond(places[best], scores[best], label="the best")


def score_axis(ax: Axes, objective: str, limits: Limits) -> None:
    """Set the vertical axis so that better is up."""
    margin = 0.08 * (limits[1] - limits[0]) or 0.01
    ax.set_ylim(limits[0] - margin, limits[1] + margin)
    if objective != "nll":
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    ax.yaxis.set_inverted(OBJECTIVES[objective] == "min")
    ax.set_ylabel(_score_title(objective))
    ax.grid(True, axis="y")


def _score_title(objective: str) -> str:
    return f"{TITLES[objective]}, lower is better" if OBJECTIVES[objective] == "min" else TITLES[objective]


def slice_of(ax: Axes, axis: Axis, scores: np.ndarray, objective: str, *, limits: Limits, best: int) -> PathCollection:
    """Scores against one hyperparameter; the darker a dot, the later the trial; the dots, for a colour bar."""
    places, numbers = axis.places, np.arange(len(scores))
    shown = np.clip(scores, *limits)
    if axis.words:
        medians = pd.Series(shown).groupby(places).median()
        ax.hlines(medians, medians.index - 0.36, medians.index + 0.36, color=INK, linewidth=1.2, label="median")
        places = places + 0.5 * (numbers * _GOLDEN % 1 - 0.5)
        long = max(map(len, axis.words)) * len(axis.words) > 24
        words = [_short(word) for word in axis.words]
        ax.set_xticks(range(len(words)), words, rotation=30 if long else 0, ha="right" if long else "center")
    if axis.log:
        ax.set_xscale("log")
        ticks = np.geomspace(places.min(), places.max(), 3)
        ax.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        ax.minorticks_off()
    dots = ax.scatter(places, shown, s=22, c=numbers, cmap=_SHADES, edgecolor="white", linewidth=0.4, zorder=3)
    _mark(ax, places, scores, limits, best)
    score_axis(ax, objective, limits)
    ax.set_title(axis.key)
    return dots


def parallel(ax: Axes, axes: Sequence[Axis], scores: np.ndarray, objective: str, *, limits: Limits, best: int) -> None:
    """Each trial as a line through all hyperparameters to its score; better trials are darker.

    Args:
        ax: Where to draw.
        axes: Values of all completed trials.
        scores: (trials,).
        objective: What the scores are.
        limits: Scores to draw.
        best: Position of the best trial.
    """
    shown = [*axes, Axis(_score_title(objective), np.clip(scores, *limits))]
    frame = pd.DataFrame({axis.key: axis.heights for axis in shown})
    colours = {"worse half": PALE, "better half": ACCENT, "best tenth": _DARK}
    share = pd.Series(scores).rank(pct=True, method="first", ascending=OBJECTIVES[objective] == "max")
    group = pd.cut(share, [0, 0.5, 0.9, 1], labels=list(colours)).astype(str)
    frame = frame.assign(group=group).iloc[np.argsort(share, kind="stable")]
    shades = [colours[name] for name in frame["group"].unique()]
    lines = {"color": MUTED, "linewidth": 0.9}
    parallel_coordinates(frame, "group", ax=ax, color=shades, alpha=0.6, axvlines_kwds=lines)
    ax.plot(frame.drop(columns="group").loc[best], "D-", color=SECOND, linewidth=2.2, ms=4.5, label="the best")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    for place, axis in enumerate(shown):
        for height, text in axis.marks:
            ax.text(place + 0.04, height, _short(text), va="center", bbox=box, zorder=6)
    ax.set_yticks([])
    ax.grid(False)
    ax.tick_params(axis="x", rotation=30)
    if own := ax.get_legend():
        own.remove()
    legend(ax)


def importances(ax: Axes, table: pd.DataFrame) -> None:
    """A bar for each hyperparameter with its interval, the most important at the top.

    Args:
        ax: Where to draw.
        table: Columns `key`, `importance`, `low`, `high`, as `tuning.report.importance.importance` gives them.
    """
    reach = [table["importance"] - table["low"], table["high"] - table["importance"]]
    ax.barh(table["key"], table["importance"], xerr=reach, color=ACCENT, ecolor=INK, height=0.6)
    ax.invert_yaxis()
    ax.axvline(0, color=MUTED, linewidth=0.9)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.set_xlabel("share of the variance of ranks")
    ax.grid(True, axis="x")


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:15]}…"


def legend(*axes: Axes) -> None:
    """A legend of all that is drawn on some axes of a figure, below it."""
    handles = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes[0].figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=3)
