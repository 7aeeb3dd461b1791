"""What the reports of all experiments share: measures, verdicts, small pictures, several seeds and settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from matplotlib.axes import Axes

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.experiments.grid import Grid
from fer_hierarchy.hierarchy.experiments.table import CHOOSING
from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.reports.page import Block, Image, Section, Table, facts, measured
from fer_hierarchy.hierarchy.wording import difference, flatten, known, p_text, plain, spread, whole

MOST_PANELS = 20  # small pictures in one figure
_PANELS_ACROSS = 5
_ALPHA = 0.05

# Longer names leave no room for anything else on an axis or in a heading.
_LONGEST_LABEL = 30

Row = TypeVar("Row")


def panels(
    drawings: Drawings,
    name: str,
    rows: Sequence[Row],
    plot: Callable[[Axes, Row, bool, bool], None],
    *,
    title: str,
    alt: str,
    across: int,
    width: float,
    height: float,
) -> Image:
    """Draw a small picture for each of the first `MOST_PANELS` rows.

    Args:
        drawings: The figures of the report.
        name: Of the file, without suffix.
        rows: What is shown.
        plot: Draws a row on axes, given whether they stand in the first column and whether in the last line.
        title: Stands above.
        alt: What the figure shows.
        across: At most so many pictures stand in a line.
        width: Of one picture, in inches.
        height: Of one picture, in inches.
    """
    shown = rows[:MOST_PANELS]
    columns = min(_PANELS_ACROSS, len(shown), across)
    lines = -(-len(shown) // columns)
    total = min(0.65 + width * columns, 7.2)
    with drawings.drawing(name, title, total, 0.75 + height * lines, rows=lines, columns=columns) as axes:
        for number, (ax, row) in enumerate(zip(axes.flat, shown, strict=False)):
            plot(ax, row, number % columns == 0, number + columns >= len(shown))
    return Image(drawings.figure(name), alt, total)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them share; letters where that is not enough to tell them apart briefly.

    Args:
        names: Different names, words joined by hyphens.
    """
    words = {name: str(name).split("-") for name in names}
    common = set.intersection(*map(set, words.values())) if len(names) > 1 else set()
    short = {name: "-".join(word for word in own if word not in common) for name, own in words.items()}
    lengths = [len(text) for text in set(short.values())]
    if len(lengths) == len(names) and min(lengths) > 0 and max(lengths) <= _LONGEST_LABEL:
        return short
    return {name: f"run {chr(ord('A') + i) if i < 26 else i + 1}" for i, name in enumerate(names)}


def direction(figure: Mapping, p: float | None = None) -> int:
    """1 or -1 where a difference is clearly above or below zero, else 0.

    Args:
        figure: `difference`, `low` and `high`.
        p: Of a paired test, where there is one; it must agree before a difference is called one.
    """
    if figure["low"] <= 0 <= figure["high"] or (known(p) and p >= _ALPHA):
        return 0
    return 1 if figure["difference"] > 0 else -1


def verdict(
    name: str, figure: Mapping, *, n: int, a: str, b: str, p: float | None = None, test: str = "McNemar"
) -> str:
    """One honest sentence about a difference between two runs.

    Args:
        name: What the measure is called.
        figure: `difference` (b minus a), `low`, `high`, 0 to 1.
        n: Test faces.
        a: Name of one run.
        b: Name of the other.
        p: As for `direction`.
        test: What that test is called.

    Returns:
        "no clear difference" unless the interval lies on one side of zero and p is below 0.05.
    """
    delta, low, high = (100 * figure[key] for key in ("difference", "low", "high"))
    tested = f"; {test} {p_text(p)}" if known(p) else ""
    numbers = f"{b} minus {a} is {delta:+z.1f} points, 95 % interval {low:+z.1f} to {high:+z.1f}{tested}"
    clear = direction(figure, p)
    if not clear:
        return f"{name}: no clear difference at this n ({n:,}). {numbers}."
    better, worse = (b, a) if clear > 0 else (a, b)
    return f"{name}: {better} is better than {worse} on these faces. {numbers}."


def differences_table(name: str, rows: Sequence[tuple[str, Mapping, str]], *, p: str, caption: str) -> Table:
    """Paired differences of each measure in points.

    Args:
        name: What the rows are.
        rows: What a row is called, `differences` by measure, and the text of its p.
        p: Heading of the last column.
        caption: Of the table.
    """
    columns = {name: lambda row: row[0], **measured(lambda row, measure: difference(row[1][measure]))}
    return Table.of(rows, {**columns, p: lambda row: row[2]}, caption=caption)


def seeds_section(title: str, repeats: Sequence[Mapping], more: Sequence[Block] = ()) -> Section:
    """Configurations that were trained with several seeds.

    Args:
        title: Of the section.
        repeats: As `over_seeds` gives them; one_test and `CHOOSING` where they are known.
        more: Blocks that follow the table.
    """
    columns: dict[str, Any] = {
        "Configuration": lambda row: row["configuration"] or "all",
        "Seeds": ("seeds", plain),
        "Runs": lambda row: whole(len(row["runs"])),
        **measured(lambda row, measure: spread(row.get(measure))),
    }
    if any(CHOOSING in row for row in repeats):
        columns["Validation F1 %"] = (CHOOSING, spread)
    caption = "Scores in percent, mean ± standard deviation over seeds"
    cut = all(row.get("one_test", True) for row in repeats)
    return Section(
        title,
        "Mean and standard deviation: how much the same settings vary from one training to the next. A gap between "
        "configurations that is not clearly larger is noise."
        + " Seeds cut test faces of their own, which adds to it."
        * (not cut),
        [Table.of(repeats, columns, caption=caption, words=(0, 1)), *more] if repeats else [],
    )


def settings_section(grid: Grid) -> Section:
    """What an experiment varies, and what all its runs share."""
    settings = [dict(flatten(cell.config.to_dict())) for cell in grid.cells]
    usual = flatten(RunConfig().to_dict())
    common = [
        (name, value)
        for name, value in settings[0].items()
        if name not in ("format", "name", "stages")
        and (name, value) not in usual
        and all(other.get(name) == value for other in settings)
    ]
    axes = [(axis.replace("_", " "), ", ".join(values)) for axis, values in grid.axes.items()]
    return Section(
        "Settings",
        "What was varied, and what all runs share. What is open here was settled by each run; its report says how.",
        [
            Table(("Axis", "Values"), axes, "What was varied", words=(0, 1)),
            facts(common, "Setting", "Settings of all runs that are not the default's"),
        ],
    )
