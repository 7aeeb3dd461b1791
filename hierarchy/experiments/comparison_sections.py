"""The report of several runs side by side, section by section: words, tables and figures from a comparison."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.experiments.side_by_side_sections import FacesOf, side_by_side_section
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Beside,
    Block,
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
from fer_hierarchy.hierarchy.wording import (
    chance,
    decimals,
    difference,
    duration,
    known,
    millions,
    mode_words,
    percent,
    plain,
    points,
    signed,
    spread,
    whole,
    with_span,
)

_MEASURES = {"top1": "Top-1 accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1"}
_COLUMNS = ("Top-1 %", "Balanced %", "Macro F1 %")
SIDE_BY_SIDE = "side_by_side.csv"
_COSTS = {
    "train_cpu_seconds": ("cost_training", "Accuracy and training", "CPU-seconds of training"),
    "multiply_adds": ("cost_inference", "Accuracy and size", "multiply-adds of one face"),
}
_ALPHA = 0.05

# Longer names leave no room for anything else on an axis or in a heading.
_LONGEST_LABEL = 30


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison and where its report goes.

    Attributes:
        folder: The comparison's folder, with `figures` below it.
        comparison: What `hierarchy.experiments.comparison` returns.
        labels: Run name -> the short name of figures and sentences.
    """

    folder: Path
    comparison: Mapping
    labels: Mapping[str, str]

    @property
    def runs(self) -> Sequence[Mapping]:
        """The runs in the order given."""
        return self.comparison["runs"]

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    def drawing(self, name: str, title: str, width: float, height: float) -> AbstractContextManager[np.ndarray]:
        """`figures.drawing` into this folder, marked where the faces are synthetic."""
        synthetic = bool(self.comparison.get("synthetic"))
        return figures.drawing(self.figure(name), title=title, synthetic=synthetic, width=width, height=height)


def comparison_page(folder: Path, comparison: Mapping, faces: FacesOf | None = None) -> Page:
    """Draw the figures of a comparison below `folder`/figures and put its report together.

    Args:
        folder: The comparison's folder; `figures` below it exists.
        comparison: What `hierarchy.experiments.comparison` returns.
        faces: Gives test faces by id, or None; without it only ids are shown.
    """
    labels = short_names([run["name"] for run in comparison["runs"]])
    record = ComparisonRecord(folder, comparison, labels)
    sections = [
        _verdict(record),
        _runs(record),
        *(_pair(record, number, pair) for number, pair in enumerate(comparison.get("pairs") or (), 1)),
        _repeats(record),
        _levels(record),
        _cost(record),
        side_by_side_section(
            comparison.get("side_by_side") or (),
            classes=comparison["classes"],
            labels=labels,
            folder=folder,
            synthetic=bool(comparison.get("synthetic")),
            faces=faces,
            table=SIDE_BY_SIDE if (folder / SIDE_BY_SIDE).is_file() else "",
        ),
        _omitted(comparison),
        _repeat(comparison),
    ]
    name = f"Comparison of {len(labels)} runs" if len(labels) > 2 else " against ".join(labels.values())
    classes, n = comparison["classes"], comparison["test"]["n"]
    return Page(
        title=titled(name, synthetic=bool(comparison.get("synthetic"))),
        subtitle=f"{len(labels)} runs on the same {n:,} test faces of {len(classes)} emotions: {', '.join(classes)}.",
        banner=SYNTHETIC if comparison.get("synthetic") else "",
        sections=[section for section in sections if section.blocks],
    )


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them share; letters where that is not enough to tell them apart briefly.

    Args:
        names: Different names, words joined by hyphens.
    """
    words = {name: str(name).split("-") for name in names}
    common = set.intersection(*(set(held) for held in words.values())) if len(names) > 1 else set()
    short = {name: "-".join(word for word in held if word not in common) for name, held in words.items()}
    if (
        all(short.values())
        and len(set(short.values())) == len(names)
        and max(map(len, short.values())) <= _LONGEST_LABEL
    ):
        return short
    return {name: f"run {_letter(number)}" for number, name in enumerate(names)}


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else str(number + 1)


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
        p: Of a paired test, where there is one; it must agree before a difference is called one.
        test: What that test is called.

    Returns:
        "no clear difference" unless the interval lies on one side of zero and p is below 0.05.
    """
    delta, low, high = (100 * figure[key] for key in ("difference", "low", "high"))
    tested = f"; {test} {_p(p)}" if known(p) else ""
    numbers = f"{b} minus {a} is {delta:+z.1f} points, 95 % interval {low:+z.1f} to {high:+z.1f}{tested}"
    if low <= 0 <= high or (known(p) and p >= _ALPHA):
        return f"{name}: no clear difference at this n ({n:,}). {numbers}."
    better, worse = (b, a) if delta > 0 else (a, b)
    return f"{name}: {better} is better than {worse} on these faces. {numbers}."


