"""Cross-validations side by side to comparison.json, figures, report.md and one self-contained report.html."""

from collections.abc import Mapping
from pathlib import Path

from fer_hierarchy.hierarchy.experiments import crossval_figures
from fer_hierarchy.hierarchy.experiments.comparison_sections import short_names, verdict
from fer_hierarchy.hierarchy.experiments.crossval_table import GATE
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
    titled,
    write_page,
)
from fer_hierarchy.hierarchy.runs.run_folder import write_json
from fer_hierarchy.hierarchy.wording import chance, difference, plain, points, signed, spread

COMPARISON = "comparison.json"
_TITLES = {"top1": "Top-1", "balanced_accuracy": "Balanced", "macro_f1": "Macro F1", GATE: "Gate"}


def write_crossval_comparison(folder: Path, table: Mapping) -> None:
    """Write comparison.json, figures/*.png, report.md and report.html.

    Args:
        folder: Where to write; it exists.
        table: What `hierarchy.experiments.crossval_pairs.compare_crossvals` returns, with `command`.
    """
    write_json(folder / COMPARISON, table)
    (folder / "figures").mkdir(exist_ok=True)
    write_page(_page(folder, table), folder)


def _page(folder: Path, table: Mapping) -> Page:
    labels = short_names([one["name"] for one in table["crossvals"]])
    names = f"Cross-validations {' and '.join(labels.values())}"
    people = f" of {table['subjects']:,} people" if table["subjects"] else ""
    repeats = f", {table['repeats']} repeats" if table["repeats"] > 1 else ""
    sections = [_summary(table, labels), _crossvals(table, labels)]
    sections += [_pair(folder, table, number, labels) for number in range(len(table["pairs"]))]
    return Page(
        title=titled(names, synthetic=table["synthetic"]),
        subtitle=f"The same {table['folds']} folds{repeats} of {table['faces']:,} faces{people} ({table['dataset']}).",
        banner=SYNTHETIC if table["synthetic"] else "",
        sections=[*sections, _repeat(table)],
    )


def _summary(table: Mapping, labels: Mapping[str, str]) -> Section:
    lines = []
    for pair in table["pairs"]:
        names = {"a": labels[pair["a"]], "b": labels[pair["b"]]}
        p = pair["mcnemar"][0]["p"] if table["repeats"] == 1 else None
        over_folds = f" The t test over folds has p {chance(pair['measures']['top1']['p'])}."
        lines.append(verdict("Top-1 accuracy", pair["pooled"]["top1"], n=pair["n"], p=p, **names) + over_folds)
        lines.append(verdict("Balanced accuracy", pair["pooled"]["balanced_accuracy"], n=pair["n"], **names))
    drawn = "people" if table["subjects"] else "faces"
    text = (
        f"Intervals draw {drawn} anew among the pooled answers of both. Folds share most of their training faces: the "
        "t test over folds widens its variance for that (Nadeau and Bengio, 2003), and neither says how much other "
        "training data would change."
    )
    return Section("Summary", "", [Items(tuple(lines)), Text(text)])


def _crossvals(table: Mapping, labels: Mapping[str, str]) -> Section:
    scores, facts = [], []
    for one in table["crossvals"]:
        name, means = labels[one["name"]], one["means"]["runs"]
        scores.append((name, one["mode"], *(spread(means.get(measure)) for measure in _TITLES)))
        facts.append((name, one["name"], ", ".join(dict.fromkeys(map(str, one["models"].values())))))
    columns = ("Name", "Mode", *(f"{title} %" for title in _TITLES.values()))
    hint = "Mean and standard deviation over all folds. The gate of a flat model is the one that its answers imply."
    tables = [Table(columns, scores, words=(0, 1)), Table(("Name", "Folder", "Models"), facts, words=(0, 1, 2))]
    return Section("Cross-validations", hint, tables)


def _pair(folder: Path, table: Mapping, number: int, labels: Mapping[str, str]) -> Section:
    pair = table["pairs"][number]
    a, b = labels[pair["a"]], labels[pair["b"]]
    measures = {name: held for name, held in pair["measures"].items() if name in _TITLES}
    path = folder / "figures" / f"differences_{number + 1}.png"
    title, height = f"{b} minus {a}, fold by fold", 1.0 + 0.5 * len(measures)
    with figures.drawing(path, title=title, synthetic=table["synthetic"], width=6.2, height=height) as axes:
        named = {_TITLES[name]: held["of_runs"] for name, held in measures.items()}
        crossval_figures.fold_differences(axes[0, 0], named, xlabel=f"percentage points, {b} minus {a}")
    return Section(
        f"{b} against {a}",
        "A dot is one fold, on which both were judged; the line is the mean, the band one standard deviation.",
        [
            _measure_table(pair, measures, a, b),
            Images((Image(path, title, 6.2),)),
            _fold_table(table, measures),
            _mcnemar_table(pair, a, b),
        ],
    )


def _measure_table(pair: Mapping, measures: Mapping, a: str, b: str) -> Table:
    rows = []
    for name, held in measures.items():
        pooled = pair["pooled"].get(name)
        span = difference(pooled) if pooled else "-"
        delta = f"{signed(held['difference']['mean'])} ± {points(held['difference']['std'])}"
        rows.append((_TITLES[name], spread(held["a"]), spread(held["b"]), delta, chance(held["p"]), span))
    columns = ("Measure", a, b, "Difference", "corrected t p", "Pooled difference (95 %)")
    return Table(columns, rows, caption=f"In percent; {b} minus {a}, mean and standard deviation over folds")


def _fold_table(table: Mapping, measures: Mapping) -> Table:
    rows = []
    for number in range(table["folds"] * table["repeats"]):
        repeat, fold = divmod(number, table["folds"])
        deltas = (signed(held["of_runs"][number]) for held in measures.values())
        rows.append((f"{repeat + 1}.{fold + 1}" if table["repeats"] > 1 else str(fold + 1), *deltas))
    return Table(("Fold", *(_TITLES[name] for name in measures)), rows, caption="Difference of each fold, in points")


def _mcnemar_table(pair: Mapping, a: str, b: str) -> Table:
    rows = [
        (plain(held["repeat"]), plain(held["a_only"]), plain(held["b_only"]), chance(held["p"]))
        for held in pair["mcnemar"]
    ]
    caption = (
        "McNemar's test on all faces of a repeat; it takes faces of one person for independent: its p is too small"
    )
    return Table(("Repeat", f"only {a} right", f"only {b} right", "p"), rows, caption=caption)


def _repeat(table: Mapping) -> Section:
    commands = [Code(command) for command in (*(one["command"] for one in table["crossvals"]), table["command"])]
    facts = Table(
        ("Fact", "Value"),
        [
            ("Fingerprint of the faces", plain(table["fingerprint"])),
            ("Cut", f"by {table['split_by']}"),
            ("Seeds", plain(table["seeds"])),
        ],
        words=(0, 1),
    )
    return Section("How to repeat this", "The commands below, in the project's folder.", [facts, *commands])
