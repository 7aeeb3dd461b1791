"""The emotions of a video over time: a figure with a panel for each of the faces that are seen most."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from fer_hierarchy.hierarchy.evaluation.conformal import ANY
from fer_hierarchy.hierarchy.palette import class_colour
from fer_hierarchy.hierarchy.progress import clock
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.inference.resting import AT_REST

MOST_FACES = 4  # panels; more are too flat to read

_WIDTH, _PANEL = 8.4, 1.85  # inches
_POINTS = 500  # along the time axis; more cannot be seen
_GAP = 2.5  # frames that a face must miss for its panel to have a gap
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds
_STRIP = -0.17, -0.06  # from and to where the gate's strip reaches below the shares
_LABEL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
_ABSENT = "#f3f5f7"
_UNSURE: dict[str, Any] = {"facecolor": "none", "edgecolor": "#b8c2cb", "hatch": "////", "linewidth": 0}
_GROUPS = ("#dfe5ea", "#44525f", "#93a3b1", "#bcc8d2", "#6b7b8a")  # no emotion has these


def draw_timeline(
    path: Path,
    rows: Sequence[Mapping[str, Any]] | pd.DataFrame,
    taxonomy: Taxonomy,
    *,
    name: str,
    frames: int,
    seconds: float,
    synthetic: bool,
) -> None:
    """Draw what the faces of a video express, from its start to its end.

    Args:
        path: The PNG file.
        rows: time (seconds), track, p_<emotion> and gate_<group> of each face and frame; rows without a track, of
            frames without a face, are left out. With `resting`, what was taken for the face at rest is hatched. With
            `answer` and `level`, what is guaranteed is a group or nothing in places, which cover the emotions there.
        taxonomy: The grouping of the model.
        name: Of the video.
        frames: How many of its frames were predicted.
        seconds: Its length.
        synthetic: Whether the model was trained on faces that a program drew.
    """
    table = pd.DataFrame(rows)
    table = table[table["track"].notna()].sort_values("time") if len(table) else table
    counts = table["track"].value_counts() if len(table) else pd.Series(dtype=int)
    shown = sorted(counts.index[:MOST_FACES])
    title = f"{name}: emotions over time, {frames:,} frame{'s' * (frames != 1)}"
    panels = max(len(shown), 1)
    drawn = figures.drawing(
        path, title=title, synthetic=synthetic, width=_WIDTH, height=0.95 + _PANEL * panels, rows=panels, sharex=True
    )
    with drawn as axes:
        for ax, track in zip(axes[:, 0], shown, strict=False):
            own = table[table["track"] == track]
            _draw_face(ax, own, taxonomy, interval=_interval(table), seconds=seconds)
            _cover_unsure(ax, own, taxonomy, interval=_interval(table))
            ax.set_title(_face_title(int(track), own, taxonomy, frames))
            _mark_rest(ax, own, interval=_interval(table))
        if not shown:
            axes[0, 0].text(0.5, 0.42, "no face was found", transform=axes[0, 0].transAxes, ha="center", va="center")
        _finish(axes[:, 0], taxonomy, seconds, note=_note(len(counts) - len(shown), seconds, _interval(table)))
        if "level" in table:
            _name_unsure(axes[0, 0])


def _draw_face(ax: Axes, own: pd.DataFrame, taxonomy: Taxonomy, *, interval: float, seconds: float) -> None:
    """Stacked shares of the emotions, group by group, and below them which group the gate prefers."""
    emotions = _stacked(taxonomy)
    colours = [class_colour(emotion) for emotion in emotions]
    columns = [f"p_{emotion}" for emotion in emotions] + [f"gate_{group}" for group in taxonomy.group_names]
    for times, values in _stretches(own["time"].to_numpy(float), own[columns].to_numpy(float), interval, seconds):
        shares, gate = values[:, : len(emotions)], values[:, len(emotions) :]
        ax.stackplot(times, shares.T, colors=colours, linewidth=0)
        edges = np.cumsum([len(taxonomy.members(group)) for group in taxonomy.group_names])[:-1]
        for edge in edges:  # what lies below it is the share of the groups before
            ax.plot(times, shares[:, :edge].sum(axis=1), color="white", linewidth=1.3)
        for start, end, group in _runs(times, gate.argmax(axis=1)):
            ax.fill_between([start, end], *_STRIP, color=_GROUPS[group % len(_GROUPS)], linewidth=0)


def _mark_rest(ax: Axes, own: pd.DataFrame, *, interval: float) -> None:
    """Hatch the stretch that the others are measured against, and name it."""
    rest = own["time"][own["resting"] == AT_REST] if "resting" in own else own["time"][:0]
    if len(rest):
        start, end = rest.min() - interval / 2, rest.max() + interval / 2
        ax.axvspan(start, end, facecolor="none", edgecolor="white", hatch="///", linewidth=0, alpha=0.8)
        ax.text(
            max(start, 0.0), 0.97, f" {AT_REST}, taken as neutral", ha="left", va="top", fontsize="small", bbox=_LABEL
        )


def _cover_unsure(ax: Axes, own: pd.DataFrame, taxonomy: Taxonomy, *, interval: float) -> None:
    """Lay the colour of a group, or of nothing, over the times at which no emotion is guaranteed."""
    if "level" not in own:
        return
    answers = own["answer"].where(own["level"] != "emotion", "").to_numpy(object)
    times = own["time"].to_numpy(float)
    changes = np.flatnonzero((answers[1:] != answers[:-1]) | (np.diff(times) > _GAP * interval)) + 1
    for part in np.split(np.arange(len(times)), changes):
        if answer := answers[part[0]]:
            names, span = taxonomy.group_names, [times[part[0]] - interval / 2, times[part[-1]] + interval / 2]
            colour = _GROUPS[names.index(answer) % len(_GROUPS)] if answer in names else "white"
            ax.fill_between(span, 0, 1, color=colour, alpha=0.9, linewidth=0, zorder=3)
            if answer == ANY:
                ax.fill_between(span, 0, 1, zorder=3, **_UNSURE)


def _name_unsure(ax: Axes) -> None:
    """Add what is hatched to the legend."""
    legend = ax.get_legend()
    assert legend is not None
    handles = [*legend.legend_handles, Patch(label="any emotion", **_UNSURE)]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.005, 1.03), "borderpad": 0}
    ax.legend(handles=handles, handlelength=1, handleheight=1, labelspacing=0.22, **place)


def _stacked(taxonomy: Taxonomy) -> list[str]:
    """Emotions from the bottom to the top of the stack: group by group."""
    return [emotion for group in taxonomy.group_names for emotion in taxonomy.members(group)]


def _interval(table: pd.DataFrame) -> float:
    """Seconds between two frames, as most are."""
    times = np.unique(table["time"].to_numpy(float)) if len(table) else np.zeros(0)
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def _stretches(
    times: np.ndarray, values: np.ndarray, interval: float, seconds: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times, values) of each stretch without a gap, in means where there are more points than can be seen.

    Each reaches half a frame further on both sides, so that a face that is seen once is seen.
    """
    for part in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > _GAP * interval) + 1):
        bins = ((times[part] - times[part[0]]) / max(seconds / _POINTS, 1e-9)).astype(int)
        starts = np.unique(bins, return_index=True)[1]
        sizes = np.diff([*starts, len(part)])
        middle = np.add.reduceat(times[part], starts) / sizes
        mean = np.add.reduceat(values[part], starts, axis=0) / sizes[:, None]
        ends = times[part[0]] - interval / 2, times[part[-1]] + interval / 2
        yield np.concatenate([ends[:1], middle, ends[1:]]), np.concatenate([mean[:1], mean, mean[-1:]])


