"""The straight line of a search over taxonomies: candidates, equal trainings, validation scores, the report."""

import dataclasses
import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import SYNTHETIC, Faces, read_faces
from fer_hierarchy.hierarchy.data.leakage import check_unseen
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.progress import clock
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run_results import check_same_faces, split_table
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.training.pipeline import settle_before_data, with_epochs
from fer_hierarchy.hierarchy.training.transfer import origins
from fer_hierarchy.tuning.search.pipeline import locked, resume_hint
from fer_hierarchy.tuning.search.study import BEST, STUDY, TRIALS
from fer_hierarchy.tuning.search.study_faces import split_fingerprint
from fer_hierarchy.tuning.taxonomies.report import write_taxonomy_report
from fer_hierarchy.tuning.taxonomies.study import (
    FlatPredictions,
    TaxonomyStudy,
    check_objective,
    flat_facts,
    look_at_implied,
    plan_candidates,
    read_flat,
    read_taxonomy_study,
    run_facts,
)
from fer_hierarchy.tuning.taxonomies.table import Outcome, outcome
from fer_hierarchy.tuning.taxonomies.training import (
    CANDIDATES,
    TrainingCandidate,
    equal_settings,
    is_complete,
    planned_work,
    thinned,
    train_and_judge,
)

TAXONOMIES = "taxonomies"
_LONGEST = 180  # letters of a name that is made here

log = logging.getLogger("hierarchy")


def search_taxonomies(
    run: Path,
    stage_type: type[Stage],
    *,
    config: RunConfig,
    controls: int,
    train: bool,
    objective: str,
    name: str | None,
    studies: Path,
    logs: Path,
    command: str,
    fraction: float = 1.0,
) -> Path:
    """Search for the grouping that makes the best hierarchy, among built-in, suggested and random ones.

    Args:
        run: Folder of a finished flat run; what it said of its validation faces suggests groupings.
        stage_type: What trains the stages.
        config: Data and settings of every training, as those of a flat run.
        controls: Random groupings.
        train: Whether a hierarchy is trained for each grouping; else only the flat answers are looked at.
        objective: "macro_f1", "balanced_accuracy" or "accuracy", of the soft composition on validation faces.
        name: Of the study; made from the run's name when None.
        studies: Folder of all studies.
        logs: Folder of all logs.
        command: The command line, for the record.
        fraction: Stratified share of the train faces that is used.

    Returns:
        The study's folder.

    Raises:
        UserError: A run, data or settings that cannot be used, a name that is taken, or no grouping that could be
            trained.
        KeyboardInterrupt: With the words that say how to go on.
    """
    check_objective(objective)
    run_folder.check_writable(studies)
    run_folder.check_name(name, studies)
    with run_folder.collect_notes() as notes:
        flat = read_flat(run)
        candidates, left_out = plan_candidates(flat, controls=controls, seed=config.seed)
        config, faces = equal_settings(config, candidates[0].taxonomy), None
        if train:
            config, faces = _settled(config, flat, stage_type, fraction)
    looks, spread = look_at_implied(flat, candidates, objective)
    synthetic = faces.synthetic if faces else flat.synthetic
    study = TaxonomyStudy(
        name=_name(name, flat, studies, synthetic=synthetic),
        run=run_facts(flat),
        config=config,
        objective=objective,
        controls=controls,
        trained=train,
        fraction=fraction,
        emotions=flat.emotions,
        candidates=tuple(candidates),
        left_out=left_out,
        flat=flat_facts(flat),
        implied=looks,
        spread=spread,
        data=_data_facts(config, faces, fraction) if faces else {},
        synthetic=synthetic,
        command=command,
        notes=tuple(notes),
    )
    folder = _write_start(studies, study, faces)
    return _go_on(folder, study, stage_type, faces, logs)


