"""The straight line of a search, one step a line: faces, study, trials, what is best, what it is worth, the report."""

import dataclasses
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from keras_tuner.engine.trial import Trial

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces
from fer_hierarchy.hierarchy.data.leakage import check_unseen
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import COMMAND
from fer_hierarchy.hierarchy.progress import Progress, announce, announce_table, step
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import split_table
from fer_hierarchy.hierarchy.training.pipeline import READING, settle_before_data, with_epochs
from fer_hierarchy.hierarchy.training.transfer import origins
from fer_hierarchy.hierarchy.training.workers import Workers
from fer_hierarchy.tuning.report.study_report import write_study_report
from fer_hierarchy.tuning.report.tables import top_rows
from fer_hierarchy.tuning.search.budget import Budget, BudgetSpentError, TrialProgress
from fer_hierarchy.tuning.search.oracles import open_oracle, planned_trials
from fer_hierarchy.tuning.search.study import (
    BEST,
    REMEASURED,
    STAGE_STUDY,
    STUDIES,
    STUDY,
    TRIALS,
    Study,
    stage_config,
    stages_named,
)
from fer_hierarchy.tuning.search.study_faces import StudyFaces, data_facts, same_faces
from fer_hierarchy.tuning.search.trial import RESULT, timed
from fer_hierarchy.tuning.search.trial_table import read_trials, trial_table
from fer_hierarchy.tuning.search.trial_training import TrialPlan, epochs_done, plan_of
from fer_hierarchy.tuning.search.tuner import REPORTING, StageTuner
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.space.default_spaces import default_space
from fer_hierarchy.tuning.space.dimension import IMAGE_SIZE, Dimension
from fer_hierarchy.tuning.space.spaces import check_models, read_space

LOCK = ".lock"
_ON_SCREEN = 5  # of the best trials
_NOT_FOUND = ("epochs", "patience")  # how long trials were trained is no advice on how long a run should be

log = logging.getLogger("fer_hierarchy")


def start_search(
    config: RunConfig,
    search: SearchConfig,
    stage_type: type[Stage],
    *,
    name: str | None,
    studies: Path,
    command: str,
    workers: Workers | None = None,
) -> Path:
    """Search the hyperparameters of one stage, or of all stages one after the other.

    Args:
        config: Data, and the settings that are not searched.
        search: What is searched and how.
        stage_type: What trains the stage.
        name: Folder below `studies`; None for one made of data, model, tuner, stage and key.
        studies: Folder of all studies.
        command: The command line.
        workers: Run several trials at once; without them one runs after the other.

    Returns:
        The folder of the last study.

    Raises:
        UserError: Bad data, settings or space, a study that exists already, or no trial that could be trained.
        KeyboardInterrupt: With the command that continues.
    """
    run_folder.check_writable(studies)
    stages = stages_named(search.stage, config)
    sized = config.data.image_size is not None  # by the user, before it is settled
    with Progress(len(stages), steps={READING: 5.0}) as whole, run_folder.collect_notes() as notes:
        for stage in stages:  # what is wrong with one of them is reported before any face is read
            settled = settle_before_data(stage_config(config, stage), stage_type)
            config = dataclasses.replace(config, data=settled.data, framework=settled.framework)
        spaces = {stage: _space(stage_config(config, stage), stage, search, sized=sized) for stage in stages}
        # The flat stage and those of the hierarchy need other train faces where only some are trained on votes.
        settings = {own.learns_votes: own for own in (stage_config(config, stage) for stage in stages)}
        with step(READING):
            faces = {votes: read_faces(own) for votes, own in settings.items()}
        config = with_epochs(config, next(iter(faces.values())))
        planned = [_plan(stage_config(config, s), search, s, spaces[s], faces, command, notes) for s in stages]
        planned = _named(planned, name, studies)
        for study in planned:
            with run_folder.new_folder(studies, study.name) as folder:
                write_start(folder, study.to_dict(), faces[study.config.learns_votes])
        with resumable(studies / _common_name(planned)):
            for study in planned:
                own = faces[study.config.learns_votes]
                with whole.part(1, f"{study.stage}, "):
                    continue_search(studies / study.name, study, stage_type, faces=own, workers=workers)
    return studies / planned[-1].name


