"""StageTuner: KerasTuner's search loop over the ordinary training of a stage."""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keras_tuner import Oracle
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.progress import Progress, clock
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.tuning.distributed.oracle_server import RemoteOracle, mend
from fer_hierarchy.tuning.search.budget import Budget
from fer_hierarchy.tuning.search.oracles import planned_trials
from fer_hierarchy.tuning.search.study import ORACLE, Study
from fer_hierarchy.tuning.search.study_faces import StudyFaces
from fer_hierarchy.tuning.search.trial_training import TrialPlan, TrialTraining, epochs_done, plan_of

RESULT = "result.json"
ATTEMPTS = "attempts.json"
REPORTING = "writing the report"
LOCAL = "tuner0"
_MOST_ATTEMPTS = 3
_LEAST_ROOM = 64 << 20  # bytes free on the disk, below which a lack of room is the disk's

log = logging.getLogger("fer_hierarchy")


class StageTuner(BaseTuner):
    """Searches one stage's hyperparameters.

    Args:
        study: What is searched.
        folder: The study's folder.
        stage_type: What trains the stage.
        faces: Of the data.
        oracle: Chooses the trials.
        remote: The chief's oracle, which a worker uses in place of its own.

    Attributes:
        training: Trains and scores trials.
        trials: How many are planned.
        progress: In trainings, of which the best trial's re-measurement takes some more.
        budget: Of this call; ends the search.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        stage_type: type[Stage],
        *,
        faces: Faces,
        oracle: Oracle,
        remote: RemoteOracle | None = None,
    ) -> None:
        super().__init__(oracle, directory=str(folder), project_name=ORACLE)
        self.tuner_id = remote.tuner_id if remote else LOCAL
        self.oracle = remote or oracle  # KerasTuner's constructor takes no proxy
        self.remote = remote
        self.study = study
        self.folder = folder
        view = StudyFaces(faces, study.config, stage=study.stage, fraction=study.search.fraction)
        self.training = TrialTraining(study, stage_type, view)
        self.trials, trainings = planned_trials(study), study.search.executions
        self.progress = Progress(
            self.trials * trainings + study.search.remeasure,
            done=len(oracle.end_order) * trainings,
            steps={REPORTING: 10.0},
        )
        self.budget = Budget(study.search.budget)

    def search(self) -> None:
        """Run trials in this process, one after the other: all of them, or those that a chief hands out."""
        if not self.remote:
            mend(self.oracle)
        super().search()

    def save(self) -> None:
        """Leave it to the oracle, which writes its own files after every change."""

    def pre_create_trial(self) -> None:
        """End the search when its time is over."""
        self.budget.check()

    def _try_run_and_update_trial(self, trial: Trial, *_args: Any, **_kwargs: Any) -> None:
        """As KerasTuner's, but an error that the trial did not cause, such as a full disk, ends the search."""
        with self.progress.part(self.study.search.executions):  # all of them, also where the trial fails
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
            FailedTrialError: It cannot be trained; the search continues with the next one.
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
        started = _now()
        with timed() as spent:
            try:
                plan = plan_of(trial.hyperparameters.values, self.study)
                _count_attempt(place, epochs_done(place))
                outcome = {"status": "completed", **self._trained(place, plan)}
            except (UserError, NoRoomError, MemoryError, ValueError) as error:
                if isinstance(error, NoRoomError) and shutil.disk_usage(place).free < _LEAST_ROOM:
                    raise
                message = " ".join(str(error).split()) or type(error).__name__
                log.info("trial %s failed: %s", trial.trial_id, message)
                outcome = {"status": "failed", "message": message}
        who = {"trial": trial.trial_id, "worker": self.tuner_id}
        return {**who, "started": started, "ended": _now(), **spent, **outcome}

    def _trained(self, place: Path, plan: TrialPlan) -> dict[str, Any]:
        places = [place]
        if plan.continues:
            places.append(self.folder / "trials" / plan.continues)
            if run_folder.read_json(places[-1] / RESULT)["status"] == "failed":
                raise UserError(f"trial {plan.continues}, which it would continue, failed")
        return self.training.run(
            plan,
            place / self.tuner_id,
            earlier=places,
            progress=self.progress,
            budget=self.budget,
        )

    def on_trial_end(self, trial: Trial) -> None:
        """Report the trial and its score, and keep no more of it than is needed."""
        super().on_trial_end(trial)
        best = self.best_trial()
        best_id = best.trial_id if best else None
        result = run_folder.read_json(self.folder / "trials" / trial.trial_id / RESULT)
        self.progress.settle(_line(trial.trial_id, result, self.study.objective, best_id))
        if not self.remote:  # the chief knows which of a worker's trials may be removed
            self.training.prune(self.folder / "trials", best=best_id)

    def best_trial(self) -> Trial | None:
        """The best trial with a score so far."""
        return next((trial for trial in self.oracle.get_best_trials(1) if trial.score is not None), None)


def _line(trial_id: str, result: dict[str, Any], objective: str, best: str | None) -> str:
    """The line of progress of a finished trial."""
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


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Yield a record that holds `seconds` (wall) and `cpu_seconds` of the block once it has ended."""
    spent: dict[str, float] = {}
    wall, cpu = time.monotonic(), time.process_time()
    yield spent
    spent |= {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
