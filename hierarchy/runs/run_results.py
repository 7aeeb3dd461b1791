"""Older names for what `Run` does, until their callers have moved."""

from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.paths import VALIDATION_PREDICTIONS as VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run import check_same_faces as check_same_faces
from fer_hierarchy.hierarchy.runs.run import read_splits as read_splits
from fer_hierarchy.hierarchy.runs.run import resume_hint as resume_hint
from fer_hierarchy.hierarchy.runs.run import split_table as split_table
from fer_hierarchy.hierarchy.wording import headline as headline


def read_metrics(folder: Path) -> dict[str, Any]:
    """`Run.metrics`."""
    return Run(folder).metrics


def refuse_evaluation(folder: Path) -> None:
    """`Run.require_networks`."""
    Run(folder).require_networks()
