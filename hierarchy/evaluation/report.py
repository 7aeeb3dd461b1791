"""A run, or a comparison of runs, to figures, report.md and one self-contained report.html."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hierarchy.errors import UserError
from hierarchy.evaluation.comparison_sections import comparison_page
from hierarchy.evaluation.page import write_page
from hierarchy.evaluation.run_sections import RunRecord, run_page
from hierarchy.paths import atomic_write


def write_run_report(folder: Path, *, faces: Callable[[Sequence[str]], np.ndarray]) -> None:
    """Write figures/*.png, report.md and report.html of a run from what its folder holds.

    Args:
        folder: A run folder with metrics.json and predictions.csv; config.json, environment.json and
            stages/<stage>/history.csv are shown where they are there.
        faces: Ids of n faces -> (n, height, width, channels) uint8 pixels, for the gallery of mistakes.

    Raises:
        UserError: metrics.json or predictions.csv is missing or cannot be read.
    """
    record = read_run(folder)
    (folder / "figures").mkdir(exist_ok=True)
    write_page(run_page(record, faces), folder)


def write_comparison(folder: Path, comparison: dict) -> None:
    """Write comparison.json, figures/*.png, report.md and report.html of runs side by side.

    Args:
        folder: Where to write; made if it is not there.
        comparison: What `hierarchy.evaluation.comparison` returns.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "comparison.json") as temporary:
        temporary.write_text(json.dumps(comparison, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_page(comparison_page(folder, comparison), folder)


def read_run(folder: Path) -> RunRecord:
    """Everything that a report needs of a run folder.

    Raises:
        UserError: metrics.json or predictions.csv is missing or cannot be read.
    """
    stages = sorted(path.parent for path in folder.glob("stages/*/history.csv"))
    return RunRecord(
        folder=folder,
        metrics=_read_json(folder / "metrics.json"),
        config=_read_optional(folder / "config.json"),
        environment=_read_optional(folder / "environment.json"),
        predictions=_read_predictions(folder / "predictions.csv"),
        histories={stage.name: pd.read_csv(stage / "history.csv") for stage in stages},
        stages={stage.name: _read_optional(stage / "stage.json") for stage in stages},
    )


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
