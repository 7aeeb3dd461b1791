"""The reports of cross-validations: folds, confusion, emotions, learning curves, protocol, and pairs fold by fold."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.experiments import figures
from fer_hierarchy.hierarchy.experiments.crossval_table import GATE
from fer_hierarchy.hierarchy.experiments.grid import Grid
from fer_hierarchy.hierarchy.experiments.sections import (
    MOST_PANELS,
    panels,
    settings_section,
    short_names,
    verdict,
)
from fer_hierarchy.hierarchy.experiments.table import CHOOSING
from fer_hierarchy.hierarchy.reports.figures import Drawings, class_scores, confusion_matrix
from fer_hierarchy.hierarchy.reports.page import (
    Beside,
    Block,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    facts,
    how_to_repeat,
    limited,
    measured,
    report,
)
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import (
    MEASURE_COLUMNS,
    MEASURES,
    chance,
    difference,
    group_words,
    known,
    mode_words,
    percent,
    plain,
    points,
    signed,
    span,
    spread,
    whole,
    with_span,
)

# Run -> stage -> history.csv.
Histories = Mapping[str, Mapping[str, pd.DataFrame]]


def crossval_page(drawings: Drawings, planned: Grid, table: Mapping, histories: Histories) -> Page:
    """Draw the figures of a cross-validation and put its report together.

    Args:
        drawings: The figures of the report.
        planned: Its settings.
        table: What `hierarchy.experiments.crossval_table.crossval_table` returns.
        histories: Run -> stage -> history.csv.
    """
    sections = [_summary(table)]
    if table["rows"]:
        sections += [_folds(drawings, table), _repeats(table), _confusions(drawings, table)]
        sections += [_emotions(drawings, table), _curves(drawings, table, histories), _protocol(table)]
    sections += [settings_section(planned), how_to_repeat(table["command"])]
    done, total = len(table["rows"]), table["folds"] * table["repeats"]
    size = f"{table['folds']}-fold cross-validation" + f", repeated {table['repeats']} times" * _repeated(table)
    subtitle = f"{size}: {done} of {total} runs ({table['mode']})."
    return report(f"Cross-validation {drawings.folder.name}", subtitle, sections, synthetic=drawings.synthetic)


def _repeated(table: Mapping) -> bool:
    return table["repeats"] > 1


def _measures(table: Mapping) -> dict[str, str]:
    """Measures and the titles of their columns; the gate's has the name of the stage."""
    gate = f"{'Implied ' * (table['mode'] == FLAT)}{table['gate']} %"
    return {**MEASURE_COLUMNS, **({GATE: gate[0].upper() + gate[1:]} if GATE in table["means"]["runs"] else {})}


def _label(table: Mapping, row: Mapping) -> str:
    """A run by its fold, and its repeat where there are several."""
    return f"{row['repeat']}.{row['fold']}" if _repeated(table) else f"fold {row['fold']}"


def _summary(table: Mapping) -> Section:
    blocks: list[Block] = []
    if table["rows"]:
        blocks += [_tiles(table), Text(_words(table)), Text(_caution(table)), *_warnings(table)]
    if failed := table["failed"]:
        total = table["folds"] * table["repeats"]
        text = f"{len(failed)} of {total} runs failed, so that not every face has been a test face:"
        blocks += [Warn(text), Items([f"{entry['run']}: {entry['error'] or 'not trained'}" for entry in failed])]
    return Section("Summary", "", blocks)


def _tiles(table: Mapping) -> Tiles:
    """Mean and standard deviation over folds, or over the means of repeats, and the pooled score."""
    over = f"mean ± SD of {table['repeats']} repeats" if _repeated(table) else "mean ± SD of folds"
    means, pooled = table["means"]["over_repeats" if _repeated(table) else "runs"], table["pooled"]
    return Tiles(
        [
            Tile(
                MEASURES.get(measure, title.removesuffix(" %")),
                f"{spread(means[measure])} %",
                over + (f"; pooled {with_span(pooled, measure)}" if measure in pooled else ""),
            )
            for measure, title in _measures(table).items()
        ]
    )


