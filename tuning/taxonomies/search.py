"""A search over taxonomies: candidates, equal trainings, validation scores, the report.

Candidates are no cells of a grid: a cell is a run of its own that is evaluated on test faces, while a candidate is
trained on the same share of the same train faces as all others and never sees a test face.
"""

import dataclasses
import gc
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.classifiers.predictions import predict, prediction_table, score_predictions
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces
from fer_hierarchy.hierarchy.data.leakage import check_unseen
from fer_hierarchy.hierarchy.data.sampling import class_prior
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.progress import Progress, announce, announce_table, current
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run, check_same_faces
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.training.pipeline import settle_before_data, with_epochs
from fer_hierarchy.hierarchy.training.stages import train_stages
from fer_hierarchy.hierarchy.training.transfer import origins
from fer_hierarchy.hierarchy.training.workers import Task, WorkerDiedError, Workers
from fer_hierarchy.tuning.search.pipeline import locked, resumable, write_start
from fer_hierarchy.tuning.search.study import BEST, TRIALS
from fer_hierarchy.tuning.search.study_faces import data_facts, stratified_share
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.taxonomies.groupings import Candidate
from fer_hierarchy.tuning.taxonomies.report import score_rows, write_taxonomy_report
from fer_hierarchy.tuning.taxonomies.study import (
    TaxonomyStudy,
    flat_facts,
    implied_facts,
    plan_candidates,
    read_flat,
    read_taxonomy_study,
)
from fer_hierarchy.tuning.taxonomies.table import CANDIDATES, FAILED, SCORES, is_complete, outcome
from fer_hierarchy.tuning.validation_faces import FIGURES, study_name

TAXONOMIES = "taxonomies"
_REPORTING = "writing the report"

log = logging.getLogger("fer_hierarchy")


def search_taxonomies(
    run: Path,
    stage_type: type[Stage],
    *,
    config: RunConfig,
    search: SearchConfig,
    name: str | None,
    studies: Path,
    command: str,
    workers: Workers | None = None,
) -> Path:
    """Search for the grouping that makes the best hierarchy, among built-in, suggested and random ones.

    Args:
        run: Folder of a finished flat run; its predictions of validation faces suggest groupings.
        stage_type: What trains the stages.
        config: Data and settings of every training, as those of a flat run.
        search: Its objective is that of the soft composition on validation faces, macro F1 by default.
        name: Of the study; made from the run's name when None.
        studies: Folder of all studies, in that of all logs.
        command: The command line, for the record.
        workers: Train several hierarchies at once; without them one is trained after the other.

    Returns:
        The study's folder.

    Raises:
        UserError: A run, data or settings that cannot be used, a name that is taken, or no grouping that could be
            trained.
        KeyboardInterrupt: With the words that say how to resume.
    """
    objective, train, fraction = search.objective or "macro_f1", not search.implied, search.fraction
    if objective not in FIGURES:
        raise UserError(f"--objective: a search over taxonomies takes {', '.join(FIGURES)}, got {objective!r}")
    run_folder.check_writable(studies)
    run_folder.check_name(name, studies)
    with run_folder.collect_notes() as notes:
        flat = read_flat(run)
        candidates, left_out = plan_candidates(flat, controls=search.controls, seed=config.seed)
        config, faces = equal_settings(config, candidates[0].taxonomy), None
        if train:
            config, faces = _settled(config, flat, stage_type, fraction)
    synthetic = faces.synthetic if faces else flat.metrics["synthetic"]
    study = TaxonomyStudy(
        name=study_name(name, f"taxonomy-{flat.name}", studies, synthetic=synthetic),
        config=config,
        objective=objective,
        controls=search.controls,
        trained=train,
        fraction=fraction,
        emotions=flat.classes,
        candidates=tuple(candidates),
        left_out=left_out,
        data=_data_facts(config, faces, fraction) if faces else {},
        synthetic=synthetic,
        command=command,
        notes=tuple(notes),
        **flat_facts(flat),
        **implied_facts(flat, candidates, objective),
    )
    folder = _write_start(studies, study, faces)
    return _train_and_report(folder, study, stage_type, faces, workers)


def resume_taxonomies(folder: Path, stage_type: type[Stage], *, workers: Workers | None = None) -> Path:
    """Resume a search that was interrupted; what is complete is kept, what failed is tried again.

    Args:
        folder: Of the study.
        stage_type: What trains the stages.
        workers: Train several hierarchies at once; without them one is trained after the other.

    Raises:
        UserError: The data has changed, a file is damaged, or no grouping could be trained.
        KeyboardInterrupt: With the words that say how to resume.
    """
    study = read_taxonomy_study(folder)
    faces = _same_faces(folder, study, stage_type) if study.trained else None
    return _train_and_report(folder, study, stage_type, faces, workers)


def _same_faces(folder: Path, study: TaxonomyStudy, stage_type: type[Stage]) -> Faces:
    """The faces of a study that goes on."""
    if study.config.framework != stage_type.framework:
        raise UserError(f"--resume {folder.name}: it was started with {study.config.framework}")
    faces = read_faces(study.config)
    check_same_faces(folder, faces)
    return faces


