"""A cross-validation to crossval.json, figures, report.md and one self-contained report.html."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.experiments.crossval_sections import CrossvalRecord, crossval_page
from fer_hierarchy.hierarchy.experiments.crossval_table import crossval_table
from fer_hierarchy.hierarchy.experiments.grid import Grid
from fer_hierarchy.hierarchy.experiments.grid_table import GridCell
from fer_hierarchy.hierarchy.reports.page import write_page
from fer_hierarchy.hierarchy.reports.run import read_run
from fer_hierarchy.hierarchy.runs.run_folder import write_json
from fer_hierarchy.hierarchy.wording import flatten

CROSSVAL = "crossval.json"
_OF_EACH_RUN = ("format", "name", "seed", "stages", "data.fold")


def write_crossval_report(folder: Path, planned: Grid, cells: Sequence[GridCell], folds: pd.DataFrame) -> None:
    """Write crossval.json, figures/*.png, report.md and report.html of a cross-validation.

    Args:
        folder: Its folder.
        planned: Seeds, folds and command.
        cells: What became of each run.
        folds: folds.csv.

    Raises:
        UserError: A run was judged on other faces than those of its fold, or left a damaged file.
    """
    table = crossval_table(planned, cells, folds)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_json(folder / CROSSVAL, table)
    histories = {cell.name: read_run(cell.run.folder).histories for cell in cells if cell.run is not None}
    write_page(crossval_page(CrossvalRecord(folder, table, histories, _common(planned))), folder)


def _common(planned: Grid) -> list[tuple[str, str]]:
    """The settings of all runs as (setting, value)."""
    return [pair for pair in flatten(planned.cells[0].config.to_dict()) if pair[0] not in _OF_EACH_RUN]
