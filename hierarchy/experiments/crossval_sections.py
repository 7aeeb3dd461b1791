"""The report of a cross-validation, section by section: folds, confusion, emotions, learning curves and protocol."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.experiments import crossval_figures
from fer_hierarchy.hierarchy.experiments.crossval_table import GATE
from fer_hierarchy.hierarchy.experiments.grid_table import CHOOSING
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Beside,
    Code,
    Image,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    titled,
)
from fer_hierarchy.hierarchy.reports.page import Block as Part
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import known, mode_words, percent, plain, points, span, spread, whole, with_span

MOST_PANELS = 20  # small pictures in one figure
_ACROSS = 5
_TITLES = {"top1": "Top-1 accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1"}
_COLUMNS = {"top1": "Top-1 %", "balanced_accuracy": "Balanced %", "macro_f1": "Macro F1 %"}


@dataclass(frozen=True)
class CrossvalRecord:
    """A cross-validation and where its report goes.

    Attributes:
        folder: Its folder, with `figures` below it.
        table: What `hierarchy.experiments.crossval_table.crossval_table` returns.
        histories: Run -> stage -> history.csv.
        settings: What all runs share, as (setting, value).
    """

    folder: Path
    table: Mapping
    histories: Mapping[str, Mapping[str, pd.DataFrame]]
    settings: Sequence[tuple[str, str]]

    @property
    def rows(self) -> Sequence[Mapping]:
        """The finished runs."""
        return self.table["rows"]

    @property
    def repeated(self) -> bool:
        """Whether the folds were made more than once."""
        return self.table["repeats"] > 1

    @property
    def complete(self) -> bool:
        """Whether no run failed."""
        return not self.table["failed"]

    @property
    def measures(self) -> dict[str, str]:
        """Measures and the titles of their columns; the gate's has the name of the stage."""
        gate = self.table["gate"]
        title = f"{'Implied ' * (self.table['mode'] == FLAT)}{gate} %"
        return {**_COLUMNS, **({GATE: title[0].upper() + title[1:]} if GATE in self.table["means"]["runs"] else {})}

    def mean(self, measure: str) -> Mapping | None:
        """Mean and standard deviation over folds, or over the means of repeats."""
        return self.table["means"]["over_repeats" if self.repeated else "runs"].get(measure)

    def label(self, row: Mapping) -> str:
        """A run by its fold, and its repeat where there are several."""
        return f"{row['repeat']}.{row['fold']}" if self.repeated else f"fold {row['fold']}"

    def drawing(self, name: str, title: str, width: float, height: float, **grid: object) -> AbstractContextManager:
        """`figures.drawing` into this folder, marked where the faces are synthetic."""
        return figures.drawing(
            self.figure(name), title=title, synthetic=self.table["synthetic"], width=width, height=height, **grid
        )

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"


def crossval_page(record: CrossvalRecord) -> Page:
    """Draw the figures of a cross-validation and put its report together; `figures` below its folder exists."""
    table = record.table
    drawn = [_folds, _repeats, _confusions, _emotions, _curves, _protocol] if record.rows else []
    sections = [_summary(record), *(section(record) for section in drawn), _settings(record), _repeat(record)]
    done, planned = len(record.rows), table["folds"] * table["repeats"]
    size = f"{table['folds']}-fold cross-validation" + f", repeated {table['repeats']} times" * record.repeated
    return Page(
        title=titled(f"Cross-validation {record.folder.name}", synthetic=table["synthetic"]),
        subtitle=f"{size}: {done} of {planned} runs ({table['mode']}).",
        banner=SYNTHETIC if table["synthetic"] else "",
        sections=[section for section in sections if section.blocks],
    )


def _summary(record: CrossvalRecord) -> Section:
    blocks: list[Part] = []
    failed = record.table["failed"]
    if record.rows:
        blocks += [_tiles(record), Text(_words(record)), Text(_caution(record))]
        blocks += [Warn(text) for text in _warnings(record)]
    if failed:
        planned = record.table["folds"] * record.table["repeats"]
        text = f"{len(failed)} of {planned} runs failed, so that not every face has been a test face:"
        blocks += [Warn(text), Items(tuple(f"{entry['run']}: {entry['error'] or 'not trained'}" for entry in failed))]
    return Section("Summary", "", blocks)