def _p(p: float) -> str:
    return f"p {chance(p)}" if p < 0.001 else f"p = {chance(p)}"


def _pair_verdicts(record: ComparisonRecord, pair: Mapping) -> tuple[str, ...]:
    names = {key: record.labels[pair[key]] for key in ("a", "b")}
    # McNemar's test is about the share of right answers, hence about top-1 alone.
    tests = {"top1": (pair.get("mcnemar") or {}).get("p")}
    return tuple(
        verdict(label, pair["differences"][measure], n=pair["n"], p=tests.get(measure), **names)
        for measure, label in _MEASURES.items()
        if measure in pair["differences"]
    )


def _seed_verdicts(record: ComparisonRecord) -> tuple[str, ...]:
    names = configuration_names(record.comparison.get("repeats") or ())
    return tuple(
        verdict(
            "Mean top-1 accuracy",
            pair["differences"]["top1"],
            n=pair["n"],
            p=pair["differences"]["top1"]["p"],
            test="Welch",
            a=names[tuple(pair["a"])],
            b=names[tuple(pair["b"])],
        )
        for pair in record.comparison.get("repeated_pairs") or ()
    )


def _verdict(record: ComparisonRecord) -> Section:
    best = max(record.runs, key=lambda run: run["top1"])
    pairs, repeats = record.comparison.get("pairs") or (), record.comparison.get("repeats")
    blocks: list[Block] = [Warn(text) for text in record.comparison.get("warnings") or ()]
    if lines := _seed_verdicts(record):
        blocks += [Text("Over seeds, by which settings rather than single trainings are judged:"), Items(lines)]
    blocks += [
        Text(
            f"The highest top-1 accuracy is {percent(best['top1'])} ({record.labels[best['name']]}). "
            "Whether it is really higher is for the paired differences to say:"
        ),
        Items(tuple(line for pair in pairs for line in _pair_verdicts(record, pair)[:1])),
    ]
    if len(pairs) > 1:
        blocks.append(Text(f"The p values are not corrected for making {len(pairs)} comparisons."))
    people = record.comparison["test"].get("subjects")
    if people:
        blocks.append(
            Warn(
                f"The test faces show {people:,} people. Intervals draw whole people; McNemar's test takes the faces "
                "for independent, so its p is too small."
            )
        )
    if not repeats:
        seeds = ", ".join(sorted({plain(run.get("seed")) for run in record.runs}))
        blocks.append(
            Text(
                f"Each configuration was trained once (seed {seeds}). Intervals and tests cover the choice of test "
                "faces; they say nothing of how much the same configuration would differ with another seed."
            )
        )
    return Section("Verdict", "", blocks)


def _runs(record: ComparisonRecord) -> Section:
    rows = [(record.labels[run["name"]], *(with_span(run, measure) for measure in _MEASURES)) for run in record.runs]
    with record.drawing("runs", "Runs with 95 % intervals", 5.6, 1.2 + 0.56 * len(rows)) as axes:
        figures.intervals(axes[0, 0], [(record.labels[run["name"]], run) for run in record.runs])
    caption = f"n = {record.comparison['test']['n']:,} test faces; 95 % bootstrap intervals in brackets"
    return Section(
        "Runs",
        "Overlapping intervals do not prove a tie, nor do separate ones alone prove a difference: "
        "all runs answered the same faces, so the paired sections below are sharper. Lower is better for ECE alone.",
        [
            Table(("Run", *_COLUMNS), rows, caption=caption),
            _further_table(record),
            Images((Image(record.figure("runs"), "Top-1, balanced accuracy and macro F1 with intervals", 5.6),)),
            _settings_table(record),
        ],
    )


def _further_table(record: ComparisonRecord) -> Table:
    rows = [
        (
            record.labels[run["name"]],
            *(points(run.get(key)) for key in ("top2", "top3", "weighted_f1", "group_top1")),
            decimals(run.get("ece")),
        )
        for run in record.runs
    ]
    return Table(("Run", "Top-2 %", "Top-3 %", "Weighted F1 %", "Right group %", "ECE"), rows)