def resume_taxonomies(folder: Path, stage_type: type[Stage], logs: Path) -> Path:
    """Go on with a search that was interrupted; what is complete is kept, what failed is tried again.

    Args:
        folder: Of the study.
        stage_type: What trains the stages.
        logs: Folder of all logs.

    Raises:
        UserError: The data has changed, a file is damaged, or no grouping could be trained.
        KeyboardInterrupt: With the words that say how to go on.
    """
    study = read_taxonomy_study(folder)
    faces = None
    if study.trained:
        if study.config.framework != stage_type.framework:
            raise UserError(f"--resume {folder.name}: it was started with {study.config.framework}")
        faces = read_faces(study.config)
        check_same_faces(folder, faces)
    return _go_on(folder, study, stage_type, faces, logs)


def _settled(
    config: RunConfig, flat: FlatPredictions, stage_type: type[Stage], fraction: float
) -> tuple[RunConfig, Faces]:
    """The settings with nothing left open, and the faces that all candidates are trained and judged on.

    Raises:
        UserError: The faces show other emotions than the flat run's, or are not those that it was started with.
    """
    config = settle_before_data(config, stage_type)
    faces = read_faces(config)
    if faces.taxonomy.emotions != flat.emotions:
        kinds = ", ".join(faces.taxonomy.emotions)
        raise UserError(f"{flat.folder.name} tells {', '.join(flat.emotions)}, but the data {kinds}; use the same")
    check_unseen(origins([config.stage.weights]), set(faces.split("test")["pixel_hash"]))
    _check_origin(config, faces, flat)
    if fraction < 1:
        log.warning("Trained on %.3g %% of the train faces.", 100 * fraction)
    return with_epochs(config, faces), faces


def _check_origin(config: RunConfig, faces: Faces, flat: FlatPredictions) -> None:
    """Say where the faces are not the flat run's; refuse them where its very settings give others now."""
    try:
        check_same_faces(flat.folder, faces)
    except UserError:
        own, before = (dataclasses.replace(data, taxonomy="valence") for data in (config.data, flat.config.data))
        if own == before and config.seed == flat.config.seed:
            raise
        log.warning("Trained and judged on other faces, or other splits of them, than %s was.", flat.folder.name)


def _data_facts(config: RunConfig, faces: Faces, fraction: float) -> dict[str, Any]:
    used = thinned(faces, fraction, seed=config.seed)
    return {
        "dataset": "+".join(sorted(set(faces.manifest["source"]))),
        "path": config.data.data,
        "fingerprint": faces.images.fingerprint,
        "splits": split_fingerprint(faces),
        "rows": {split: len(faces.split(split)) for split in ("train", "validation")},
        "train_used": len(used.split("train")),
        "limit": config.data.limit,
    }


def _name(name: str | None, flat: FlatPredictions, studies: Path, *, synthetic: bool) -> str:
    stem = name or f"taxonomy-{flat.folder.name}"[:_LONGEST]
    if synthetic and SYNTHETIC not in stem:
        stem = f"{SYNTHETIC}-{stem}"
    return stem if name else run_folder.free_name(stem, studies)


def _write_start(studies: Path, study: TaxonomyStudy, faces: Faces | None) -> Path:
    """What a study is about; study.json comes last, because it is what makes a folder a study."""
    folder = run_folder.create_folder(studies, study.name)
    (folder / TAXONOMIES).mkdir()
    for candidate in study.candidates:
        run_folder.write_json(folder / TAXONOMIES / f"{candidate.name}.json", candidate.taxonomy.to_dict())
    if faces:
        run_folder.write_table(folder / run_folder.SPLITS, split_table(faces))
    run_folder.write_json(folder / run_folder.ENVIRONMENT, run_folder.environment(study.command))
    run_folder.write_json(folder / STUDY, study.to_dict())
    return folder


def _go_on(folder: Path, study: TaxonomyStudy, stage_type: type[Stage], faces: Faces | None, logs: Path) -> Path:
    with locked(folder), run_folder.log_to(folder), _resumable(folder):
        log.info("%s in %s", study.command, folder)
        if faces:
            stage_type.prepare(study.config)
            _train_all(folder, study, stage_type, thinned(faces, study.fraction, seed=study.config.seed), logs)
        _conclude(folder, study)
    return folder