def _tiles(record: CrossvalRecord) -> Tiles:
    held = record.table["pooled"]
    titles = {**_TITLES, **({GATE: record.measures[GATE].removesuffix(" %")} if GATE in record.measures else {})}
    over = f"mean ± SD of {record.table['repeats']} repeats" if record.repeated else "mean ± SD of folds"
    tiles = []
    for measure, title in titles.items():
        pooled = f"; pooled {with_span(held, measure)}" if measure in held else ""
        tiles.append(Tile(title, f"{spread(record.mean(measure))} %", f"{over}{pooled}"))
    return Tiles(tuple(tiles))


def _words(record: CrossvalRecord) -> str:
    table, held = record.table, record.table["pooled"]
    kind = "flat" if table["mode"] == FLAT else "hierarchical"
    drawn = "synthetic faces" if table["synthetic"] else f"faces of {table['data']['dataset']}"
    people = table["data"]["subjects"]
    common = max(table["emotions"], key=lambda row: row["support"])
    times = f" once in each of {table['repeats']} repeats" if record.repeated else " once"
    each = f"Each{times} a test face" if record.complete and not table["limit"] else "Those tested"
    seeds = " to ".join(map(str, dict.fromkeys((table["seeds"][0], table["seeds"][-1]))))
    by = "subject" if table["split_by"] == "subject" and people else "face"
    return (
        f"{table['data']['faces']:,} {drawn}{f' of {people:,} people' if people else ''} stand in "
        f"{table['folds']} folds, cut by {by}; seed {seeds}. {each}, the {kind} model "
        f"names {percent(held['top1'])} of {held['n']:,} rightly (95 % interval {span(held, 'top1')}, drawing "
        f"{held['drawn']}); always answering {common['class']} would be right for "
        f"{percent(common['support'] / held['n'])}, and chance in balanced accuracy is "
        f"{percent(1 / len(table['classes']))}."
    )


def _caution(record: CrossvalRecord) -> str:
    text = (
        "How to read the spread: folds share most of their training faces, so their scores are no independent "
        "measurements, and their standard deviation divided by the root of their number is no standard error. "
        f"The interval draws {record.table['pooled']['drawn']} anew among the pooled answers: it says how much other "
        "test faces would matter to models such as these, not how much other training faces would."
    )
    return text + " Repeats shuffle the same faces: their spread is that of the cut and the seed." * record.repeated


def _warnings(record: CrossvalRecord) -> list[str]:
    table, warnings = record.table, []
    if table["limit"]:
        warnings.append(f"A quick look, not a result: --limit kept at most {table['limit']:,} rows of each split.")
    shared, n = sum(row["shared"] for row in record.rows), table["pooled"]["n"]
    if shared:
        warnings.append(
            f"People stand on both sides: {shared:,} of {n:,} test faces show somebody who is trained on too, which "
            "inflates every score; --split-by subject keeps people apart."
        )
    return warnings


def _folds(record: CrossvalRecord) -> Section:
    measures, rows = record.measures, record.rows
    with_people = any(row["subjects"] for row in rows)
    with_shared = any(row["shared"] for row in rows)
    columns = (
        *(["Repeat", "Seed"] if record.repeated else []),
        *("Fold", "Faces", *["People"] * with_people, *["Shared"] * with_shared),
        *(*measures.values(), "Validation F1 %", "CPU-s"),
    )
    lead = len(columns) - len(measures) - 2
    body = [_fold_row(record, row, with_people, with_shared) for row in rows]
    mean, pooled = record.table["means"]["runs"], record.table["pooled"]
    empty = [""] * (lead - 1)
    body.append(("mean ± SD", *empty, *(spread(mean[name]) for name in measures), "", ""))
    body.append(("pooled", *empty, *(points(pooled.get(name)) for name in measures), "", ""))
    caption = "Each run judged on its fold; then mean and standard deviation, and the scores of all answers together"
    caption += ". Shared: test faces of people who are trained on too" * with_shared
    table = Table(columns, body, caption=caption, strong=(len(rows), len(rows) + 1), words=(0,))
    return Section(
        "Folds",
        "Each run is in the folder of its name below this report, with a report of its own. Validation was cut from "
        "the training folds and chose the epoch; the fold itself chose nothing.",
        [table, _score_figure(record)],
    )


