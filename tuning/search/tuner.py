"""StageTuner: KerasTuner's search loop over the ordinary training of a stage."""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError

from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.progress import Progress, clock
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.tuning.distributed.oracle_server import RemoteOracle
from fer_hierarchy.tuning.search.budget import Budget
from fer_hierarchy.tuning.search.study import ORACLE, Study
from fer_hierarchy.tuning.search.trial_training import TrialPlan, TrialTraining, course_of, epochs_done

RESULT = "result.json"
ATTEMPTS = "attempts.json"
LOCAL = "tuner0"
_MOST_ATTEMPTS = 3
_LEAST_ROOM = 64 << 20  # bytes free on the disk, below which a lack of room is the disk's

log = logging.getLogger("hierarchy")


class StageTuner(BaseTuner):
    """Searches one stage's hyperparameters.

    Args:
        oracle: Chooses the trials: one of `tuning.search.oracles`.
        study: What is searched.
        folder: The study's folder.
        training: Trains and scores a trial.
        progress: The whole search's, in trials.
        budget: Ends the search.
        remote: The chief's oracle, which a worker asks in place of its own.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        *,
        study: Study,
        folder: Path,
        training: TrialTraining,
        progress: Progress,
        budget: Budget,
        remote: RemoteOracle | None = None,
    ) -> None:
        super().__init__(oracle, directory=str(folder), project_name=ORACLE)
        self.tuner_id = remote.tuner_id if remote else LOCAL
        self.oracle = remote or oracle  # KerasTuner's constructor takes no proxy
        self.alone = remote is None
        self.study = study
        self.folder = folder
        self.training = training
        self.progress = progress
        self.budget = budget

    def save(self) -> None:
        """Leave it to the oracle, which writes its own files after every change."""

    def pre_create_trial(self) -> None:
        """End the search when its time is over."""
        self.budget.check()

    def _try_run_and_update_trial(self, trial: Trial, *_args: Any, **_kwargs: Any) -> None:
        """As KerasTuner's, but what is no fault of the trial, a full disk say, ends the search."""
        try:
            self._run_and_update_trial(trial)
            trial.status = TrialStatus.COMPLETED
        except FailedTrialError as error:
            trial.status, trial.message = TrialStatus.FAILED, str(error)

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train and score one trial, or read what an earlier process found and could not report any more.

        Returns:
            Validation scores, the objective among them.

        Raises:
            FailedTrialError: It cannot be trained; the search goes on with the next one.
        """
        place = self.folder / "trials" / trial.trial_id
        place.mkdir(parents=True, exist_ok=True)
        if not (place / RESULT).is_file():
            run_folder.write_json(place / RESULT, self._result(trial, place))
        result = run_folder.read_json(place / RESULT)
        if result["status"] == "failed":
            raise FailedTrialError(result["message"])
        return result["metrics"]

    def _result(self, trial: Trial, place: Path) -> dict[str, Any]:
        """What becomes of a trial, as result.json holds it."""
        began = _now()
        values = dict(trial.hyperparameters.values)
        with timed() as spent:
            try:
                course = course_of(values, self.study)
                _count_attempt(place, epochs_done(place))
                outcome = {"status": "completed", **self._trained(trial.trial_id, place, course)}
            except (UserError, NoRoomError, MemoryError, ValueError) as error:
                if isinstance(error, NoRoomError) and _disk_is_full(place):
                    raise
                message = " ".join(str(error).split()) or type(error).__name__
                log.info("trial %s failed: %s", trial.trial_id, message)
                outcome = {"status": "failed", "message": message}
        return {"trial": trial.trial_id, "worker": self.tuner_id, "started": began, "ended": _now(), **spent, **outcome}

    def _trained(self, trial_id: str, place: Path, course: TrialPlan) -> dict[str, Any]:
        label = f"trial {trial_id}"
        before = self.folder / "trials" / course.goes_on_from if course.goes_on_from else None
        if before and run_folder.read_json(before / RESULT)["status"] == "failed":
            raise UserError(f"trial {course.goes_on_from}, which it would go on from, failed")
        places = [place, *([before] if before else [])]
        return self.training.run(
            course, place / self.tuner_id, earlier=places, progress=self.progress, budget=self.budget, label=label
        )

    def on_trial_begin(self, trial: Trial) -> None:  # noqa: ARG002 - KerasTuner's signature
        """Note how much is done, since a failed trial counts as a whole one."""
        self._done_before = self.progress.done

    def on_trial_end(self, trial: Trial) -> None:
        """Report the trial, say how it went, and keep no more of it than is needed."""
        super().on_trial_end(trial)
        self.progress.done = self._done_before + 1
        best = self.oracle.get_best_trials(1)
        best_id = best[0].trial_id if best and best[0].score is not None else None
        result = run_folder.read_json(self.folder / "trials" / trial.trial_id / RESULT)
        self.progress.settle(_line(trial.trial_id, result, self.study, best_id))
        if self.alone:  # of a worker's trials the chief knows which may go
            self.training.prune(self.folder / "trials", best=best_id)


def _line(trial_id: str, result: dict[str, Any], study: Study, best: str | None) -> str:
    """What progress says of a finished trial."""
    objective = study.search.objective
    if result["status"] == "failed":
        return f"trial {trial_id} failed: {result['message']}"
    mark = ", the best so far" if trial_id == best else ""
    score = result["metrics"][objective]
    return f"trial {trial_id}: {objective} {score:.4f} on validation in {clock(result['seconds'])}{mark}"


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


def _disk_is_full(place: Path) -> bool:
    return shutil.disk_usage(place).free < _LEAST_ROOM


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Yield a record that holds `seconds` (wall) and `cpu_seconds` of the block once it has ended."""
    spent: dict[str, float] = {}
    wall, cpu = time.monotonic(), time.process_time()
    yield spent
    spent |= {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
