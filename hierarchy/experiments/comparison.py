"""Comparison: finished runs, or finished cross-validations, on the same test faces, as a table that JSON can hold."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import top_shares
from fer_hierarchy.hierarchy.evaluation.significance import (
    RESAMPLES,
    bootstrap_intervals,
    confusion_figures,
    corrected_t,
    difference_over_seeds,
    mcnemar,
    mean_std,
    paired_bootstrap,
)
from fer_hierarchy.hierarchy.experiments.crossval_table import GATE, MEASURES
from fer_hierarchy.hierarchy.experiments.grid import SEED
from fer_hierarchy.hierarchy.experiments.guarantees import compare_guarantees
from fer_hierarchy.hierarchy.experiments.table import GridCell, by_configuration, over_seeds
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.hierarchy.training.earlier import earlier_of, whole_cost
from fer_hierarchy.hierarchy.wording import mode_words, model_words, split_faces

FORMAT = 1
PER_EMOTION = 2  # faces of each emotion in a sample

_COSTS = ("train_cpu_seconds", "parameters", "multiply_adds", "latency_ms")

# Every pair of up to this many runs is compared; of more, each with the first.
_ALL_PAIRS = 4

log = logging.getLogger("fer_hierarchy")

_T = TypeVar("_T")


def compare(
    runs: Sequence[Run], *, resamples: int = RESAMPLES, seed: int = 0, with_first: bool = False
) -> dict[str, Any]:
    """Compare finished runs on the same test faces.

    Figures are those of each run's headline predictions. Differences are paired: b - a on the same faces. Where
    subjects are known the bootstrap draws whole subjects. p values are not corrected for the number of pairs.

    Args:
        runs: At least two, evaluated on the same rows, labels and classes.
        resamples: Bootstrap samples of every interval.
        seed: Of the bootstrap, and of the choice of faces to show.
        with_first: Pair each run with the first only, as is done for more than four runs in any case.

    Returns:
        format, synthetic, test, classes, runs, routings, repeats (configurations trained with several seeds),
        repeated_pairs (those against each other), pairs, stages, side_by_side (predictions of all runs on a few
        faces), warnings (test faces that are not as published, or not the same pixels), omitted (what is left out,
        and why).

    Raises:
        UserError: Fewer than two runs, a run twice, or runs whose classes, test rows or true labels differ.
    """
    cells = aligned(runs)
    first = cells[0].finished
    subjects = _subjects(cells[0])
    draw = {"resamples": resamples, "seed": seed, "groups": subjects}
    same_groups = len({_grouping(cell.finished.taxonomy) for cell in cells}) == 1
    # Ensembles are no repeats: their seed is that of the bootstrap, and they may share trainings.
    trained = [cell for cell in cells if not cell.finished.metrics.get("members")]
    repeated = [alike for alike in by_configuration(trained) if len(alike) > 1]
    all_pairs = len(cells) <= _ALL_PAIRS and not with_first
    return {
        "format": FORMAT,
        "synthetic": any(bool(cell.finished.metrics.get("synthetic")) for cell in cells),
        "test": {
            "n": len(cells[0].labels),
            "split": first.metrics.get("split", "test"),
            "fingerprint": first.metrics.get("test_fingerprint"),
            "subjects": None if subjects is None else len(set(subjects) - {""}),
        },
        "classes": list(first.classes),
        "runs": [_run_row(cell, same_groups, draw) for cell in cells],
        "routings": _level_rows(cells, "routing") if same_groups else [],
        "repeats": [over_seeds(alike, _configuration(alike[0].finished)) for alike in repeated],
        "repeated_pairs": [_repeated_pair(a, b, draw) for a, b in _pairs(repeated, len(repeated) <= _ALL_PAIRS)],
        "pairs": [_pair(a, b, draw) for a, b in _pairs(cells, all_pairs)],
        "stages": _level_rows(cells, "stage") if same_groups else [],
        "guarantees": compare_guarantees(cells, _pairs(cells, all_pairs), repeated, draw) if same_groups else {},
        "side_by_side": sample(cells, seed=seed),
        "warnings": _data_warnings(cells),
        "omitted": _omitted(cells, same_groups, bool(repeated), all_pairs),
    }


def aligned(runs: Sequence[Run]) -> list[GridCell]:
    """The runs as rows of a table, keyed by all settings but name and seed, with test faces in the first one's order.

    Raises:
        UserError: As for `compare`.
    """
    if len(runs) < 2:
        raise UserError(f"compare: got {len(runs)} run(s); at least two are needed")
    folders = [run.folder.resolve() for run in runs]
    twice = [folder for i, folder in enumerate(folders) if folder in folders[:i]]
    if twice:
        raise UserError(f"compare: run {twice[0].name} is named twice; each run once")
    cells = [
        GridCell(name, {"configuration": _settings(run), SEED: str(run.metrics["seed"])}, run)
        for name, run in zip(_names(folders), runs, strict=True)
    ]
    for cell in cells[1:]:
        _require_same_test(cells[0], cell)
    return [dataclasses.replace(cell, order=cells[0].rows.index) for cell in cells]


def _settings(run: Run) -> str:
    settings = {key: value for key, value in run.config.to_dict().items() if key not in ("name", "seed")}
    return json.dumps([run.metrics["mode"], settings], sort_keys=True)


def _names(folders: Sequence[Path]) -> list[str]:
    """Folder names; with the folder around them, or whole paths, where names alone do not tell the runs apart."""
    short = [folder.name for folder in folders]
    longer = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    return next((names for names in (short, longer) if len(set(names)) == len(names)), [str(f) for f in folders])


def _require_same_test(first: GridCell, other: GridCell) -> None:
    start = f"runs {first.name} and {other.name} cannot be compared:"
    classes, other_classes = first.finished.classes, other.finished.classes
    if classes != other_classes:
        raise UserError(
            f"{start} their classes differ ({', '.join(classes)} against {', '.join(other_classes)}); "
            f"use the same --exclude and data with the same emotions"
        )
    ids, other_ids = first.rows.index, other.rows.index
    only, other_only = ids.difference(other_ids), other_ids.difference(ids)
    if len(only) or len(other_only):
        counts = [
            f"{len(extra)} of {len(cell.rows)} only in {cell.name}" + (f", as {extra[0]!r}" if len(extra) else "")
            for extra, cell in ((only, first), (other_only, other))
        ]
        raise UserError(f"{start} their test rows differ ({'; '.join(counts)}); use the same data, --limit and splits")
    labels = other.rows["true"].loc[ids]
    differ = (first.rows["true"] != labels).to_numpy()
    if differ.any():
        row = ids[differ.argmax()]
        pair = f"{first.rows['true'][row]} against {labels[row]}"
        raise UserError(
            f"{start} {differ.sum()} of {len(ids)} true labels differ (row {row!r}: {pair}); label them alike"
        )


def _subjects(cell: GridCell) -> np.ndarray | None:
    """(n,) subject of each test face, "" where unknown; None where nobody is known."""
    subject_of = cell.finished.subjects.to_dict()
    known = np.array([subject_of.get(row, "") for row in cell.rows.index], dtype=object)
    if not any(known):
        return None
    log.warning(
        "Test faces of one person are not independent: intervals draw whole subjects; the McNemar test cannot, "
        "so its p is too small."
    )
    return known


def _grouping(taxonomy: Taxonomy) -> tuple:
    """What two taxonomies must share for their group figures to mean the same."""
    return taxonomy.gate, tuple((group, taxonomy.members(group)) for group in taxonomy.group_names)


def _run_row(cell: GridCell, same_groups: bool, draw: Mapping[str, Any]) -> dict[str, Any]:
    metrics = cell.finished.metrics
    training, cost, data = (metrics.get(key) or {} for key in ("training", "cost", "data"))
    whole, unknown = whole_cost(cost, earlier_of(cell.finished))
    return {
        "name": cell.name,
        "mode": metrics["mode"],
        "trunk": metrics.get("trunk"),
        "framework": metrics.get("framework", "keras"),
        "headline": metrics["headline"],
        "seed": metrics["seed"],
        "taxonomy": cell.finished.taxonomy.name,
        "excluded": metrics.get("excluded", []),
        "rows": data.get("rows"),
        "pixels": data.get("pixels"),
        "n": len(cell.labels),
        **cell.figures,
        **top_shares(cell.labels, cell.probabilities),
        "intervals": bootstrap_intervals(cell.labels, cell.predicted, len(cell.finished.classes), **draw),
        "ece": cell.ece,
        "group_top1": cell.group_top1 if same_groups else None,
        **{key: cost.get(key) for key in _COSTS},
        "whole_cpu_seconds": whole,
        "cost_unknown": unknown,
        "epochs": {stage: entry.get("epochs_run") for stage, entry in training.items()},
        "models": {stage: model_words(entry) for stage, entry in training.items()},
        "balance": {stage: entry.get("balance") for stage, entry in training.items()},
    }


def _level_rows(cells: Sequence[GridCell], level: str) -> list[dict[str, Any]]:
    """Scores of each `routing` of each run, or of each `stage` across runs; a flat run implies its stages."""
    taxonomy = cells[0].finished.taxonomy
    if level == "routing":
        found = [(name, cell, scores) for cell in cells for name, scores in cell.finished.metrics["answers"].items()]
    else:
        found = [
            (stage, cell, cell.finished.metrics["stages"][stage])
            for stage in (taxonomy.gate, *taxonomy.specialists)
            for cell in cells
            if stage in cell.finished.metrics["stages"]
        ]
    # A record of an older version lacks the younger figures; its confusion matrix has them all.
    return [
        {
            level: name,
            "run": cell.name,
            "n": scores["n"],
            **{figure: float(value) for figure, value in confusion_figures(scores["confusion"]).items()},
            "intervals": scores["intervals"],
        }
        for name, cell, scores in found
    ]


def _pairs(items: Sequence[_T], all_pairs: bool) -> list[tuple[_T, _T]]:
    return list(combinations(items, 2)) if all_pairs else [(items[0], other) for other in items[1:]]


def _pair(a: GridCell, b: GridCell, draw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "a": a.name,
        "b": b.name,
        "n": len(a.labels),
        "mcnemar": mcnemar(a.predicted == a.labels, b.predicted == b.labels),
        "differences": paired_bootstrap(a.labels, a.predicted, b.predicted, len(a.finished.classes), **draw),
        "per_class": [_class_row(left, right) for left, right in zip(a.per_class, b.per_class, strict=True)],
    }


def _class_row(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    row = {"class": left["class"], "support": left["support"]}
    for key in ("recall", "f1"):
        delta = right[key] - left[key] if left["support"] else None
        row |= {f"{key}_a": left[key], f"{key}_b": right[key], f"{key}_delta": delta}
    return row


def _repeated_pair(a: Sequence[GridCell], b: Sequence[GridCell], draw: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration minus another, each the mean of its seeds, as lists of runs."""
    labels, classes = a[0].labels, len(a[0].finished.classes)
    first, second = ([cell.predicted for cell in cells] for cells in (a, b))
    return {
        "a": [cell.name for cell in a],
        "b": [cell.name for cell in b],
        "n": len(labels),
        "differences": difference_over_seeds(labels, first, second, classes, **draw),
    }