def _fold_row(record: CrossvalRecord, row: Mapping, with_people: bool, with_shared: bool) -> tuple[str, ...]:
    return (
        *([str(row["repeat"]), str(row["seed"])] if record.repeated else []),
        *(str(row["fold"]), whole(row["n"])),
        *[whole(row["subjects"])] * with_people,
        *[whole(row["shared"])] * with_shared,
        *(points(row[name]) for name in record.measures),
        points(row[CHOOSING]),
        whole(row["train_cpu_seconds"]),
    )


def _score_figure(record: CrossvalRecord) -> Images:
    named = {title.removesuffix(" %"): [row[name] for row in record.rows] for name, title in record.measures.items()}
    height = 0.85 + (0.42 + 0.006 * len(record.rows)) * len(named)
    with record.drawing("folds", "Scores of the folds", 6.2, height) as axes:
        crossval_figures.fold_scores(axes[0, 0], named)
    alt = "Scores of every fold as dots, with their mean and standard deviation"
    return Images((Image(record.figure("folds"), alt, 6.2),))


def _repeats(record: CrossvalRecord) -> Section:
    if not record.repeated:
        return Section("", "", [])
    means, measures = record.table["means"], record.measures
    rows = [
        (str(held["repeat"]), str(held["runs"]), *(spread(held[name]) for name in measures))
        for held in means["of_repeats"]
    ]
    runs = str(sum(held["runs"] for held in means["of_repeats"]))
    rows.append(("means of repeats", runs, *(spread(means["over_repeats"][name]) for name in measures)))
    return Section(
        "Repeats",
        "A row is one repeat: mean and standard deviation over its folds. The last row is mean and standard deviation "
        "of the means above it: what cutting and training anew changes, on the same faces.",
        [Table(("Repeat", "Runs", *measures.values()), rows, strong=(len(rows) - 1,))],
    )


