"""The tables of scores and differences that a command prints."""

from collections.abc import Iterable, Mapping
from typing import Any

from fer_hierarchy.hierarchy.progress import announce, announce_table
from fer_hierarchy.hierarchy.wording import (
    PREDICTIONS,
    difference,
    known,
    p_text,
    points,
    span,
    spread,
    training_time,
    whole,
)

MEASURES = {"top-1 %": "top1", "balanced %": "balanced_accuracy", "macro F1 %": "macro_f1"}


def announce_scores(rows: Iterable[tuple[str, Mapping[str, Any]]], noun: str) -> None:
    """Announce the three measures, and the 95 % interval of the first.

    Args:
        rows: Name and scores, as `evaluation.metrics` gives them; without scores where there are none.
        noun: What the names are.
    """
    cells = [
        (name, whole(scores.get("n")), *(points(scores.get(key)) for key in MEASURES.values()), span(scores, "top1"))
        for name, scores in rows
    ]
    announce_table([(noun, "faces", *MEASURES, "95 % of top-1"), *cells])


def announce_run_scores(record: Mapping[str, Any]) -> None:
    """Announce the scores of each prediction of a run, and those of the headline in each of several splits.

    Args:
        record: Its metrics.json.
    """
    names = {key: PREDICTIONS.get(key, key) for key in record["answers"]}
    rows = [(names[key], scores) for key, scores in record["answers"].items()]
    rows += [(f"{names[record['headline']]}, {split}", own) for split, own in record.get("splits", {}).items()]
    announce_scores(rows, "prediction")


def announce_comparison(comparison: Mapping[str, Any]) -> None:
    """Announce the scores of compared runs, and the differences of the pairs."""
    rows = [
        (run["name"], *(points(run[key]) for key in MEASURES.values()), span(run, "top1"), training_time(run))
        for run in comparison["runs"]
    ]
    announce_table([("run", *MEASURES, "95 % interval", "training, whole"), *rows])
    for pair in comparison["pairs"]:
        _announce_difference(pair, pair["differences"], pair["mcnemar"]["p"], "McNemar")


def announce_crossvals(comparison: Mapping[str, Any]) -> None:
    """Announce mean and deviation of compared cross-validations over their folds, and the differences of the pairs."""
    rows = [
        (one["name"], *(spread(one["means"]["runs"].get(key)) for key in MEASURES.values()))
        for one in comparison["crossvals"]
    ]
    announce_table([("mean ± SD of the folds", *MEASURES), *rows])
    for pair in comparison["pairs"]:
        _announce_difference(pair, pair["pooled"], pair["measures"]["top1"]["p"], "t test over folds")


def _announce_difference(pair: Mapping[str, Any], differences: Mapping[str, Any], p: float | None, test: str) -> None:
    chance = f"{p_text(p)} ({test})" if known(p) else "p unknown"
    figure = difference(differences["top1"])
    announce(f"{pair['b']} minus {pair['a']}: {figure} points of top-1, {chance}, n = {pair['n']}")