def equal_settings(config: RunConfig, taxonomy: Taxonomy) -> RunConfig:
    """Settings of a flat run as those of every stage of every hierarchy.

    Args:
        config: What the user gave; settings of the stage "flat" become those of all stages.
        taxonomy: Any of the groupings.

    Raises:
        UserError: Settings of single stages of a hierarchy.
    """
    others = [name for name in config.stages if name != FLAT]
    if others:
        raise UserError(f"--stage taxonomy trains all stages alike; leave out the settings of stage {others[0]} alone")
    data = dataclasses.replace(config.data, taxonomy=taxonomy.to_dict())
    stage = config.for_stage(FLAT)
    return dataclasses.replace(config, mode="hierarchical", name=None, data=data, stage=stage, stages={}, searched={})


def _settled(config: RunConfig, flat: Run, stage_type: type[Stage], fraction: float) -> tuple[RunConfig, Faces]:
    """The settings with nothing left open, and the faces that all candidates are trained and evaluated on.

    Raises:
        UserError: The faces show other emotions than the flat run's, or are not those that it was started with.
    """
    config = settle_before_data(config, stage_type)
    faces = read_faces(config)
    if faces.taxonomy.emotions != flat.classes:
        kinds = ", ".join(faces.taxonomy.emotions)
        raise UserError(f"{flat.name} tells {', '.join(flat.classes)}, but the data {kinds}; use the same")
    check_unseen(origins([config.stage.weights]), set(faces.split("test")["pixel_hash"]))
    _check_origin(config, faces, flat)
    if fraction < 1:
        log.warning("Trained on %.3g %% of the train faces.", 100 * fraction)
    return with_epochs(config, faces), faces


def _check_origin(config: RunConfig, faces: Faces, flat: Run) -> None:
    """Warn where the faces are not the flat run's; refuse them where its very settings give others now."""
    try:
        check_same_faces(flat.folder, faces)
    except UserError:
        own, before = (dataclasses.replace(data, taxonomy="valence") for data in (config.data, flat.config.data))
        if own == before and config.seed == flat.config.seed:
            raise
        log.warning("Trained and evaluated on other faces, or other splits of them, than %s was.", flat.name)


def _data_facts(config: RunConfig, faces: Faces, fraction: float) -> dict[str, Any]:
    return {
        **data_facts(faces, config),
        "rows": {split: len(faces.split(split)) for split in ("train", "validation")},
        "train_used": len(thinned(faces, fraction, seed=config.seed).split("train")),
        "limit": config.data.limit,
    }


def thinned(faces: Faces, fraction: float, *, seed: int) -> Faces:
    """The faces with a stratified share of the train rows, two of each emotion at least, the same for every stage.

    Args:
        faces: All faces.
        fraction: Above 0, at most 1.
        seed: Decides which.
    """
    if fraction == 1:
        return faces
    train, manifest = faces.split("train"), faces.manifest
    labels = np.array(faces.taxonomy.stage_labels(FLAT, train["emotion"]))
    chosen = train.index[stratified_share(labels, fraction, seed=seed)]
    return dataclasses.replace(faces, manifest=manifest[(manifest["split"] != "train") | manifest.index.isin(chosen)])


def _write_start(studies: Path, study: TaxonomyStudy, faces: Faces | None) -> Path:
    """What a study is about, and each grouping as a file that `--taxonomy` takes."""
    with run_folder.new_folder(studies, study.name) as folder:
        (folder / TAXONOMIES).mkdir()
        for candidate in study.candidates:
            run_folder.write_json(folder / TAXONOMIES / f"{candidate.name}.json", candidate.taxonomy.to_dict())
        write_start(folder, study.to_dict(), faces)
    return folder


def _train_and_report(
    folder: Path, study: TaxonomyStudy, stage_type: type[Stage], faces: Faces | None, workers: Workers | None
) -> Path:
    """Train what is not complete, write table, best.json and report, and announce the result.

    Raises:
        UserError: No candidate could be trained.
    """
    progress = Progress(math.inf if faces else 0, steps={_REPORTING: 10.0})
    with locked(folder), run_folder.log_to(folder), resumable(folder), progress:
        log.info("%s in %s", study.command, folder)
        if faces:
            _train_all(folder, study, stage_type, thinned(faces, study.fraction, seed=study.config.seed), workers)
        found = outcome(study, folder)
        run_folder.write_table(folder / TRIALS, found.table)
        if not found.best:
            message = next(iter(found.table["message"]), "")
            raise UserError(f"study {study.name}: no grouping could be trained; the first says: {message}")
        run_folder.write_json(folder / BEST, found.best)
        with progress.step(_REPORTING):
            write_taxonomy_report(found)
        announce_table(score_rows(found))
        announce(found.line)
    return folder


