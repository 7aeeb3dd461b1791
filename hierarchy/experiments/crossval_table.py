"""A cross-validation's runs as one table: each fold, mean and spread, and all answers pooled. No plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import class_indices, per_class
from fer_hierarchy.hierarchy.evaluation.significance import (
    FIGURES,
    bootstrap_intervals,
    confusion_counts,
    confusion_figures,
    mean_std,
)
from fer_hierarchy.hierarchy.experiments.comparison import RunRecord
from fer_hierarchy.hierarchy.experiments.crossval import FOLD, folds_of, repeats_of
from fer_hierarchy.hierarchy.experiments.grid import SEED, Grid
from fer_hierarchy.hierarchy.experiments.grid_table import CHOOSING, GridCell
from fer_hierarchy.hierarchy.runs.run_folder import SPLITS
from fer_hierarchy.hierarchy.wording import model_words

FORMAT = 1
GATE = "gate_top1"
MEASURES = (*FIGURES, GATE)


@dataclass(frozen=True)
class Pooled:
    """The headline answers of all finished folds, one after the other.

    Attributes:
        rows: Columns `row`, `repeat`, `fold`, `group` (the person, or the face where nobody is known).
        labels: (n,) int64 true class indices.
        answers: (n,) int64 answered class indices.
        classes: Emotions in class order.
    """

    rows: pd.DataFrame
    labels: np.ndarray
    answers: np.ndarray
    classes: tuple[str, ...]


def crossval_table(planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> dict[str, Any]:
    """All figures of a cross-validation.

    Args:
        planned: Seeds, folds and command.
        cells: What became of each run, in the grid's order.
        folds: folds.csv: `row`, `subject`, `repeat`, `fold`.

    Returns:
        format, synthetic, mode, trunk, models, folds, repeats, split_by, seeds, command, data, classes, gate, rows (one
        a run, with its confusion), failed, means (over all runs, over the runs of each repeat, and over the means of
        repeats), emotions (recall of each over the runs) and pooled; the last three are empty where no run is finished.

    Raises:
        UserError: A run was judged on other faces than those of its fold.
    """
    config = planned.cells[0].config
    rows = [_row(planned, cell, folds) for cell in cells if cell.run is not None]
    record = {
        "format": FORMAT,
        "mode": config.mode,
        "trunk": config.trunk,
        "folds": folds_of(planned),
        "repeats": repeats_of(planned),
        "seeds": [int(seed) for seed in planned.axes[SEED]],
        "split_by": config.data.split_by,
        "limit": config.data.limit,
        "command": planned.command,
        "rows": rows,
        "failed": [{"run": cell.name, "error": cell.error} for cell in cells if cell.run is None],
    }
    if not rows:
        return {**record, "synthetic": False, "means": {}, "emotions": [], "pooled": {}}
    together = _pooled_part(planned, cells, folds)
    if all(row[GATE] is not None for row in rows):  # every gate was judged on all faces of its fold
        together["pooled"][GATE] = float(np.average([row[GATE] for row in rows], weights=[row["n"] for row in rows]))
    return {**record, **_facts(cells, folds), "means": _means(rows), **together}


def _facts(cells: Sequence[GridCell], folds: pd.DataFrame) -> dict[str, Any]:
    first = next(cell.run for cell in cells if cell.run is not None)
    data = first.metrics.get("data") or {}
    training = first.metrics.get("training") or {}
    people = folds["subject"][folds["subject"] != ""].nunique()
    return {
        "synthetic": bool(first.metrics.get("synthetic")),
        "data": {
            **{key: data.get(key) for key in ("dataset", "path", "fingerprint", "bad")},
            "faces": int(folds["row"].nunique()),
            "subjects": int(people) or None,
        },
        "taxonomy": first.taxonomy.to_dict(),
        "excluded": first.metrics.get("excluded", []),
        "models": {stage: model_words(entry) for stage, entry in training.items()},
        "classes": list(first.classes),
        "gate": first.taxonomy.gate,
    }


def _row(planned: Grid, cell: GridCell, folds: pd.DataFrame) -> dict[str, Any]:
    """One run: the scores of its headline answer on its fold."""
    repeat, fold = planned.axes[SEED].index(cell.point[SEED]) + 1, int(cell.point[FOLD])
    own = folds[(folds["repeat"] == repeat) & (folds["fold"] == fold)]
    run, metrics = cell.run, cell.run.metrics
    if set(run.predictions.index) != set(own["row"]):
        raise UserError(
            f"{run.folder}: it was judged on other faces than those of its fold; delete that folder, then go on"
        )
    confusion = metrics["answers"][metrics["headline"]]["confusion"]
    gate = metrics["stages"].get(run.taxonomy.gate) or {}
    return {
        "run": cell.name,
        "repeat": repeat,
        "fold": fold,
        "seed": int(cell.point[SEED]),
        "n": len(own),
        "subjects": int(own["subject"][own["subject"] != ""].nunique()) or None,
        "shared": _shared(run, folds),
        **{name: float(value) for name, value in confusion_figures(confusion).items()},
        GATE: gate.get("top1"),
        CHOOSING: (metrics.get("validation") or {}).get("macro_f1"),
        "train_cpu_seconds": (metrics.get("cost") or {}).get("train_cpu_seconds"),
        "confusion": confusion,
    }


def _shared(run: RunRecord, folds: pd.DataFrame) -> int:
    """How many test faces show a person whom training shows too."""
    table = pd.read_csv(run.folder / SPLITS, dtype=str, keep_default_na=False)
    named = folds.drop_duplicates("row").set_index("row")["subject"]
    person = table["row"].map(named).fillna(table["subject"])
    trained_on = set(person[(table["split"] == "train") & (person != "")])
    return int((person[table["split"] == "test"].isin(trained_on)).sum())


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of each measure; repeats count alike, however many of their folds are finished."""
    repeats = {number: [row for row in rows if row["repeat"] == number] for number in {row["repeat"] for row in rows}}
    measured = [name for name in MEASURES if all(row[name] is not None for row in rows)]
    of_repeats = [
        {"repeat": number, "runs": len(held), **{name: mean_std([row[name] for row in held]) for name in measured}}
        for number, held in sorted(repeats.items())
    ]
    return {
        "runs": {name: mean_std([row[name] for row in rows]) for name in measured},
        "of_repeats": of_repeats,
        "over_repeats": {name: mean_std([held[name]["mean"] for held in of_repeats]) for name in measured},
    }


