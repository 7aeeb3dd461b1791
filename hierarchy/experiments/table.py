"""The table of an experiment: one row for each run, keyed by configuration, seed and fold. No plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.evaluation.calibration import expected_calibration_error
from fer_hierarchy.hierarchy.evaluation.metrics import class_indices, per_class, top_shares
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.evaluation.significance import (
    FIGURES,
    confusion_counts,
    confusion_figures,
    mean_std,
)
from fer_hierarchy.hierarchy.experiments.grid import FOLD, SEED, Cell, label
from fer_hierarchy.hierarchy.paths import METRICS, PREDICTIONS, REPORT
from fer_hierarchy.hierarchy.runs.run import Run

CHOOSING = "validation_macro_f1"  # the measure that cells are chosen by; test scores choose nothing


@dataclass(frozen=True, eq=False)
class GridCell:
    """One run of an experiment.

    Attributes:
        name: Its name within the experiment.
        point: Axis -> value as it was typed; `seed` and `fold` among them where they vary.
        run: What the run left; None where it failed.
        error: Why it failed, or empty.
        order: Row ids of the test faces in the order that `rows` has; None for that of the file.
    """

    name: str
    point: Mapping[str, str]
    run: Run | None
    error: str = ""
    order: pd.Index | None = None

    @property
    def finished(self) -> Run:
        """The run of a cell that did not fail."""
        assert self.run is not None, f"{self.name} failed"
        return self.run

    @property
    def configuration(self) -> tuple[str, ...]:
        """The values of all axes but seed and fold."""
        return tuple(value for axis, value in self.point.items() if axis not in (SEED, FOLD))

    @property
    def seed(self) -> str:
        """The seed where seeds are an axis, else nothing."""
        return self.point.get(SEED, "")

    @property
    def test_rows(self) -> tuple:
        """What two cells must share for their test scores to be comparable."""
        return self.finished.metrics.get("test_fingerprint"), self.finished.classes

    @cached_property
    def rows(self) -> pd.DataFrame:
        """predictions.csv by row id."""
        table = self.finished.predictions.set_index("row")
        return table if self.order is None else table.loc[self.order]

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int64 true class indices."""
        return class_indices(self.rows["true"], self.finished.classes)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n,) int64 class indices of the headline predictions."""
        return class_indices(self.rows["predicted"], self.finished.classes)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(n, classes) float64 of the headline predictions."""
        columns = [f"p_{emotion}" for emotion in self.finished.classes]
        return as_probabilities(self.rows[columns], len(columns), f"{PREDICTIONS} of {self.name}")

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int64 counts of the headline predictions, rows are the true classes."""
        return confusion_counts(self.labels, self.predicted, len(self.finished.classes))

    @cached_property
    def figures(self) -> dict[str, float]:
        """`FIGURES` of the headline predictions."""
        return {name: float(value) for name, value in confusion_figures(self.confusion).items()}

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """Scores of each emotion."""
        return per_class(self.labels, self.predicted, self.finished.classes)

    @property
    def ece(self) -> float:
        """Expected calibration error of the headline predictions."""
        return expected_calibration_error(self.labels, self.probabilities)

    @property
    def group_top1(self) -> float:
        """Share of faces whose route is their true group."""
        true_groups = np.array(self.finished.taxonomy.group_index)[self.labels]
        return float((class_indices(self.rows["route"], self.finished.taxonomy.group_names) == true_groups).mean())

    @cached_property
    def scores(self) -> dict[str, Any]:
        """n, `FIGURES`, top-2 and top-3 of the headline predictions with their intervals, `CHOOSING` and the cost."""
        metrics = self.finished.metrics
        cost = metrics.get("cost") or {}
        return {
            "n": len(self.labels),
            **self.figures,
            **top_shares(self.labels, self.probabilities),
            "intervals": metrics["answers"][metrics["headline"]]["intervals"],
            CHOOSING: (metrics.get("validation") or {}).get("macro_f1"),
            "train_cpu_seconds": cost.get("train_cpu_seconds"),
            "parameters": cost.get("parameters"),
        }

    def recalls(self) -> list[float]:
        """Recall of each emotion; NaN without faces."""
        return [np.nan if row["recall"] is None else row["recall"] for row in self.per_class]


def outcome(folder: Path, cell: Cell) -> GridCell:
    """What became of a cell of the grid in `folder`."""
    place = folder / cell.name
    run = Run(place) if is_complete(place) else None
    return GridCell(name=cell.name, point=cell.point, run=run, error=cell.error)


def is_complete(place: Path) -> bool:
    """Whether the run in a folder is complete; the report is the last file that it writes."""
    return (place / METRICS).is_file() and (place / REPORT).is_file()


def by_configuration(cells: Sequence[GridCell]) -> list[list[GridCell]]:
    """Cells that differ in nothing but the seed; of equal seeds the first, since it is the same run again."""
    alike: dict[tuple[str, ...], dict[str, GridCell]] = {}
    for cell in cells:
        alike.setdefault(cell.configuration, {}).setdefault(cell.seed, cell)
    return [list(seeds.values()) for seeds in alike.values()]


def over_seeds(cells: Sequence[GridCell], configuration: str) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of one configuration.

    Args:
        cells: Its runs.
        configuration: What to call it.

    Returns:
        runs, configuration, seeds, and `mean_std` of each of `FIGURES` and of ece.
    """
    return {
        "runs": [cell.name for cell in cells],
        "configuration": configuration,
        "seeds": [int(cell.seed) for cell in cells],
        **{name: mean_std([cell.figures[name] for cell in cells]) for name in FIGURES},
        "ece": mean_std([cell.ece for cell in cells]),
    }