def _words(table: Mapping) -> str:
    pooled, people, synthetic = table["pooled"], table["data"]["subjects"], table["synthetic"]
    kind = "flat" if table["mode"] == FLAT else "hierarchical"
    drawn = "synthetic faces" if synthetic else f"faces of {table['data']['dataset']}"
    common = max(table["emotions"], key=lambda row: row["support"])
    times = f" once in each of {table['repeats']} repeats" if _repeated(table) else " once"
    each = f"Each{times} a test face" if not table["failed"] and not table["limit"] else "Those tested"
    seeds = " to ".join(map(str, dict.fromkeys((table["seeds"][0], table["seeds"][-1]))))
    by = "subject" if table["split_by"] == "subject" and people else "face"
    return (
        f"{table['data']['faces']:,} {drawn}{f' of {people:,} people' if people else ''} stand in "
        f"{table['folds']} folds, cut by {by}; seed {seeds}. {each}, the {kind} model "
        f"names {percent(pooled['top1'])} of {pooled['n']:,} rightly (95 % interval {span(pooled, 'top1')}, drawing "
        f"{pooled['drawn']}); always predicting {common['class']} would be right for "
        f"{percent(common['support'] / pooled['n'])}, and chance in balanced accuracy is "
        f"{percent(1 / len(table['classes']))}."
    )


def _caution(table: Mapping) -> str:
    text = (
        "How to read the spread: folds share most of their training faces, so their scores are no independent "
        "measurements, and their standard deviation divided by the root of their number is no standard error. "
        f"The interval draws {table['pooled']['drawn']} again from the pooled predictions: it shows how much other "
        "test faces would matter to models such as these, not how much other training faces would."
    )
    return text + " Repeats shuffle the same faces: their spread is that of the cut and the seed." * _repeated(table)


def _warnings(table: Mapping) -> list[Warn]:
    warnings = limited([table["limit"]])
    if shared := sum(row["shared"] for row in table["rows"]):
        text = (
            f"People stand on both sides: {shared:,} of {table['pooled']['n']:,} test faces show somebody who is "
            "trained on too, which inflates every score; --split-by subject keeps people apart."
        )
        warnings.append(Warn(text))
    return warnings


def _folds(drawings: Drawings, table: Mapping) -> Section:
    measures, rows = _measures(table), table["rows"]
    columns = {
        "Repeat": ("repeat", str),
        "Seed": ("seed", str),
        "Fold": ("fold", str),
        "Faces": ("n", whole),
        "People": ("subjects", whole),
        "Shared": ("shared", whole),
    }
    shared = any(row["shared"] for row in rows)
    left_out = ["Repeat", "Seed"] * (not _repeated(table)) + ["Shared"] * (not shared)
    left_out += ["People"] * (not any(row["subjects"] for row in rows))
    lead = {name: cell for name, cell in columns.items() if name not in left_out}
    scores = measured(lambda row, measure: points(row[measure]), measures)
    cost = {"Validation F1 %": (CHOOSING, points), "CPU-s": ("train_cpu_seconds", whole)}
    made, empty = Table.of(rows, {**lead, **scores, **cost}), [""] * (len(lead) - 1)
    mean, pooled = table["means"]["runs"], table["pooled"]
    ends = [
        ("mean ± SD", *empty, *(spread(mean[name]) for name in measures), "", ""),
        ("pooled", *empty, *(points(pooled.get(name)) for name in measures), "", ""),
    ]
    caption = "Each run evaluated on its fold; then mean and standard deviation, and the scores of all predictions"
    caption += " together" + ". Shared: test faces of people who are trained on too" * shared
    shares = {title.removesuffix(" %"): [row[name] for row in rows] for name, title in measures.items()}
    image = drawings.draw(
        "folds",
        partial(figures.fold_scores, measures=shares),
        title="Scores of the folds",
        alt="Scores of every fold as dots, their mean as a line and one standard deviation as a band",
        width=6.2,
        height=0.85 + (0.42 + 0.006 * len(rows)) * len(shares),
    )
    return Section(
        "Folds",
        "Each run is in the folder of its name below this report, with a report of its own. Validation was cut from "
        "the training folds and chose the epoch; the fold itself chose nothing.",
        [Table(made.columns, [*made.rows, *ends], caption, strong=(len(rows), len(rows) + 1)), image],
    )