def _configuration(run: Run) -> str:
    """A short text such as `flat, compact_resnet, 24 epochs, balance none`."""
    parts = [mode_words(run.metrics)]
    if run.metrics["mode"] != "flat":
        parts.append(f"taxonomy {run.taxonomy.name}")
    entries = list((run.metrics.get("training") or {}).values())
    for key, text in (("model", "{}"), ("epochs", "{} epochs"), ("balance", "balance {}")):
        values = dict.fromkeys(str(entry[key]) for entry in entries if entry.get(key) is not None)
        if values:
            parts.append(text.format("/".join(values)))
    return ", ".join(parts)


def sample(cells: Sequence[GridCell], *, seed: int, per_emotion: int = PER_EMOTION) -> list[dict[str, Any]]:
    """Some faces of each emotion, drawn at random, with the predictions and probabilities of every run.

    Args:
        cells: As `aligned` gives them.
        seed: Of the draw; the same faces for the same seed, whatever the runs predict.
        per_emotion: Faces of each emotion, fewer where there are fewer.

    Returns:
        One dict a face, in class order: row, true, and runs: run, answer, probabilities in class order.
    """
    true, classes = cells[0].rows["true"], cells[0].finished.classes
    draw = np.random.default_rng(seed)
    chosen: list[str] = []
    for emotion in classes:
        ids = sorted(true.index[true == emotion])
        chosen += sorted(draw.choice(ids, min(per_emotion, len(ids)), replace=False).tolist()) if ids else []
    columns = [f"p_{emotion}" for emotion in classes]

    def predicted(cell: GridCell, row: str) -> dict[str, Any]:
        face = cell.rows.loc[row]
        return {
            "run": cell.name,
            "answer": face["predicted"],
            "probabilities": face[columns].astype(float).round(4).tolist(),
        }

    return [{"row": row, "true": true[row], "runs": [predicted(cell, row) for cell in cells]} for row in chosen]


