"""What a report shows of corrupted faces: curves of accuracy by strength, and the tables behind them."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Block, Image, Section, Table
from fer_hierarchy.hierarchy.wording import points, with_span

_NAME = "robustness"
_MEASURES = ("top1", "balanced_accuracy")
_COLUMNS = 4  # of curves


def robustness_section(drawings: figures.Drawings, metrics: Mapping) -> Section:
    """The section of an evaluation's report; without blocks where no face was corrupted.

    Args:
        drawings: The figures of the report.
        metrics: A run's metrics.json.
    """
    facts = metrics.get(_NAME)
    if not facts:
        return Section("Robustness", "", [])
    curves = {
        name: rows.to_dict("records")
        for name, rows in pd.DataFrame(facts["corrupted"]).groupby("corruption", sort=False)
    }
    blocks: list[Block] = [_figure(drawings, facts["clean"], curves)]
    measures = {name: f"{figures.MEASURES[name][0]} %, 95 % bootstrap intervals in brackets" for name in _MEASURES}
    if "covered" in facts["clean"]:
        measures["covered"] = "Share in percent whose guaranteed prediction holds the true emotion; promised 90"
    blocks += [_table(measure, facts, curves, caption=caption) for measure, caption in measures.items()]
    return Section(
        "Robustness",
        "The faces once more, each corrupted at five strengths (after Hendrycks and Dietterich, 2019). Strength 0 is "
        "the faces as they are. Levels: blur in shares of the side, noise and darkness in shares of the range, turning "
        "in degrees, shift of the cut in shares of the side, occlusion in shares of the area. Predictions are the "
        f"headline's; n = {facts['n']:,}, seed {facts['seed']}.",
        blocks,
    )


def _table(measure: str, facts: Mapping, curves: Mapping[str, Sequence[Mapping]], *, caption: str) -> Table:
    """A row a corruption, the strengths side by side, and their mean."""
    strengths = [row["strength"] for row in next(iter(curves.values()))]
    columns = ("Corruption", "Levels", "None", *map(str, strengths), "Mean of these")
    rows = [
        (
            name,
            ", ".join(f"{row['level']:g}" for row in own),
            with_span(facts["clean"], measure),
            *(with_span(row, measure) for row in own),
            points(sum(row[measure] for row in own) / len(own)),
        )
        for name, own in curves.items()
    ]
    return Table(columns, rows, caption=caption, words=(0, 1))


def _figure(drawings: figures.Drawings, clean: Mapping, curves: Mapping[str, Sequence[Mapping]]) -> Image:
    title, height = "Accuracy against the strength of corruptions", 1.75 * math.ceil((len(curves) + 1) / _COLUMNS)
    grid = {"rows": math.ceil((len(curves) + 1) / _COLUMNS), "columns": _COLUMNS}
    lowest = min(bound for own in curves.values() for row in own for bound, _ in row["intervals"].values())
    highest = max(high for _, high in clean["intervals"].values())
    with drawings.drawing(_NAME, title, 8.4, height, **grid) as axes:
        for ax, (name, own) in zip(axes.flat, curves.items(), strict=False):
            _curves(ax, name, [clean, *own])
            ax.set_ylim(max(0, lowest - 0.03), min(1, max(highest, 0) + 0.05))
        last = axes.flat[len(curves)]
        last.legend(*axes.flat[0].get_legend_handles_labels(), loc="center")
    return Image(drawings.figure(_NAME), title, 8.4)


def _curves(ax: Axes, name: str, scores: Sequence[Mapping]) -> None:
    """Both measures by strength with their intervals, strength 0 first."""
    strengths = range(len(scores))
    for measure in _MEASURES:
        label, colour, marker = figures.MEASURES[measure]
        low, high = zip(*(row["intervals"][measure] for row in scores), strict=True)
        ax.fill_between(strengths, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.plot(strengths, [row[measure] for row in scores], marker=marker, ms=3.5, color=colour, label=label)
    ax.set_title(name)
    ax.set_xticks(strengths)
    ax.set_xlabel("strength")
    ax.yaxis.set_major_formatter(figures.percent_axis())
    ax.grid(True, axis="y")
