"""The report of a comparison of runs: verdict, runs, pairs, several seeds, stages, cost and single faces."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fer_hierarchy.hierarchy.experiments.guarantees import guarantees_section
from fer_hierarchy.hierarchy.experiments.sections import (
    differences_table,
    seeds_section,
    short_names,
    verdict,
)
from fer_hierarchy.hierarchy.experiments.side_by_side import FacesOf, side_by_side_section
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.reports.page import (
    Beside,
    Block,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Warn,
    how_to_repeat,
    measured,
    report,
)
from fer_hierarchy.hierarchy.wording import (
    MEASURES,
    decimals,
    known,
    millions,
    mode_words,
    p_text,
    percent,
    plain,
    points,
    signed,
    split_faces,
    training_time,
    whole,
    with_span,
)

SIDE_BY_SIDE = "side_by_side.csv"
_COSTS = {
    "whole_cpu_seconds": ("cost_training", "Accuracy and training", "CPU-seconds of training"),
    "multiply_adds": ("cost_inference", "Accuracy and size", "multiply-adds of one face"),
}


def comparison_page(drawings: Drawings, comparison: Mapping, faces: FacesOf | None = None) -> Page:
    """Draw the figures of a comparison and put its report together.

    Args:
        drawings: The figures of the report.
        comparison: What `hierarchy.experiments.comparison.compare` returns.
        faces: Gives test faces by id, or None; without it only ids are shown.
    """
    labels = short_names([run["name"] for run in comparison["runs"]])
    runs = [{**run, "label": labels[run["name"]], "place": at} for at, run in enumerate(comparison["runs"])]
    test, classes = comparison["test"], ", ".join(comparison["classes"])
    sections = [
        _verdict(comparison, runs, labels),
        _runs(drawings, runs, test),
        *(_pair(drawings, number, pair, labels) for number, pair in enumerate(comparison.get("pairs") or (), 1)),
        _seeds(comparison),
        _levels(comparison, labels),
        guarantees_section(comparison, labels, configuration_names(comparison.get("repeats") or ())),
        _cost(drawings, runs),
        side_by_side_section(
            drawings,
            comparison.get("side_by_side") or (),
            classes=comparison["classes"],
            labels=labels,
            faces=faces,
            table=SIDE_BY_SIDE if (drawings.folder / SIDE_BY_SIDE).is_file() else "",
        ),
        _omitted(comparison),
        _repeat(comparison),
    ]
    name = f"Comparison of {len(runs)} runs" if len(runs) > 2 else " against ".join(labels.values())
    subtitle = f"{len(runs)} runs on the same {test['n']:,} {split_faces(test)}, with the emotions {classes}."
    return report(name, subtitle, sections, synthetic=drawings.synthetic)


def _pair_verdicts(pair: Mapping, labels: Mapping[str, str]) -> list[str]:
    names = {key: labels[pair[key]] for key in ("a", "b")}
    # McNemar's test is about the share of correct predictions, hence about top-1 alone.
    tests = {"top1": (pair.get("mcnemar") or {}).get("p")}
    return [
        verdict(name, pair["differences"][measure], n=pair["n"], p=tests.get(measure), **names)
        for measure, name in MEASURES.items()
        if measure in pair["differences"]
    ]


def _verdict(comparison: Mapping, runs: Sequence[Mapping], labels: Mapping[str, str]) -> Section:
    best, pairs = max(runs, key=lambda run: run["top1"]), comparison.get("pairs") or ()
    blocks: list[Block] = [Warn(text) for text in comparison.get("warnings") or ()]
    if repeated := comparison.get("repeated_pairs"):
        names = configuration_names(comparison["repeats"])
        lines = [
            verdict(
                "Mean top-1 accuracy",
                top1 := pair["differences"]["top1"],
                n=pair["n"],
                p=top1["p"],
                test="Welch",
                **{key: names[tuple(pair[key])] for key in ("a", "b")},
            )
            for pair in repeated
        ]
        blocks += [Text("Over seeds, which compare settings rather than single trainings:"), Items(lines)]
    blocks += [
        Text(
            f"The highest top-1 accuracy is {percent(best['top1'])} ({best['label']}). "
            "The paired differences show whether it is really higher:"
        ),
        Items([_pair_verdicts(pair, labels)[0] for pair in pairs]),
    ]
    if len(runs) == 2:
        blocks.append(Text(" ".join(f"Cost of {run['label']}: {_cost_words(run)}." for run in runs)))
    if len(pairs) > 1:
        blocks.append(Text(f"The p values are not corrected for making {len(pairs)} comparisons."))
    if people := comparison["test"].get("subjects"):
        blocks.append(
            Warn(
                f"The {split_faces(comparison['test'])} show {people:,} people. Intervals draw whole people; McNemar's "
                "test takes the faces for independent, so its p is too small."
            )
        )
    if not comparison.get("repeats"):
        seeds = ", ".join(sorted({plain(run.get("seed")) for run in runs}))
        blocks.append(
            Text(
                f"Each configuration was trained once (seed {seeds}). Intervals and tests cover the choice of test "
                "faces; they do not cover how much the same configuration would differ with another seed."
            )
        )
    return Section("Verdict", "", blocks)


def _runs(drawings: Drawings, runs: Sequence[Mapping], test: Mapping) -> Section:
    name = {"Run": ("label", str)}
    further = {
        "Top-2 %": ("top2", points),
        "Top-3 %": ("top3", points),
        "Weighted F1 %": ("weighted_f1", points),
        "Right group %": ("group_top1", points),
        "ECE": ("ece", decimals),
    }
    settings = {
        "Folder": ("name", str),
        "Mode, prediction, framework": lambda run: ", ".join(
            dict.fromkeys([mode_words(run), *(plain(run[key]) for key in ("headline", "framework") if run.get(key))])
        ),
        "Taxonomy": ("taxonomy", plain),
        "Seed": ("seed", plain),
        "Model": ("models", _each),
        "Epochs": ("epochs", _each),
        "Balance": ("balance", _each),
        "Data": ("pixels", _data_words),
    }
    image = drawings.draw(
        "runs",
        partial(figures.intervals, rows=[(run["label"], run) for run in runs]),
        title="Runs with 95 % intervals",
        alt="Top-1 accuracy, balanced accuracy and macro F1 of each run with 95 % bootstrap intervals",
        width=5.6,
        height=1.2 + 0.56 * len(runs),
    )
    caption = (
        f"Scores of each run in percent, n = {test['n']:,} {split_faces(test)}; 95 % bootstrap intervals in brackets"
    )
    return Section(
        "Runs",
        "Overlapping intervals do not prove a tie, nor do separate ones alone prove a difference: all runs predicted "
        "the same faces, so the paired sections below are sharper. Lower is better for ECE alone.",
        [
            Table.of(runs, {**name, **measured(with_span)}, caption=caption),
            Table.of(runs, {**name, **further}, caption="Further scores of the same runs on the same faces"),
            image,
            *_trained(Table.of(runs, {**name, **settings})),
        ],
    )


def _trained(settings: Table) -> list[Block]:
    """What differs between runs as a table, and what is the same in all as a line."""
    names, *columns = zip(settings.columns, *settings.rows, strict=True)
    columns = [column for column in columns if column[1:] != names[1:]]  # folders that are called like their runs
    shown = [column for column in columns if len(set(column[1:])) > 1]
    heading, *rows = zip(names, *shown, strict=True)
    table = Table(heading, rows, "What was trained, as far as it differs", words=range(len(heading)))
    common = "; ".join(f"{column[0].lower()}: {column[1]}" for column in columns if column not in shown)
    return [*([table] if shown else []), *([Text(f"The same in all runs: {common}.")] if common else [])]


def _data_words(pixels: Mapping | None) -> str:
    """Whether a run's data is as published, in few words."""
    if pixels is None:
        return "not compared with published"
    if not pixels["known"]:
        return "no published figures"
    return "ALTERED" if pixels["altered"] else "as published"


