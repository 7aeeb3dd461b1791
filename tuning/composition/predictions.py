"""What finished runs said of their validation faces, checked and brought together; test predictions stay unread."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.combiner import stage_logs, stage_priors
from fer_hierarchy.hierarchy.data.splits import fold_numbers
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run_results import read_metrics, read_splits, refuse_evaluation
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.training.tuned_composition import VALIDATION, answers_fingerprint
from fer_hierarchy.tuning.composition.fit import ValidationFaces

FOLDS = 5
_NAMES = ("row", "true")


@dataclass(frozen=True, kw_only=True)
class RunPredictions:
    """One run's answers to its validation faces.

    Attributes:
        folder: The run.
        metrics: metrics.json.
        taxonomy: The run's grouping.
        table: predictions_validation.csv, indexed by row.
        faces: The validation rows of splits.csv, indexed by row, in the order of `table`.
    """

    folder: Path
    metrics: Mapping[str, Any]
    taxonomy: Taxonomy
    table: pd.DataFrame
    faces: pd.DataFrame

    @property
    def flat(self) -> bool:
        """Whether one network answers for all emotions."""
        return self.metrics["mode"] == FLAT

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
            "fingerprint": answers_fingerprint(self.folder),
        }


def read_answers(folders: Sequence[Path]) -> tuple[RunPredictions, RunPredictions | None]:
    """The hierarchical run, and the flat one if there is one.

    Args:
        folders: One run folder or two.

    Raises:
        UserError: Another number of runs, a run of the wrong kind or unfinished, damaged files, or two runs that do
            not speak of the same faces.
    """
    if len(folders) not in (1, 2):
        raise UserError(f"composition: got {len(folders)} runs; needed a hierarchical RUN, and perhaps a FLATRUN")
    tree = _read(folders[0])
    if tree.flat:
        raise UserError(f"composition: {tree.folder.name} is flat, without stages to compose; name a hierarchical RUN")
    if len(folders) == 1:
        return tree, None
    flat = _read(folders[1])
    if not flat.flat:
        raise UserError(f"composition: the second run, {flat.folder.name}, is not flat; name a FLATRUN to blend with")
    return tree, _aligned(flat, tree)


def judged_faces(tree: RunPredictions, flat: RunPredictions | None, *, seed: int) -> ValidationFaces:
    """The faces with what the stages say of them, cut into folds by person, or by face where nobody is known.

    Args:
        tree: The hierarchical run.
        flat: The flat run on the same faces, or None.
        seed: Of the folds.

    Raises:
        UserError: Answers that are no probabilities, or too few faces of an emotion for two folds.
    """
    taxonomy, where = tree.taxonomy, tree.folder / VALIDATION
    given = tree.columns("given_", taxonomy.emotions)
    places = {g: [taxonomy.emotions.index(e) for e in taxonomy.members(g)] for g in taxonomy.specialists}
    try:
        logs = stage_logs(
            tree.columns("gate_", taxonomy.group_names),
            {group: given[:, columns] for group, columns in places.items()},
            taxonomy,
            stage_priors(tree.metrics["data"]["counts"]["train"], taxonomy),
            None if flat is None else flat.columns("p_", taxonomy.emotions),
        )
        folds = _folds(tree.faces, seed)
    except (UserError, KeyError) as error:
        raise UserError(f"{where}: {error}") from error
    return ValidationFaces(
        logs=logs,
        labels=np.array(taxonomy.stage_labels(FLAT, tree.table["true"]), dtype=np.int64),
        folds=folds,
        subjects=_subjects(tree.faces),
        flat=None if flat is None else _name_beside(flat.folder, tree.folder),
    )


def validation_fingerprint(answers: RunPredictions) -> str:
    """16 hex digits over the validation faces and their labels, whatever their order."""
    lines = sorted(f"{row} {true}" for row, true in answers.table["true"].items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _name_beside(flat: Path, tree: Path) -> str:
    """How a run is found again from another: by name where they stand side by side, else by its path."""
    return flat.name if flat.resolve().parent == tree.resolve().parent else str(flat.resolve())


def _read(folder: Path) -> RunPredictions:
    refuse_evaluation(folder)
    metrics = read_metrics(folder)
    taxonomy = Taxonomy.from_dict(metrics["taxonomy"], name=folder.name)
    table = _read_table(folder / VALIDATION, taxonomy)
    splits = read_splits(folder)
    faces = splits[splits["split"] == "validation"].set_index("row")
    if set(faces.index) != set(table.index):
        raise UserError(f"{folder}: {VALIDATION} and splits.csv tell different validation faces; train the run again")
    return RunPredictions(folder=folder, metrics=metrics, taxonomy=taxonomy, table=table, faces=faces.loc[table.index])


def _read_table(path: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    """predictions_validation.csv, checked and indexed by row."""
    remedy = f"; --resume {path.parent.name} writes it again"
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_NAMES, str), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({str(error).splitlines()[0]}){remedy}") from error
    if table.empty:
        raise UserError(f"{path} is damaged: it holds no rows{remedy}")
    parts = (("p_", taxonomy.emotions), ("gate_", taxonomy.group_names), ("given_", taxonomy.emotions))
    numbers = [prefix + name for prefix, names in parts for name in names]
    absent = next((name for name in (*_NAMES, *numbers) if name not in table), None)
    if absent:
        raise UserError(f"{path} is damaged: column {absent!r} is missing{remedy}")
    wrong = next((name for name in numbers if not pd.api.types.is_numeric_dtype(table[name])), None)
    if wrong:
        raise UserError(f"{path} is damaged: column {wrong!r} holds something other than numbers{remedy}")
    strange = table["true"][~table["true"].isin(taxonomy.emotions)]
    twice = table["row"][table["row"].duplicated()]
    if len(strange) or len(twice):
        problem = f"emotion {strange.iloc[0]!r}" if len(strange) else f"row {twice.iloc[0]!r} twice"
        raise UserError(f"{path} is damaged: it holds {problem}{remedy}")
    return table.set_index("row")


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
    table, faces = flat.table.loc[tree.table.index], flat.faces.loc[tree.table.index]
    differing = (table["true"] != tree.table["true"]) | (faces["pixel_hash"] != tree.faces["pixel_hash"])
    if differing.any():
        raise UserError(f"{start} differ in label or picture of {differing.sum()} validation faces; {way}")
    return RunPredictions(folder=flat.folder, metrics=flat.metrics, taxonomy=flat.taxonomy, table=table, faces=faces)


def _folds(faces: pd.DataFrame, seed: int) -> np.ndarray:
    """(n,) fold of each face, from 1; fewer folds where an emotion has too few persons or faces for all."""
    rows = faces.assign(source=faces.get("source", ""), id=faces.index).reset_index(drop=True)
    held = (rows["source"] + "/" + rows["subject"]).where(rows["subject"] != "", rows["pixel_hash"])
    units = held if (rows["subject"] != "").any() else rows["pixel_hash"]
    fewest = int(units.groupby(rows["emotion"]).nunique().min())
    return fold_numbers(rows, folds=max(2, min(FOLDS, fewest)), seed=seed).to_numpy(np.int64)


def _subjects(faces: pd.DataFrame) -> np.ndarray | None:
    """(n,) person of each face, one of its own where nobody is named; None where nobody is known at all."""
    if not (faces["subject"] != "").any():
        return None
    source = faces.get("source", "")
    names = (source + "/" + faces["subject"]).where(faces["subject"] != "", faces.index.to_series())
    return names.to_numpy(object)
