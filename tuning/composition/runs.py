"""A hierarchical run, and perhaps a flat one, on the same validation faces; their test predictions stay unread."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.combiner import stage_logs, stage_priors
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run_results import (
    VALIDATION_PREDICTIONS,
    read_metrics,
    read_splits,
    refuse_evaluation,
)
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.training.tuned_composition import predictions_fingerprint
from fer_hierarchy.tuning import validation_faces
from fer_hierarchy.tuning.composition.fit import ValidationFaces


@dataclass(frozen=True, kw_only=True)
class RunPredictions:
    """One run's predictions of its validation faces.

    Attributes:
        folder: The run.
        metrics: metrics.json.
        taxonomy: The run's grouping.
        table: predictions_validation.csv with the columns of splits.csv, indexed by row.
    """

    folder: Path
    metrics: Mapping[str, Any]
    taxonomy: Taxonomy
    table: pd.DataFrame

    @property
    def synthetic(self) -> bool:
        """Whether the faces are drawn by a program."""
        return bool(self.metrics.get("synthetic"))

    def columns(self, prefix: str, names: Sequence[str]) -> np.ndarray:
        """(n, names) float64 of the columns `prefix` + name."""
        return self.table[[prefix + name for name in names]].to_numpy(np.float64)

    def facts(self) -> dict[str, Any]:
        """What study.json holds of it."""
        data = self.metrics["data"]
        return {
            "run": self.folder.name,
            "framework": self.metrics.get("framework"),
            "seed": self.metrics.get("seed"),
            "dataset": data.get("dataset"),
            "data_fingerprint": data.get("fingerprint"),
            "limit": data.get("limit"),
            "fingerprint": predictions_fingerprint(self.folder),
        }

    def faces_fingerprint(self) -> str:
        """16 hex digits over the validation faces and their labels, whatever their order."""
        lines = sorted(f"{row} {true}" for row, true in self.table["true"].items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def read_runs(folders: Sequence[Path]) -> tuple[RunPredictions, RunPredictions | None]:
    """The hierarchical run, and the flat one if there is one.

    Args:
        folders: One run folder or two.

    Raises:
        UserError: Another number of runs, a run of the wrong kind or unfinished, damaged files, or two runs with
            different validation faces.
    """
    if len(folders) not in (1, 2):
        raise UserError(f"composition: got {len(folders)} runs; needed a hierarchical RUN, and perhaps a FLATRUN")
    tree = _read(folders[0])
    if tree.metrics["mode"] == FLAT:
        raise UserError(f"composition: {tree.folder.name} is flat, without stages to compose; name a hierarchical RUN")
    if len(folders) == 1:
        return tree, None
    flat = _read(folders[1])
    if flat.metrics["mode"] != FLAT:
        raise UserError(f"composition: the second run, {flat.folder.name}, is not flat; name a FLATRUN to blend with")
    return tree, _aligned(flat, tree)


def _read(folder: Path) -> RunPredictions:
    refuse_evaluation(folder)
    metrics = read_metrics(folder)
    taxonomy = Taxonomy.from_dict(metrics["taxonomy"], name=folder.name)
    parts = (("p_", taxonomy.emotions), ("gate_", taxonomy.group_names), ("given_", taxonomy.emotions))
    table = validation_faces.read_validation(folder, [prefix + name for prefix, names in parts for name in names])
    splits = read_splits(folder)
    faces = splits[splits["split"] == "validation"].set_index("row")
    if set(faces.index) != set(table.index):
        raise UserError(
            f"{folder}: {VALIDATION_PREDICTIONS} and splits.csv tell different validation faces; train the run again"
        )
    return RunPredictions(folder=folder, metrics=metrics, taxonomy=taxonomy, table=table.join(faces))


def _aligned(flat: RunPredictions, tree: RunPredictions) -> RunPredictions:
    """The flat run with its rows in the order of the hierarchical one's."""
    start = f"composition: {tree.folder.name} and {flat.folder.name}"
    way = "train both on the same data, with the same seed and exclusions"
    if flat.taxonomy.emotions != tree.taxonomy.emotions:
        kinds = (", ".join(run.taxonomy.emotions) for run in (tree, flat))
        raise UserError(f"{start} know different emotions ({' against '.join(kinds)}); {way}")
    if set(flat.table.index) != set(tree.table.index):
        shared = len(set(flat.table.index) & set(tree.table.index))
        counts = f"{len(tree.table)} and {len(flat.table)}, {shared} in common"
        raise UserError(f"{start} have different validation faces ({counts}); {way}")
    table = flat.table.loc[tree.table.index]
    differing = (table[["true", "pixel_hash"]] != tree.table[["true", "pixel_hash"]]).any(axis=1)
    if differing.any():
        raise UserError(f"{start} differ in label or picture of {differing.sum()} validation faces; {way}")
    return dataclasses.replace(flat, table=table)


def faces_of(tree: RunPredictions, flat: RunPredictions | None, *, seed: int) -> ValidationFaces:
    """The faces with the predictions of all stages, cut into folds by person, or by face where nobody is known.

    Args:
        tree: The hierarchical run.
        flat: The flat run on the same faces, or None.
        seed: Of the folds.

    Raises:
        UserError: Predictions that are no probabilities, or too few faces of an emotion for two folds.
    """
    taxonomy = tree.taxonomy
    try:
        logs = stage_logs(
            tree.columns("gate_", taxonomy.group_names),
            {group: tree.columns("given_", taxonomy.members(group)) for group in taxonomy.specialists},
            taxonomy,
            stage_priors(tree.metrics["data"]["counts"]["train"], taxonomy),
            None if flat is None else flat.columns("p_", taxonomy.emotions),
        )
        folds = validation_faces.folds(tree.table, seed)
    except (UserError, KeyError) as error:
        raise UserError(f"{tree.folder / VALIDATION_PREDICTIONS}: {error}") from error
    return ValidationFaces(
        logs=logs,
        labels=np.array(taxonomy.stage_labels(FLAT, tree.table["true"]), dtype=np.int64),
        folds=folds,
        persons=validation_faces.persons(tree.table),
        flat=None if flat is None else _name_beside(flat.folder, tree.folder),
    )


def _name_beside(flat: Path, tree: Path) -> str:
    """How a run is found again from another: by name where they stand side by side, else by its path."""
    return flat.name if flat.resolve().parent == tree.resolve().parent else str(flat.resolve())