def side_by_side(cells: Sequence[GridCell]) -> pd.DataFrame:
    """One row a face: row, true, then `<run>: predicted` and `<run>: p_<emotion>` of each run.

    Args:
        cells: As `aligned` gives them.
    """
    shown = ["predicted", *(f"p_{emotion}" for emotion in cells[0].finished.classes)]
    parts = [cell.rows[shown].add_prefix(f"{cell.name}: ") for cell in cells]
    return pd.concat([cells[0].rows["true"], *parts], axis=1).reset_index(names="row")


def _data_warnings(cells: Sequence[GridCell]) -> list[str]:
    """What a reader must know: altered test faces, other pixels under the same names, costs that are not recorded."""
    found = []
    for cell in cells:
        pixels = (cell.finished.metrics.get("data") or {}).get("pixels") or {}
        if pixels.get("altered"):
            found.append(f"{cell.name} was evaluated on altered data: {'; '.join(pixels['known'])}.")
        if unknown := whole_cost({}, earlier_of(cell.finished))[1]:
            found.append(
                f"The cost of {cell.name} is at least the one shown: what {', '.join(unknown)} took, from which it was "
                "trained, is not recorded."
            )
    first = cells[0].finished.faces_by_id["pixel_hash"].reindex(cells[0].rows.index)
    for cell in cells[1:]:
        other = cell.finished.faces_by_id["pixel_hash"].reindex(first.index)
        differ = int((first.notna() & other.notna() & (first != other)).sum())
        if differ:
            found.append(
                f"{differ:,} of {len(first):,} {split_faces(cells[0].finished.metrics)} have other pixels in "
                f"{cell.name} than in {cells[0].name}: their figures are about different pictures."
            )
    for text in found:
        log.warning("%s", text)
    return found


