"""The straight line of a search, one step a line: faces, study, trials, what is best, what it is worth, the report."""

import dataclasses
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras_tuner
import pandas as pd
from filelock import FileLock, Timeout

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import SYNTHETIC, Faces, read_faces
from fer_hierarchy.hierarchy.data.leakage import check_unseen
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.paths import COMMAND
from fer_hierarchy.hierarchy.progress import Progress, announce
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run_results import split_table
from fer_hierarchy.hierarchy.training.pipeline import settle_before_data, with_epochs
from fer_hierarchy.hierarchy.training.transfer import origins
from fer_hierarchy.tuning.distributed.oracle_server import RemoteOracle, mend
from fer_hierarchy.tuning.report.study_report import write_study_report
from fer_hierarchy.tuning.search.budget import Budget, BudgetSpentError
from fer_hierarchy.tuning.search.oracles import open_oracle, planned_trials
from fer_hierarchy.tuning.search.study import (
    BEST,
    REMEASURED,
    STAGE_STUDY,
    STUDIES,
    STUDY,
    TRIALS,
    Study,
    default_group,
    settled_search,
    stage_config,
    stages_named,
)
from fer_hierarchy.tuning.search.study_faces import StudyFaces, split_fingerprint
from fer_hierarchy.tuning.search.trial_table import trial_table
from fer_hierarchy.tuning.search.trial_training import TrialPlan, TrialTraining, course_of, epochs_done
from fer_hierarchy.tuning.search.tuner import StageTuner, timed
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.space.default_spaces import default_space
from fer_hierarchy.tuning.space.dimension import Dimension
from fer_hierarchy.tuning.space.spaces import check_models, read_space

LOCK = ".lock"
_NOT_FOUND = ("epochs", "patience")  # how long trials were trained says nothing of how long a run should be

TrialRunner = Callable[["OpenStudy"], None]  # runs the trials of a study

