"""What a trial is: drawn values to a plan of trainings, trainings to validation scores."""

import dataclasses
import gc
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score, f1_score

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training.callbacks import CHECKPOINT, read_checkpoint
from fer_hierarchy.hierarchy.training.stages import check_accumulation, stage_seed
from fer_hierarchy.hierarchy.training.transfer import MODEL
from fer_hierarchy.tuning.search.budget import Budget, TrialProgress
from fer_hierarchy.tuning.search.study import Study
from fer_hierarchy.tuning.search.study_faces import StudyFaces
from fer_hierarchy.tuning.space.spaces import settings_of


@dataclass(frozen=True, kw_only=True)
class TrialPhase:
    """Epochs on faces of one size.

    Attributes:
        size: Height and width in pixels.
        until: Last epoch, counted from 1 over the whole plan.
        early: Whether larger faces follow; such a part is not stopped early, since its scores are no more than a start.
    """

    size: int
    until: int
    early: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """How a trial is trained.

    Attributes:
        settings: Of the stage; `epochs` is the whole plan of the learning rate, which may end later than the trial.
        parts: One after the other.
        continues: Hyperband: the trial that trained all but the last epochs.
        rung: Hyperband: how many trials it continues; None otherwise.
        bracket: Hyperband: how many rungs come after the first; None otherwise.
    """

    settings: StageConfig
    parts: tuple[TrialPhase, ...]
    continues: str | None = None
    rung: int | None = None
    bracket: int | None = None

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self.parts[-1].until

    @property
    def first(self) -> int:
        """Epoch, counted from 0, from which on faces have their final size."""
        return self.parts[-2].until if len(self.parts) > 1 else 0


def plan_of(values: Mapping[str, Any], study: Study) -> TrialPlan:
    """How KerasTuner's values are trained.

    A trial that continues another one follows the schedule of that one: Hyperband's rungs are pauses in
    the plan of all epochs, so a best trial's last rung is the very training that a run with its settings does.

    Args:
        values: Drawn values; those of Hyperband begin with `tuner/`.
        study: What is searched.
    """
    settings, size = settings_of(values, study.settings)
    size = size or study.image_size
    if study.search.tuner != "hyperband":
        return TrialPlan(settings=settings, parts=(TrialPhase(size=size, until=settings.epochs or study.epochs),))
    rung, bracket = int(values["tuner/round"]), int(values["tuner/bracket"])
    until, since = int(values["tuner/epochs"]), int(values["tuner/initial_epoch"])
    early, parts = study.search.early_size, [TrialPhase(size=size, until=until)]
    if early and rung != bracket:
        parts = [TrialPhase(size=early, until=until, early=True)]
    elif early and since:
        parts.insert(0, TrialPhase(size=early, until=since, early=True))
    past = values.get("tuner/trial_id") if rung else None
    return TrialPlan(settings=settings, parts=tuple(parts), continues=past, rung=rung, bracket=bracket)