def _settings_table(record: ComparisonRecord) -> Table:
    rows = [
        (
            record.labels[run["name"]],
            str(run["name"]),
            ", ".join(dict.fromkeys([mode_words(run), *_texts(run, "headline", "framework")])),
            plain(run.get("taxonomy")),
            plain(run.get("seed")),
            *(_each(run.get(key)) for key in ("models", "epochs", "balance")),
            _data_words(run.get("pixels")),
        )
        for run in record.runs
    ]
    columns = ("Run", "Folder", "Mode, answer, framework", "Taxonomy", "Seed", "Model", "Epochs", "Balance", "Data")
    return Table(columns, rows, caption="What was trained", words=tuple(range(len(columns))))


def _data_words(pixels: Mapping | None) -> str:
    """Whether a run's data is as published, in few words."""
    if pixels is None:
        return "not compared with published"
    if not pixels["known"]:
        return "no published figures"
    return "ALTERED" if pixels["altered"] else "as published"


def _texts(run: Mapping, *keys: str) -> list[str]:
    """What is known of a run under `keys`."""
    return [plain(run[key]) for key in keys if run.get(key)]


def _each(values: Mapping | None) -> str:
    """What stages were set to: once where they agree, by stage where they do not."""
    texts = {stage: plain(value) for stage, value in (values or {}).items()}
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), plain(None))
    return ", ".join(f"{stage} {text}" for stage, text in texts.items())


def _pair(record: ComparisonRecord, number: int, pair: Mapping) -> Section:
    a, b = record.labels[pair["a"]], record.labels[pair["b"]]
    blocks: list[Block] = [Items(_pair_verdicts(record, pair))]
    test = pair.get("mcnemar")
    if test:
        blocks.append(
            Text(
                f"Of {pair['n']:,} faces, {test['a_only']:,} were named rightly by {a} alone and {test['b_only']:,} by "
                f"{b} alone (exact McNemar test, {_p(test['p'])})."
            )
        )
    if pair.get("per_class"):
        blocks.append(_pair_classes(record, number, pair, a=a, b=b))
    return Section(
        f"{a} against {b}",
        f"A bar to the right: {b} finds more faces of that emotion than {a}. "
        "Emotions with few faces swing widely; the bars carry no interval.",
        blocks,
    )


def _pair_classes(record: ComparisonRecord, number: int, pair: Mapping, *, a: str, b: str) -> Block:
    per_class, name = pair["per_class"], f"recall_deltas_{number}"
    with record.drawing(name, "Difference in recall", 4.8, 1.2 + 0.32 * len(per_class)) as axes:
        figures.recall_deltas(axes[0, 0], per_class, a=a, b=b)
    rows = [
        (
            row["class"],
            *(points(row[key]) for key in ("recall_a", "recall_b")),
            signed(row["recall_delta"]),
            *(points(row[key]) for key in ("f1_a", "f1_b")),
            signed(row["f1_delta"]),
        )
        for row in per_class
    ]
    columns = ("Emotion", "Recall A", "B", "B - A", "F1 A", "B", "B - A")
    return Beside(
        (
            Images((Image(record.figure(name), f"Recall of {b} minus recall of {a} by emotion", 4.8),)),
            Table(columns, rows, caption=f"In percent and points; A = {a}, B = {b}"),
        )
    )


def _repeats(record: ComparisonRecord) -> Section:
    repeats = record.comparison.get("repeats") or ()
    rows = [
        (
            plain(repeat.get("configuration")),
            plain(repeat.get("seeds")),
            whole(len(repeat["runs"])),
            *(spread(repeat.get(measure)) for measure in _MEASURES),
        )
        for repeat in repeats
    ]
    columns = ("Configuration", "Seeds", "Runs", *_COLUMNS)
    tables = [Table(columns, rows, words=(0, 1))] if rows else []
    if pairs := record.comparison.get("repeated_pairs"):
        tables.append(_repeated_pairs(record, pairs))
    return Section(
        "Several seeds",
        "Mean and standard deviation: how much training itself varies. A gap between configurations that is not "
        "clearly larger is noise.",
        tables,
    )


