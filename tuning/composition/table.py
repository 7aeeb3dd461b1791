"""What a search over the composition found, as tables and as records that JSON can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.tuned_composition import FORMAT, KIND
from fer_hierarchy.tuning.composition.fit import Fitted, ValidationFaces, difference, measure, parameters_of
from fer_hierarchy.tuning.composition.runs import faces_fingerprint, run_facts
from fer_hierarchy.tuning.settings import OBJECTIVES

NONE, FLAT_ALONE = "none", "flat alone"


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A search that is done.

    Attributes:
        name: Of the study.
        tree: The hierarchical run.
        flat: The flat run, or None.
        faces: The validation faces.
        objective: What was searched by.
        seed: Of folds, search and intervals.
        fitted: What was found for each factor, "all" last.
        soft: (emotions, n) logarithms of the soft composition.
        command: The command line.
        notes: What a reader of the report must know.
    """

    name: str
    tree: Run
    flat: Run | None
    faces: ValidationFaces
    objective: str
    seed: int
    fitted: Sequence[Fitted]
    soft: np.ndarray
    command: str
    notes: Sequence[str]

    @property
    def best(self) -> Fitted:
        """All factors together."""
        return self.fitted[-1]

    @property
    def runs(self) -> dict[str, Run]:
        """The runs by their part: "tree", and "flat" where there is one."""
        return {role: run for role, run in (("tree", self.tree), ("flat", self.flat)) if run}

    @property
    def synthetic(self) -> bool:
        """Whether any face is drawn by a program."""
        return any(run.metrics["synthetic"] for run in self.runs.values())

    def score(self, predictions: np.ndarray, objective: str | None = None) -> float:
        """A score of (emotions, n) logarithms on all validation faces."""
        return measure(predictions, self.faces.labels, objective or self.objective)

    def gain(self, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        """The difference that other predictions make, see `tuning.composition.fit.difference`."""
        return difference(before, after, self.faces, objective=self.objective, seed=self.seed)

    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the runs, as study.json and best.json hold them."""
        return {"run" if role == "tree" else role: run_facts(run)["fingerprint"] for role, run in self.runs.items()}


def study_record(found: Composition) -> dict[str, Any]:
    """What study.json holds."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "name": found.name,
        "command": found.command,
        "seed": found.seed,
        "synthetic": found.synthetic,
        "objective": found.objective,
        "runs": {role: run_facts(run) for role, run in found.runs.items()},
        "n": len(found.faces.labels),
        "folds": int(found.faces.folds.max()),
        "by": "face" if found.faces.persons is None else "subject",
        "fingerprints": {"validation": faces_fingerprint(found.tree), **found.fingerprints()},
        "taxonomy": found.tree.taxonomy.to_dict(),
        "emotions": list(found.tree.taxonomy.emotions),
        "space": {one.name: {"low": one.bounds[0], "high": one.bounds[1]} for one in found.best.parameters},
        "notes": list(found.notes),
    }


def best_record(found: Composition) -> dict[str, Any]:
    """What best.json holds; `score` is on the faces that the values were fitted to, `cross_validated` on others."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "study": found.name,
        "recomposition": found.best.combiner.to_dict(),
        "run": found.tree.name,
        "flat": found.flat.name if found.flat else None,
        "objective": found.objective,
        "score": found.best.score,
        "cross_validated": _cross_validated(found),
        "fingerprints": found.fingerprints(),
        "taxonomy": found.tree.taxonomy.to_dict(),
        "seed": found.seed,
    }


def _cross_validated(found: Composition) -> dict[str, Any]:
    """What the search is worth on faces that it was not fitted to, against the soft composition of the same ones."""
    tuned, flat = found.best.predictions, found.faces.logs.flat
    record = {
        "n": len(found.faces.labels),
        "folds": int(found.faces.folds.max()),
        "tuned": found.score(tuned),
        "neutral": found.score(found.soft),
        **found.gain(found.soft, tuned),
    }
    return record if flat is None else record | {"flat": {"score": found.score(flat), **found.gain(flat, tuned)}}


def factor_table(found: Composition) -> pd.DataFrame:
    """trials.csv: the soft composition, the flat run, each factor alone and all together.

    `score` is on the faces that were fitted to; all columns from `cross_validated` to `nll` are on faces that were not.
    """
    rows = [_factor_row(NONE, found.soft, found)]
    if found.faces.logs.flat is not None:
        rows.append(_factor_row(FLAT_ALONE, found.faces.logs.flat, found))
    for fitted in found.fitted:
        row = _factor_row(fitted.factor, fitted.predictions, found)
        values = {one.name: one.of(fitted.combiner) for one in fitted.parameters}
        rows.append({**row, "searched": len(fitted.parameters), "score": fitted.score, **values})
    return pd.DataFrame(rows)


def _factor_row(factor: str, predictions: np.ndarray, found: Composition) -> dict[str, Any]:
    return {
        "factor": factor,
        "searched": 0,
        "score": found.score(predictions),
        "cross_validated": found.score(predictions),
        **found.gain(found.soft, predictions),
        **{objective: found.score(predictions, objective) for objective in OBJECTIVES},
        **{one.name: None for one in parameters_of(found.faces.logs)},
    }


def fold_table(found: Composition) -> pd.DataFrame:
    """folds.csv: what was found without each fold, and what it is worth on the fold."""
    rows = []
    for fitted in found.fitted:
        for number, combiner in fitted.folds.items():
            inside = found.faces.folds == number
            labels = found.faces.labels[inside]
            scores = {
                "neutral": measure(found.soft[:, inside], labels, found.objective),
                "tuned": measure(fitted.predictions[:, inside], labels, found.objective),
            }
            values = {one.name: one.of(combiner) for one in fitted.parameters}
            rows.append({"factor": fitted.factor, "fold": number, "faces": int(inside.sum()), **scores, **values})
    columns = ["factor", "fold", "faces", "neutral", "tuned", *(one.name for one in found.best.parameters)]
    return pd.DataFrame(rows, columns=columns)