@dataclass(frozen=True)
class Block:
    """Cells that may be ranked against each other: for each seed, all of them stand on the same test faces.

    Attributes:
        cells: Finished cells in the grid's order.
        name: What sets these test faces apart from others; empty where there are no others.
        stem: Ends the names of the block's files; empty for the first block.
    """

    cells: Sequence[GridCell]
    name: str = ""
    stem: str = ""

    def titled(self, title: str) -> str:
        """A section's title with the block's name."""
        return f"{title}, {self.name}" if self.name else title

    def label(self, cell: GridCell, *, seed: bool = True) -> str:
        """A cell by the axes that vary here; by its name where none does."""
        seeds = [SEED] if seed and len({other.seed for other in self.cells}) > 1 else []
        return configuration_name(cell, [*self.varying(), *seeds]) or cell.name

    @property
    def labels(self) -> dict[str, str]:
        """Cell name -> `label`."""
        return {cell.name: self.label(cell) for cell in self.cells}

    @property
    def configurations(self) -> list[list[GridCell]]:
        """`by_configuration`."""
        return by_configuration(self.cells)

    def ranking(self) -> list[GridCell]:
        """One cell of each configuration, its first seed, best mean validation score first."""

        def validation(cells: Sequence[GridCell]) -> float:
            return float(np.mean([cell.scores[CHOOSING] or 0.0 for cell in cells]))

        return [cells[0] for cells in sorted(self.configurations, key=validation, reverse=True)]

    @property
    def chosen(self) -> GridCell:
        """The first seed of the configuration with the best mean validation score, the first of equals."""
        return self.ranking()[0]

    @property
    def paired(self) -> list[GridCell]:
        """The chosen cell, then all others on exactly its test faces."""
        chosen = self.chosen
        return [chosen, *(c for c in self.cells if c is not chosen and c.test_rows == chosen.test_rows)]

    @property
    def repeats(self) -> list[dict[str, Any]]:
        """`over_seeds` of each configuration with several, with one_test (do they share test faces) and `CHOOSING`."""
        return [
            {
                **over_seeds(cells, configuration_name(cells[0], [axis for axis in cells[0].point if axis != SEED])),
                "one_test": len({cell.test_rows for cell in cells}) == 1,
                CHOOSING: mean_std([cell.scores[CHOOSING] or 0.0 for cell in cells]),
            }
            for cells in self.configurations
            if len(cells) > 1
        ]

    def varying(self) -> list[str]:
        """Axes but the seed that have more than one value here."""
        axes = [axis for axis in self.cells[0].point if axis != SEED]
        return [axis for axis in axes if len({cell.point[axis] for cell in self.cells}) > 1]


