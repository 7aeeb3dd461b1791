"""What a report shows of guaranteed predictions: how specific they are at each coverage, and whether promises hold."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from fer_hierarchy.hierarchy.evaluation.conformal import ANY, LEVELS
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Block, Section, Table, Text, Warn
from fer_hierarchy.hierarchy.wording import DATA_NAMES, decimals, percent, plain, points

RULE_NAMES = {
    "node": "Emotion, group or any",
    "hedging": "The same by hedging, no guarantee",
    "lac": "Smallest set (LAC)",
    "aps": "Adaptive set (APS)",
}
_COLOURS = {"emotion": figures.ACCENT, "group": figures.PALE, ANY: figures.HAIRLINE}
_LABELS = {"emotion": "an emotion", "group": "a group of emotions", ANY: "nothing: any emotion"}


def coverage_section(drawings: figures.Drawings, metrics: Mapping) -> Section:
    """The section of a run's report; without blocks in records of older versions.

    Args:
        drawings: The figures of the report.
        metrics: A run's metrics.json.
    """
    record = metrics.get("coverage")
    if not record:
        return Section("Guaranteed predictions", "", [])
    title = "What can be said of a face"
    image = drawings.draw(
        "coverage",
        lambda ax: draw_levels(ax, record["curve"]),
        title=title,
        alt="Shares of the faces for which an emotion, a group or nothing is predicted, by the guaranteed coverage",
        width=5.6,
        height=2.7,
    )
    return Section(
        "Guaranteed predictions",
        "A prediction is the most specific of emotion, group and any emotion that is right as often as promised (split "
        f"conformal prediction on {record['calibration']:,} validation faces). For faces drawn as those are, the share "
        "that is covered falls into the band in 95 of 100 cases. Bits are what a prediction tells where it is right.",
        [*_warnings(metrics), image, _rules(record), _classes(record), Text(_risk_words(record))],
    )


def draw_levels(ax: Axes, curve: list[Mapping[str, float]]) -> None:
    """Stacked shares of the faces at each level against the coverage.

    Args:
        ax: Where to draw.
        curve: Rows with coverage, emotion, group and any.
    """
    coverages = [row["coverage"] for row in curve]
    stacks = [[row[level] for row in curve] for level in LEVELS]
    ax.stackplot(coverages, stacks, colors=[_COLOURS[level] for level in LEVELS], labels=[_LABELS[n] for n in LEVELS])
    for wanted in (0.9, 0.95):
        ax.axvline(wanted, color=figures.INK, linewidth=0.8, linestyle=":")
    ax.set(xlim=(coverages[0], coverages[-1]), ylim=(0, 1), xlabel="guaranteed coverage", ylabel="share of the faces")
    ax.xaxis.set_major_formatter(figures.percent_axis())
    ax.yaxis.set_major_formatter(figures.percent_axis())
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.0), title="predicted")


def _warnings(metrics: Mapping) -> list[Block]:
    """Where a promise is not exact, or not meant for these faces."""
    record = metrics["coverage"]
    found: list[Block] = []
    if not record["apart"]:
        found.append(
            Text(
                "These validation faces also chose the epoch, so the guarantee is not strict; --calibration-apart "
                "keeps half of them for calibration alone."
            )
        )
    if metrics.get("trained_on"):
        data = DATA_NAMES.get(record["data"], record["data"])
        found.append(Warn(f"The guarantee is for faces like {data}'s. These may differ: see what it is worth here."))
    return found


def _rules(record: Mapping) -> Table:
    columns: dict[str, Any] = {
        "Promised": lambda row: percent(row["coverage"]) + (" of each emotion" if row["each"] else ""),
        "Prediction": lambda row: RULE_NAMES[row["rule"]],
        "Covered %": ("covered", points),
        "Band %": lambda row: "at least, by class" if row["each"] else band_words(row["band"]),
        "Emotion %": ("emotion", points),
        "Group %": ("group", points),
        "Any %": (ANY, points),
        "Emotions in it": ("size", decimals),
        "Bits": ("bits", decimals),
    }
    caption = f"Guaranteed predictions of n = {record['n']:,} faces; {record['calibration']:,} calibration faces"
    return Table.of(record["rules"], columns, caption=caption, words=(0, 1))


def band_words(band: tuple[float, float]) -> str:
    """`88.5 to 91.4`."""
    return f"{points(band[0])} to {points(band[1])}"


def _classes(record: Mapping) -> Table:
    """Coverage of each emotion, promised over all faces and promised of each emotion."""
    rules = {(row["coverage"], row["each"], row["rule"]): row["per_class"] for row in record["rules"]}
    coverage = record["rules"][0]["coverage"]
    wanted = ((False, "node"), (True, "node"), (True, "lac"))
    over_all, nodes, sets = (rules[coverage, each, rule] for each, rule in wanted)
    rows = [
        (
            one["class"],
            plain(one["calibration"]),
            plain(one["n"]),
            *(points(row["covered"]) for row in (one, node, own)),
            band_words(own["band"]),
        )
        for one, node, own in zip(over_all, nodes, sets, strict=True)
    ]
    heading = ("Emotion", "Calibration faces", "Faces", "Over all %", "Each %", "Sets, each %", "Band of sets %")
    caption = (
        f"Share covered of each emotion at {percent(coverage)}, by the promise over all faces and by that of each "
        "emotion, whose sets keep to the band and whose nodes hold at least what the sets promise"
    )
    return Table(heading, rows, caption)


def _risk_words(record: Mapping) -> str:
    risk = record["risk"]
    return (
        f"Ordered by confidence, the mean error over all coverages is {percent(risk['area'])} (area under the curve of "
        f"risk against coverage), at full coverage {percent(risk['error'])}."
    )
