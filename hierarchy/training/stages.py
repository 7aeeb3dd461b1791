"""Trains the stages of a run, each with a network of its own or all on one trunk; what is complete is only loaded."""

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.classifiers.stage import Stage, check_classes
from fer_hierarchy.hierarchy.classifiers.trunk import head_stages, level_prior, trunk_stage
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.data.manifest import people
from fer_hierarchy.hierarchy.data.sampling import draw_rows
from fer_hierarchy.hierarchy.data.splits import calibrates
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import STAGE_RECORD, STAGES
from fer_hierarchy.hierarchy.progress import FORWARD, Progress, current
from fer_hierarchy.hierarchy.taxonomy import FLAT, TRUNK
from fer_hierarchy.hierarchy.training.distillation import SoftTargets, teacher_targets
from fer_hierarchy.hierarchy.training.schedule import phases


def train_stages(
    folder: Path, config: RunConfig, stage_type: type[Stage], faces: Faces, logs: Path
) -> dict[str, Stage]:
    """Train the stages that are not complete yet below `folder`; load the others.

    Args:
        folder: Where `stages/` is or will be.
        config: Settings of the run, complete.
        stage_type: What trains the stages.
        faces: What they are trained on; only train and validation are read.
        logs: Where TensorBoard's files go.
    """
    home, names = folder / STAGES, faces.taxonomy.stages(config.mode)
    networks = [TRUNK] if config.shares_trunk else names
    missing = [name for name in networks if not (home / name / STAGE_RECORD).is_file()]
    soft_targets = teacher_targets(faces, config.data, stage_type) if missing else None
    train = _on_one_trunk if config.shares_trunk else _one_by_one
    stages = train(home, config, stage_type, faces, soft_targets, logs)
    check_classes(stages, faces.taxonomy, home)
    return stages


def _one_by_one(
    home: Path, config: RunConfig, stage_type: type[Stage], faces: Faces, soft_targets: SoftTargets | None, logs: Path
) -> dict[str, Stage]:
    """Each stage in a folder of its own below `home`, with a network of its own."""
    blank = _blank_stages(config, stage_type, faces)
    work = {name: _work(stage, name, config, faces) for name, stage in blank.items()}
    complete = [name for name in blank if (home / name / STAGE_RECORD).is_file()]
    progress = current()
    progress.plan(sum(work.values()), done=sum(work[name] for name in complete))
    progress.plan(sum(_evaluation_work(work[name], name, [name], config, faces) for name in blank))
    stages = {}
    for name, stage in blank.items():
        if name in complete:
            stages[name] = stage_type.load(home / name)
            continue
        with progress.part(work[name]):
            _fit(stage, name, home / name, config, faces, soft_targets, progress, logs)
        calibrate_stage(stage, config, faces)
        _finish(stage, home / name)
        stages[name] = stage
    return stages


def _on_one_trunk(
    home: Path, config: RunConfig, stage_type: type[Stage], faces: Faces, soft_targets: SoftTargets | None, logs: Path
) -> dict[str, Stage]:
    """The trunk in a folder of its own below `home`, and in each stage's folder only what that stage adds to it."""
    place, names = home / TRUNK, faces.taxonomy.stages(config.mode)
    if (place / STAGE_RECORD).is_file():
        trunk = stage_type.load(place)
    else:
        for name in names:  # of a trunk that is gone
            (home / name / STAGE_RECORD).unlink(missing_ok=True)
        trunk = trunk_stage(stage_type, faces.taxonomy)
        work, progress = _work(trunk, FLAT, config, faces), current()
        progress.plan(work)
        progress.plan(_evaluation_work(work, FLAT, names, config, faces))
        with progress.part(work):
            _fit(trunk, FLAT, place, config, faces, soft_targets, progress, logs)
        _finish(trunk, place)
    stages = head_stages(trunk, faces.taxonomy)
    for name, stage in stages.items():
        if (home / name / STAGE_RECORD).is_file():
            stages[name] = stage_type.load(home / name, {place: trunk.network})
        else:
            (home / name).mkdir(exist_ok=True)
            calibrate_stage(stage, config, faces)
            stage.save(home / name)
    return stages


def check_updates(config: RunConfig, faces: Faces) -> None:
    """Refuse a run with a network that would never be updated; see `check_accumulation`."""
    for name in [TRUNK] if config.shares_trunk else faces.taxonomy.stages(config.mode):
        settings, view = config.for_stage(name), FLAT if config.shares_trunk else name
        train = faces.stage_view(view, "train", soft_labels=settings.soft_labels)
        check_accumulation(name, settings, train.labels)


def check_accumulation(stage: str, settings: StageConfig, labels: np.ndarray) -> None:
    """Refuse a stage that gathers more gradients for one update than it has batches, while it is frozen or after.

    Args:
        stage: Its name.
        settings: Of the stage, with its epochs.
        labels: (n,) class index of each train row.

    Raises:
        UserError: It would never be updated.
    """
    rows = len(draw_rows(labels, settings.balance, seed=0))
    epochs = min(phase.last - phase.first for phase in phases(settings))
    batches = rows // min(settings.batch_size, rows) * epochs
    if batches < settings.accumulate:
        raise UserError(
            f"--accumulate {settings.accumulate}: stage {stage} trains {batches} batches"
            f"{' frozen or thawed' if settings.freeze else ''}, too few for an update; "
            "give a smaller number or a smaller --batch-size"
        )


