"""Finished cross-validations side by side: read, paired fold by fold, and written as a report of their own."""

from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.data.faces import SYNTHETIC
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.crossval import find_crossval, read_crossval
from fer_hierarchy.hierarchy.experiments.crossval_pair_report import write_crossval_comparison
from fer_hierarchy.hierarchy.experiments.crossval_pairs import Crossval, compare_crossvals
from fer_hierarchy.hierarchy.experiments.crossval_table import crossval_table, pooled
from fer_hierarchy.hierarchy.experiments.crossval_training import read_folds
from fer_hierarchy.hierarchy.experiments.grid import read_states
from fer_hierarchy.hierarchy.experiments.grid_training import outcome
from fer_hierarchy.hierarchy.paths import CALL
from fer_hierarchy.hierarchy.runs import run_folder

_LONGEST_NAMES = 120  # letters


def compare(names: Sequence[str], *, name: str | None, resamples: int, seed: int, results: Path, command: str) -> Path:
    """Put each of the named cross-validations beside the first.

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
        UserError: One is named twice or not finished, or they have other faces or folds.
    """
    folders = [find_crossval(one, results).resolve() for one in names]
    if len(set(folders)) < len(folders):
        raise UserError("a cross-validation is named twice; compare needs different ones")
    crossvals = [_read(folder) for folder in folders]
    table = {**compare_crossvals(crossvals, resamples=resamples, seed=seed), "command": command}
    stem = name or "compare-" + "-vs-".join(one.name for one in crossvals)[:_LONGEST_NAMES]
    if table["synthetic"] and SYNTHETIC not in stem:
        stem = f"{SYNTHETIC}-{stem}"
    with run_folder.new_folder(results, stem if name else run_folder.free_name(stem, results)) as folder:
        write_crossval_comparison(folder, table)
    return folder


def _read(folder: Path) -> Crossval:
    planned, states, folds = read_crossval(folder), read_states(folder), read_folds(folder)
    cells = [outcome(folder, cell, states[cell.name]) for cell in planned.cells]
    missing = [cell.name for cell in cells if cell.run is None]
    if missing:
        way = f"{CALL} --mode crossval --resume {folder}"
        raise UserError(f"{folder.name} is not finished: {', '.join(missing)} missing; go on with: {way}")
    return Crossval(folder.name, crossval_table(planned, cells, folds), pooled(planned, cells, folds))
