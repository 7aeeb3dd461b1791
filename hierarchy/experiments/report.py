"""Experiments to tables and figures, report.md and one self-contained report.html; finished ones are compared."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import comparison as several
from fer_hierarchy.hierarchy.experiments.comparison_sections import SIDE_BY_SIDE, comparison_page
from fer_hierarchy.hierarchy.experiments.crossval import KIND
from fer_hierarchy.hierarchy.experiments.crossval_sections import crossval_page, crossval_pairs_page
from fer_hierarchy.hierarchy.experiments.crossval_table import crossval_table, pooled, read_folds
from fer_hierarchy.hierarchy.experiments.grid import Grid, find_grid, read_grid
from fer_hierarchy.hierarchy.experiments.grid_sections import grid_page
from fer_hierarchy.hierarchy.experiments.side_by_side import FacesOf
from fer_hierarchy.hierarchy.experiments.table import Block, GridCell, blocks, outcome
from fer_hierarchy.hierarchy.paths import CALL
from fer_hierarchy.hierarchy.progress import Progress, step
from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.reports.page import write_page
from fer_hierarchy.hierarchy.reports.screen import announce_comparison, announce_crossvals
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run_folder import write_json, write_table

COMPARISON = "comparison.json"
CROSSVAL = "crossval.json"
_COMPARING, _REPORTING = "comparing on the test faces", "writing the report"
_STEPS = {_COMPARING: 5.0, _REPORTING: 10.0}
_LONGEST_NAMES = 120  # letters


def compare_runs(
    names: Sequence[str], *, name: str | None, resamples: int, seed: int, results: Path, command: str
) -> Path:
    """Compare finished runs on the same test rows.

    Args:
        names: Names or folders, at least two.
        name: Folder below `results`; None for one made of the names.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        results: Folder of all runs.
        command: The command line.

    Returns:
        The folder of the comparison.

    Raises:
        UserError: A run is not finished, or the runs were evaluated on other rows or classes.
    """
    runs = [Run(run, results=results) for run in names]
    with Progress(steps=_STEPS):
        with step(_COMPARING):
            table = several.compare(runs, resamples=resamples, seed=seed)
        shown = [row["name"] for row in table["runs"]]
        write = partial(write_comparison, runs=runs, faces=runs[0].pictures)
        folder = _write_new(name, shown, {**table, "command": command}, results, write)
    announce_comparison(table)
    return folder


def compare_crossvals(
    names: Sequence[str], *, name: str | None, resamples: int, seed: int, results: Path, command: str
) -> Path:
    """Compare finished cross-validations with the first, as `compare_runs` does runs.

    Raises:
        UserError: One is named twice or not finished, or they have other faces or folds.
    """
    folders = [find_grid(one, results, kind=KIND).resolve() for one in names]
    if len(set(folders)) < len(folders):
        raise UserError("a cross-validation is named twice; compare needs different ones")
    crossvals = [_read_crossval(folder) for folder in folders]
    with Progress(steps=_STEPS):
        with step(_COMPARING):
            table = several.compare_crossvals(crossvals, resamples=resamples, seed=seed)
        shown = [one.name for one in crossvals]
        folder = _write_new(name, shown, {**table, "command": command}, results, write_crossval_comparison)
    announce_crossvals(table)
    return folder


def _write_new(
    name: str | None, shown: Sequence[str], table: dict, results: Path, write: Callable[[Path, dict], None]
) -> Path:
    """Write a comparison into a new folder of the given name, or of one made of the `shown` names."""
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    stem = name or "compare-" + "-vs-".join(shown).replace("/", "-")[:_LONGEST_NAMES]
    stem = run_folder.marked(stem, synthetic=table["synthetic"])
    with run_folder.new_folder(results, run_folder.free_name(stem, results)) as folder, step(_REPORTING):
        write(folder, table)
    return folder


def _read_crossval(folder: Path) -> several.Crossval:
    planned, folds = read_grid(folder), read_folds(folder)
    cells = [outcome(folder, cell) for cell in planned.cells]
    missing = [cell.name for cell in cells if cell.run is None]
    if missing:
        way = f"{CALL} --mode crossval --resume {folder}"
        raise UserError(f"{folder.name} is not finished: {', '.join(missing)} missing; go on with: {way}")
    return several.Crossval(
        folder.name, crossval_table(planned, cells, folds), pooled(planned, cells, folds).sort_index()
    )


def write_comparison(
    folder: Path, comparison: dict[str, Any], runs: Sequence[Run] = (), *, faces: FacesOf | None = None
) -> None:
    """Write comparison.json, figures/*.png, report.md and report.html of compared runs.

    Args:
        folder: Where to write; made if it is not there.
        comparison: What `hierarchy.experiments.comparison.compare` returns.
        runs: The compared runs, for side_by_side.csv: all test faces with the probabilities of every run.
        faces: Gives test faces by id, or None; without it only ids are shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COMPARISON, comparison)
    if runs:
        write_table(folder / SIDE_BY_SIDE, several.side_by_side(several.aligned(runs)))
    write_page(comparison_page(Drawings(folder, bool(comparison.get("synthetic"))), comparison, faces), folder)


def write_crossval_comparison(folder: Path, table: dict[str, Any]) -> None:
    """Write comparison.json, figures/*.png, report.md and report.html of compared cross-validations.

    Args:
        folder: Where to write; it exists.
        table: What `hierarchy.experiments.comparison.compare_crossvals` returns, with `command`.
    """
    write_json(folder / COMPARISON, table)
    write_page(crossval_pairs_page(Drawings(folder, table["synthetic"]), table), folder)


def write_grid_report(folder: Path, grid: Grid, cells: Sequence[GridCell]) -> None:
    """Write figures/*.png, report.md and report.html of a grid, and for each set of test faces what compares its cells.

    A grid over the mode alone has the report of a comparison.

    Cells on the same test faces are compared in comparison.json and side_by_side.csv; where not all cells share theirs,
    the next set has comparison-2.json, and so on.

    Args:
        folder: The grid's folder.
        grid: Axes, cells and command.
        cells: What became of the cells.
    """
    if set(grid.axes) == {"mode"} and all(cell.run for cell in cells):
        _write_modes(folder, grid, [cell.finished for cell in cells])
        return
    synthetic = any(cell.run is not None and bool(cell.finished.metrics.get("synthetic")) for cell in cells)
    found = [(block, _write_paired(folder, block)) for block in blocks(cells)]
    write_page(grid_page(Drawings(folder, synthetic), grid, cells, found), folder)


def _write_modes(folder: Path, grid: Grid, runs: Sequence[Run]) -> None:
    """The report of flat and hierarchical side by side: whether one is better, and at what cost."""
    settings = runs[0].config
    table = several.compare(runs, resamples=settings.evaluation.resamples, seed=settings.seed)
    write_comparison(folder, {**table, "command": grid.command}, runs, faces=runs[0].pictures)
    announce_comparison(table)


def _write_paired(folder: Path, block: Block) -> dict[str, Any] | None:
    """Compare the chosen cell of a block with all others on its test faces; None where there is no other."""
    runs = [cell.finished for cell in block.paired]
    if len(runs) < 2:
        return None
    settings = runs[0].config
    compared = several.compare(runs, resamples=settings.evaluation.resamples, seed=settings.seed, with_first=True)
    write_json(folder / f"comparison{block.stem}.json", compared)
    write_table(folder / f"side_by_side{block.stem}.csv", several.side_by_side(several.aligned(runs)))
    return compared


def write_crossval_report(folder: Path, planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> None:
    """Write crossval.json, figures/*.png, report.md and report.html of a cross-validation.

    Args:
        folder: Its folder.
        planned: Seeds, folds and command.
        cells: What became of each run.
        folds: folds.csv.

    Raises:
        UserError: A run was evaluated on other faces than those of its fold, or left a damaged file.
    """
    table = crossval_table(planned, cells, folds)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CROSSVAL, table)
    histories = {cell.name: cell.finished.history for cell in cells if cell.run is not None}
    write_page(crossval_page(Drawings(folder, table["synthetic"]), planned, table, histories), folder)
