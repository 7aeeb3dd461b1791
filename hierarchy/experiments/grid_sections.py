"""The report of a grid: its cells by test faces, heat maps, paired differences, learned features and single faces."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from fer_hierarchy.hierarchy.evaluation.significance import mean_std
from fer_hierarchy.hierarchy.experiments import figures
from fer_hierarchy.hierarchy.experiments.grid import SEED, Grid
from fer_hierarchy.hierarchy.experiments.sections import (
    differences_table,
    direction,
    seeds_section,
    settings_section,
)
from fer_hierarchy.hierarchy.experiments.side_by_side import side_by_side_section
from fer_hierarchy.hierarchy.experiments.table import CHOOSING, Block, GridCell, configuration_name, heat_map
from fer_hierarchy.hierarchy.reports.figures import Drawings, feature_maps
from fer_hierarchy.hierarchy.reports.page import Block as Part
from fer_hierarchy.hierarchy.reports.page import Items, Page, Section, Table, Text, Warn, how_to_repeat, limited, report
from fer_hierarchy.hierarchy.wording import (
    UNKNOWN,
    chance,
    millions,
    percent,
    points,
    span,
    spread,
    whole,
    with_span,
)

MOST_SHOWN = 8  # runs beside each other on one face
_MOST_MAPS = 12
_LETTER = 0.075  # inches
_SCORES = {
    "Top-1": lambda row: with_span(row, "top1") if "top1" in row else "failed",
    "Balanced": ("balanced_accuracy", points),
    "Macro F1": ("macro_f1", points),
    "Weighted F1": ("weighted_f1", points),
    "Top-2": ("top2", points),
    "Top-3": ("top3", points),
    "Validation": (CHOOSING, points),
    "CPU-s": ("train_cpu_seconds", whole),
    "Parameters": ("parameters", millions),
}


def grid_page(
    drawings: Drawings,
    grid: Grid,
    cells: Sequence[GridCell],
    found: Sequence[tuple[Block, Mapping | None]],
) -> Page:
    """Draw the figures of a grid and put its report together.

    Args:
        drawings: The figures of the report.
        grid: Axes and command.
        cells: What became of the cells.
        found: Finished cells by test faces, and what `compare` returns for `Block.paired`; None for a single cell.
    """
    shown = [block for block, _ in found]
    sections = [_summary(cells, found), _across(shown)]
    for block, comparison in found:
        # Failed cells belong to no test faces.
        sections += [_cells(cells if len(found) == 1 else block.cells, block), _map(drawings, block)]
        if comparison:
            sections.append(_differences(drawings, block, comparison))
        sections += [seeds_section(block.titled("Several seeds"), block.repeats), _features(drawings, block)]
        if comparison:
            sections.append(_faces(drawings, block, comparison))
    sections += [settings_section(grid), how_to_repeat(grid.command)]
    done = sum(cell.run is not None for cell in cells)
    subtitle = f"{done} of {grid.product}."
    return report(f"Grid {drawings.folder.name}", subtitle, sections, synthetic=drawings.synthetic)


def _summary(cells: Sequence[GridCell], found: Sequence[tuple[Block, Mapping | None]]) -> Section:
    blocks: list[Part] = []
    if len(found) > 1:
        blocks.append(
            Warn(
                "Not all cells were evaluated on the same test faces and emotions, and only those that were are ranked "
                "against each other. A difference between two such groups is a property of the protocol, not of the "
                "model."
            )
        )
    blocks += [Text(_chosen_words(block, comparison)) for block, comparison in found]
    done = [cell for cell in cells if cell.run is not None]
    blocks += limited(cell.finished.metrics.get("data", {}).get("limit") for cell in done)
    failed = [f"{cell.name}: {cell.error}" for cell in cells if cell.run is None]
    if failed:
        blocks += [Warn(f"{len(failed)} of {len(cells)} cells failed:"), Items(failed)]
    return Section("Summary", "", blocks)


def _chosen_words(block: Block, comparison: Mapping | None) -> str:
    """What the cell that validation chooses reaches on the test faces."""
    chosen, scores = block.chosen, block.chosen.scores
    several = len(block.configurations) > 1
    words = [
        f"On {block.name}:" * bool(block.name),
        _choice_words(block),
        f"On the {scores['n']:,} test faces {'it' if several else block.label(chosen)} names "
        f"{percent(scores['top1'])} rightly (95 % interval {span(scores, 'top1')}); its macro F1 is "
        f"{percent(scores['macro_f1'])}.",
        "It was chosen on validation faces alone: the best of several test scores would be too optimistic." * several,
        _standing_words(comparison),
    ]
    return " ".join(filter(None, words))


def _choice_words(block: Block) -> str:
    """Which configuration validation chooses, and what its seeds reach; a single one is not chosen."""
    chosen, several = block.chosen, len(block.configurations) > 1
    alike = next(cells for cells in block.configurations if chosen in cells)
    name = block.label(chosen, seed=False)
    if len(alike) == 1:
        best = f"macro F1 {percent(chosen.scores[CHOOSING])}"
        return f"The best validation score ({best}) belongs to {name}." * several
    validation, top1 = (spread(mean_std([cell.scores[key] or 0 for cell in alike])) for key in (CHOOSING, "top1"))
    best = f"The best mean validation score (macro F1 {validation} % over {len(alike)} seeds) belongs to {name}, whose"
    return (
        f"{best if several else f'Over {len(alike)} seeds, the'} top-1 accuracy on test faces is {top1} %; "
        f"seed {chosen.seed} stands for them in what follows."
    )


def _standing_words(comparison: Mapping | None) -> str:
    """How the other cells compare with the chosen one on the test faces."""
    pairs = comparison["pairs"] if comparison else ()
    clear = [direction(pair["differences"]["top1"], pair["mcnemar"]["p"]) for pair in pairs]
    words = {-1: "clearly worse", 1: "clearly better", 0: "not clearly different"}
    if len(clear) < 2:
        return "".join(f"The other cell is {words[one]} in top-1 accuracy on these faces." for one in clear)
    worse, better, tied = (f"{clear.count(kind)} {text}" for kind, text in words.items())
    return f"In top-1 accuracy on these faces, of the {len(clear)} other cells are {worse}, {better} and {tied}."


def _across(found: Sequence[Block]) -> Section:
    """The same settings on different test faces, side by side, where that is all that differs."""
    if len(found) < 2:
        return Section("", "", [])

    def values(cells: Sequence[GridCell], axis: str) -> set[str]:
        return {cell.point[axis] for cell in cells}

    everything = [cell for block in found for cell in block.cells]
    shared = [
        axis
        for axis in everything[0].point
        if axis != SEED and all(values(block.cells, axis) == values(everything, axis) for block in found)
    ]
    rows: dict[str, dict[str, str]] = {}
    for block in found:
        for cells in block.configurations:
            top1 = spread(mean_std([cell.figures["top1"] for cell in cells]))
            text = top1 if len(cells) > 1 else with_span(cells[0].scores, "top1")
            rows.setdefault(configuration_name(cells[0], shared), {})[block.name] = text
    names = [block.name for block in found]
    return Section(
        "Across test faces",
        "The same settings evaluated by different protocols. Along a row, the gap is what the protocol does to the "
        "number; it does not show which model is better.",
        [
            Table(
                ("Settings", *names),
                [(name or "all", *(texts.get(block, UNKNOWN) for block in names)) for name, texts in rows.items()],
                caption="Top-1 accuracy in percent, with its interval or its spread over seeds",
            )
        ],
    )


def _cells(cells: Sequence[GridCell], block: Block) -> Section:
    several, axes = len(block.configurations) > 1, list(cells[0].point)
    hint = "The bold row was chosen by its validation score. " * several
    if len({cell.test_rows for cell in block.cells}) > 1:
        hint += "Each seed cuts test faces of its own, so that only rows of one seed may be compared face by face. "
    counts = {cell.scores["n"] for cell in block.cells}
    n = " to ".join(dict.fromkeys((whole(min(counts)), whole(max(counts)))))
    table = Table.of(
        [{**cell.point, **({} if cell.run is None else cell.scores)} for cell in cells],
        {axis.replace("_", " "): (axis, str) for axis in axes} | _SCORES,
        caption=f"Scores of each cell in percent, n = {n} test faces; top-1 with its 95 % bootstrap interval; "
        "Validation is the macro F1 on validation faces, CPU-s the CPU-seconds of training",
        strong=[number for number, cell in enumerate(cells) if cell is block.chosen and several],
        words=range(len(axes)),
    )
    hint += "Each cell is a run of its own, in the folder of its name below this report."
    return Section(block.titled("Cells"), hint, [table])


def _map(drawings: Drawings, block: Block) -> Section:
    found, name = heat_map(block), block.titled("At a glance")
    if found is None:
        return Section(name, "", [])
    means, spreads = found
    rows, columns, across = list(means.index), list(means.columns), means.columns.name
    seeds = spreads.notna().any(axis=None)
    title = "Recall of each emotion in percent" if across == "emotion" else "Top-1 accuracy in percent"
    image = drawings.draw(
        f"heat_map{block.stem}",
        partial(figures.heat_map, means=means, spreads=spreads),
        title=title,
        alt=f"{title} by {across} (columns) and cell (rows: {', '.join(rows)})",
        width=min(max(_LETTER * max(map(len, rows)) + (1.05 if seeds else 0.75) * len(columns) + 0.6, 3.6), 10.0),
        height=1.1 + 0.36 * len(rows) + 0.05 * max(map(len, columns)),
    )
    return Section(
        name,
        "Darker is higher; the colours span the values that occur, so read the numbers before the colours."
        + " A number behind ± is the standard deviation over seeds." * bool(seeds),
        [image],
    )


def _differences(drawings: Drawings, block: Block, comparison: Mapping) -> Section:
    labels, pairs = block.labels, comparison["pairs"]
    rows = [(labels[pair["b"]], pair["differences"], chance(pair["mcnemar"]["p"])) for pair in pairs]
    named = [(name, measures["top1"]) for name, measures, _ in rows]
    image = drawings.draw(
        f"differences{block.stem}",
        partial(figures.differences, rows=named, xlabel="percentage points against the chosen cell"),
        title="Difference in top-1 accuracy",
        alt="Top-1 accuracy of each cell minus that of the chosen one, with 95 % intervals",
        width=min(_LETTER * max(len(name) for name, *_ in rows) + 4.6, 10.0),
        height=1.1 + 0.27 * len(rows),
    )
    caption = f"Each cell minus {labels[block.chosen.name]}, in points, with 95 % intervals"
    blocks: list[Part] = [differences_table("Cell", rows, p="McNemar p", caption=caption), image]
    if people := comparison["test"].get("subjects"):
        draws = "Intervals draw whole people; McNemar's p cannot, and is too small."
        blocks.append(Warn(f"The test faces show {people:,} people. {draws}"))
    return Section(
        block.titled("Differences from the chosen cell"),
        "Paired: both cells predicted the same faces. An interval that includes zero, or a p of 0.05 or more, means no "
        "clear difference. The p values are those of top-1"
        + (f" and not corrected for making {len(rows)} comparisons." if len(rows) > 1 else "."),
        blocks,
    )


def _features(drawings: Drawings, block: Block) -> Section:
    """The first stage's t-SNE maps of all configurations side by side, one seed each."""
    title = block.titled("Learned features")
    maps: dict[str, pd.DataFrame] = {}
    for cells in block.configurations:
        cell = block.chosen if block.chosen in cells else cells[0]
        stage = next(iter(cell.finished.metrics.get("training") or {}), "")
        if stage in cell.finished.features and len(maps) < _MOST_MAPS:
            maps[f"{block.label(cell, seed=False)}: {stage}"] = cell.finished.features[stage]
    if len(maps) < 2:
        return Section(title, "", [])
    image = drawings.draw(
        f"features{block.stem}",
        partial(feature_maps, maps=maps),
        title=title,
        alt="t-SNE of the features of each run's first stage",
        width=10.4,
        height=3.0 * -(-len(maps) // 3) + 0.4,
    )
    return Section(
        title,
        "What the first stage of each run gives to its last layer, in two dimensions (t-SNE, van der Maaten and "
        "Hinton, 2008), for test faces. Faces side by side have similar features; how large a cluster is, and how far "
        "from another, means nothing, and nothing can be read across the panels but how well the colours part.",
        [image],
    )


def _faces(drawings: Drawings, block: Block, comparison: Mapping) -> Section:
    best = [cell for cell in block.ranking() if cell in block.paired][:MOST_SHOWN]
    order = [cell.name for cell in block.cells if cell in best]
    sample = [
        {**face, "runs": [run for name in order for run in face["runs"] if run["run"] == name]}
        for face in comparison["side_by_side"]
    ]
    section = side_by_side_section(
        drawings,
        sample,
        classes=comparison["classes"],
        labels=block.labels,
        faces=block.chosen.finished.pictures,
        table=f"side_by_side{block.stem}.csv",
        stem=block.stem,
    )
    left_out = len(block.cells) - len(order)
    hint = f" Shown are the {len(order)} best on validation; {left_out} cells are left out." * bool(left_out)
    return Section(block.titled(section.title), section.hint + hint, section.blocks)
