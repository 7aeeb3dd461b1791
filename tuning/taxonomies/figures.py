"""Plots of a search over taxonomies: confusion in blocks, who is mixed up with whom, scores beside their controls."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from fer_hierarchy.hierarchy.reports.figures import (
    ACCENT,
    INK,
    MUTED,
    PALE,
    SECOND,
    THIRD,
    confusion_matrix,
    emotion_colour,
)

KIND_COLOURS = {"built-in": ACCENT, "own": THIRD, "confusion": SECOND, "random": MUTED, "flat": INK}
KIND_WORDS = {"built-in": "built in", "own": "the run's own", "confusion": "from confusion", "random": "random"}
_HALF = 0.28  # how far dots of one row stand apart from its middle


def framed_confusion(
    ax: Axes, confusion: Sequence[Sequence[int]], emotions: Sequence[str], groups: Sequence[Sequence[str]]
) -> None:
    """A confusion matrix with the emotions of a group side by side and a frame around each group.

    Args:
        ax: Where to draw.
        confusion: Counts, shape (emotions, emotions), rows = true.
        emotions: Names in the order of the rows.
        groups: The members of each group.
    """
    order = [emotions.index(emotion) for members in groups for emotion in members]
    confusion_matrix(ax, np.asarray(confusion)[np.ix_(order, order)], [emotions[place] for place in order])
    start = 0
    for members in groups:
        side = len(members)
        frame = Rectangle((start - 0.5, start - 0.5), side, side, fill=False, edgecolor=SECOND, linewidth=2.2, zorder=4)
        frame.set_clip_on(False)  # half of its line lies outside where the frame ends with the matrix
        ax.add_patch(frame)
        start += side


def mixing_tree(ax: Axes, affinity: Sequence[Sequence[float]], emotions: Sequence[str]) -> None:
    """Average linkage as a tree: the farther right two branches meet, the less they are mixed up.

    Args:
        ax: Where to draw.
        affinity: (emotions, emotions) in [0, 1], symmetric, 1 on the diagonal.
        emotions: In the order of the rows.
    """
    distances = squareform(1 - np.asarray(affinity, dtype=float), checks=False)
    drawn = dendrogram(linkage(distances, method="average"), no_plot=True)
    likest = 1 - distances.min()
    end = likest * 1.08  # leaves have no distance of their own; they start a little left of the first meeting
    for depths, heights in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        shown = [min(1 - depth, end) if depth else end for depth in depths]
        ax.plot(shown, heights, color=INK, linewidth=1.5, solid_joinstyle="miter")
    names = [emotions[place] for place in drawn["leaves"]]
    places = 5 + 10 * np.arange(len(names))  # where scipy puts leaves
    ax.scatter(
        [end] * len(names), places, color=[emotion_colour(name) for name in names], s=34, zorder=3, clip_on=False
    )
    ax.set_yticks(places, names)
    ax.set_ylim(10 * len(names), 0)
    ax.set_xlim(end, (1 - distances.max()) * 0.85)
    _as_shares(ax, "mean probability that one gets on faces of the other")
    ax.tick_params(axis="y", pad=8)


def candidate_scores(
    ax: Axes,
    rows: Sequence[Mapping],
    *,
    controls: Sequence[float],
    flat: Mapping | None,
    xlabel: str,
) -> None:
    """A dot with its interval for each grouping; the range of random groupings as a band, the flat network as a line.

    Args:
        ax: Where to draw.
        rows: `name`, `kind`, `score`, and `low` and `high` where there is an interval; fractions.
        controls: Scores of random groupings.
        flat: `score` of the flat network, None without one.
        xlabel: What the score is.
    """
    if len(controls):
        low, high = min(controls), max(controls)
        ax.axvspan(low, high, color=PALE, alpha=0.35, linewidth=0, zorder=0)
        heights = np.linspace(-_HALF, _HALF, len(controls)) if len(controls) > 1 else [0]
        ax.plot(list(controls), len(rows) + np.asarray(heights), "o", color=MUTED, ms=4, mec="white", mew=0.6, zorder=3)
    if flat is not None:
        ax.axvline(flat["score"], color=INK, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    for position, row in enumerate(rows):
        colour = KIND_COLOURS[row["kind"]]
        if row.get("low") is not None:
            ax.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2.4, alpha=0.5)
        ax.plot(row["score"], position, "o", color=colour, ms=6, zorder=3)
    names = [row["name"] for row in rows] + ([f"{len(controls)} random"] if len(controls) else [])
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    _as_shares(ax, xlabel)
    ax.legend(handles=_keys(rows, controls, flat), loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _keys(rows: Sequence[Mapping], controls: Sequence[float], flat: Mapping | None) -> list:
    kinds = dict.fromkeys(row["kind"] for row in rows)
    keys: list = [Line2D([], [], color=KIND_COLOURS[k], marker="o", linewidth=2.4, label=KIND_WORDS[k]) for k in kinds]
    if len(controls):
        keys.append(Patch(color=PALE, alpha=0.35, linewidth=0, label="range of random"))
    if flat is not None:
        keys.append(_flat_key("flat network"))
    return keys


def implied_spread(
    ax: Axes, spread: Mapping[str, Sequence[float]], marks: Sequence[Mapping], *, flat: float, xlabel: str
) -> None:
    """Every grouping of some sizes as a pale dot, a row for each sizes; the candidates stand out.

    Args:
        ax: Where to draw.
        spread: Sizes -> score of every grouping of these sizes.
        marks: `name`, `kind`, `sizes` and `score` of the candidates.
        flat: Score of the flat answer itself.
        xlabel: What the score is.
    """
    rng = np.random.default_rng(0)  # heights only part the dots
    ax.axvline(flat, color=INK, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    for position, (sizes, values) in enumerate(spread.items()):
        heights = position + rng.uniform(-_HALF, _HALF, len(values))
        ax.plot(values, heights, "o", color=PALE, ms=3.6, alpha=0.75, mew=0, zorder=2)
        own = sorted((mark for mark in marks if mark["sizes"] == sizes), key=lambda mark: mark["score"])
        for place, mark in enumerate(own):
            ax.plot(
                mark["score"], position, "D", color=KIND_COLOURS[mark["kind"]], ms=6, mec="white", mew=0.8, zorder=4
            )
            above = place % 2 == 0
            ax.annotate(
                mark["name"],
                (mark["score"], position),
                xytext=(0, 9 if above else -9),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=7.5,
                color=INK,
                zorder=5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    ax.set_yticks(range(len(spread)), [f"{sizes.replace('+', ' + ')}\n({len(v)})" for sizes, v in spread.items()])
    ax.set_ylim(len(spread) - 0.45, -0.55)
    _as_shares(ax, xlabel)
    kinds = dict.fromkeys(mark["kind"] for mark in marks)
    keys: list = [Line2D([], [], color=KIND_COLOURS[k], marker="D", linewidth=0, label=KIND_WORDS[k]) for k in kinds]
    keys.append(Line2D([], [], color=PALE, marker="o", ms=3.6, linewidth=0, label="any other"))
    ax.legend(handles=[*keys, _flat_key("flat answer")], loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _flat_key(label: str) -> Line2D:
    return Line2D([], [], color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label=label)


def _as_shares(ax: Axes, xlabel: str) -> None:
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    ax.set_xlabel(xlabel)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")