def resume_search(planned: Mapping[Path, Study], stage_type: type[Stage], *, workers: Workers | None = None) -> Path:
    """Continue studies that were interrupted, or search longer; a finished one is only reported again.

    Args:
        planned: Folder -> study, with what the user changed in its length.
        stage_type: What trains the stage.
        workers: Run several trials at once; without them one runs after the other.

    Raises:
        UserError: Other data, damaged files, or no trial that could be trained.
    """
    hint = resumable(next(iter(planned)).parent / _common_name(list(planned.values())))
    with hint, Progress(len(planned), steps={READING: 5.0}) as whole:
        for folder, study in planned.items():
            with step(READING):
                faces = same_faces(study)
            with whole.part(1, f"{study.stage}, "):
                continue_search(folder, study, stage_type, faces=faces, workers=workers)
    return folder


def _space(config: RunConfig, stage: str, search: SearchConfig, *, sized: bool) -> dict[str, Dimension]:
    settings = config.for_stage(stage)
    space = default_space(settings, stage_is_flat=config.mode == "flat" and not sized)
    if search.space is not None:
        space = read_space(Path(search.space), space, settings)
    if not space:
        raise UserError(f"--space {search.space}: it leaves nothing to search; name keys and their values")
    check_models(space, settings)
    return space


def _plan(
    config: RunConfig,
    search: SearchConfig,
    stage: str,
    space: Mapping[str, Dimension],
    read: Mapping[bool, Faces],
    command: str,
    notes: Sequence[str],
) -> Study:
    """One stage's study, not yet named; `read` are the faces by whether votes are learned."""
    faces, soft_labels = read[config.learns_votes], config.for_stage(stage).soft_labels
    if stage not in (known := faces.taxonomy.stages(config.mode)):
        raise UserError(f"--stage {stage}: this data has no such stage; its stages are {', '.join(known)}")
    check_unseen(origins([config.for_stage(stage).weights]), set(faces.split("test")["pixel_hash"]))
    view = StudyFaces(faces, config, stage=stage, fraction=search.fraction)
    train, validation = view.of_size(view.size)
    data = {
        **data_facts(faces, config),
        "rows": {
            "train": len(faces.stage_view(stage, "train", soft_labels=soft_labels).rows),
            "validation": len(validation.rows),
        },
        "train_used": len(train.rows),
    }
    study = Study(
        name="",
        stage=stage,
        config=config,
        search=dataclasses.replace(search, stage=stage),
        space=space,
        taxonomy=faces.taxonomy,
        data=data,
        synthetic=faces.synthetic,
        command=command,
        notes=tuple(notes),
    )
    settled = dataclasses.replace(study.search, objective=study.objective, max_trials=planned_trials(study))
    return dataclasses.replace(study, search=settled)


def _named(planned: Sequence[Study], name: str | None, studies: Path) -> list[Study]:
    """The studies with names: the given one (and the stage, where there are several), or one with the key."""
    first, named = planned[0], []
    model = first.config.stage.model.partition(":")[0]
    common = name or f"{first.data['dataset']}-{model}-{first.search.tuner}-{first.key[:8]}"
    for study in planned:
        own = common if len(planned) == 1 and name else f"{common}-{study.stage}"
        own = run_folder.marked(own, synthetic=study.synthetic)
        if name is None and (studies / own / STUDY).is_file():
            raise UserError(f"this very search exists already as {studies / own}; go on with it by --resume {own}")
        run_folder.check_name(own, studies)
        named.append(dataclasses.replace(study, name=own))
    return named


