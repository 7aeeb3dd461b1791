"""One trial of a study: trained and scored in this process or in a worker's, and recorded as result.json."""

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.tuning.search.budget import Budget
from fer_hierarchy.tuning.search.study import read_study
from fer_hierarchy.tuning.search.study_faces import StudyFaces, same_faces
from fer_hierarchy.tuning.search.trial_training import TrialTraining, epochs_done, plan_of

RESULT = "result.json"
ATTEMPTS = "attempts.json"
_MOST_ATTEMPTS = 3
_LEAST_ROOM = 64 << 20  # bytes free on the disk, below which a lack of room is the disk's

log = logging.getLogger("fer_hierarchy")


def run_there(folder: Path, stage_type: type[Stage], trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """Run a trial of a study in a worker's process, as `run_trial` does.

    Raises:
        UserError: The study or its faces are others than those of the process that chose the trial, or are not there.
    """
    study = read_study(folder)
    training = _training_of(folder, stage_type, study.key)
    worker = f"worker-{socket.gethostname().partition('.')[0]}-{os.getpid()}"
    with run_folder.log_to(folder / "workers" / worker), Progress(study.search.executions) as progress:
        return run_trial(folder, training, trial_id, values, worker=worker, progress=progress, budget=Budget())


@lru_cache(maxsize=1)  # a worker runs many trials of a study
def _training_of(folder: Path, stage_type: type[Stage], _key: str) -> TrialTraining:
    study = read_study(folder)
    stage_type.prepare(study.config)
    view = StudyFaces(same_faces(study), study.config, stage=study.stage, fraction=study.search.fraction)
    return TrialTraining(study, stage_type, view)


def run_trial(
    folder: Path,
    training: TrialTraining,
    trial_id: str,
    values: Mapping[str, Any],
    *,
    worker: str,
    progress: Progress,
    budget: Budget,
) -> dict[str, Any]:
    """Train and score one trial, or read what an earlier process found and could not report any more.

    Args:
        folder: The study's folder.
        training: Trains and scores.
        trial_id: Name of the trial's folder.
        values: Drawn by the oracle.
        worker: Name of the folder of this process's attempt.
        progress: Counts trainings.
        budget: May end the trial.

    Returns:
        What result.json holds.
    """
    place = folder / "trials" / trial_id
    place.mkdir(parents=True, exist_ok=True)
    if not (place / RESULT).is_file():
        started = _now()
        with timed() as spent:
            outcome = _outcome(folder, training, trial_id, values, worker, progress, budget)
        record = {"trial": trial_id, "worker": worker, "started": started, "ended": _now(), **spent, **outcome}
        run_folder.write_json(place / RESULT, record)
    return run_folder.read_json(place / RESULT)


def _outcome(
    folder: Path,
    training: TrialTraining,
    trial_id: str,
    values: Mapping[str, Any],
    worker: str,
    progress: Progress,
    budget: Budget,
) -> dict[str, Any]:
    """What becomes of a trial: its scores, or why it failed."""
    place = folder / "trials" / trial_id
    try:
        plan = plan_of(values, training.study)
        _count_attempt(place, epochs_done(place))
        places = [place]
        if plan.continues:
            places.append(folder / "trials" / plan.continues)
            if run_folder.read_json(places[-1] / RESULT)["status"] == "failed":
                raise UserError(f"trial {plan.continues}, which it would continue, failed")
        found = training.run(plan, place / worker, earlier=places, progress=progress, budget=budget)
    except (UserError, NoRoomError, MemoryError, ValueError) as error:
        if isinstance(error, NoRoomError) and shutil.disk_usage(place).free < _LEAST_ROOM:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        log.info("trial %s failed: %s", trial_id, message)
        return {"status": "failed", "message": message}
    return {"status": "completed", **found}


def _count_attempt(place: Path, epochs: int) -> None:
    """Give up a trial in which the process has ended several times without a further epoch.

    Raises:
        UserError: It has.
    """
    path = place / ATTEMPTS
    before = run_folder.read_json(path) if path.is_file() else {"count": 0, "epochs": epochs}
    count = before["count"] + 1 if before["epochs"] == epochs else 1
    if count > _MOST_ATTEMPTS:
        raise UserError(f"the process ended {_MOST_ATTEMPTS} times in this trial within one epoch (out of memory?)")
    run_folder.write_json(path, {"count": count, "epochs": epochs})


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Yield a record that holds `seconds` (wall) and `cpu_seconds` of the block once it has ended."""
    spent: dict[str, float] = {}
    wall, cpu = time.monotonic(), time.process_time()
    yield spent
    spent |= {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
