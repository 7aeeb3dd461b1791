"""StageTuner: KerasTuner's search loop over the ordinary training of a stage, here or at once elsewhere."""

from functools import partial
from pathlib import Path
from typing import Any

from keras_tuner import Oracle
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress, clock
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.training.workers import Task, WorkerDiedError, Workers
from fer_hierarchy.tuning.search.budget import Budget
from fer_hierarchy.tuning.search.oracles import mend, planned_trials
from fer_hierarchy.tuning.search.study import ORACLE, Study
from fer_hierarchy.tuning.search.study_faces import StudyFaces
from fer_hierarchy.tuning.search.trial import RESULT, run_there, run_trial
from fer_hierarchy.tuning.search.trial_training import TrialTraining

REPORTING = "writing the report"
LOCAL = "tuner0"


class StageTuner(BaseTuner):
    """Searches one stage's hyperparameters.

    Args:
        study: What is searched.
        folder: The study's folder.
        stage_type: What trains the stage.
        faces: Of the data.
        oracle: Chooses the trials.

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
    ) -> None:
        super().__init__(oracle, directory=str(folder), project_name=ORACLE)
        self.tuner_id = LOCAL
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
        """Run all trials in this process, one after the other."""
        mend(self.oracle)
        super().search()

    def search_at_once(self, workers: Workers) -> None:
        """Run all trials in processes of their own; this one chooses them."""
        mend(self.oracle)
        running: dict[str, Trial] = {}
        for task, result in workers.results(
            partial(self._next_task, running, workers), self.progress, self.budget.check
        ):
            trial = running.pop(task.name)
            self._record(trial, result)
            self.on_trial_end(trial)

    def _next_task(self, running: dict[str, Trial], workers: Workers) -> Task | None:
        """The next trial that the oracle can choose while others run."""
        self.budget.check()
        free = next(n for n in range(workers.size + len(running)) if f"worker{n}" not in self.oracle.ongoing_trials)
        trial = self.oracle.create_trial(f"worker{free}")
        if trial.status != TrialStatus.RUNNING:  # none is left, or those that run decide on the next one
            return None
        name = f"trial {trial.trial_id}"
        running[name] = trial
        arguments = (self.folder, self.training.stage_type, trial.trial_id, trial.hyperparameters.values)
        return Task(name=name, work=self.study.search.executions, function=run_there, arguments=arguments)

    def _record(self, trial: Trial, result: dict[str, Any] | UserError) -> None:
        """What a worker made of a trial, as the oracle keeps it."""
        if isinstance(result, WorkerDiedError):
            result = {"trial": trial.trial_id, "status": "failed", "message": str(result)}
            run_folder.write_json(self.folder / "trials" / trial.trial_id / RESULT, result)
        if isinstance(result, UserError):
            raise result
        trial.status = TrialStatus.COMPLETED if result["status"] == "completed" else TrialStatus.FAILED
        if trial.status == TrialStatus.COMPLETED:
            self.oracle.update_trial(trial.trial_id, result["metrics"])
        else:
            trial.message = result["message"]

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
        result = run_trial(
            self.folder,
            self.training,
            trial.trial_id,
            trial.hyperparameters.values,
            worker=self.tuner_id,
            progress=self.progress,
            budget=self.budget,
        )
        if result["status"] == "failed":
            raise FailedTrialError(result["message"])
        return result["metrics"]

    def on_trial_end(self, trial: Trial) -> None:
        """Report the trial and its score, and keep no more of it than is needed."""
        super().on_trial_end(trial)
        best = self.best_trial()
        best_id = best.trial_id if best else None
        result = run_folder.read_json(self.folder / "trials" / trial.trial_id / RESULT)
        self.progress.settle(_line(trial.trial_id, result, self.study.objective, best_id))
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
