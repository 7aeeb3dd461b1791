"""A hierarchical run, and perhaps a flat one, on the same validation faces; their test predictions stay unread."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.combiner import stage_logs, stage_priors
from fer_hierarchy.hierarchy.classifiers.predictions import subjects
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import SPLITS, VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.training.tuned_composition import predictions_fingerprint
from fer_hierarchy.tuning import validation_faces
from fer_hierarchy.tuning.composition.fit import ValidationFaces


def read_runs(folders: Sequence[Path]) -> tuple[Run, Run | None]:
    """The hierarchical run, and the flat one if there is one.

    Args:
        folders: One run folder or two.

    Raises:
        UserError: Another number of runs, or a run of the wrong kind or unfinished.
    """
    if len(folders) not in (1, 2):
        raise UserError(f"composition: got {len(folders)} runs; needed a hierarchical RUN, and perhaps a FLATRUN")
    tree, *others = map(Run, folders)
    for run in (tree, *others):
        run.require_networks()
    if tree.metrics["mode"] == FLAT:
        raise UserError(f"composition: {tree.name} is flat, without stages to compose; name a hierarchical RUN")
    flat = others[0] if others else None
    if flat is not None and flat.metrics["mode"] != FLAT:
        raise UserError(f"composition: the second run, {flat.name}, is not flat; name a FLATRUN to blend with")
    return tree, flat


def faces_of(tree: Run, flat: Run | None, *, seed: int) -> ValidationFaces:
    """The faces with the predictions of all stages, cut into folds by person, or by face where nobody is known.

    Args:
        tree: The hierarchical run.
        flat: The flat run, or None.
        seed: Of the folds.

    Raises:
        UserError: Damaged files, two runs with different validation faces, predictions that are no probabilities, or
            too few faces of an emotion for two folds.
    """
    taxonomy, table = tree.taxonomy, _table(tree)
    other = None if flat is None else _aligned(flat, tree, table)
    try:
        logs = stage_logs(
            _columns(table, "gate_", taxonomy.group_names),
            {group: _columns(table, "given_", taxonomy.members(group)) for group in taxonomy.specialists},
            taxonomy,
            stage_priors(tree.train_counts, taxonomy),
            None if other is None else _columns(other, "p_", taxonomy.emotions),
        )
        manifest = validation_faces.as_manifest(table)
        folds = validation_faces.folds(manifest, seed)
    except (UserError, KeyError) as error:
        raise UserError(f"{tree.folder / VALIDATION_PREDICTIONS}: {error}") from error
    return ValidationFaces(
        logs=logs,
        labels=np.array(taxonomy.stage_labels(FLAT, table["true"]), dtype=np.int64),
        folds=folds,
        persons=subjects(manifest),
        flat=None if flat is None else _name_beside(flat.folder, tree.folder),
    )


def _table(run: Run) -> pd.DataFrame:
    """The predictions with the columns of splits.csv, indexed by row."""
    predictions, faces = run.validation_predictions.set_index("row"), run.faces_by_id
    faces = faces[faces["split"] == "validation"]
    if set(faces.index) != set(predictions.index):
        raise UserError(
            f"{run.folder}: {VALIDATION_PREDICTIONS} and {SPLITS} tell different validation faces; train the run again"
        )
    return predictions.join(faces)


def _aligned(flat: Run, tree: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The table of the flat run with its rows in the order of the hierarchical one's."""
    start = f"composition: {tree.name} and {flat.name}"
    way = "train both on the same data, with the same seed and exclusions"
    if flat.classes != tree.classes:
        kinds = (", ".join(run.classes) for run in (tree, flat))
        raise UserError(f"{start} know different emotions ({' against '.join(kinds)}); {way}")
    other = _table(flat)
    if set(other.index) != set(table.index):
        shared = len(set(other.index) & set(table.index))
        counts = f"{len(table)} and {len(other)}, {shared} in common"
        raise UserError(f"{start} have different validation faces ({counts}); {way}")
    other = other.loc[table.index]
    differing = (other[["true", "pixel_hash"]] != table[["true", "pixel_hash"]]).any(axis=1)
    if differing.any():
        raise UserError(f"{start} differ in label or picture of {differing.sum()} validation faces; {way}")
    return other


def _columns(table: pd.DataFrame, prefix: str, names: Sequence[str]) -> np.ndarray:
    """(n, names) float64 of the columns `prefix` + name."""
    for name in names:
        if prefix + name not in table:
            raise UserError(f"it is damaged: column {prefix + name!r} is missing")
    return table[[prefix + name for name in names]].to_numpy(np.float64)


def _name_beside(flat: Path, tree: Path) -> str:
    """How a run is found again from another: by name where they stand side by side, else by its path."""
    return flat.name if flat.resolve().parent == tree.resolve().parent else str(flat.resolve())


def run_facts(run: Run) -> dict[str, Any]:
    """What study.json holds of a run."""
    data = run.metrics["data"]
    return {
        "run": run.name,
        "framework": run.metrics.get("framework"),
        "seed": run.metrics.get("seed"),
        "dataset": data.get("dataset"),
        "data_fingerprint": data.get("fingerprint"),
        "limit": data.get("limit"),
        "fingerprint": predictions_fingerprint(run.folder),
    }


def faces_fingerprint(run: Run) -> str:
    """16 hex digits over the validation faces of a run and their labels, whatever their order."""
    table = run.validation_predictions
    lines = sorted(f"{row} {true}" for row, true in zip(table["row"], table["true"], strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