def _omitted(cells: Sequence[GridCell], same_groups: bool, repeated: bool, all_pairs: bool) -> list[dict[str, str]]:
    groupings = "; ".join(f"{cell.name}: {_describe(cell.finished.taxonomy)}" for cell in cells)
    processors = {cell.name: cell.finished.environment.get("processor") or "not recorded" for cell in cells}
    one_processor = len(set(processors.values())) == 1 and "not recorded" not in processors.values()
    machines = "; ".join(f"{name}: {processor}" for name, processor in processors.items())
    reasons = [
        (
            not same_groups,
            "accuracy of the groups, stages and routings",
            f"the runs group the emotions differently ({groupings})",
        ),
        (not repeated, "mean and deviation over seeds", "no configuration was run with more than one seed"),
        (
            not all_pairs and len(cells) > 2,
            f"pairs without {cells[0].name}",
            "each run is paired with it only, which keeps the number of tests small",
        ),
        (
            not one_processor,
            "a comparison of CPU-seconds and latency",
            f"they compare on one processor only ({machines}); read each figure for itself",
        ),
    ]
    return [{"what": what, "why": why} for applies, what, why in reasons if applies]


def _describe(taxonomy: Taxonomy) -> str:
    return " | ".join(f"{group} = {', '.join(taxonomy.members(group))}" for group in taxonomy.group_names)