def _common_name(planned: Sequence[Study]) -> str:
    """What `--resume` takes to continue all of them."""
    first = planned[0]
    return first.name if len(planned) == 1 else first.name.removesuffix(f"-{first.stage}")


def write_start(folder: Path, record: Mapping[str, Any], faces: Faces | None) -> None:
    """What a study is about; study.json comes last, because it is what makes a folder a study.

    Args:
        folder: Of the study.
        record: What study.json holds.
        faces: Those of its trainings; None where nothing is trained.
    """
    if faces:
        run_folder.write_table(folder / paths.SPLITS, split_table(faces))
    run_folder.write_json(folder / paths.ENVIRONMENT, run_folder.environment(record["command"]))
    run_folder.write_json(folder / STUDY, record)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let no other process search the same study; a killed one leaves no lock behind.

    Raises:
        UserError: One does already.
    """
    try:
        with FileLock(folder / LOCK, timeout=0):
            try:
                yield
            finally:
                (folder / LOCK).unlink(missing_ok=True)
    except Timeout as error:
        raise UserError(
            f"study {folder.name} is being searched by another process; wait for it, stop it, or start another study"
        ) from error


def continue_search(
    folder: Path, study: Study, stage_type: type[Stage], *, faces: Faces, workers: Workers | None = None
) -> None:
    """Run the trials that are left, then find and re-measure the best one and write the report.

    Args:
        folder: The study's folder.
        study: What is searched.
        stage_type: What trains the stage.
        faces: Of the data.
        workers: Run several trials at once; without them one runs after the other.

    Raises:
        UserError: Another process is at it, its files are damaged, or no trial could be trained.
    """
    with locked(folder), run_folder.log_to(folder):
        log.info("%s in %s", study.command, folder)
        run_folder.write_json(folder / STUDY, study.to_dict())
        stage_type.prepare(study.config)
        tuner = StageTuner(study, folder, stage_type, faces=faces, oracle=open_oracle(study, folder))
        with tuner.progress:
            _conclude(tuner, spent=_search(tuner, workers))


def _search(tuner: StageTuner, workers: Workers | None) -> bool:
    """Run the trials; the table is written whatever ends them. Returns whether the time was over before they were."""
    study = tuner.study
    announce(f"study {study.name}: {tuner.trials} trials, {study.search.tuner}, {study.objective}")
    try:
        tuner.search_at_once(workers) if workers else tuner.search()
    except BudgetSpentError as spent:
        log.warning("%s before all trials of %s were done.", spent, study.name)
        return True
    finally:
        run_folder.write_table(tuner.folder / TRIALS, trial_table(tuner.oracle, study, tuner.folder))
    return False


def _conclude(tuner: StageTuner, *, spent: bool) -> None:
    """Write what the search found and what it is worth.

    Raises:
        UserError: Nothing was found.
    """
    folder, best = tuner.folder, tuner.best_trial()
    if best is None:
        write_study_report(folder)
        raise UserError(_nothing_found(tuner, spent=spent))
    tuner.training.prune(folder / "trials", best=best.trial_id, finished=not spent)
    run_folder.write_json(folder / BEST, best_record(best, tuner.study))
    _remeasure(best, tuner)
    with step(REPORTING):
        record = write_study_report(folder)
    if len(record.done):
        announce_table(top_rows(record, _ON_SCREEN))
    announce(_headline(best, tuner))


def _nothing_found(tuner: StageTuner, *, spent: bool) -> str:
    study, folder = tuner.study, tuner.folder
    if spent:
        epochs = max(map(epochs_done, folder.glob("trials/*")), default=0)
        return (
            f"--budget {study.search.budget} is too small for one trial: it ended after {epochs} of "
            f"{study.epochs} epochs; go on with a larger one: {resume_hint(folder)} --budget 1h"
        )
    failed = read_trials(folder / TRIALS).query("status == 'failed'")["message"]
    first = next(iter(failed), "none was started")
    return f"study {study.name}: all {len(failed)} trials failed; the first: {first}; {folder / TRIALS} has them all"


def best_record(best: Trial, study: Study) -> dict[str, Any]:
    """What best.json holds: plain settings that a run takes by `--hyperparameters`."""
    plan, usual = plan_of(best.hyperparameters.values, study), StageConfig()
    found = {
        name: value
        for name, value in dataclasses.asdict(plan.settings).items()
        if name in (*study.space, "model") or (name not in _NOT_FOUND and value != getattr(usual, name))
    }
    if IMAGE_SIZE in study.space:
        found[IMAGE_SIZE] = plan.parts[-1].size
    return {
        "format": 1,
        "kind": STAGE_STUDY,
        "study": study.name,
        "stage": study.stage,
        "classes": list(study.classes),
        "objective": study.objective,
        "score": best.score,
        "trial": best.trial_id,
        "hyperparameters": found,
        "epochs": plan.epochs,
        "data": dict(study.data),
        "taxonomy": study.taxonomy.to_dict(),
        "seed": study.config.seed,
    }


def _remeasure(best: Trial, tuner: StageTuner) -> None:
    """Train the best trial again with seeds that the search has not used; a search's own best figure is optimistic."""
    study, path = tuner.study, tuner.folder / REMEASURED
    first, rows, progress = study.config.seed + study.search.executions, [], tuner.progress
    progress.done = progress.total - study.search.remeasure  # also where the time was over before all trials were done
    for seed in range(first, first + study.search.remeasure):
        place = tuner.folder / "remeasured" / f"{best.trial_id}-seed{seed}"
        with progress.part(1, f"re-measuring with seed {seed}: "):
            rows.append({"seed": seed, **_measured(place, plan_of(best.hyperparameters.values, study), seed, tuner)})
        run_folder.write_table(path, pd.DataFrame(rows))
        progress.settle(f"re-measured with seed {seed}: {study.objective} {rows[-1]['score']:.4f}")
    if not rows:
        path.unlink(missing_ok=True)