def blocks(cells: Sequence[GridCell]) -> list[Block]:
    """Finished cells by test faces: configurations share a block where they agree for every seed that they share."""
    found: list[tuple[dict[str, tuple], list[GridCell]]] = []
    for alike in by_configuration([cell for cell in cells if cell.run is not None]):
        rows = {cell.seed: cell.test_rows for cell in alike}
        for known, members in found:
            shared = known.keys() & rows.keys()
            if shared and all(known[seed] == rows[seed] for seed in shared):
                known.update(rows)
                members += alike
                break
        else:
            found.append((rows, list(alike)))
    order = {cell.name: number for number, cell in enumerate(cells)}
    parts = [sorted(members, key=lambda cell: order[cell.name]) for _, members in found]
    if len(parts) < 2:
        return [Block(part) for part in parts]
    return [
        Block(part, f"test faces {chr(ord('A') + i)}{_own_values(part, cells)}", f"-{i + 1}" * bool(i))
        for i, part in enumerate(parts)
    ]


def _own_values(part: Sequence[GridCell], cells: Sequence[GridCell]) -> str:
    """The values of axes that do not all occur in a part of the cells, in brackets."""
    values = {axis: dict.fromkeys(cell.point[axis] for cell in part) for axis in part[0].point}
    own = [
        f"{axis.replace('_', ' ')} {' or '.join(here)}"
        for axis, here in values.items()
        if len(here) < len({cell.point[axis] for cell in cells})
    ]
    return f" ({', '.join(own)})" if own else ""


def grid_table(cells: Sequence[GridCell]) -> pd.DataFrame:
    """table.csv: a row a cell with its values, scores, intervals and cost; a failed one has its error alone."""
    rows = []
    for cell in cells:
        row = {"cell": cell.name, **cell.point}
        if cell.run is not None:
            scores = {name: value for name, value in cell.scores.items() if name != "intervals"}
            intervals = cell.scores["intervals"].items()
            bounds = {f"{name}_{end}": pair[i] for name, pair in intervals for i, end in enumerate(("low", "high"))}
            row |= {"test_rows": cell.test_rows[0], **scores, **bounds}
        rows.append(row | {"error": cell.error})
    return pd.DataFrame(rows)


def heat_map(block: Block) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Top-1 by all varying axes, the last across; recall of each emotion where one axis varies; None where none does.

    Returns:
        Means and standard deviations over seeds: shares by row and column name, NaN where there is none. The columns'
        own name tells what they are.
    """
    axes = block.varying()
    if not axes:
        return None
    if len(axes) == 1:
        across = "emotion"
        places = [
            (configuration_name(cell, axes), emotion, recall)
            for cell in block.cells
            for emotion, recall in zip(cell.finished.classes, cell.recalls(), strict=True)
        ]
    else:
        *down, last = axes
        across = last.replace("_", " ")
        places = [
            (configuration_name(cell, down), label(last, cell.point[last]), cell.figures["top1"])
            for cell in block.cells
        ]
    table = pd.DataFrame(places, columns=["row", across, "share"])
    order = {"index": table["row"].unique(), "columns": pd.Index(table[across].unique(), name=across)}
    means, spreads = (
        table.pivot_table("share", "row", across, aggfunc=figure, dropna=False).reindex(**order)
        for figure in ("mean", "std")
    )
    return means, spreads


def configuration_name(cell: GridCell, axes: Sequence[str]) -> str:
    """A cell by its values of some axes: `deep_cnn, augment off`."""
    return ", ".join(label(axis, cell.point[axis]) for axis in axes)