def planned_work(config: RunConfig, stage_type: type[Stage], faces: Faces) -> float:
    """Work that training all networks of a run takes: multiply-adds of the forward passes.

    Args:
        config: Settings of the run, complete.
        stage_type: What trains the stages.
        faces: What they are trained on.
    """
    if config.shares_trunk:
        return _work(trunk_stage(stage_type, faces.taxonomy), FLAT, config, faces)
    return sum(_work(stage, name, config, faces) for name, stage in _blank_stages(config, stage_type, faces).items())


def _blank_stages(config: RunConfig, stage_type: type[Stage], faces: Faces) -> dict[str, Stage]:
    """The stages of a run whose networks are their own, not trained yet."""
    names = faces.taxonomy.stages(config.mode)
    return {name: stage_type(name=name, classes=faces.taxonomy.stage_classes(name)) for name in names}


def stage_seed(config: RunConfig, stage: str) -> int:
    """Seed of one stage's first weights, order and augmentation."""
    return zlib.crc32(f"{config.seed} {stage}".encode()) % 2**31


def _work(stage: Stage, view: str, config: RunConfig, faces: Faces) -> float:
    settings, shape = config.for_stage(stage.name), faces.images.pixels.shape[1:]
    labels = faces.stage_view(view, "train", soft_labels=settings.soft_labels).labels
    return stage.planned_work(settings, shape, len(stage.classes), labels)


def _evaluation_work(work: float, view: str, names: Sequence[str], config: RunConfig, faces: Faces) -> float:
    """Work of calibrating the stages `names` of a network and predicting validation and test, given its training's."""
    epochs, trained = config.for_stage(view).epochs or 1, len(faces.stage_view(view, "train").rows)
    own = sum(len(faces.stage_view(name, "validation").rows) for name in names)  # before and after the temperature
    predicted = 2 * own + len(faces.split("validation")) + len(faces.split("test"))
    return work / (epochs * max(trained, 1)) * FORWARD * (1 + config.evaluation.mirror) * predicted


def _fit(
    stage: Stage,
    view: str,
    place: Path,
    config: RunConfig,
    faces: Faces,
    soft_targets: SoftTargets | None,
    progress: Progress,
    logs: Path,
) -> None:
    """Train a stage in the folder `place` on the faces as the stage `view` sees them."""
    settings = config.for_stage(stage.name)
    place.mkdir(parents=True, exist_ok=True)
    train = faces.stage_view(view, "train", soft_labels=settings.soft_labels)
    stage.fit(
        train if soft_targets is None else soft_targets.applied_to(train, view, faces.taxonomy),
        half_of_validation(faces, config, calibrating=False).stage_view(view, "validation"),
        settings,
        folder=place,
        logs=logs / stage.name,
        seed=stage_seed(config, stage.name),
        progress=progress,
    )
    if config.evaluation.mirror:
        stage.use_mirror_image()


def calibrate_stage(stage: Stage, config: RunConfig, faces: Faces) -> None:
    """Fit on validation what a run's settings want: the temperature, and the correction of a rebalanced prior.

    Args:
        stage: Trained.
        config: Settings of its run.
        faces: Of the run.
    """
    evaluation, name = config.evaluation, stage.name
    level = level_prior(name, faces.taxonomy) if config.shares_trunk else None
    stage.calibrate(
        half_of_validation(faces, config, calibrating=True).stage_view(name, "validation"),
        faces.stage_view(name, "train"),
        temperature=evaluation.temperature,
        prior_correction=evaluation.prior_correction,
        level=level,
    )


def half_of_validation(faces: Faces, config: RunConfig, *, calibrating: bool) -> Faces:
    """The faces without the validation faces that a run sets apart for calibration, or without the others.

    Args:
        faces: Of the run.
        config: Its settings; without `calibration_apart` all validation faces serve both.
        calibrating: Which half stays.

    Raises:
        UserError: An emotion has no face in that half.
    """
    if not config.calibration_apart:
        return faces
    rows = faces.manifest
    own = faces.split("validation")
    half = calibrates(own["id"], own["emotion"], people(own, "id"), seed=config.seed) == calibrating
    held = set(own["emotion"][half])
    if missing := next((emotion for emotion in faces.taxonomy.emotions if emotion not in held), None):
        raise UserError(
            f"--calibration-apart: the {int((own['emotion'] == missing).sum())} validation faces of {missing} do not "
            "stand in both halves; give more validation faces, or leave it out"
        )
    return dataclasses.replace(faces, manifest=rows.drop(index=own.index[~half]))


def _finish(stage: Stage, place: Path) -> None:
    """Write the record, which makes the stage complete; then nothing needs its checkpoint any more."""
    stage.save(place)
    (place / stage.checkpoint).unlink(missing_ok=True)