def _repeated_pairs(record: ComparisonRecord, pairs: Sequence[Mapping]) -> Table:
    names = configuration_names(record.comparison["repeats"])
    rows = [
        (
            f"{names[tuple(pair['b'])]} minus {names[tuple(pair['a'])]}",
            *(difference(pair["differences"][measure]) for measure in _MEASURES),
            _p(pair["differences"]["top1"]["p"]),
        )
        for pair in pairs
    ]
    caption = (
        "Means over seeds, differences in points. The intervals cover the choice of test faces and the spread between "
        "trainings (Welch); p is that of top-1"
    )
    return Table(("Configurations", *_COLUMNS, "p"), rows, caption=caption)


def configuration_names(repeats: Sequence[Mapping]) -> dict[tuple[str, ...], str]:
    """What to call configurations that were trained with several seeds: the kind, and the settings that not all share.

    Args:
        repeats: Those of a comparison.

    Returns:
        Names of a configuration's runs -> its name; the runs themselves where told settings do not tell them apart.
    """
    told = {tuple(repeat["runs"]): repeat["configuration"].split(", ") for repeat in repeats}
    common = set.intersection(*(set(parts[1:]) for parts in told.values())) if told else set()
    names = {runs: ", ".join(part for part in parts if part not in common) for runs, parts in told.items()}
    return names if len(set(names.values())) == len(names) else {runs: " / ".join(runs) for runs in told}


def _levels(record: ComparisonRecord) -> Section:
    tables = (("stages", "stage", "Stages, each on all faces of its group"), ("routings", "routing", "Answers"))
    blocks = [
        _level_table(record, rows, key, caption)
        for name, key, caption in tables
        if (rows := record.comparison.get(name))
    ]
    return Section(
        "Inside the hierarchy",
        "For a flat run the stages are implied: probabilities summed by group, and renormalised within the true group. "
        "Oracle is given the true group: an upper bound, not an answer.",
        blocks,
    )


def _level_table(record: ComparisonRecord, rows: Sequence[Mapping], key: str, caption: str) -> Table:
    cells = [
        (plain(row[key]), record.labels[row["run"]], whole(row.get("n")), *(with_span(row, m) for m in _MEASURES))
        for row in rows
    ]
    return Table((key.capitalize(), "Run", "Faces", *_COLUMNS), cells, caption=caption, words=(0, 1))


def _cost(record: ComparisonRecord) -> Section:
    keys = ("train_cpu_seconds", "parameters", "multiply_adds", "latency_ms")
    if not any(known(run.get(key)) for run in record.runs for key in keys):
        return Section("Cost", "", [])
    rows = [
        (
            record.labels[run["name"]],
            percent(run["top1"]),
            whole(run.get("train_cpu_seconds")),
            duration(run.get("train_cpu_seconds")),
            millions(run.get("parameters")),
            millions(run.get("multiply_adds")),
            _latency(run.get("latency_ms")),
        )
        for run in record.runs
    ]
    columns = ("Run", "Top-1", "CPU-seconds", "CPU time", "Parameters", "Multiply-adds", "Latency ms")
    images = tuple(image for cost in _COSTS if (image := _draw_cost(record, cost)))
    return Section(
        "Cost",
        "Up and to the left is better. Cost axes are logarithmic; a hierarchy runs all its stages for a soft answer.",
        [Table(columns, rows), *([Images(images)] if images else [])],
    )


def _draw_cost(record: ComparisonRecord, cost: str) -> Image | None:
    rows = [
        {**run, "name": record.labels[run["name"]]} for run in record.runs if known(run.get(cost)) and run[cost] > 0
    ]
    if len(rows) < 2:
        return None
    name, title, xlabel = _COSTS[cost]
    with record.drawing(name, title, 4.7, 3.5 + 0.17 * len(rows)) as axes:
        figures.accuracy_against_cost(axes[0, 0], rows, cost=cost, xlabel=xlabel)
    return Image(record.figure(name), f"Top-1 accuracy by {xlabel}", 4.7)


def _omitted(comparison: Mapping) -> Section:
    items = tuple(f"{item['what']}: {item['why']}" for item in comparison.get("omitted") or ())
    return Section("Left out", "What these runs do not allow to compare, and why.", [Items(items)] if items else [])


def _repeat(comparison: Mapping) -> Section:
    fingerprint = f"Fingerprint of the test rows: {plain(comparison['test'].get('fingerprint'))}."
    command = [Code(str(comparison["command"]))] if comparison.get("command") else []
    return Section("How to repeat this", "", [*command, Text(fingerprint)])


def _latency(value: object) -> str:
    median = value.get("median") if isinstance(value, Mapping) else value
    return f"{median:.1f}" if known(median) else points(None)
