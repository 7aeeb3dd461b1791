"""What a finished experiment prints: the table of its result."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_hierarchy.hierarchy.experiments.table import GridCell
from fer_hierarchy.hierarchy.progress import announce, announce_table
from fer_hierarchy.hierarchy.reports.screen import MEASURES, announce_scores
from fer_hierarchy.hierarchy.wording import difference, known, points, span, spread, training_time


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
    chance = f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'} ({test})" if known(p) else "p unknown"
    figure = difference(differences["top1"])
    announce(f"{pair['b']} minus {pair['a']}: {figure} points of top-1, {chance}, n = {pair['n']}")


def announce_cells(cells: Sequence[GridCell], noun: str) -> None:
    """Announce the scores of each cell of a grid or run of a cross-validation."""
    done = [(cell.name, cell.scores) for cell in cells if cell.run]
    announce_scores([*done, *((f"{cell.name} (failed)", {}) for cell in cells if not cell.run)], noun)
