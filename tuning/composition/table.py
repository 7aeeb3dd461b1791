"""What a search over the composition found, as tables and as records that JSON can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.training.tuned_composition import FORMAT, KIND
from fer_hierarchy.tuning.composition.fit import Fitted, ValidationFaces, difference, measure, parameters_of
from fer_hierarchy.tuning.composition.predictions import RunPredictions, validation_fingerprint
from fer_hierarchy.tuning.settings import OBJECTIVES

NONE, FLAT_ALONE = "none", "flat alone"


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A search that is done.

    Attributes:
        name: Of the study.
        tree: The hierarchical run.
        flat: The flat run, or None.
        judged: The validation faces.
        objective: What was searched by.
        seed: Of folds, search and intervals.
        fitted: What was found for each factor, "all" last.
        neutral: (emotions, n) logarithms of the soft composition.
        command: The command line.
        notes: What a reader of the report must know.
    """

    name: str
    tree: RunPredictions
    flat: RunPredictions | None
    judged: ValidationFaces
    objective: str
    seed: int
    fitted: Sequence[Fitted]
    neutral: np.ndarray
    command: str
    notes: Sequence[str]

    @property
    def best(self) -> Fitted:
        """All factors together."""
        return self.fitted[-1]

    @property
    def synthetic(self) -> bool:
        """Whether any face is drawn by a program."""
        return any(run.synthetic for run in (self.tree, self.flat) if run)

    def score(self, answers: np.ndarray, objective: str | None = None) -> float:
        """A score of (emotions, n) logarithms on all validation faces."""
        return measure(answers, self.judged.labels, objective or self.objective)

    def gain(self, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        """The difference that another answer makes, see `tuning.composition.fit.difference`."""
        return difference(before, after, self.judged, objective=self.objective, seed=self.seed)


def study_record(found: Composition) -> dict[str, Any]:
    """What study.json holds."""
    runs = {"tree": found.tree, "flat": found.flat}
    return {
        "format": FORMAT,
        "kind": KIND,
        "name": found.name,
        "command": found.command,
        "seed": found.seed,
        "synthetic": found.synthetic,
        "objective": found.objective,
        "runs": {role: run.facts() for role, run in runs.items() if run},
        "n": len(found.judged.labels),
        "folds": int(found.judged.folds.max()),
        "by": "face" if found.judged.subjects is None else "subject",
        "fingerprints": {"validation": validation_fingerprint(found.tree), **_fingerprints(found)},
        "taxonomy": found.tree.taxonomy.to_dict(),
        "emotions": list(found.tree.taxonomy.emotions),
        "space": {knob.name: {"low": knob.bounds[0], "high": knob.bounds[1]} for knob in found.best.knobs},
        "notes": list(found.notes),
    }


def best_record(found: Composition) -> dict[str, Any]:
    """What best.json holds; `score` is on the faces that the values were fitted to, `cross_validated` on others."""
    best = found.best
    return {
        "format": FORMAT,
        "kind": KIND,
        "study": found.name,
        "recomposition": best.made.to_dict(),
        "run": found.tree.folder.name,
        "flat": found.flat.folder.name if found.flat else None,
        "objective": found.objective,
        "score": best.score,
        "cross_validated": cross_validated(found),
        "fingerprints": _fingerprints(found),
        "taxonomy": found.tree.taxonomy.to_dict(),
        "seed": found.seed,
    }


def cross_validated(found: Composition) -> dict[str, Any]:
    """What the search is worth on faces that it has not looked at, against the soft composition on the same ones."""
    answers, flat = found.best.answers, found.judged.logs.flat
    record = {
        "n": len(found.judged.labels),
        "folds": int(found.judged.folds.max()),
        "tuned": found.score(answers),
        "neutral": found.score(found.neutral),
        **found.gain(found.neutral, answers),
    }
    if flat is not None:
        record["flat"] = {"score": found.score(flat), **found.gain(flat, answers)}
    return record


def _fingerprints(found: Composition) -> dict[str, str]:
    held = {"run": found.tree, "flat": found.flat}
    return {role: run.facts()["fingerprint"] for role, run in held.items() if run}


def factor_table(found: Composition) -> pd.DataFrame:
    """trials.csv: the soft composition, the flat run, each factor alone and all together.

    `score` is on the faces that were fitted to; all columns from `cross_validated` to `nll` are on faces that were not.
    """
    rows = [_factor_row(NONE, found.neutral, found)]
    if found.judged.logs.flat is not None:
        rows.append(_factor_row(FLAT_ALONE, found.judged.logs.flat, found))
    for fitted in found.fitted:
        values = {knob.name: knob.of(fitted.made) for knob in fitted.knobs}
        row = _factor_row(fitted.factor, fitted.answers, found)
        rows.append({**row, "searched": len(fitted.knobs), "score": fitted.score, **values})
    return pd.DataFrame(rows)


def _factor_row(factor: str, answers: np.ndarray, found: Composition) -> dict[str, Any]:
    return {
        "factor": factor,
        "searched": 0,
        "score": found.score(answers),
        "cross_validated": found.score(answers),
        **found.gain(found.neutral, answers),
        **{objective: found.score(answers, objective) for objective in OBJECTIVES},
        **{knob.name: None for knob in parameters_of(found.judged.logs)},
    }


def fold_table(found: Composition) -> pd.DataFrame:
    """folds.csv: what was found without each fold, and what it is worth on the fold."""
    rows = []
    for fitted in found.fitted:
        for number, made in fitted.folds.items():
            held = found.judged.folds == number
            labels = found.judged.labels[held]
            scores = {
                "neutral": measure(found.neutral[:, held], labels, found.objective),
                "tuned": measure(fitted.answers[:, held], labels, found.objective),
            }
            values = {knob.name: knob.of(made) for knob in fitted.knobs}
            rows.append({"factor": fitted.factor, "fold": number, "faces": int(held.sum()), **scores, **values})
    columns = ["factor", "fold", "faces", "neutral", "tuned", *(knob.name for knob in found.fitted[-1].knobs)]
    return pd.DataFrame(rows, columns=columns)