def _train_all(
    folder: Path, study: TaxonomyStudy, stage_type: type[Stage], faces: Faces, workers: Workers | None
) -> None:
    """Train the flat network and every candidate that is not complete, with the time that is left for all."""
    (*trees, flat) = study.everything
    works = {one: _planned_work(one, study.config, stage_type, faces) for one in (flat, *trees)}
    announce(f"study {folder.name}: {len(trees)} groupings and a flat network, {study.objective}")
    progress, left = current(), {}
    for number, candidate in enumerate(works):
        line = f"candidate {number} of {len(trees)}: {candidate.name}, {candidate.text}"
        line = line if number else "flat network, the yardstick"
        if is_complete(folder / CANDIDATES / candidate.name):
            announce(f"{line}, finished already")
        else:
            left[line] = candidate
    progress.total = sum(works.values())
    progress.done = progress.total - sum(works[one] for one in left.values())
    if workers:
        _train_at_once(workers, folder, {one: works[one] for one in left.values()}, stage_type)
        return
    stage_type.prepare(study.config)
    for line, candidate in left.items():
        announce(f"{line} [{progress.clocks}]")
        with progress.part(works[candidate], f"{candidate.name}: "), Progress(math.inf):
            _train(folder, candidate, study.config, stage_type, faces)
        gc.collect()  # networks hold each other in circles; without this the next one would stand beside them


def _train_at_once(workers: Workers, folder: Path, works: Mapping[Candidate, float], stage_type: type[Stage]) -> None:
    """Train several candidates at once."""
    progress = current()
    tasks = iter(
        [Task(name=c.name, work=w, function=_train_there, arguments=(folder, c, stage_type)) for c, w in works.items()]
    )
    for task, error in workers.results(lambda: next(tasks, None), progress):
        if isinstance(error, WorkerDiedError):
            run_folder.write_json(folder / CANDIDATES / task.name / FAILED, {"message": str(error)})
        elif error:
            raise error
        progress.settle(task.name)


def _train_there(folder: Path, candidate: Candidate, stage_type: type[Stage]) -> None:
    """Train a candidate in a worker's process."""
    study = read_taxonomy_study(folder)
    faces = _same_faces(folder, study, stage_type)
    stage_type.prepare(study.config)
    with Progress(math.inf):
        _train(folder, candidate, study.config, stage_type, thinned(faces, study.fraction, seed=study.config.seed))


def _planned_work(candidate: Candidate, config: RunConfig, stage_type: type[Stage], faces: Faces) -> float:
    """Work of training all stages of a candidate, in the stages' own unit."""
    own, shape = dataclasses.replace(faces, taxonomy=candidate.taxonomy), faces.images.pixels.shape[1:]
    labels = {s: own.stage_view(s, "train", soft_labels=config.stage.soft_labels).labels for s in candidate.stages}
    classes = {s: len(candidate.taxonomy.stage_classes(s)) for s in candidate.stages}
    return sum(stage_type.planned_work(config.stage, shape, classes[s], labels[s]) for s in candidate.stages)


def _train(folder: Path, candidate: Candidate, common: RunConfig, stage_type: type[Stage], faces: Faces) -> None:
    """Train what is not trained yet of a candidate, and write the validation scores, or that the training failed."""
    place, logs = folder / CANDIDATES / candidate.name, folder.parents[1] / folder.name / candidate.name
    place.mkdir(parents=True, exist_ok=True)
    (place / FAILED).unlink(missing_ok=True)
    data = dataclasses.replace(common.data, taxonomy=candidate.taxonomy.to_dict())
    config = dataclasses.replace(common, mode=candidate.mode, data=data)
    own = dataclasses.replace(faces, taxonomy=candidate.taxonomy)
    try:
        stages = train_stages(place, config, stage_type, own, logs)
    except UserError as error:
        log.warning("%s failed: %s", candidate.name, error)
        run_folder.write_json(place / FAILED, {"message": str(error)})
        return
    predictions = predict(stages, own.taxonomy, own.images.pixels, own.split("validation"))
    view = own.stage_view(FLAT, "train")
    prior = class_prior(view.labels[~view.generated], len(own.taxonomy.emotions))
    evaluation = dataclasses.replace(config.evaluation, logit_adjustment=0.0)
    run_folder.write_table(place / VALIDATION_PREDICTIONS, prediction_table(predictions))
    records = {name: stage.record for name, stage in stages.items()}
    record = {
        "format": 1,
        "name": candidate.name,
        "split": "validation",
        "taxonomy": candidate.taxonomy.to_dict(),
        **score_predictions(predictions, prior, evaluation, seed=common.seed),
        "training": records,
        "cost": {
            "stages": len(records),
            "faces_shown": sum(one["drawn_rows"] * one["epochs_run"] for one in records.values()),
            "cpu_seconds": sum(one["cpu_seconds"] for one in records.values()),
            "seconds": sum(one["wall_seconds"] for one in records.values()),
            "parameters": sum(one["parameters"] for one in records.values()),
            "multiply_adds": sum(one["multiply_adds"] for one in records.values()),
        },
    }
    run_folder.write_json(place / SCORES, record)
