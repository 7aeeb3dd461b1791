"""A run to figures, report.md and one self-contained report.html."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import FEATURES
from fer_hierarchy.hierarchy.reports.page import write_page
from fer_hierarchy.hierarchy.reports.run_sections import RunRecord, run_page


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
    write_page(run_page(record, faces), folder)


def read_run(folder: Path) -> RunRecord:
    """Everything that a report needs of a run folder.

    Raises:
        UserError: metrics.json or predictions.csv is missing or cannot be read, or a features.csv cannot be read.
    """
    stages = sorted(path.parent for path in folder.glob("stages/*/history.csv"))
    metrics = _read_json(folder / "metrics.json")
    return RunRecord(
        folder=folder,
        synthetic=bool(metrics.get("synthetic")),
        metrics=metrics,
        config=_read_optional(folder / "config.json"),
        environment=_read_optional(folder / "environment.json"),
        predictions=_read_predictions(folder / "predictions.csv"),
        histories={stage.name: _read_history(stage / "history.csv") for stage in stages},
        stages={stage.name: _read_optional(stage / "stage.json") for stage in stages},
        features={path.parent.name: read_feature_map(path) for path in sorted(folder.glob(f"stages/*/{FEATURES}"))},
    )


def read_feature_map(path: Path) -> pd.DataFrame:
    """What `feature_map` gave, from a run's file.

    Raises:
        UserError: It cannot be read as such a table.
    """
    try:
        table = pd.read_csv(path, converters={"row": str, "emotion": str}, dtype={"x": float, "y": float})
        return table[["row", "emotion", "x", "y"]]
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"features {path} are not readable as a table of row, emotion, x, y ({reason})") from error


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