def _pooled_part(planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> dict[str, Any]:
    """Figures of all answers together, and what each emotion's recall is from run to run."""
    settings, all_answers = planned.cells[0].config, pooled(planned, cells, folds)
    classes, labels, answers = all_answers.classes, all_answers.labels, all_answers.answers
    confusion = confusion_counts(labels, answers, len(classes))
    draw = {"resamples": settings.evaluation.resamples, "seed": settings.seed, "groups": all_answers.rows["group"]}
    recalls = np.array([cell.recalls() for cell in cells if cell.run is not None])
    emotions = [
        {**row, "recalls": mean_std(seen) if len(seen := held[~np.isnan(held)]) else None}
        for row, held in zip(per_class(labels, answers, classes), recalls.T, strict=True)
    ]
    return {
        "emotions": emotions,
        "pooled": {
            "n": len(labels),
            "faces": int(all_answers.rows["row"].nunique()),
            "drawn": "people" if (folds["subject"] != "").any() else "faces",
            **{name: float(value) for name, value in confusion_figures(confusion).items()},
            "intervals": bootstrap_intervals(labels, answers, len(classes), **draw),
            "confusion": confusion.tolist(),
        },
    }


def pooled(planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> Pooled:
    """The headline answers of all finished runs; with repeats each face stands there once for each.

    Raises:
        UserError: The runs know different emotions.
    """
    done = [cell for cell in cells if cell.run is not None]
    classes = done[0].run.classes
    other = next((cell for cell in done if cell.run.classes != classes), None)
    if other is not None:
        raise UserError(f"{other.name} knows other emotions than {done[0].name}; start a new cross-validation")
    tables = [
        cell.run.predictions[["true", "predicted"]].assign(
            repeat=planned.axes[SEED].index(cell.point[SEED]) + 1, fold=int(cell.point[FOLD])
        )
        for cell in done
    ]
    table = pd.concat(tables).reset_index(names="row")
    person = folds.drop_duplicates("row").set_index("row")["subject"]
    table["group"] = table["row"].map(person.where(person != "", "face " + person.index))
    labels, answers = (class_indices(table[column], classes) for column in ("true", "predicted"))
    return Pooled(table[["row", "repeat", "fold", "group"]], labels, answers, classes)