def _repeats(table: Mapping) -> Section:
    repeats, measures = table["means"]["of_repeats"], _measures(table)
    total = {"repeat": "means of repeats", "runs": len(table["rows"]), **table["means"]["over_repeats"]}
    columns = {"Repeat": ("repeat", plain), "Runs": ("runs", plain)}
    scores = measured(lambda row, measure: spread(row[measure]), measures)
    caption = "Scores of each repeat in percent, mean ± standard deviation over its folds"
    made = Table.of([*repeats, total], {**columns, **scores}, caption=caption, strong=(len(repeats),))
    return Section(
        "Repeats",
        "A row is one repeat: mean and standard deviation over its folds. The last row is mean and standard deviation "
        "of the means above it: what another cut and training change, on the same faces.",
        [made] if _repeated(table) else [],
    )


def _confusions(drawings: Drawings, table: Mapping) -> Section:
    pooled, classes, rows = table["pooled"], table["classes"], table["rows"]
    side = 1.3 + 0.62 * len(classes)
    whole_confusion = drawings.draw(
        "confusion",
        partial(confusion_matrix, confusion=pooled["confusion"], classes=classes),
        title="Confusion, all folds",
        alt="Confusion of emotions, summed over the folds",
        width=side,
        height=side,
    )

    def small(ax, row, left, bottom) -> None:
        figures.small_confusion(ax, row["confusion"], classes, left=left, bottom=bottom)
        ax.set_title(f"{_label(table, row)}, {100 * row['top1']:.0f} %")

    of_folds = panels(
        drawings,
        "confusion_folds",
        rows,
        small,
        title="Confusion, fold by fold",
        alt="Confusion of emotions of each fold",
        across=table["folds"],
        width=1.35,
        height=1.55,
    )
    every_face = _repeated(table) and not table["failed"] and not table["limit"]
    counted = f"; each face counts {table['repeats']} times, once for each repeat" if every_face else ""
    return Section(
        "Confusion",
        "Each row is a true emotion and sums to 100 %; small numbers are faces. In the fold matrices the numbers are "
        f"the shares named rightly, in percent.{_first_only(table)}",
        [
            Text(f"Summed over {len(rows)} runs: {pooled['n']:,} predictions{counted}."),
            Images((whole_confusion, of_folds)),
        ],
    )


def _first_only(table: Mapping) -> str:
    runs = len(table["rows"])
    return f" Shown are the first {MOST_PANELS} of {runs} runs." * (runs > MOST_PANELS)


def _emotions(drawings: Drawings, table: Mapping) -> Section:
    emotions = table["emotions"]
    columns = {
        "Emotion": ("class", str),
        "Precision %": ("precision", points),
        "Recall %": ("recall", points),
        "F1 %": ("f1", points),
        "Recall of folds %": ("recalls", spread),
        "Faces": ("support", whole),
    }
    image = drawings.draw(
        "per_class",
        partial(class_scores, per_class=emotions),
        title="Precision and recall by emotion",
        alt="Precision (hollow) and recall (filled) of each emotion, all predictions together",
        width=5.2,
        height=1.1 + 0.36 * len(emotions),
    )
    return Section(
        "Emotion by emotion",
        "Pooled over all folds; beside it mean and standard deviation of the folds' recalls. A rare emotion has few "
        "test faces in a fold, so its recall swings.",
        [Beside((Table.of(emotions, columns, caption="Scores of all predictions together"), image))],
    )