def _each(values: Mapping | None) -> str:
    """What stages were set to: once where they agree, by stage where they do not."""
    texts = {stage: plain(value) for stage, value in (values or {}).items()}
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), plain(None))
    return ", ".join(f"{stage} {text}" for stage, text in texts.items())


def _pair(drawings: Drawings, number: int, pair: Mapping, labels: Mapping[str, str]) -> Section:
    a, b = labels[pair["a"]], labels[pair["b"]]
    blocks: list[Block] = [Items(_pair_verdicts(pair, labels))]
    if test := pair.get("mcnemar"):
        blocks.append(
            Text(
                f"Of {pair['n']:,} faces, {test['a_only']:,} were named rightly by {a} alone and {test['b_only']:,} by "
                f"{b} alone (exact McNemar test, {p_text(test['p'])})."
            )
        )
    if classes := pair.get("per_class"):
        image = drawings.draw(
            f"recall_deltas_{number}",
            partial(figures.recall_deltas, per_class=classes, a=a, b=b),
            title="Difference in recall",
            alt=f"Recall of {b} minus recall of {a} in percentage points; n is the number of faces of an emotion",
            width=4.8,
            height=1.2 + 0.32 * len(classes),
        )
        blocks.append(Beside((image, _class_table(classes, a=a, b=b))))
    return Section(
        f"{a} against {b}",
        f"A bar to the right: {b} finds more faces of that emotion than {a}. "
        "Emotions with few faces swing widely; the bars carry no interval.",
        blocks,
    )


def _class_table(classes: Sequence[Mapping], *, a: str, b: str) -> Table:
    columns: dict[str, Any] = {"Emotion": ("class", str)}
    for key, name in (("recall", "Recall"), ("f1", "F1")):
        columns |= {
            f"{name} A": (f"{key}_a", points),
            f"{name} B": (f"{key}_b", points),
            f"{name} B - A": (f"{key}_delta", signed),
        }
    return Table.of(classes, columns, caption=f"Recall and F1 in percent, differences in points; A = {a}, B = {b}")