def _measured(place: Path, plan: TrialPlan, seed: int, tuner: StageTuner) -> dict[str, Any]:
    """Scores and cost of one fresh training; it is kept, and not repeated by a later call."""
    path = place / RESULT
    if path.is_file():
        return run_folder.read_json(path)
    with timed() as spent, TrialProgress(tuner.training.work(plan), budget=Budget()) as progress:
        result = tuner.training.train(plan, place, seed=seed, progress=progress)
    metrics = result["metrics"]
    row = {"score": metrics[tuner.study.objective], **metrics, "best_epoch": result["best_epoch"], **spent}
    run_folder.write_json(path, row)
    for file in (*place.glob("*.keras"), *place.glob("*.npz")):
        file.unlink()
    return row


def _headline(best: Trial, tuner: StageTuner) -> str:
    study = tuner.study
    origin = "SYNTHETIC faces, " if study.synthetic else ""
    text = f"{study.name}: best {study.objective} {best.score:.4f} on validation (trial {best.trial_id})"
    scores = read_trials(tuner.folder / REMEASURED, ("score",))["score"]
    if len(scores):
        spread = f" ± {scores.std():.4f}" if len(scores) > 1 else ""
        text += f", re-measured {scores.mean():.4f}{spread} over {len(scores)} fresh seeds"
    return f"{text}; {origin}n = {study.data['rows']['validation']}, seed {study.config.seed}"


def resumable(folder: Path) -> AbstractContextManager[None]:
    """`run_folder.resumable` of a study."""
    return run_folder.resumable(folder, f"go on with: {resume_hint(folder)}")


def resume_hint(folder: Path) -> str:
    """The command that continues a study, as it can be pasted."""
    place = [] if folder.parent == STUDIES else ["--study-dir", str(folder.parent)]
    return shlex.join([*COMMAND, "--mode", "tune", *place, "--resume", folder.name])