def _curves(drawings: Drawings, table: Mapping, histories: Histories) -> Section:
    trained = dict.fromkeys(stage for stages in histories.values() for stage in stages)
    images = []
    for stage in sorted(trained, key=[*table["models"], *trained].index):
        shown = [row for row in table["rows"] if stage in histories.get(row["run"], {})]

        def curve(ax, row, left, _bottom, stage=stage) -> None:
            figures.small_curve(ax, histories[row["run"]][stage], left=left)
            ax.set_title(_label(table, row))

        image = panels(
            drawings,
            f"curves_{stage}",
            shown,
            curve,
            title="Accuracy by epoch" + f": {stage}" * (stage != FLAT),
            alt=f"Accuracy of {stage} by epoch in each fold, on validation (dark) and train faces (pale)",
            across=table["folds"],
            width=1.3,
            height=1.15,
        )
        images.append(image)
    return Section(
        "Training",
        "Dark: validation faces, which chose the epoch. Pale: training faces, augmented and while the weights still "
        f"change, so they may lie below.{_first_only(table)}",
        [Images(images)] if images else [],
    )


def _protocol(table: Mapping) -> Section:
    data = table["data"]
    models = dict.fromkeys(str(model) for model in table["models"].values() if model)
    kept = "a person stands in one fold only" if data["subjects"] else "identical faces together; no subjects are known"
    by_subject = f"by subject: {kept}"
    values = {
        "Data set": data["dataset"],
        "Path": data["path"],
        "Fingerprint of the faces": data["fingerprint"],
        "Faces": whole(data["faces"]),
        "People": whole(data["subjects"]) if data["subjects"] else "not known",
        "Images left out as bad": data["bad"],
        "Folds": f"{table['folds']}, stratified by emotion",
        "Cut": by_subject if table["split_by"] == "subject" else "by sample: people may stand in several folds",
        "Repeats and seeds": f"{table['repeats']}; {', '.join(map(str, table['seeds']))}",
        "Mode and models": f"{mode_words(table)}: {', '.join(models)}",
        "Taxonomy": f"{table['taxonomy'].get('name', '')} ({group_words(table['taxonomy'])})",
        "Emotions left out": ", ".join(table["excluded"]) or "none",
        "Limit": f"{table['limit']:,} rows of each split" if table["limit"] else "none",
    }
    return Section(
        "Protocol",
        "folds.csv has the fold of every face. All rows are pooled before folds are cut: where a data set has official "
        "splits, scores here are not comparable with scores on its official test split.",
        [facts({name: value for name, value in values.items() if known(value)})],
    )


def crossval_pairs_page(drawings: Drawings, table: Mapping) -> Page:
    """Draw the figures of cross-validations over the same folds and put the report on their differences together.

    Args:
        drawings: The figures of the report.
        table: What `hierarchy.experiments.comparison.compare_crossvals` returns, with `command`.
    """
    labels = short_names([one["name"] for one in table["crossvals"]])
    people = f" of {table['subjects']:,} people" if table["subjects"] else ""
    repeats = f", {table['repeats']} repeats" * _repeated(table)
    cut = {
        "Fingerprint of the faces": table["fingerprint"],
        "Cut": f"by {table['split_by']}",
        "Seeds": table["seeds"],
    }
    commands = [*(one["command"] for one in table["crossvals"]), table["command"]]
    sections = [
        _pairs_summary(table, labels),
        _crossvals(table, labels),
        *(_pair(drawings, table, number, labels) for number in range(len(table["pairs"]))),
        how_to_repeat(facts(cut), *commands, hint="The commands below, in the project's folder."),
    ]
    return report(
        f"Cross-validations {' and '.join(labels.values())}",
        f"The same {table['folds']} folds{repeats} of {table['faces']:,} faces{people} ({table['dataset']}).",
        sections,
        synthetic=drawings.synthetic,
    )


def _pairs_summary(table: Mapping, labels: Mapping[str, str]) -> Section:
    lines = []
    for pair in table["pairs"]:
        names: Any = {"n": pair["n"], "a": labels[pair["a"]], "b": labels[pair["b"]]}
        p = None if _repeated(table) else pair["mcnemar"][0]["p"]
        over_folds = f" The t test over folds has p {chance(pair['measures']['top1']['p'])}."
        lines.append(verdict("Top-1 accuracy", pair["pooled"]["top1"], p=p, **names) + over_folds)
        lines.append(verdict("Balanced accuracy", pair["pooled"]["balanced_accuracy"], **names))
    drawn = "people" if table["subjects"] else "faces"
    text = (
        f"Intervals draw {drawn} again from the pooled predictions of both. Folds share most of their training faces: "
        "the t test over folds widens its variance for that (Nadeau and Bengio, 2003), and neither shows how much "
        "other training data would change."
    )
    return Section("Summary", "", [Items(lines), Text(text)])