def _runs(times: np.ndarray, groups: np.ndarray) -> Iterator[tuple[float, float, int]]:
    """(start, end, group) of each run of one group; runs meet half-way between their points."""
    changes = np.flatnonzero(np.diff(groups)) + 1
    borders = [times[0], *((times[changes - 1] + times[changes]) / 2), times[-1]]
    for start, end, first in zip(borders[:-1], borders[1:], [0, *changes], strict=True):
        yield start, end, int(groups[first])


def _face_title(track: int, own: pd.DataFrame, taxonomy: Taxonomy, frames: int) -> str:
    means = own[[f"p_{emotion}" for emotion in taxonomy.emotions]].mean()
    mostly = means.idxmax().removeprefix("p_")
    seen, share = 100 * len(own) / max(frames, 1), 100 * means.max()
    return f"face {track}: in {seen:.0f} % of the frames, most of all {mostly} ({share:.0f} %)"


def _note(others: int, seconds: float, interval: float) -> str:
    parts = []
    if seconds > 2 * _POINTS * interval:
        parts.append(f"each point is the mean of {seconds / _POINTS:.1f} s")
    if others:
        parts.append(f"{others} more face{'s' * (others != 1)}, seen for shorter, not shown")
    return "; ".join(parts)


def _finish(axes: np.ndarray, taxonomy: Taxonomy, seconds: float, *, note: str) -> None:
    """Axes, legend and note."""
    for ax in axes:
        ax.set_xlim(0, max(seconds, 1e-3))
        ax.set_ylim(_STRIP[0] - 0.02, 1)
        ax.axhspan(0, 1, color=_ABSENT, linewidth=0, zorder=0)
        ax.set_yticks([sum(_STRIP) / 2, 0, 0.5, 1], [taxonomy.gate, "0 %", "50 %", "100 %"])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    step = next((tick for tick in _TICKS if seconds / tick <= 10), _TICKS[-1])
    axes[-1].xaxis.set_major_locator(MultipleLocator(step))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value, tenths=step < 1)))
    axes[-1].set_xlabel("time (m:ss)" + (f"\n{note}" if note else ""))
    handles = [Patch(color=class_colour(emotion), label=emotion) for emotion in reversed(_stacked(taxonomy))]
    handles += [Patch(alpha=0, label=" ")]
    handles += [
        Patch(color=_GROUPS[place % len(_GROUPS)], label=group) for place, group in enumerate(taxonomy.group_names)
    ]
    sizes = {"handlelength": 1, "handleheight": 1, "labelspacing": 0.22}
    axes[0].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1.03), borderpad=0, **sizes)


def _clock(seconds: float, *, tenths: bool) -> str:
    text = clock(int(seconds + 1e-6))
    return f"{text}.{int(10 * (seconds + 1e-6)) % 10}" if tenths else text
