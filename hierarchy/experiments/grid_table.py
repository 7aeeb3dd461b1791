"""A grid's cells as tables: which may be ranked against each other, which was chosen, and how seeds vary. No plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.evaluation.metrics import class_indices, top_shares
from fer_hierarchy.hierarchy.evaluation.significance import FIGURES, confusion_figures, mean_std
from fer_hierarchy.hierarchy.experiments.comparison import RunRecord
from fer_hierarchy.hierarchy.experiments.grid import SEED, label

CHOOSING = "validation_macro_f1"  # what cells are chosen by; test scores choose nothing


@dataclass(frozen=True, eq=False)
class GridCell:
    """One run of a grid.

    Attributes:
        name: Folder below the grid's folder.
        point: Axis -> value as it was typed.
        run: What the run left; None where it failed.
        error: Why it failed, or empty.
    """

    name: str
    point: Mapping[str, str]
    run: RunRecord | None
    error: str = ""

    @property
    def test_rows(self) -> tuple:
        """What two cells must share for their test scores to be about the same question."""
        return self.run.metrics.get("test_fingerprint"), self.run.classes

    @property
    def seed(self) -> str:
        """The seed where seeds are an axis, else nothing."""
        return self.point.get(SEED, "")

    def scores(self) -> dict[str, Any]:
        """The scores of the headline answer, with `CHOOSING` and the cost."""
        metrics = self.run.metrics
        answer, cost = metrics["answers"][metrics["headline"]], metrics.get("cost") or {}
        figures = {name: float(value) for name, value in confusion_figures(answer["confusion"]).items()}
        labels = class_indices(self.run.predictions["true"], self.run.classes)
        table = self.run.predictions[[f"p_{emotion}" for emotion in self.run.classes]].to_numpy(np.float64)
        return {
            "n": answer["n"],
            **figures,
            **top_shares(labels, table),
            "intervals": answer["intervals"],
            CHOOSING: (metrics.get("validation") or {}).get("macro_f1"),
            "train_cpu_seconds": cost.get("train_cpu_seconds"),
            "parameters": cost.get("parameters"),
        }

    def recalls(self) -> list[float]:
        """Recall of each emotion of the headline answer; NaN without faces."""
        metrics = self.run.metrics
        rows = metrics["answers"][metrics["headline"]]["per_class"]
        return [np.nan if row["recall"] is None else row["recall"] for row in rows]


@dataclass(frozen=True)
class Block:
    """Cells that may be ranked against each other: for each seed, all of them stand on the same test faces.

    Attributes:
        cells: Finished cells in the grid's order.
    """

    cells: Sequence[GridCell]

    def configurations(self) -> dict[tuple[str, ...], list[GridCell]]:
        """Cells that differ in nothing but the seed, under the values of the other axes."""
        alike: dict[tuple[str, ...], list[GridCell]] = {}
        for cell in self.cells:
            alike.setdefault(_without_seed(cell), []).append(cell)
        return alike

    def ranking(self) -> list[GridCell]:
        """One cell of each configuration, its first seed, best mean validation score first."""
        held = self.configurations().values()
        return [cells[0] for cells in sorted(held, key=lambda cells: -_validation(cells))]

    @property
    def chosen(self) -> GridCell:
        """The first seed of the configuration with the best mean validation score, the first of equals."""
        return self.ranking()[0]

    @property
    def paired(self) -> list[GridCell]:
        """The chosen cell, then all others on exactly its test faces."""
        chosen = self.chosen
        return [chosen, *(c for c in self.cells if c is not chosen and c.test_rows == chosen.test_rows)]

    def varying(self) -> list[str]:
        """Axes but the seed that have more than one value here."""
        axes = [axis for axis in self.cells[0].point if axis != SEED]
        return [axis for axis in axes if len({cell.point[axis] for cell in self.cells}) > 1]


def _without_seed(cell: GridCell) -> tuple[str, ...]:
    return tuple(value for axis, value in cell.point.items() if axis != SEED)


def _validation(cells: Sequence[GridCell]) -> float:
    return float(np.mean([cell.scores()[CHOOSING] or 0.0 for cell in cells]))


def grid_table(cells: Sequence[GridCell]) -> pd.DataFrame:
    """table.csv: a row a cell with its values, scores, intervals and cost; a failed one has its error alone."""
    rows = []
    for cell in cells:
        row = {"cell": cell.name, **cell.point}
        if cell.run is not None:
            scores = cell.scores()
            intervals = scores.pop("intervals")
            ends = [(f"{name}_{end}", number) for name in intervals for number, end in enumerate(("low", "high"))]
            bounds = {key: intervals[key.rpartition("_")[0]][number] for key, number in ends}
            row |= {"test_rows": cell.test_rows[0], **scores, **bounds}
        rows.append(row | {"error": cell.error})
    return pd.DataFrame(rows)


def blocks(cells: Sequence[GridCell]) -> list[Block]:
    """Finished cells by test faces: configurations share a block where they agree for every seed that they share."""
    alike = Block([cell for cell in cells if cell.run is not None]).configurations() if cells else {}
    found: list[tuple[dict[str, tuple], list[GridCell]]] = []
    for held in alike.values():
        rows = {cell.seed: cell.test_rows for cell in held}
        for known, members in found:
            shared = known.keys() & rows.keys()
            if shared and all(known[seed] == rows[seed] for seed in shared):
                known.update(rows)
                members += held
                break
        else:
            found.append((rows, list(held)))
    order = {cell.name: number for number, cell in enumerate(cells)}
    return [Block(sorted(members, key=lambda cell: order[cell.name])) for _, members in found]


def repeats(block: Block) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds of each configuration that was trained with several.

    Returns:
        One dict a configuration: point (without the seed), seeds, one_test (whether all seeds share their test faces),
        and `mean_std` of each figure and of `CHOOSING`.
    """
    rows = []
    for held in block.configurations().values():
        if len(held) < 2:
            continue
        scores = [cell.scores() for cell in held]
        rows.append(
            {
                "point": {axis: value for axis, value in held[0].point.items() if axis != SEED},
                "seeds": [cell.seed for cell in held],
                "one_test": len({cell.test_rows for cell in held}) == 1,
                **{name: mean_std([row[name] or 0.0 for row in scores]) for name in (*FIGURES, CHOOSING)},
            }
        )
    return rows


