"""A grid of runs to figures, report.md and one self-contained report.html."""

from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.experiments import comparison as several
from fer_hierarchy.hierarchy.experiments.comparison_report import write_record
from fer_hierarchy.hierarchy.experiments.grid import Grid
from fer_hierarchy.hierarchy.experiments.grid_sections import FacesIn, GridBlock, GridRecord, grid_page
from fer_hierarchy.hierarchy.experiments.grid_table import Block as CellBlock
from fer_hierarchy.hierarchy.experiments.grid_table import GridCell, blocks
from fer_hierarchy.hierarchy.experiments.side_by_side import side_by_side
from fer_hierarchy.hierarchy.reports.page import write_page
from fer_hierarchy.hierarchy.runs.run_folder import read_config, write_table


def write_grid_report(folder: Path, grid: Grid, cells: Sequence[GridCell], *, faces: FacesIn | None = None) -> None:
    """Write figures/*.png, report.md and report.html of a grid, and for each set of test faces what compares its cells.

    Cells on the same test faces are put side by side in comparison.json and side_by_side.csv; where not all cells share
    theirs, the next set has comparison-2.json, and so on.

    Args:
        folder: The grid's folder.
        grid: Axes, cells and command.
        cells: What became of the cells.
        faces: Gives test faces of a run by id, or None; without it only ids are shown.
    """
    (folder / "figures").mkdir(exist_ok=True)
    found = blocks(cells)
    shown = [
        GridBlock(
            block,
            _write_paired(folder, block, stem := f"-{number}" * (number > 1)),
            name=_block_name(block, found, grid) if len(found) > 1 else "",
            stem=stem,
        )
        for number, block in enumerate(found, 1)
    ]
    write_page(grid_page(GridRecord(folder, grid, cells, shown), faces), folder)


def _write_paired(folder: Path, block: CellBlock, stem: str) -> dict | None:
    """Compare the chosen cell of a block with all others on its test faces; None where there is no other."""
    runs = [cell.run for cell in block.paired]
    if len(runs) < 2:
        return None
    settings = read_config(block.chosen.run.folder)
    compared = several.compare(runs, resamples=settings.evaluation.resamples, seed=settings.seed, with_first=True)
    write_record(folder / f"comparison{stem}.json", compared)
    write_table(folder / f"side_by_side{stem}.csv", side_by_side(several.opinions(runs), compared["classes"]))
    return compared


def _block_name(block: CellBlock, found: Sequence[CellBlock], grid: Grid) -> str:
    """What sets the test faces of a block apart: a letter, and the values of axes that do not all occur in it."""
    held = {axis: dict.fromkeys(cell.point[axis] for cell in block.cells) for axis in grid.axes}
    own = [
        f"{axis.replace('_', ' ')} {' or '.join(values)}"
        for axis, values in held.items()
        if len(values) < len(grid.axes[axis])
    ]
    return f"test faces {chr(ord('A') + found.index(block))}" + (f" ({', '.join(own)})" if own else "")