def _entrants(study: TaxonomyStudy) -> list[TrainingCandidate]:
    """What is trained: the flat yardstick first, then every candidate."""
    flat = TrainingCandidate(
        name=FLAT, text="flat network, the yardstick", taxonomy=study.reference.taxonomy, mode=FLAT
    )
    trees = [
        TrainingCandidate(name=one.name, text=f"{one.name}, {one.text}", taxonomy=one.taxonomy, mode="hierarchical")
        for one in study.candidates
    ]
    return [flat, *trees]


def _train_all(folder: Path, study: TaxonomyStudy, stage_type: type[Stage], faces: Faces, logs: Path) -> None:
    """Train what is not complete, one after the other, with the time that is left for all."""
    entrants = _entrants(study)
    works = [planned_work(entrant, study.config, stage_type, faces) for entrant in entrants]
    print(f"study {folder.name}: {len(study.candidates)} groupings and a flat network, {study.objective}", flush=True)
    began, done = time.monotonic(), 0.0
    for number, (entrant, work) in enumerate(zip(entrants, works, strict=True)):
        place = folder / CANDIDATES / entrant.name
        line = f"candidate {number} of {len(study.candidates)}: {entrant.text}" if number else entrant.text
        if is_complete(place):
            print(f"{line}, finished already", flush=True)
            continue
        left = sum(w for e, w in zip(entrants, works, strict=True) if not is_complete(folder / CANDIDATES / e.name))
        print(line + _pace(time.monotonic() - began, done, left), flush=True)
        train_and_judge(place, entrant, study.config, stage_type, faces, logs=logs / folder.name / entrant.name)
        done += work
        gc.collect()  # networks hold each other in circles; without this the next one would stand beside them


def _pace(spent: float, done: float, left: float) -> str:
    """How long the rest takes, judged by the work that is done."""
    return f" [{clock(spent)} spent, about {clock(spent / done * left)} left]" if done else ""


def _conclude(folder: Path, study: TaxonomyStudy) -> None:
    """Write table, best.json and report, and print the result in one line.

    Raises:
        UserError: No candidate could be trained.
    """
    found = outcome(study, folder)
    run_folder.write_table(folder / TRIALS, found.table)
    if not found.best:
        message = next(iter(found.table["message"]), "")
        raise UserError(f"study {study.name}: no grouping could be trained; the first says: {message}")
    run_folder.write_json(folder / BEST, found.best)
    write_taxonomy_report(found)
    print(result_line(found))


def result_line(found: Outcome) -> str:
    """The result in one line, with n, interval and seed."""
    study, best = found.study, found.best
    origin = "SYNTHETIC faces, " if study.synthetic else ""
    measure = f"{'' if study.trained else 'implied hard-routed '}{study.objective}"
    row = found.table.set_index("candidate").loc[best["candidate"]]
    words = [f"{study.name}: best {measure} {best['score']:.4f} ({best['candidate']}: {row['groups']})"]
    if (
        study.trained
        and best["candidate"] != study.reference.name
        and "difference" in row
        and row.notna()["difference"]
    ):
        span = f"[{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"
        words.append(f"{row['difference']:+.4f} {span} against {study.reference.name}")
    if best["random"]["count"]:
        words.append(f"{best['random']['better']} of {best['random']['count']} random groupings do better")
    n = study.data["rows"]["validation"] if study.trained else study.flat["n"]
    return f"{', '.join(words)}; {origin}n = {n} validation faces, seed {study.config.seed}"


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say how to go on with a search after Ctrl-C, a full disk or a lack of memory."""
    way = f"go on with: {resume_hint(folder)}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(way) from None
    except OSError as error:
        if error.errno not in run_folder.FULL_OR_LOCKED:
            raise
        raise run_folder.unwritable(error, folder, way) from error
    except NoRoomError as error:
        raise UserError(f"no room on the disk or in memory ({error}); make some, then {way}") from error