class TrialTraining:
    """Trains trials of a study and scores them on validation faces.

    Args:
        study: What is searched.
        stage_type: What trains the stage.
        faces: Train and validation faces in every size.
    """

    def __init__(self, study: Study, stage_type: type[Stage], faces: StudyFaces) -> None:
        self.study = study
        self.stage_type = stage_type
        self.faces = faces

    def run(
        self,
        plan: TrialPlan,
        place: Path,
        *,
        earlier: Sequence[Path],
        progress: Progress,
        budget: Budget,
    ) -> dict[str, Any]:
        """Train a trial, as often as the study wants, and score each training.

        Args:
            plan: How.
            place: Folder of this attempt.
            earlier: Folders of trials whose attempts a training may continue.
            progress: The whole search's, in trainings.
            budget: May end the search in mid-trial; the same call then continues.

        Returns:
            {"metrics", "executions", "best_epoch", "epochs", "epochs_asked", "rung", "bracket", "from_trial",
            "parameters", "multiply_adds"}; metrics are means over the executions.
        """
        count, records = self.study.search.executions, []
        for number in range(count):
            own = place / str(number)
            adopt([found for path in earlier for found in path.glob(f"*/{number}") if found != own], own, plan)
            with (
                progress.part(1, f"trial {place.parent.name}: "),
                TrialProgress(self.work(plan), budget=budget) as share,
            ):
                records.append(self.train(plan, own, seed=self.study.config.seed + number, progress=share))
        metrics = [record.pop("metrics") for record in records]
        return {
            "metrics": {name: float(np.mean([scores[name] for scores in metrics])) for name in metrics[0]},
            "executions": metrics,
            **records[0],
            "epochs_asked": plan.epochs,
            "rung": plan.rung,
            "bracket": plan.bracket,
            "from_trial": plan.continues,
        }

    def train(self, plan: TrialPlan, place: Path, *, seed: int, progress: Progress) -> dict[str, Any]:
        """Train once, from a checkpoint if there is one, and score on the validation faces.

        Returns:
            {"metrics", "best_epoch", "epochs", "parameters", "multiply_adds"}.
        """
        place.mkdir(parents=True, exist_ok=True)
        done = epochs_in(place)
        parts = [part for part in plan.parts if part.until > done] or [plan.parts[-1]]
        config = dataclasses.replace(self.study.config, seed=seed)
        for part in parts:
            keras.backend.clear_session()
            gc.collect()
            train, validation = self.faces.of_size(part.size)
            self._check(plan, train)
            stage = self.stage_type(name=self.study.stage, classes=self.study.classes)
            stage.fit(
                train,
                validation,
                dataclasses.replace(plan.settings, patience=0) if part.early else plan.settings,
                folder=place,
                logs=place / "tensorboard",
                seed=stage_seed(config, self.study.stage),
                progress=progress,
                until=part.until,
                since=plan.first if part is plan.parts[-1] else 0,
            )
        logits = stage.logits(validation.pixels, validation.rows)
        facts = {name: stage.record[name] for name in ("best_epoch", "parameters", "multiply_adds")}
        metrics = validation_metrics(logits, validation.labels)
        return {"metrics": metrics, "epochs": stage.record["epochs_run"], **facts}

    def _check(self, plan: TrialPlan, faces: StageFaces) -> None:
        """Refuse what cannot be trained before anything is; a full `RunConfig` has more checks than a stage."""
        dataclasses.replace(self.study.config, stage=plan.settings, stages={})
        self.stage_type.check(plan.settings, faces.pixels.shape[1:])
        check_accumulation(self.study.stage, dataclasses.replace(plan.settings, epochs=plan.epochs), faces.labels)

    def work(self, plan: TrialPlan) -> float:
        """Work of the whole plan, in the stage's own unit."""
        train, _ = self.faces.of_size(plan.parts[-1].size)
        settings = dataclasses.replace(plan.settings, epochs=plan.epochs)
        return self.stage_type.planned_work(settings, train.pixels.shape[1:], len(self.study.classes), train.labels)

    def prune(self, trials: Path, *, best: str | None, finished: bool = False) -> None:
        """Remove what nobody needs any more: models and checkpoints of all finished trials but the best one.

        Args:
            trials: Folder of all trials.
            best: The best trial.
            finished: Whether the search is; until then another trial of Hyperband may continue any of them.
        """
        if self.study.search.tuner == "hyperband" and not finished:
            return
        for result in trials.glob("*/result.json"):
            for name in (MODEL, CHECKPOINT):
                for file in result.parent.glob(f"*/*/{name}"):
                    if result.parent.name != best or name == CHECKPOINT:
                        file.unlink(missing_ok=True)


def adopt(found: Sequence[Path], place: Path, plan: TrialPlan) -> None:
    """Copy the furthest checkpoint of other attempts, or of the trial that this one continues, to `place`.

    Args:
        found: Folders of trainings that may have one.
        place: Where the training continues.
        plan: The training's; nothing that went further is of use.
    """
    useful = [path for path in found if epochs_in(place) < epochs_in(path) <= plan.epochs]
    if not useful:
        return
    best = max(useful, key=epochs_in)
    place.mkdir(parents=True, exist_ok=True)
    # The checkpoint last: it is what makes the epochs count. A model of smaller faces is of no use.
    names = [CHECKPOINT] if epochs_in(best) <= plan.first else [MODEL, CHECKPOINT]
    for name in names:
        if (best / name).is_file():
            with atomic_write(place / name) as temporary:
                shutil.copyfile(best / name, temporary)


def epochs_done(trial: Path) -> int:
    """Epochs in the furthest checkpoint of a trial's attempts."""
    return max((epochs_in(place) for place in trial.glob("*/*") if place.is_dir()), default=0)


def epochs_in(place: Path) -> int:
    """Epochs in the checkpoint of a training; 0 where there is none, or a damaged one, which is not gone on from."""
    try:
        saved = read_checkpoint(place)
    except UserError:
        return 0
    return len(saved.history) if saved else 0


def validation_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores of a stage on validation faces.

    Args:
        logits: (n, classes).
        labels: (n,) class indices.

    Returns:
        {"macro_f1", "balanced_accuracy", "accuracy", "nll"}.
    """
    predicted = logits.argmax(axis=1)
    return {
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "accuracy": float((predicted == labels).mean()),
        "nll": float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean()),
    }