@dataclass(frozen=True)
class HeatMap:
    """Numbers of a heat map.

    Attributes:
        means: Shares by row and column name, NaN where there is none.
        spreads: Standard deviations over seeds in the same places; NaN where there is one seed.
        title: What the numbers are.
        across: What the columns are.
    """

    means: pd.DataFrame
    spreads: pd.DataFrame
    title: str
    across: str


def heat_map(block: Block) -> HeatMap | None:
    """Top-1 by all varying axes, the last across; recall of each emotion where one axis varies; None where none does.

    Several seeds of a configuration are averaged.
    """
    axes = block.varying()
    if not axes:
        return None
    if len(axes) == 1:
        (axis,) = axes
        places = [
            (label(axis, cell.point[axis]), emotion, recall)
            for cell in block.cells
            for emotion, recall in zip(cell.run.classes, cell.recalls(), strict=True)
        ]
        return _mapped(places, title="Recall of each emotion, %", across="emotion")
    *down, across = axes
    places = [
        (configuration_name(cell, down), label(across, cell.point[across]), cell.scores()["top1"])
        for cell in block.cells
    ]
    return _mapped(places, title="Top-1 accuracy, %", across=across.replace("_", " "))


def _mapped(places: Sequence[tuple[str, str, float]], *, title: str, across: str) -> HeatMap:
    """(row, column, share) triples as a map, names in order of appearance."""
    table = pd.DataFrame(places, columns=["row", "column", "share"])
    rows, columns = table["row"].unique(), table["column"].unique()
    means, spreads = (
        table.pivot_table("share", "row", "column", aggfunc=figure, dropna=False).reindex(index=rows, columns=columns)
        for figure in ("mean", "std")
    )
    return HeatMap(means=means, spreads=spreads, title=title, across=across)


def configuration_name(cell: GridCell, axes: Sequence[str]) -> str:
    """A cell by its values of some axes: `deep_cnn, augment off`."""
    return ", ".join(label(axis, cell.point[axis]) for axis in axes)
