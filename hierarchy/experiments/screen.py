"""What a finished experiment prints: the table that answers its question."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_hierarchy.hierarchy.experiments.table import GridCell
from fer_hierarchy.hierarchy.progress import announce, announce_table
from fer_hierarchy.hierarchy.wording import difference, known, points, span, training_time

_MEASURES = {"top-1 %": "top1", "balanced %": "balanced_accuracy", "macro F1 %": "macro_f1"}


def announce_comparison(comparison: Mapping[str, Any]) -> None:
    """Announce the scores of compared runs, and the differences of the pairs."""
    rows = [
        (run["name"], *(points(run[key]) for key in _MEASURES.values()), span(run, "top1"), training_time(run))
        for run in comparison["runs"]
    ]
    announce_table([("run", *_MEASURES, "95 % interval", "training, whole"), *rows])
    for pair in comparison["pairs"]:
        p = pair["mcnemar"]["p"]
        words = f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'} (McNemar)" if known(p) else "p unknown"
        figure = difference(pair["differences"]["top1"])
        announce(f"{pair['b']} minus {pair['a']}: {figure} points of top-1, {words}, n = {pair['n']}")


def announce_cells(cells: Sequence[GridCell], noun: str) -> None:
    """Announce the scores of each cell of a grid or run of a cross-validation."""
    done = [(cell.name, *(points(cell.figures[key]) for key in _MEASURES.values())) for cell in cells if cell.run]
    failed = [(cell.name, "failed", "", "") for cell in cells if cell.run is None]
    announce_table([(noun, *_MEASURES), *done, *failed])
