"""The table of scores that a command prints."""

from collections.abc import Iterable, Mapping
from typing import Any

from fer_hierarchy.hierarchy.progress import announce_table
from fer_hierarchy.hierarchy.wording import PREDICTIONS, points, span, whole

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
