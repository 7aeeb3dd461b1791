"""The report of a grid, section by section: its cells by test faces, heat maps, paired differences and faces."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.evaluation.significance import mean_std
from fer_hierarchy.hierarchy.experiments import comparison_figures
from fer_hierarchy.hierarchy.experiments.grid import SEED, Grid, label
from fer_hierarchy.hierarchy.experiments.grid_table import (
    CHOOSING,
    Block,
    GridCell,
    configuration_name,
    heat_map,
    repeats,
)
from fer_hierarchy.hierarchy.experiments.side_by_side_sections import side_by_side_section
from fer_hierarchy.hierarchy.paths import FEATURES
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Code,
    Image,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Warn,
    titled,
)
from fer_hierarchy.hierarchy.reports.page import Block as Part
from fer_hierarchy.hierarchy.reports.run import read_feature_map
from fer_hierarchy.hierarchy.wording import (
    UNKNOWN,
    chance,
    difference,
    flatten,
    millions,
    percent,
    points,
    span,
    spread,
    whole,
    with_span,
)

# A run's folder and ids of n faces -> (n, height, width, channels) uint8, or None where they are not at hand.
FacesIn = Callable[[Path, Sequence[str]], np.ndarray | None]

MOST_SHOWN = 8  # runs beside each other on one face
_MOST_MAPS = 12
_ALPHA = 0.05
_LETTER = 0.075  # inches
_MEASURES = {"top1": "Top-1 %", "balanced_accuracy": "Balanced %", "macro_f1": "Macro F1 %"}
_NUMBERS = (
    *("Top-1", "Balanced", "Macro F1", "Weighted F1", "Top-2", "Top-3", "Validation"),
    *("CPU-s", "Parameters"),
)


@dataclass(frozen=True)
class GridBlock:
    """Cells that may be ranked against each other, as the report shows them.

    Attributes:
        block: The cells.
        comparison: What `hierarchy.experiments.comparison` says of `block.paired`; None for a single cell.
        name: What sets these test faces apart from others; empty where there are no others.
        stem: Ends the names of the block's files; empty for the first block.
    """

    block: Block
    comparison: Mapping | None
    name: str = ""
    stem: str = ""

    def titled(self, title: str) -> str:
        """A section's title with the block's name."""
        return f"{title}, {self.name}" if self.name else title

    def label(self, cell: GridCell, *, seed: bool = True) -> str:
        """A cell by the axes that vary here; by its name where none does."""
        seeds = [SEED] if seed and len({held.seed for held in self.block.cells}) > 1 else []
        return configuration_name(cell, [*self.block.varying(), *seeds]) or cell.name

    @property
    def labels(self) -> dict[str, str]:
        """Cell name -> `label`."""
        return {cell.name: self.label(cell) for cell in self.block.cells}


@dataclass(frozen=True)
class GridRecord:
    """A grid and where its report goes.

    Attributes:
        folder: The grid's folder, with `figures` below it.
        grid: Axes, cells and command.
        cells: What became of the cells.
        blocks: Finished cells by test faces.
    """

    folder: Path
    grid: Grid
    cells: Sequence[GridCell]
    blocks: Sequence[GridBlock]

    @property
    def failed(self) -> list[GridCell]:
        """Cells without a result."""
        return [cell for cell in self.cells if cell.run is None]

    @property
    def synthetic(self) -> bool:
        """Whether any face was drawn by the program."""
        return any(cell.run is not None and bool(cell.run.metrics.get("synthetic")) for cell in self.cells)

    def drawing(self, name: str, title: str, width: float, height: float) -> AbstractContextManager[np.ndarray]:
        """`figures.drawing` into this folder, marked where the faces are synthetic."""
        return figures.drawing(self.figure(name), title=title, synthetic=self.synthetic, width=width, height=height)

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"


def grid_page(record: GridRecord, faces: FacesIn | None) -> Page:
    """Draw the figures of a grid and put its report together.

    Args:
        record: The grid; `figures` below its folder exists.
        faces: Gives test faces of a run by id; without it only ids are shown.
    """
    sections = [
        _summary(record),
        _protocols(record),
        *(section for shown in record.blocks for section in _block_sections(record, shown, faces)),
        _axes(record),
        _repeat(record),
    ]
    done = len(record.cells) - len(record.failed)
    return Page(
        title=titled(f"Grid {record.folder.name}", synthetic=record.synthetic),
        subtitle=f"{done} of {record.grid.product}.",
        banner=SYNTHETIC if record.synthetic else "",
        sections=[section for section in sections if section.blocks],
    )


def _block_sections(record: GridRecord, shown: GridBlock, faces: FacesIn | None) -> list[Section]:
    return [
        _cells(record, shown),
        _map(record, shown),
        _differences(record, shown),
        _repeats(shown),
        _features(record, shown),
        _faces(record, shown, faces),
    ]


def _summary(record: GridRecord) -> Section:
    blocks: list[Part] = []
    if len(record.blocks) > 1:
        blocks.append(
            Warn(
                "Not all cells were judged on the same test faces and emotions, and only those that were are ranked "
                "against each other. A difference between two such groups is a property of the protocol, not of the "
                "model."
            )
        )
    blocks += [Text(_chosen_words(shown)) for shown in record.blocks]
    limits = sorted(
        {limit for cell in record.cells if cell.run and (limit := cell.run.metrics.get("data", {}).get("limit"))}
    )
    if limits:
        kept = " or ".join(f"{limit:,}" for limit in limits)
        blocks.append(Warn(f"A quick look, not a result: --limit kept at most {kept} rows of each split of the data."))
    if record.failed:
        reasons = tuple(f"{cell.name}: {cell.error}" for cell in record.failed)
        blocks += [Warn(f"{len(reasons)} of {len(record.cells)} cells failed:"), Items(reasons)]
    return Section("Summary", "", blocks)


def _chosen_words(shown: GridBlock) -> str:
    """What the cell that validation chooses reaches on the test faces."""
    chosen, scores = shown.block.chosen, shown.block.chosen.scores()
    several = len(shown.block.configurations()) > 1
    words = [
        f"On {shown.name}:" * bool(shown.name),
        _choice_words(shown),
        f"On the {scores['n']:,} test faces {'it' if several else shown.label(chosen)} names "
        f"{percent(scores['top1'])} rightly (95 % interval {span(scores, 'top1')}); its macro F1 is "
        f"{percent(scores['macro_f1'])}.",
        "It was chosen on validation faces alone: the best of several test scores would lean to the good side."
        * several,
        _standing_words(shown),
    ]
    return " ".join(filter(None, words))


def _choice_words(shown: GridBlock) -> str:
    """Which configuration validation chooses, and what its seeds reach; a single one is not chosen."""
    chosen, held = shown.block.chosen, shown.block.configurations().values()
    alike = next(cells for cells in held if chosen in cells)
    name = shown.label(chosen, seed=False)
    validation, top1 = (spread(mean_std([cell.scores()[key] or 0 for cell in alike])) for key in (CHOOSING, "top1"))
    if len(alike) == 1:
        best = f"macro F1 {percent(chosen.scores()[CHOOSING])}"
        return f"The best validation score ({best}) belongs to {name}." if len(held) > 1 else ""
    best = f"The best mean validation score (macro F1 {validation} % over {len(alike)} seeds) belongs to {name}, whose"
    return (
        f"{best if len(held) > 1 else f'Over {len(alike)} seeds, the'} top-1 accuracy on test faces is {top1} %; "
        f"seed {chosen.seed} stands for them in what follows."
    )


def _standing_words(shown: GridBlock) -> str:
    """How the other cells stand to the chosen one on the test faces."""
    clear = [_clear(pair) for pair in shown.comparison["pairs"]] if shown.comparison else []
    words = {-1: "clearly worse", 1: "clearly better", 0: "not clearly different"}
    if len(clear) < 2:
        return "".join(f"The other cell is {words[one]} in top-1 accuracy on these faces." for one in clear)
    worse, better, tied = (f"{clear.count(kind)} {text}" for kind, text in words.items())
    return f"In top-1 accuracy on these faces, of the {len(clear)} other cells are {worse}, {better} and {tied}."


def _clear(pair: Mapping) -> int:
    """-1 or 1 where the other cell is clearly worse or better in top-1 accuracy, else 0."""
    top1 = pair["differences"]["top1"]
    if top1["low"] <= 0 <= top1["high"] or pair["mcnemar"]["p"] >= _ALPHA:
        return 0
    return 1 if top1["difference"] > 0 else -1


def _protocols(record: GridRecord) -> Section:
    """The same settings on different test faces, side by side, where that is all that differs."""
    if len(record.blocks) < 2:
        return Section("", "", [])
    shared = [
        axis
        for axis, values in record.grid.axes.items()
        if axis != SEED
        and all({cell.point[axis] for cell in shown.block.cells} == {*values} for shown in record.blocks)
    ]
    held: dict[str, dict[str, str]] = {}
    for shown in record.blocks:
        for cells in shown.block.configurations().values():
            scores = [cell.scores() for cell in cells]
            text = (
                spread(mean_std([row["top1"] for row in scores])) if len(scores) > 1 else with_span(scores[0], "top1")
            )
            held.setdefault(configuration_name(cells[0], shared), {})[shown.name] = text
    names = [shown.name for shown in record.blocks]
    rows = [(name or "all", *(texts.get(block, UNKNOWN) for block in names)) for name, texts in held.items()]
    return Section(
        "Across test faces",
        "The same settings judged by different protocols. Read along a row, the gap is what the protocol does to the "
        "number; it says nothing about which model is better.",
        [
            Table(
                ("Settings", *names),
                rows,
                caption="Top-1 accuracy in percent, with its interval or its spread over seeds",
            )
        ],
    )


def _cells(record: GridRecord, shown: GridBlock) -> Section:
    axes, chosen = list(record.grid.axes), shown.block.chosen
    held = record.cells if len(record.blocks) == 1 else shown.block.cells  # failed ones belong to no test faces
    several = len(shown.block.configurations()) > 1
    hint = "The bold row was chosen by its validation score. " * several
    if len({cell.test_rows for cell in shown.block.cells}) > 1:
        hint += "Each seed cuts test faces of its own, so that only rows of one seed may be compared face by face. "
    table = Table(
        (*(axis.replace("_", " ") for axis in axes), *_NUMBERS),
        [_cell_row(cell, axes) for cell in held],
        caption=f"n = {_counts(shown)} test faces. Scores in percent, top-1 with its 95 % bootstrap interval; "
        "Validation is the macro F1 on validation faces, CPU-s the CPU-seconds of training",
        strong=tuple(number for number, cell in enumerate(held) if cell is chosen and several),
        words=tuple(range(len(axes))),
    )
    hint += "Each cell is a run of its own, in the folder of its name below this report."
    return Section(shown.titled("Cells"), hint, [table])


def _counts(shown: GridBlock) -> str:
    """How many test faces: 3,589, or 139 to 141 where seeds cut different ones."""
    counts = {cell.scores()["n"] for cell in shown.block.cells}
    return " to ".join(dict.fromkeys((whole(min(counts)), whole(max(counts)))))


def _cell_row(cell: GridCell, axes: Sequence[str]) -> tuple[str, ...]:
    values = tuple(cell.point[axis] for axis in axes)
    if cell.run is None:
        return (*values, "failed", *[UNKNOWN] * (len(_NUMBERS) - 1))
    scores = cell.scores()
    return (
        *values,
        with_span(scores, "top1"),
        *(points(scores[key]) for key in ("balanced_accuracy", "macro_f1", "weighted_f1", "top2", "top3", CHOOSING)),
        whole(scores["train_cpu_seconds"]),
        millions(scores["parameters"]),
    )


def _map(record: GridRecord, shown: GridBlock) -> Section:
    title = shown.titled("At a glance")
    found = heat_map(shown.block)
    if found is None:
        return Section(title, "", [])
    rows, columns = list(map(str, found.means.index)), list(map(str, found.means.columns))
    spreads = found.spreads.to_numpy()
    name = f"heat_map{shown.stem}"
    cell = 0.75 if np.isnan(spreads).all() else 1.05
    width = min(max(_LETTER * max(map(len, rows)) + cell * len(columns) + 0.6, 3.6), 10.0)
    height = 1.1 + 0.36 * len(rows) + 0.05 * max(map(len, columns))
    with record.drawing(name, found.title, width, height) as axes:
        comparison_figures.heat_map(
            axes[0, 0], found.means.to_numpy(), rows=rows, columns=columns, spreads=spreads, across=found.across
        )
    alt = f"{found.title} by {found.across} and {', '.join(rows)}"
    return Section(
        title,
        "Darker is higher; the colours span the values that occur, so look at the numbers before the colours."
        + " A number behind ± is the standard deviation over seeds." * (not np.isnan(spreads).all()),
        [Images((Image(record.figure(name), alt, width),))],
    )


def _differences(record: GridRecord, shown: GridBlock) -> Section:
    title = shown.titled("Differences from the chosen cell")
    pairs = shown.comparison["pairs"] if shown.comparison else ()
    if not pairs:
        return Section(title, "", [])
    labels = shown.labels
    rows = [
        (
            labels[pair["b"]],
            *(difference(pair["differences"][measure]) for measure in _MEASURES),
            chance(pair["mcnemar"]["p"]),
        )
        for pair in pairs
    ]
    name = f"differences{shown.stem}"
    width = min(_LETTER * max(map(len, (row[0] for row in rows))) + 4.6, 10.0)
    with record.drawing(name, "Difference in top-1 accuracy", width, 1.1 + 0.27 * len(rows)) as axes:
        named = [(labels[pair["b"]], pair["differences"]["top1"]) for pair in pairs]
        comparison_figures.differences(axes[0, 0], named, xlabel="percentage points against the chosen cell")
    people = shown.comparison["test"].get("subjects")
    blocks: list[Part] = [
        Table(
            ("Cell", *_MEASURES.values(), "McNemar p"),
            rows,
            caption=f"Each cell minus {labels[shown.block.chosen.name]}, in points, with 95 % intervals",
        ),
        Images((Image(record.figure(name), "Differences in top-1 accuracy with intervals", width),)),
    ]
    if people:
        text = (
            f"The test faces show {people:,} people. Intervals draw whole people; McNemar's p cannot, and is too small."
        )
        blocks.append(Warn(text))
    return Section(
        title,
        "Paired: both cells answered the same faces. An interval that holds zero, or a p of 0.05 or more, means no "
        "clear difference. The p values are those of top-1"
        + (f" and not corrected for making {len(rows)} comparisons." if len(rows) > 1 else "."),
        blocks,
    )


def _repeats(shown: GridBlock) -> Section:
    held = repeats(shown.block)
    rows = [
        (
            ", ".join(label(axis, value) for axis, value in row["point"].items()) or "all",
            ", ".join(row["seeds"]),
            *(spread(row[measure]) for measure in (*_MEASURES, CHOOSING)),
        )
        for row in held
    ]
    cut = "" if all(row["one_test"] for row in held) else " Seeds cut test faces of their own, which adds to it."
    columns = ("Configuration", "Seeds", *_MEASURES.values(), "Validation")
    return Section(
        shown.titled("Several seeds"),
        "Mean and standard deviation: how much the same settings vary from one training to the next. A gap between "
        f"configurations that is not clearly larger is noise.{cut}",
        [Table(columns, rows, words=(0, 1))] if rows else [],
    )


def _features(record: GridRecord, shown: GridBlock) -> Section:
    """The first stage's t-SNE maps of all configurations side by side, one seed each."""
    maps = {}
    for cells in shown.block.configurations().values():
        cell = shown.block.chosen if shown.block.chosen in cells else cells[0]
        stage = next(iter(cell.run.metrics.get("training") or {}), "")
        path = cell.run.folder / "stages" / stage / FEATURES
        if path.is_file():
            maps[f"{shown.label(cell, seed=False)}: {stage}"] = read_feature_map(path)
    if len(maps) < 2:
        return Section("", "", [])
    maps = dict(list(maps.items())[:_MOST_MAPS])
    name = f"features{shown.stem}"
    height = 3.0 * -(-len(maps) // 3) + 0.4
    with record.drawing(name, shown.titled("Learned features"), 10.4, height) as axes:
        figures.feature_maps(axes[0, 0], maps)
    return Section(
        shown.titled("Learned features"),
        "What the first stage of each run gives to its last layer, in two dimensions (t-SNE, van der Maaten and "
        "Hinton, 2008), for test faces. Faces side by side have similar features; how large a cluster is, and how far "
        "from another, means nothing, and nothing can be read across the panels but how well the colours part.",
        [Images((Image(record.figure(name), "t-SNE of the features of each run's first stage", 10.4),))],
    )


def _faces(record: GridRecord, shown: GridBlock, faces: FacesIn | None) -> Section:
    if not shown.comparison:
        return Section("", "", [])
    best = [cell for cell in shown.block.ranking() if cell in shown.block.paired][:MOST_SHOWN]
    held = [cell for cell in shown.block.cells if cell in best]
    order = {cell.name: number for number, cell in enumerate(held)}
    sample = [
        {
            **face,
            "runs": sorted((run for run in face["runs"] if run["run"] in order), key=lambda run: order[run["run"]]),
        }
        for face in shown.comparison["side_by_side"]
    ]
    section = side_by_side_section(
        sample,
        classes=shown.comparison["classes"],
        labels=shown.labels,
        folder=record.folder,
        synthetic=record.synthetic,
        faces=partial(faces, record.folder / shown.block.chosen.name) if faces else None,
        table=f"side_by_side{shown.stem}.csv",
        stem=f"side_by_side{shown.stem}",
    )
    left_out = len(shown.block.cells) - len(held)
    hint = section.hint + f" Shown are the {len(held)} best on validation; {left_out} cells are left out." * bool(
        left_out
    )
    return Section(shown.titled(section.title), hint, section.blocks)


def _axes(record: GridRecord) -> Section:
    rows = [(axis.replace("_", " "), ", ".join(values)) for axis, values in record.grid.axes.items()]
    settings = [dict(flatten(cell.config.to_dict())) for cell in record.grid.cells]
    common = [pair for pair in settings[0].items() if all(other.get(pair[0]) == pair[1] for other in settings)]
    hidden = ("format", "name", "stages")
    return Section(
        "Settings",
        "What was varied, and what all cells share. What is open here was settled by each run; its report says how.",
        [
            Table(("Axis", "Values"), rows, words=(0, 1)),
            Table(
                ("Setting", "Value"),
                [pair for pair in common if pair[0] not in hidden],
                caption="Settings of all cells",
                words=(0, 1),
            ),
        ],
    )


def _repeat(record: GridRecord) -> Section:
    return Section("How to repeat this", "The command below, in the project's folder.", [Code(record.grid.command)])
