"""A study to figures, report.md and one self-contained report.html."""

from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.reports.page import write_page
from fer_hierarchy.hierarchy.runs.run_folder import read_json
from fer_hierarchy.tuning.report.record import StudyRecord
from fer_hierarchy.tuning.report.sections import study_page
from fer_hierarchy.tuning.report.trials import read_remeasured, read_trials
from fer_hierarchy.tuning.search.study import BEST, STUDY
from fer_hierarchy.tuning.settings import OBJECTIVES

_OF_STUDY = (
    "name",
    "stage",
    "classes",
    "command",
    "seed",
    "synthetic",
    "search",
    "data",
    "taxonomy",
    "space",
    "config",
)
_OF_BEST = ("trial", "score", "hyperparameters", "epochs")


def write_study_report(folder: Path) -> None:
    """Write figures/*.png, report.md and report.html of a study, finished or not.

    Args:
        folder: Its folder, with study.json; trials.csv, best.json and remeasured.csv may be absent.

    Raises:
        UserError: A file is damaged.
    """
    record = StudyRecord(
        folder=folder,
        study=_read(folder / STUDY, _OF_STUDY),
        trials=read_trials(folder),
        best=_read(folder / BEST, _OF_BEST) if (folder / BEST).is_file() else None,
        fresh=read_remeasured(folder),
    )
    if (objective := record.study["search"].get("objective")) not in OBJECTIVES:
        raise UserError(f"{folder / STUDY} is damaged: objective {objective!r} is none of {', '.join(OBJECTIVES)}")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_page(study_page(record), folder)


def _read(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    record = read_json(path)
    if missing := [name for name in needed if name not in record]:
        raise UserError(f"{path} is damaged: {missing[0]} is missing")
    return record