log = logging.getLogger("hierarchy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study that is being searched.

    Attributes:
        study: What is searched.
        folder: Its folder, which this process has locked.
        oracle: Chooses the trials.
        training: Trains and scores them.
        progress: In trials.
        budget: Of this call.
    """

    study: Study
    folder: Path
    oracle: keras_tuner.Oracle
    training: TrialTraining
    progress: Progress
    budget: Budget


def run_trials(opened: OpenStudy, *, remote: RemoteOracle | None = None) -> None:
    """Run trials in this process, one after the other: all of them, or those that a chief hands out."""
    mend(opened.oracle)
    parts = {f.name: getattr(opened, f.name) for f in dataclasses.fields(opened)}
    StageTuner(**parts, remote=remote).search()


def start_search(
    config: RunConfig,
    search: SearchConfig,
    stage_type: type[Stage],
    *,
    name: str | None,
    studies: Path,
    command: str,
    way: TrialRunner = run_trials,
) -> Path:
    """Search the hyperparameters of one stage, or of all stages one after the other.

    Args:
        config: Data, and the settings that are not searched.
        search: What is searched and how.
        stage_type: What trains the stage.
        name: Folder below `studies`; None for one made of data, model, tuner, stage and key.
        studies: Folder of all studies.
        command: The command line.
        way: How a study's trials are run.

    Returns:
        The folder of the last study.

    Raises:
        UserError: Bad data, settings or space, a study that exists already, or no trial that could be trained.
        KeyboardInterrupt: With the words that say how to go on.
    """
    run_folder.check_writable(studies)
    stages = stages_named(search.stage, config)
    sized = config.data.image_size is not None  # by the user, before it is settled
    with run_folder.collect_notes() as notes:
        for stage in stages:  # what is wrong with one of them is said before any face is read
            settled = settle_before_data(stage_config(config, stage), stage_type)
            config = dataclasses.replace(config, data=settled.data, framework=settled.framework)
        spaces = {stage: _space(stage_config(config, stage), stage, search, sized=sized) for stage in stages}
        # The flat stage and those of the hierarchy need other train faces where only some are trained on votes.
        settings = {own.learns_votes: own for own in (stage_config(config, stage) for stage in stages)}
        faces = {votes: read_faces(own) for votes, own in settings.items()}
        config = with_epochs(config, next(iter(faces.values())))
        planned = [_plan(stage_config(config, s), search, s, spaces[s], faces, command, notes) for s in stages]
    planned = _named(planned, name, studies)
    for study in planned:
        _write_start(studies / study.name, study, faces[study.config.learns_votes])
    with _resumable(studies / _common_name(planned)):
        for study in planned:
            go_on(studies / study.name, study, stage_type, faces=faces[study.config.learns_votes], way=way)
    return studies / planned[-1].name


def resume_search(planned: Mapping[Path, Study], stage_type: type[Stage], *, way: TrialRunner = run_trials) -> Path:
    """Go on with studies that were interrupted, or search longer; a finished one is only reported again.

    Args:
        planned: Folder -> study, with what the user changed in its length.
        stage_type: What trains the stage.
        way: How a study's trials are run.

    Raises:
        UserError: Other data, damaged files, or no trial that could be trained.
    """
    with _resumable(next(iter(planned)).parent / _common_name(list(planned.values()))):
        for folder, study in planned.items():
            go_on(folder, study, stage_type, faces=same_faces(study), way=way)
    return folder


def same_faces(study: Study) -> Faces:
    """The faces of a study.

    Raises:
        UserError: They are not those that it was started with.
    """
    faces = read_faces(study.config)
    if (faces.images.fingerprint, split_fingerprint(faces)) != (study.data["fingerprint"], study.data["splits"]):
        raise UserError(
            f"study {study.name} is of other data: it was started with faces of fingerprint "
            f"{study.data['fingerprint']}, and {', '.join(study.config.data.paths) or 'the embedded faces'} has "
            f"{faces.images.fingerprint}; start a new study"
        )
    return faces


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
    view = StudyFaces(faces, config, stage=stage, fraction=search.fraction, soft_labels=soft_labels)
    train, validation = view.of_size(config.data.image_size)
    data = {
        "dataset": "+".join(sorted(set(faces.manifest["source"]))),
        "path": config.data.data,
        "fingerprint": faces.images.fingerprint,
        "splits": split_fingerprint(faces),
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
        search=settled_search(search, stage, faces.taxonomy.gate),
        space=space,
        taxonomy=faces.taxonomy,
        data=data,
        synthetic=faces.synthetic,
        command=command,
        notes=tuple(notes),
    )
    return dataclasses.replace(study, search=dataclasses.replace(study.search, max_trials=planned_trials(study)))


def _named(planned: Sequence[Study], name: str | None, studies: Path) -> list[Study]:
    """The studies with names: the given one (and the stage, where there are several), or one that tells the key."""
    first, named = planned[0], []
    common = name or f"{default_group(first.data['dataset'], first.config, first.search.tuner)}-{first.key[:8]}"
    for study in planned:
        own = common if len(planned) == 1 and name else f"{common}-{study.stage}"
        if study.synthetic and SYNTHETIC not in own:
            own = f"{SYNTHETIC}-{own}"
        if name is None and (studies / own / STUDY).is_file():
            raise UserError(f"this very search exists already as {studies / own}; go on with it by --resume {own}")
        run_folder.check_name(own, studies)
        named.append(dataclasses.replace(study, name=own))
    return named


def _common_name(planned: Sequence[Study]) -> str:
    """What `--resume` takes to go on with all of them."""
    (name, stage) = (planned[0].name, planned[0].stage)
    return name if len(planned) == 1 else name.removesuffix(f"-{stage}")


def _write_start(folder: Path, study: Study, faces: Faces) -> None:
    """What a study is about; study.json comes last, because it is what makes a folder a study."""
    run_folder.create_folder(folder.parent, folder.name)
    run_folder.write_table(folder / run_folder.SPLITS, split_table(faces))
    run_folder.write_json(folder / run_folder.ENVIRONMENT, run_folder.environment(study.command))
    run_folder.write_json(folder / STUDY, study.to_dict())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let no other process search the same study; a killed one leaves no lock behind.

    Raises:
        UserError: One does already.
    """
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise UserError(
            f"study {folder.name} is being searched by another process; wait for it, stop it, or start another study"
        ) from error


def go_on(folder: Path, study: Study, stage_type: type[Stage], *, faces: Faces, way: TrialRunner = run_trials) -> None:
    """Run the trials that are left, then find and re-measure the best one and write the report.

    Args:
        folder: The study's folder.
        study: What is searched.
        stage_type: What trains the stage.
        faces: Of the data.
        way: How the trials are run.

    Raises:
        UserError: Another process is at it, its files are damaged, or no trial could be trained.
    """
    with locked(folder), run_folder.log_to(folder):
        log.info("%s in %s", study.command, folder)
        run_folder.write_json(folder / STUDY, study.to_dict())
        stage_type.prepare(study.config)
        opened = open_study(folder, study, stage_type, faces=faces)
        spent = _search(opened, way)
        _conclude(opened, spent)


def open_study(
    folder: Path,
    study: Study,
    stage_type: type[Stage],
    *,
    faces: Faces,
    oracle: keras_tuner.Oracle | None = None,
) -> OpenStudy:
    """A study with everything that its trials need; the oracle is read from the folder if none is given."""
    view = StudyFaces(
        faces,
        study.config,
        stage=study.stage,
        fraction=study.search.fraction,
        soft_labels=study.settings.soft_labels,
    )
    oracle = oracle or open_oracle(study, folder)
    return OpenStudy(
        study=study,
        folder=folder,
        oracle=oracle,
        training=TrialTraining(study, stage_type, view),
        progress=Progress(planned_trials(study), done=len(oracle.end_order)),
        budget=Budget.of(study.search.budget),
    )


def _search(opened: OpenStudy, way: TrialRunner) -> bool:
    """Run the trials; the table is written whatever ends them. Returns whether the time was over before they were."""
    study = opened.study
    announce(f"study {study.name}: {opened.progress.total:.0f} trials, {study.search.tuner}, {study.search.objective}")
    try:
        way(opened)
    except BudgetSpentError as spent:
        log.warning("%s before all trials of %s were done.", spent, study.name)
        return True
    finally:
        run_folder.write_table(opened.folder / TRIALS, trial_table(opened.oracle, study, opened.folder))
    return False


def _conclude(opened: OpenStudy, spent: bool) -> None:
    """Write what the search found and what it is worth.

    Raises:
        UserError: Nothing was found.
    """
    folder = opened.folder
    best = next((t for t in opened.oracle.get_best_trials(1) if t.score is not None), None)
    if best is None:
        write_study_report(folder)
        raise UserError(_nothing_found(opened, spent))
    opened.training.prune(folder / "trials", best=best.trial_id, finished=not spent)
    run_folder.write_json(folder / BEST, best_record(best, opened))
    _remeasure(best, opened)
    write_study_report(folder)
    announce(_headline(best, opened))


def _nothing_found(opened: OpenStudy, spent: bool) -> str:
    name, table = opened.study.name, pd.read_csv(opened.folder / TRIALS, keep_default_na=False)
    if spent:
        epochs = max(map(epochs_done, opened.folder.glob("trials/*")), default=0)
        return (
            f"--budget {opened.study.search.budget} is too small for one trial: it ended after {epochs} of "
            f"{opened.study.settings.epochs} epochs; go on with a larger one: {resume_hint(opened.folder)} --budget 1h"
        )
    failed = table[table["status"] == "failed"]
    first = failed["message"].iloc[0] if len(failed) else "none was begun"
    return f"study {name}: all {len(failed)} trials failed; the first: {first}; {opened.folder / TRIALS} has them all"


def best_record(best: keras_tuner.engine.trial.Trial, opened: OpenStudy) -> dict[str, Any]:
    """What best.json holds: plain settings that a run takes by `--hyperparameters`."""
    study = opened.study
    course = course_of(best.hyperparameters.values, study)
    skipped = [name for name in _NOT_FOUND if name not in study.space]
    usual = StageConfig()
    found = {
        name: value
        for name, value in dataclasses.asdict(course.settings).items()
        if name not in skipped and (name in study.space or value != getattr(usual, name))
    }
    found["model"] = course.settings.model
    if "image_size" in study.space:
        found["image_size"] = course.parts[-1].size
    return {
        "format": 1,
        "kind": STAGE_STUDY,
        "study": study.name,
        "stage": study.stage,
        "classes": list(study.classes),
        "objective": study.search.objective,
        "score": best.score,
        "trial": best.trial_id,
        "hyperparameters": found,
        "epochs": course.epochs,
        "data": dict(study.data),
        "taxonomy": study.taxonomy.to_dict(),
        "seed": study.config.seed,
    }


def _remeasure(best: keras_tuner.engine.trial.Trial, opened: OpenStudy) -> None:
    """Train the best trial anew with seeds that the search has not seen; a search's own best figure is optimistic."""
    study, folder = opened.study, opened.folder
    course = course_of(best.hyperparameters.values, study)
    first = study.config.seed + study.search.executions
    rows = []
    for number in range(study.search.remeasure):
        place = folder / "remeasured" / f"{best.trial_id}-seed{first + number}"
        rows.append({"seed": first + number, **_measured(place, course, first + number, opened)})
        run_folder.write_table(folder / REMEASURED, pd.DataFrame(rows))
    if not rows:
        (folder / REMEASURED).unlink(missing_ok=True)


def _measured(place: Path, course: TrialPlan, seed: int, opened: OpenStudy) -> dict[str, Any]:
    """Scores and cost of one fresh training; it is kept, and not repeated by a later call."""
    path = place / "result.json"
    if path.is_file():
        return run_folder.read_json(path)
    study = opened.study
    progress = Progress(opened.training.work(course))
    with timed() as spent:
        result = opened.training.train(course, place, seed=seed, progress=progress)
    row = {"score": result["metrics"][study.search.objective], **result["metrics"], "best_epoch": result["best_epoch"]}
    row |= spent
    run_folder.write_json(path, row)
    for file in (*place.glob("*.keras"), *place.glob("*.npz")):
        file.unlink()
    return row


def _headline(best: keras_tuner.engine.trial.Trial, opened: OpenStudy) -> str:
    study = opened.study
    origin = "SYNTHETIC faces, " if study.synthetic else ""
    text = f"{study.name}: best {study.search.objective} {best.score:.4f} on validation (trial {best.trial_id})"
    path = opened.folder / REMEASURED
    if path.is_file():
        scores = pd.read_csv(path)["score"]
        spread = f" ± {scores.std():.4f}" if len(scores) > 1 else ""
        text += f", re-measured {scores.mean():.4f}{spread} over {len(scores)} fresh seeds"
    return f"{text}; {origin}n = {study.data['rows']['validation']}, seed {study.config.seed}"


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say how to go on with a search after Ctrl-C or on a full disk."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: {resume_hint(folder)}") from None
    except NoRoomError as error:
        raise UserError(f"no room on the disk ({error}); make some, then go on with: {resume_hint(folder)}") from error


def resume_hint(folder: Path) -> str:
    """The command that goes on with a study, as it can be pasted."""
    place = [] if folder.parent == STUDIES else ["--study-dir", str(folder.parent)]
    return shlex.join([*COMMAND, "--mode", "tune", *place, "--resume", folder.name])