_PAIRED = {**MEASURE_COLUMNS, GATE: "Gate %"}


def _crossvals(table: Mapping, labels: Mapping[str, str]) -> Section:
    crossvals = table["crossvals"]
    name = {"Name": lambda one: labels[one["name"]]}
    scores = measured(lambda one, measure: spread(one["means"]["runs"].get(measure)), _PAIRED)
    caption = "Scores in percent, mean ± standard deviation over all folds"
    models = {"Models": lambda one: ", ".join(dict.fromkeys(map(str, one["models"].values())))}
    return Section(
        "Cross-validations",
        "Mean and standard deviation over all folds. The gate of a flat model is implied by its predictions.",
        [
            Table.of(crossvals, {**name, "Mode": ("mode", str), **scores}, caption=caption, words=(0, 1)),
            Table.of(crossvals, {**name, "Folder": ("name", str), **models}, caption="Where they are", words=(0, 1, 2)),
        ],
    )


def _pair(drawings: Drawings, table: Mapping, number: int, labels: Mapping[str, str]) -> Section:
    pair = table["pairs"][number]
    a, b = labels[pair["a"]], labels[pair["b"]]
    rows = [
        {"name": title.removesuffix(" %"), "pooled": pair["pooled"].get(name), **pair["measures"][name]}
        for name, title in _PAIRED.items()
        if name in pair["measures"]
    ]
    deltas = {row["name"]: row["of_runs"] for row in rows}
    image = drawings.draw(
        f"differences_{number + 1}",
        partial(figures.fold_differences, measures=deltas, xlabel=f"percentage points, {b} minus {a}"),
        title=f"{b} minus {a}, fold by fold",
        alt=f"{b} minus {a} in each fold as dots, their mean as a line and one standard deviation as a band",
        width=6.2,
        height=1.0 + 0.5 * len(rows),
    )
    return Section(
        f"{b} against {a}",
        "A dot is one fold, on which both were evaluated; the line is the mean, the band one standard deviation.",
        [_measure_table(rows, a, b), image, _fold_table(table, rows), _mcnemar_table(pair, a, b)],
    )


def _measure_table(rows: Sequence[Mapping], a: str, b: str) -> Table:
    columns = {
        "Measure": ("name", str),
        a: ("a", spread),
        b: ("b", spread),
        "Difference": ("difference", lambda delta: f"{signed(delta['mean'])} ± {points(delta['std'])}"),
        "corrected t p": ("p", chance),
        "Pooled difference (95 %)": ("pooled", lambda pooled: difference(pooled) if pooled else plain(None)),
    }
    return Table.of(rows, columns, caption=f"In percent; {b} minus {a}, mean and standard deviation over folds")


def _fold_table(table: Mapping, rows: Sequence[Mapping]) -> Table:
    folds = [(repeat + 1, fold + 1) for repeat in range(table["repeats"]) for fold in range(table["folds"])]
    names = [f"{repeat}.{fold}" if _repeated(table) else str(fold) for repeat, fold in folds]
    deltas = zip(*([signed(delta) for delta in row["of_runs"]] for row in rows), strict=True)
    lines = [(name, *cells) for name, cells in zip(names, deltas, strict=True)]
    return Table(("Fold", *(row["name"] for row in rows)), lines, caption="Difference of each fold, in points")


def _mcnemar_table(pair: Mapping, a: str, b: str) -> Table:
    columns = {
        "Repeat": ("repeat", plain),
        f"only {a} right": ("a_only", plain),
        f"only {b} right": ("b_only", plain),
        "p": ("p", chance),
    }
    caption = (
        "McNemar's test on all faces of a repeat; it takes faces of one person for independent: its p is too small"
    )
    return Table.of(pair["mcnemar"], columns, caption=caption)
