"""A run, a comparison of runs, or a grid of them, to figures, report.md and one self-contained report.html."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation import comparison as several
from fer_hierarchy.hierarchy.evaluation.comparison_sections import SIDE_BY_SIDE, comparison_page
from fer_hierarchy.hierarchy.evaluation.features import FEATURES, read_feature_map
from fer_hierarchy.hierarchy.evaluation.grid_sections import FacesIn, GridBlock, GridRecord, grid_page
from fer_hierarchy.hierarchy.evaluation.grid_table import Block as CellBlock
from fer_hierarchy.hierarchy.evaluation.grid_table import GridCell, blocks
from fer_hierarchy.hierarchy.evaluation.page import write_page
from fer_hierarchy.hierarchy.evaluation.run_sections import RunRecord, run_page
from fer_hierarchy.hierarchy.evaluation.side_by_side import side_by_side
from fer_hierarchy.hierarchy.evaluation.side_by_side_sections import FacesOf
from fer_hierarchy.hierarchy.grid import Grid
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.runs.run_folder import read_config, write_table


def write_run_report(folder: Path, *, faces: Callable[[Sequence[str]], np.ndarray] | None) -> None:
    """Write figures/*.png, report.md and report.html of a run from what its folder holds.

    Args:
        folder: A run folder with metrics.json and predictions.csv; config.json, environment.json and
            stages/<stage>/history.csv and features.csv are shown where they are there.
        faces: Ids of n faces -> (n, height, width, channels) uint8 pixels, for the gallery of mistakes; None where no
            face may be shown.

    Raises:
        UserError: metrics.json or predictions.csv is missing or cannot be read.
    """
    record = read_run(folder)
    (folder / "figures").mkdir(exist_ok=True)
    write_page(run_page(record, faces), folder)


def write_comparison(
    folder: Path,
    comparison: dict,
    runs: Sequence[several.RunRecord] = (),
    *,
    faces: FacesOf | None = None,
) -> None:
    """Write comparison.json, figures/*.png, report.md and report.html of runs side by side.

    Args:
        folder: Where to write; made if it is not there.
        comparison: What `hierarchy.evaluation.comparison` returns.
        runs: The compared runs, for side_by_side.csv: all test faces with every run's probabilities.
        faces: Gives test faces by id, or None; without it only ids are shown.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    _write_json(folder / "comparison.json", comparison)
    if runs:
        write_table(folder / SIDE_BY_SIDE, side_by_side(several.opinions(runs), comparison["classes"]))
    write_page(comparison_page(folder, comparison, faces), folder)


def _write_json(path: Path, record: dict) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
    _write_json(folder / f"comparison{stem}.json", compared)
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


def read_run(folder: Path) -> RunRecord:
    """Everything that a report needs of a run folder.

    Raises:
        UserError: metrics.json or predictions.csv is missing or cannot be read, or a features.csv cannot be read.
    """
    stages = sorted(path.parent for path in folder.glob("stages/*/history.csv"))
    return RunRecord(
        folder=folder,
        metrics=_read_json(folder / "metrics.json"),
        config=_read_optional(folder / "config.json"),
        environment=_read_optional(folder / "environment.json"),
        predictions=_read_predictions(folder / "predictions.csv"),
        histories={stage.name: _read_history(stage / "history.csv") for stage in stages},
        stages={stage.name: _read_optional(stage / "stage.json") for stage in stages},
        features={path.parent.name: read_feature_map(path) for path in sorted(folder.glob(f"stages/*/{FEATURES}"))},
    )


def _read_history(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path).astype(float)
        return table.astype({"epoch": int})  # refuses a file without that column
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is not readable as a table of numbers ({reason}); delete the folder {path.parent}, "
            "then --resume trains this stage again"
        ) from error


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"run folder {path.parent}: {path.name} is not readable as JSON ({error})") from error


def _read_optional(path: Path) -> dict:
    return _read_json(path) if path.exists() else {}


def _read_predictions(path: Path) -> pd.DataFrame:
    try:
        # Ids and names stay as written: an id of digits keeps its leading zeros, one called "NA" its letters.
        return pd.read_csv(path, converters=dict.fromkeys(("row", "true", "predicted", "route"), str))
    except (OSError, ValueError) as error:
        raise UserError(f"run folder {path.parent}: {path.name} is not readable as a table ({error})") from error
