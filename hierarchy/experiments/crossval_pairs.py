"""Cross-validations over the same folds, paired: differences fold by fold, pooled differences and tests. No plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import mcnemar, mean_std, paired_bootstrap
from fer_hierarchy.hierarchy.experiments.crossval_table import GATE, MEASURES, Pooled

FORMAT = 1


@dataclass(frozen=True)
class Crossval:
    """A finished cross-validation.

    Attributes:
        name: Its folder's name.
        table: What `hierarchy.experiments.crossval_table.crossval_table` returns.
        pooled: All its answers.
    """

    name: str
    table: Mapping[str, Any]
    pooled: Pooled


def compare_crossvals(crossvals: Sequence[Crossval], *, resamples: int, seed: int) -> dict[str, Any]:
    """Put each cross-validation beside the first.

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
    table = first.table
    return {
        "format": FORMAT,
        "synthetic": any(one.table["synthetic"] for one in crossvals),
        **{key: table[key] for key in ("folds", "repeats", "split_by", "seeds")},
        **{key: table["data"][key] for key in ("dataset", "fingerprint", "faces", "subjects")},
        "crossvals": [
            {"name": one.name, **{key: one.table[key] for key in ("mode", "models", "means", "command")}}
            for one in crossvals
        ],
        "pairs": [_pair(first, other, resamples=resamples, seed=seed) for other in crossvals[1:]],
    }


def _require_same_folds(first: Crossval, other: Crossval) -> None:
    start = f"cross-validations {first.name} and {other.name} cannot be compared:"
    if first.pooled.classes != other.pooled.classes:
        raise UserError(f"{start} their emotions differ; use the same data and --exclude")
    left, right = _placed(first.pooled), _placed(other.pooled)
    if len(left) != len(right) or not left.index.equals(right.index):
        apart = left.index.symmetric_difference(right.index)
        raise UserError(f"{start} their faces differ ({len(apart)} stand in one only); use the same data and --repeats")
    for column, what in (("fold", "in another fold"), ("label", "labelled otherwise")):
        differ = left.index[(left[column] != right[column]).to_numpy()]
        if len(differ):
            text = f"{len(differ)} of {len(left)} faces stand {what} (first: {differ[0][1]!r})"
            raise UserError(f"{start} {text}; use the same data, --folds, --seed and --split-by")


def _placed(pooled: Pooled) -> pd.DataFrame:
    """Fold, label, answer and person under (repeat, row), sorted."""
    table = pooled.rows.assign(label=pooled.labels, answer=pooled.answers)
    return table.set_index(["repeat", "row"]).sort_index()


def _pair(a: Crossval, b: Crossval, *, resamples: int, seed: int) -> dict[str, Any]:
    left, right = _placed(a.pooled), _placed(b.pooled)
    labels = left["label"].to_numpy()
    right_a, right_b = left["answer"] == left["label"], right["answer"] == right["label"]
    draw = {"resamples": resamples, "seed": seed, "groups": left["group"]}
    return {
        "a": a.name,
        "b": b.name,
        "n": len(left),
        "measures": {name: _differences(a.table, b.table, name) for name in _shared_measures(a.table, b.table)},
        "pooled": paired_bootstrap(labels, left["answer"], right["answer"], len(a.pooled.classes), **draw),
        "mcnemar": [
            {"repeat": int(repeat), **mcnemar(held, right_b[held.index])}
            for repeat, held in right_a.groupby(level="repeat")
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


def corrected_t(differences: Sequence[float], *, folds: int) -> float | None:
    """Two-sided p of the t test whose variance is corrected for training sets that overlap.

    Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003; for repeated folds as in
    Bouckaert and Frank, PAKDD 2004.

    Args:
        differences: One for each fold of each repeat.
        folds: Folds of a repeat; a test split is 1 / (folds - 1) of its training faces.

    Returns:
        None where it says nothing: fewer than two differences, or all alike.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or np.isclose(values.std(), 0):
        return None
    variance = values.var(ddof=1) * (1 / len(values) + 1 / (folds - 1))
    return float(2 * student.sf(abs(values.mean()) / np.sqrt(variance), len(values) - 1))