def _confusions(record: CrossvalRecord) -> Section:
    held, classes = record.table["pooled"], record.table["classes"]
    side = 1.3 + 0.62 * len(classes)
    with record.drawing("confusion", "Confusion, all folds", side, side) as axes:
        figures.confusion_matrix(axes[0, 0], held["confusion"], classes)
    shown = record.rows[:MOST_PANELS]
    columns = min(_ACROSS, len(shown), record.table["folds"])
    lines = -(-len(shown) // columns)
    width = min(0.6 + 1.35 * columns, 7.2)
    with record.drawing(
        "confusion_folds", "Confusion, fold by fold", width, 0.75 + 1.55 * lines, rows=lines, columns=columns
    ) as axes:
        for number, (ax, row) in enumerate(zip(axes.flat, shown, strict=False)):
            below = number + columns >= len(shown)
            crossval_figures.small_confusion(
                ax, row["confusion"], classes, title=_panel_title(record, row), left=number % columns == 0, bottom=below
            )
        _hide(axes, len(shown))
    images = (
        Image(record.figure("confusion"), "Confusion of emotions, summed over the folds", side),
        Image(record.figure("confusion_folds"), "Confusion of emotions of each fold", width),
    )
    whole_repeats = record.repeated and record.complete and not record.table["limit"]
    counted = f"; each face counts {record.table['repeats']} times, once for each repeat" if whole_repeats else ""
    text = f"Summed over {len(record.rows)} runs: {held['n']:,} answers{counted}."
    return Section(
        "Confusion",
        "Each row is a true emotion and sums to 100 %; small numbers are faces. In the fold matrices the numbers are "
        f"the shares named rightly, in percent.{_first_only(record)}",
        [Text(text), Images(images)],
    )


def _panel_title(record: CrossvalRecord, row: Mapping) -> str:
    return f"{record.label(row)}, {100 * row['top1']:.0f} %"


def _first_only(record: CrossvalRecord) -> str:
    return f" Shown are the first {MOST_PANELS} of {len(record.rows)} runs." * (len(record.rows) > MOST_PANELS)


def _hide(axes: np.ndarray, used: int) -> None:
    for ax in axes.flat[used:]:
        ax.axis("off")


def _emotions(record: CrossvalRecord) -> Section:
    rows = [
        (
            row["class"],
            *(points(row[key]) for key in ("precision", "recall", "f1")),
            spread(row["recalls"]),
            whole(row["support"]),
        )
        for row in record.table["emotions"]
    ]
    columns = ("Emotion", "Precision %", "Recall %", "F1 %", "Recall of folds %", "Faces")
    height = 1.1 + 0.36 * len(rows)
    with record.drawing("per_class", "Precision and recall by emotion", 5.2, height) as axes:
        figures.class_scores(axes[0, 0], record.table["emotions"])
    image = Image(record.figure("per_class"), "Precision and recall of each emotion, pooled", 5.2)
    return Section(
        "Emotion by emotion",
        "Pooled over all folds; beside it mean and standard deviation of the folds' recalls. A rare emotion has few "
        "test faces in a fold, so its recall swings.",
        [Beside((Table(columns, rows, caption="All answers together"), Images((image,))))],
    )


def _curves(record: CrossvalRecord) -> Section:
    trained = dict.fromkeys(stage for held in record.histories.values() for stage in held)
    stages = sorted(trained, key=[*record.table["models"], *trained].index)
    images = []
    for stage in stages:
        shown = [row for row in record.rows if stage in record.histories.get(row["run"], {})][:MOST_PANELS]
        columns = min(_ACROSS, len(shown), record.table["folds"])
        lines = -(-len(shown) // columns)
        width = min(0.7 + 1.3 * columns, 7.2)
        name = f"curves_{stage}"
        title = "Accuracy by epoch" if stage == FLAT else f"Accuracy by epoch: {stage}"
        with record.drawing(name, title, width, 0.7 + 1.15 * lines, rows=lines, columns=columns) as axes:
            for number, (ax, row) in enumerate(zip(axes.flat, shown, strict=False)):
                history = record.histories[row["run"]][stage]
                crossval_figures.small_curve(ax, history, title=record.label(row), left=number % columns == 0)
            _hide(axes, len(shown))
        images.append(Image(record.figure(name), f"Accuracy of {stage} by epoch in each fold", width))
    return Section(
        "Training",
        "Dark: validation faces, which chose the epoch. Pale: training faces, augmented and while the weights still "
        f"change, so they may lie below.{_first_only(record)}",
        [Images(tuple(images))] if images else [],
    )


def _protocol(record: CrossvalRecord) -> Section:
    table, data = record.table, record.table["data"]
    groups = "; ".join(f"{name}: {', '.join(held)}" for name, held in table["taxonomy"]["groups"].items())
    models = dict.fromkeys(str(model) for model in table["models"].values() if model)
    by_subject = table["split_by"] == "subject"
    kept = "a person stands in one fold only" if data["subjects"] else "identical faces together; no subjects are known"
    facts = {
        "Data set": data["dataset"],
        "Path": data["path"],
        "Fingerprint of the faces": data["fingerprint"],
        "Faces": whole(data["faces"]),
        "People": whole(data["subjects"]) if data["subjects"] else "not known",
        "Images left out as bad": data["bad"],
        "Folds": f"{table['folds']}, stratified by emotion",
        "Cut": f"by subject: {kept}" if by_subject else "by sample: people may stand in several folds",
        "Repeats and seeds": f"{table['repeats']}; {', '.join(map(str, table['seeds']))}",
        "Mode and models": f"{mode_words(table)}: {', '.join(models)}",
        "Taxonomy": f"{table['taxonomy'].get('name', '')} ({groups})",
        "Emotions left out": ", ".join(table["excluded"]) or "none",
        "Limit": f"{table['limit']:,} rows of each split" if table["limit"] else "none",
    }
    return Section(
        "Protocol",
        "folds.csv has the fold of every face. All rows are pooled before folds are cut: where a data set has official "
        "splits, scores here are not comparable with scores on its official test split.",
        [Table(("Fact", "Value"), [(k, plain(v)) for k, v in facts.items() if known(v)], words=(0, 1))],
    )


def _settings(record: CrossvalRecord) -> Section:
    table = Table(("Setting", "Value"), record.settings, words=(0, 1))
    return Section("Settings", "What all runs share; what is open here was settled by each run.", [table])


def _repeat(record: CrossvalRecord) -> Section:
    hint = "The command below, in the project's folder."
    return Section("How to repeat this", hint, [Code(record.table["command"])])