class Crossval(NamedTuple):
    """A finished cross-validation: its folder's name, its `crossval_table`, and its `pooled` predictions."""

    name: str
    table: Mapping[str, Any]
    pooled: pd.DataFrame


def compare_crossvals(crossvals: Sequence[Crossval], *, resamples: int, seed: int) -> dict[str, Any]:
    """Compare each cross-validation with the first.

    Args:
        crossvals: At least two, over the same folds.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        format, synthetic, folds, repeats, faces, subjects, split_by, dataset, fingerprint, crossvals (name, mode,
        models, means) and pairs: a, b, measures (`mean_std` of a, of b and of b - a, the differences of all folds and
        the p of `corrected_t`), pooled (see `paired_bootstrap`) and mcnemar of each repeat.

    Raises:
        UserError: Their classes, faces, labels or folds differ.
    """
    first = crossvals[0]
    for other in crossvals[1:]:
        _require_same_folds(first, other)
    return {
        "format": FORMAT,
        "synthetic": any(one.table["synthetic"] for one in crossvals),
        **{key: first.table[key] for key in ("folds", "repeats", "split_by", "seeds")},
        **{key: first.table["data"][key] for key in ("dataset", "fingerprint", "faces", "subjects")},
        "crossvals": [
            {"name": one.name, **{key: one.table[key] for key in ("mode", "models", "means", "command")}}
            for one in crossvals
        ],
        "pairs": [_crossval_pair(first, other, resamples=resamples, seed=seed) for other in crossvals[1:]],
    }


def _require_same_folds(first: Crossval, other: Crossval) -> None:
    start = f"cross-validations {first.name} and {other.name} cannot be compared:"
    if first.table["classes"] != other.table["classes"]:
        raise UserError(f"{start} their emotions differ; use the same data and --exclude")
    left, right = first.pooled, other.pooled
    if len(left) != len(right) or not left.index.equals(right.index):
        apart = left.index.symmetric_difference(right.index)
        raise UserError(f"{start} their faces differ ({len(apart)} stand in one only); use the same data and --repeats")
    for column, what in (("fold", "in another fold"), ("label", "labelled otherwise")):
        differ = left.index[(left[column] != right[column]).to_numpy()]
        if len(differ):
            text = f"{len(differ)} of {len(left)} faces stand {what} (first: {differ[0][1]!r})"
            raise UserError(f"{start} {text}; use the same data, --folds, --seed and --split-by")


def _crossval_pair(a: Crossval, b: Crossval, **draw: int) -> dict[str, Any]:
    left, right = a.pooled, b.pooled
    correct = pd.DataFrame({"a": left["predicted"] == left["label"], "b": right["predicted"] == left["label"]})
    return {
        "a": a.name,
        "b": b.name,
        "n": len(left),
        "measures": {name: _differences(a.table, b.table, name) for name in _shared_measures(a.table, b.table)},
        "pooled": paired_bootstrap(
            left["label"], left["predicted"], right["predicted"], len(a.table["classes"]), groups=left["group"], **draw
        ),
        "mcnemar": [
            {"repeat": int(repeat), **mcnemar(faces["a"], faces["b"])}
            for repeat, faces in correct.groupby(level="repeat")
        ],
    }


def _shared_measures(a: Mapping, b: Mapping) -> list[str]:
    """Measures that mean the same in both: gates do where both group alike."""
    alike = a["gate"] == b["gate"] and a["taxonomy"]["groups"] == b["taxonomy"]["groups"]
    known = [name for name in MEASURES if all(row[name] is not None for row in (*a["rows"], *b["rows"]))]
    return [name for name in known if alike or name != GATE]


def _differences(a: Mapping, b: Mapping, measure: str) -> dict[str, Any]:
    ours, theirs = ([row[measure] for row in table["rows"]] for table in (a, b))
    deltas = [other - own for own, other in zip(ours, theirs, strict=True)]
    return {
        "a": mean_std(ours),
        "b": mean_std(theirs),
        "difference": mean_std(deltas),
        "of_runs": deltas,
        "p": corrected_t(deltas, folds=a["folds"]),
    }