def _seeds(comparison: Mapping) -> Section:
    repeats, pairs = comparison.get("repeats") or (), comparison.get("repeated_pairs") or ()
    names = configuration_names(repeats)
    rows = [
        (
            f"{names[tuple(pair['b'])]} minus {names[tuple(pair['a'])]}",
            pair["differences"],
            p_text(pair["differences"]["top1"]["p"]),
        )
        for pair in pairs
    ]
    caption = (
        "Means over seeds, differences in points. The intervals cover the choice of test faces and the spread between "
        "trainings (Welch); p is that of top-1"
    )
    more = [differences_table("Configurations", rows, p="p", caption=caption)] if rows else []
    return seeds_section("Several seeds", repeats, more)


def configuration_names(repeats: Sequence[Mapping]) -> dict[tuple[str, ...], str]:
    """What to call configurations that were trained with several seeds: the kind, and the settings that not all share.

    Args:
        repeats: Those of a comparison.

    Returns:
        Names of a configuration's runs -> its name; the runs themselves where known settings do not tell them apart.
    """
    parts = {tuple(repeat["runs"]): repeat["configuration"].split(", ") for repeat in repeats}
    common = set.intersection(*(set(own[1:]) for own in parts.values())) if parts else set()
    names = {runs: ", ".join(part for part in own if part not in common) for runs, own in parts.items()}
    return names if len(set(names.values())) == len(names) else {runs: " / ".join(runs) for runs in parts}


def _levels(comparison: Mapping, labels: Mapping[str, str]) -> Section:
    captions = {
        "stage": "Scores of each stage in percent, on all faces of its group; 95 % bootstrap intervals in brackets",
        "routing": "Scores of each way to predict in percent; 95 % bootstrap intervals in brackets",
    }
    blocks = [
        Table.of(
            rows,
            {
                key.capitalize(): (key, plain),
                "Run": ("run", labels.__getitem__),
                "Faces": ("n", whole),
                **measured(with_span),
            },
            caption=caption,
            words=(0, 1),
        )
        for key, caption in captions.items()
        if (rows := comparison.get(f"{key}s"))
    ]
    return Section(
        "Inside the hierarchy",
        "For a flat run the stages are implied: probabilities summed by group, and renormalised within the true group. "
        "Oracle is given the true group: an upper bound, not a prediction.",
        blocks,
    )


def _cost(drawings: Drawings, runs: Sequence[Mapping]) -> Section:
    columns = {
        "Run": ("label", str),
        "Top-1": ("top1", percent),
        "Own CPU-seconds": ("train_cpu_seconds", whole),
        "Whole CPU-seconds": _whole_seconds,
        "Whole CPU time": training_time,
        "Parameters": ("parameters", millions),
        "Multiply-adds": ("multiply_adds", millions),
        "Latency ms": ("latency_ms", _latency),
    }
    if not any(known(run.get(key)) for run in runs for key in (*_COSTS, "parameters", "latency_ms")):
        return Section("Cost", "", [])
    images = []
    for cost, (name, title, axis) in _COSTS.items():
        runs_shown = [run for run in runs if cost != "whole_cpu_seconds" or not run.get("cost_unknown")]
        rows = [{**run, "name": run["label"]} for run in runs_shown if known(run.get(cost)) and run[cost] > 0]
        missing = [run["label"] for run in runs if run["label"] not in [row["name"] for row in rows]]
        without = f"; without {' and '.join(missing)}, whose cost is not recorded" if missing else ""
        if len(rows) > 1:
            image = drawings.draw(
                name,
                partial(figures.accuracy_against_cost, rows=rows, cost=cost, xlabel=axis),
                title=title,
                alt=f"Top-1 accuracy with its 95 % interval by {axis}{without}",
                width=4.7,
                height=3.5 + 0.17 * len(rows),
            )
            images.append(image)
    return Section(
        "Cost",
        "The whole counts the trainings of first weights (of the stage that was taken, not of others beside it), of "
        "teachers (whole runs) and of what these build on. Up and to the left is better. Cost axes are logarithmic; "
        "soft composition runs all stages of a hierarchy.",
        [
            Table.of(runs, columns, caption="What the training of each run took, and what a prediction takes"),
            *([Images(images)] if images else []),
        ],
    )


def _cost_words(run: Mapping) -> str:
    work = millions(run.get("multiply_adds"))
    return f"{training_time(run)} of processor time in training, {work} multiply-adds for each face"


def _whole_seconds(run: Mapping) -> str:
    text = whole(run.get("whole_cpu_seconds"))
    return f"at least {text}" if run.get("cost_unknown") else text


def _latency(value: object) -> str:
    median = value.get("median") if isinstance(value, Mapping) else value
    return f"{median:.1f}" if known(median) else plain(None)


def _omitted(comparison: Mapping) -> Section:
    items = [f"{item['what']}: {item['why']}" for item in comparison.get("omitted") or ()]
    return Section("Left out", "What these runs do not allow to compare, and why.", [Items(items)] if items else [])


def _repeat(comparison: Mapping) -> Section:
    command = [comparison["command"]] if comparison.get("command") else []
    fingerprint = Text(f"Fingerprint of the test rows: {plain(comparison['test'].get('fingerprint'))}.")
    return how_to_repeat(*command, fingerprint, hint="")
