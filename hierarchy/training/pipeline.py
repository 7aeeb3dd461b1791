"""The straight line, one step a line: train a run, resume it, evaluate it, also on other data, audit."""

import dataclasses
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.classifiers.coverage import coverage_record, guarantee_of
from fer_hierarchy.hierarchy.classifiers.predictions import (
    Predictions,
    predict,
    prediction_table,
    score_predictions,
    subjects,
    validation_summary,
)
from fer_hierarchy.hierarchy.classifiers.robustness import CONDITIONS, robust_rows, robustness
from fer_hierarchy.hierarchy.classifiers.stage import Stage, single_face_latency
from fer_hierarchy.hierarchy.config import (
    FEATURE_LOSSES,
    SPLITS,
    DataConfig,
    EvaluationConfig,
    RunConfig,
    apply_flags,
    differences,
)
from fer_hierarchy.hierarchy.data import leakage
from fer_hierarchy.hierarchy.data.audit.audit import audit, audit_depth
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces, read_manifest, resolve_data
from fer_hierarchy.hierarchy.data.images import load_images
from fer_hierarchy.hierarchy.data.sampling import class_prior
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.conformal import Guarantee
from fer_hierarchy.hierarchy.evaluation.features import feature_map
from fer_hierarchy.hierarchy.evaluation.metrics import scores
from fer_hierarchy.hierarchy.evaluation.significance import Draw
from fer_hierarchy.hierarchy.paths import CALL, LOGS
from fer_hierarchy.hierarchy.progress import FORWARD, Progress, announce, announce_table, current, step
from fer_hierarchy.hierarchy.reports.audit import advice, audit_rows, write_audit
from fer_hierarchy.hierarchy.reports.run import write_run_report
from fer_hierarchy.hierarchy.reports.screen import announce_run_scores
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.evaluated_faces import as_trained, evaluated_faces
from fer_hierarchy.hierarchy.runs.run import Run, check_same_faces, resume_hint, split_table
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.training.distillation import check_teachers, note_teachers
from fer_hierarchy.hierarchy.training.earlier import earlier_record, earlier_trainings
from fer_hierarchy.hierarchy.training.stages import check_updates, half_of_validation, train_stages
from fer_hierarchy.hierarchy.training.transfer import note_first_weights, origins
from fer_hierarchy.hierarchy.training.tuned_composition import read_tuned, tuned_line
from fer_hierarchy.hierarchy.wording import headline, majority_line

EPOCHS = 24
SYNTHETIC_EPOCHS = 4
READING, COMPARING, REPORTING = "reading the faces", "comparing the faces", "writing the report"
# Seconds of what is done beside training and predicting, for FER-2013 on two cores.
STEPS = {READING: 5.0, REPORTING: 5.0}
_AUDIT_STEPS = {READING: 5.0, COMPARING: 20.0, REPORTING: 10.0}
AUDIT_SIZE = 48  # pixels of the pictures that an audit shows

log = logging.getLogger("fer_hierarchy")


def train_run(config: RunConfig, stage_type: type[Stage], *, results: Path, logs: Path, command: str) -> Path:
    """Train, compose and evaluate a hierarchical or flat run.

    Args:
        config: What to do; name, epochs, image size and data may be left open.
        stage_type: What trains the stages.
        results: Folder of all runs.
        logs: Folder of all logs.
        command: The command line, for the record.

    Returns:
        The run's folder.

    Raises:
        UserError: Bad data, settings, or a place that cannot be written.
        KeyboardInterrupt: With the command that resumes it.
    """
    run_folder.check_writable(results)
    run_folder.check_name(config.name, results)
    with run_folder.collect_notes() as notes, Progress(math.inf, steps=STEPS):
        config = settle_before_data(config, stage_type)
        with step(READING):
            faces = read_faces(config)
        config = _settle(config, faces, results)
        with run_folder.new_folder(results, str(config.name)) as folder:
            _write_start(folder, config, faces, command)
        with _resumable(config, folder, logs):
            return _train_and_evaluate(folder, config, stage_type, faces, notes, logs=logs, command=command)


def resume_run(
    run: str, stage_type: type[Stage], *, flags: Mapping[str, Any], results: Path, logs: Path, command: str
) -> Path:
    """Resume a run that was interrupted; a finished one is only evaluated and reported again.

    Args:
        run: Name or folder.
        stage_type: What trains the stages.
        flags: What the user gave besides; it must equal what the run was started with.
        results: Folder of all runs.
        logs: Folder of all logs.
        command: The command line.

    Raises:
        UserError: Other flags, other data, another framework, or damaged files.
    """
    started = Run(run, results=results)
    started.require_networks()
    folder, config = started.folder, started.config
    if config.framework != stage_type.framework:
        hint = resume_hint(folder, framework=config.framework)
        raise UserError(f"--resume {run}: it was started with {config.framework}; {hint}")
    stage_type.use_device(config)
    changed = differences(config, apply_flags(config, flags))
    if changed:
        raise UserError(f"--resume {run}: it was started with other settings ({'; '.join(changed)}); leave them out")
    with run_folder.collect_notes() as notes, _resumable(config, folder, logs), Progress(math.inf, steps=STEPS):
        with step(READING):
            faces = read_faces(config)
        check_same_faces(folder, faces)
        command = started.environment.get("command", command)
        return _train_and_evaluate(folder, config, stage_type, faces, notes, logs=logs, command=command)


def settle_before_data(config: RunConfig, stage_type: type[Stage]) -> RunConfig:
    """Settle what needs no face, and refuse what cannot be trained before any face is read.

    Args:
        config: What to train.
        stage_type: What trains the stages.

    Returns:
        The configuration with data, framework and image size given.

    Raises:
        UserError: A stage cannot be trained so.
    """
    if config.shares_trunk and not stage_type.can_share_trunk:
        raise UserError(
            f"--trunk shared: {stage_type.framework} trains a network for each stage; leave it at separate, "
            f"or train with {CALL}"
        )
    stage_type.use_device(config)
    config = dataclasses.replace(config, data=resolve_data(config.data), framework=stage_type.framework)
    settings = {name: config.for_stage(name) for name in config.grouping().stages(config.mode)}
    size = config.data.image_size or max(stage_type.native_size(own) for own in settings.values())
    channels = config.data.channels or (3 if config.reads_depth else 1)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=size, channels=channels))
    for own in {(own.model_spec, own.weights, own.loss): own for own in settings.values()}.values():
        stage_type.check(own, (size, size, channels + config.reads_depth))
    return config


def _write_start(folder: Path, config: RunConfig, faces: Faces, command: str) -> None:
    """What a run is about; config.json comes last, because it is what makes a folder a run."""
    run_folder.write_json(folder / paths.ENVIRONMENT, run_folder.environment(command))
    run_folder.write_table(folder / paths.SPLITS, split_table(faces))
    if len(faces.images.bad):
        run_folder.write_table(folder / paths.BAD, faces.images.bad)
    run_folder.write_json(folder / paths.CONFIG, config.to_dict())


def _settle(config: RunConfig, faces: Faces, results: Path) -> RunConfig:
    """Fill in what depends on the data: epochs, and a name with *synthetic* in it where the faces are."""
    known = faces.taxonomy.stages(config.mode)
    for stage in config.stages:
        if stage not in known:
            raise UserError(f"stage {stage!r} is not trained on this data; its stages are {', '.join(known)}")
    _check_distances(config, faces)
    test_hashes, validation_hashes = (set(faces.split(split)["pixel_hash"]) for split in ("test", "validation"))
    for calibrating in (False, True):
        half_of_validation(faces, config, calibrating=calibrating)
    check_teachers(config, faces.taxonomy)
    weights = [config.for_stage(name).weights for name in known]
    leakage.check_unseen(origins(weights, config.data.teachers), test_hashes, validation_hashes)
    searched = {stage: Path(best).with_name(paths.SPLITS) for stage, best in config.searched.items()}
    leakage.note_searched(searched, test_hashes)
    dataset = "+".join(sorted(set(faces.manifest["source"])))
    name = config.name or run_folder.default_name(config, dataset, results)
    name = run_folder.marked(name, synthetic=faces.synthetic)
    config = dataclasses.replace(with_epochs(config, faces), name=name)
    check_updates(config, faces)
    return config


def with_epochs(config: RunConfig, faces: Faces) -> RunConfig:
    """The settings with the number of epochs given; few where the faces are drawn by a program."""
    epochs = config.stage.epochs or (SYNTHETIC_EPOCHS if faces.synthetic else EPOCHS)
    return dataclasses.replace(config, stage=dataclasses.replace(config.stage, epochs=epochs))


def _check_distances(config: RunConfig, faces: Faces) -> None:
    """Distances from a camera are nothing that a shape without one has."""
    reading = next((s for s in faces.taxonomy.stages(config.mode) if config.for_stage(s).depth == "distance"), None)
    without = faces.manifest[faces.manifest["depth_kind"] == "relative"]
    if reading and len(without):
        named = ", ".join(sorted(set(without["source"])))
        raise UserError(f"--depth distance: {named} has shapes and no distances from a camera; use relief or normals")


def _train_and_evaluate(
    folder: Path,
    config: RunConfig,
    stage_type: type[Stage],
    faces: Faces,
    notes: list[str],
    *,
    logs: Path,
    command: str,
) -> Path:
    with run_folder.log_to(logs / folder.name):
        log.info("%s in %s", command, folder)
        stage_type.prepare(config)
        note_teachers(config.data)
        note_first_weights({name: config.for_stage(name).weights for name in faces.taxonomy.stages(config.mode)})
        stages = train_stages(folder, config, stage_type, faces, logs / folder.name)
        record = predict_and_score(folder, config, faces, stages, command=command)
        run_folder.write_json(folder / paths.METRICS, {**record, "notes": notes})
        current().done = current().total
        with step(REPORTING):
            write_run_report(folder, faces=faces.pixels_of)
        announce(headline(record))
        _announce_baseline(record)
    return folder


def predict_and_score(
    folder: Path, config: RunConfig, faces: Faces, stages: Mapping[str, Stage], *, command: str
) -> dict:
    """Predict validation and test, write both tables, and return what metrics.json holds."""
    predicted = {
        split: predict(stages, faces.taxonomy, faces.images.pixels, faces.split(split))
        for split in ("validation", "test")
    }
    validation, test = (prediction_table(predicted[split]) for split in ("validation", "test"))
    run_folder.write_table(folder / paths.VALIDATION_PREDICTIONS, validation)
    run_folder.write_table(folder / paths.PREDICTIONS, test)
    facts = _facts(config, faces, command, mode=config.mode)
    _write_feature_maps(folder, config, faces, stages)
    train = faces.stage_view(FLAT, "train")
    prior = class_prior(train.labels[~train.generated], len(faces.taxonomy.emotions))
    return {
        **facts,
        **score_predictions(predicted["test"], prior, config.evaluation, seed=config.seed),
        "coverage": _coverage(config, faces, validation, test, facts["data"]["dataset"]),
        "validation": validation_summary(predicted["validation"]),
        "training": {
            name: {**stage.record, **stage.calibration_errors(faces.stage_view(name, "validation"))}
            for name, stage in stages.items()
        },
        "cost": {
            **_cost(stages, faces.images.pixels.shape[1:]),
            **earlier_record(earlier_trainings(config, stages)),
        },
    }


def _coverage(
    config: RunConfig, faces: Faces, validation: pd.DataFrame, test: pd.DataFrame, data: str
) -> dict[str, Any]:
    """How far guaranteed predictions of the test faces keep their promise."""
    calibrating = half_of_validation(faces, config, calibrating=True).split("validation")["id"]
    table = validation[validation["row"].isin(calibrating)]
    guarantee = guarantee_of(table, faces.taxonomy, data=data, apart=config.calibration_apart)
    return coverage_record(table, test, faces.taxonomy, guarantee)


def _write_feature_maps(folder: Path, config: RunConfig, faces: Faces, stages: Mapping[str, Stage]) -> None:
    """Where t-SNE puts the test faces by the features of each stage whose loss shaped them, or of all if requested."""
    for name, stage in stages.items():
        if config.evaluation.feature_map or config.for_stage(name).loss in FEATURE_LOSSES:
            rows = faces.split("test")
            rows = rows[[label >= 0 for label in faces.taxonomy.stage_labels(name, rows["emotion"])]]
            features = stage.features(faces.images.pixels, rows.index.to_numpy())
            table = feature_map(rows["id"].tolist(), rows["emotion"].tolist(), features, seed=config.seed)
            run_folder.write_table(folder / paths.STAGES / name / paths.FEATURES, table)


def _facts(config: RunConfig, faces: Faces, command: str, *, mode: str) -> dict[str, Any]:
    """What was evaluated: data, taxonomy, seed and the fingerprint of the test rows."""
    manifest, test = faces.manifest, faces.split("test")
    counts = pd.crosstab(manifest["split"], manifest["emotion"])
    lines = sorted(f"{row} {emotion}" for row, emotion in zip(test["id"], test["emotion"], strict=True))
    return {
        "format": 1,
        "run": config.name,
        "mode": mode,
        "trunk": config.trunk,
        "framework": config.framework,
        "synthetic": faces.synthetic,
        "command": command,
        "seed": config.seed,
        "split": "test",
        "data": {
            "dataset": "+".join(sorted(set(manifest["source"]))),
            "path": config.data.data,
            "fingerprint": faces.images.fingerprint,
            "rows": {split: int((manifest["split"] == split).sum()) for split in SPLITS},
            "counts": {split: {e: int(n) for e, n in row.items()} for split, row in counts.iterrows()},
            "limit": config.data.limit,
            "bad": len(faces.images.bad),
            "pixels": dataclasses.asdict(faces.verdict),
        },
        "test_fingerprint": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
        "taxonomy": faces.taxonomy.to_dict(),
        "excluded": list(config.data.left_out),
        "emotions": list(faces.taxonomy.emotions),
    }


def _cost(stages: Mapping[str, Stage], shape: tuple[int, ...]) -> dict[str, Any]:
    """What training and predicting take; a network that stages share counts once."""
    networks = {id(stage.network): stage for stage in stages.values()}.values()

    def total(name: str) -> float:
        return sum(stage.record[name] for stage in networks)

    return {
        "train_cpu_seconds": total("cpu_seconds"),
        "train_wall_seconds": total("wall_seconds"),
        "parameters": total("parameters"),
        "multiply_adds": sum(stage.record["multiply_adds"] * (1 + stage.mirror) for stage in networks),
        "latency_ms": single_face_latency(next(iter(stages.values())).blank_prediction(stages, shape)),
    }


def prediction_work(stages: Mapping[str, Stage], faces: int) -> float:
    """Work of predicting once by all stages, as it is counted."""
    networks = {id(stage.network): stage for stage in stages.values()}.values()
    return FORWARD * faces * sum(stage.record.get("multiply_adds", 0) * (1 + stage.mirror) for stage in networks)


def _announce_baseline(record: Mapping[str, Any]) -> None:
    if line := majority_line(record["answers"][record["headline"]]):
        announce(line)


def _resumable(config: RunConfig, folder: Path, logs: Path) -> AbstractContextManager[None]:
    """Name the command that resumes a training after Ctrl-C, a full disk or a lack of memory."""
    elsewhere = [] if logs == LOGS else ["--logs", str(logs)]
    way = resume_hint(folder, "--mode", config.mode, *elsewhere, framework=config.framework)
    return run_folder.resumable(folder, way)


def evaluate_run(
    run: str,
    stage_type: type[Stage],
    *,
    data: DataConfig,
    evaluation: EvaluationConfig,
    name: str | None,
    results: Path,
    command: str,
    composition: Path | None = None,
    splits: Sequence[str] = (),
    robust: bool = False,
) -> Path:
    """Evaluate a finished run on other data: on the official splits named, else on test, validation or all.

    Faces that the run trained on or chose by are left out. Nothing is fitted. With `composition`, the best.json of a
    search over the run's composition, its predictions stand beside the soft ones, which stay the headline. With
    `robust`, the headline's scores for corrupted faces stand in the record too.

    Raises:
        UserError: No finished run, data that shares no emotion with it, or a composition of another run.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    source = Run(run, results=results)
    source.require_networks()
    trained, config, taxonomy = source.metrics, source.config, source.taxonomy
    tuned = None if composition is None else read_tuned(composition, source.folder, results)
    with run_folder.collect_notes() as notes, Progress(math.inf, steps=STEPS):
        data = as_trained(data, source)
        with step(READING):
            faces = evaluated_faces(data, source, splits=splits)
        faces = tuned.unseen(faces) if tuned else faces
        stem = name or f"{source.name}-on-{'+'.join(sorted(set(faces.manifest['source'])))}"
        stem = run_folder.marked(stem, synthetic=faces.synthetic)
        config = dataclasses.replace(config, name=run_folder.free_name(stem, results), data=data, evaluation=evaluation)
        stages = source.load_stages(stage_type)
        worse = robust_rows(faces.split("test"), seed=config.seed).iloc[: None if robust else 0]
        current().plan(prediction_work(stages, len(faces.split("test")) + CONDITIONS * len(worse)))
        predicted = predict(stages, taxonomy, faces.images.pixels, faces.split("test"))
        counts = source.train_counts
        prior = np.array([counts.get(e, 0) for e in taxonomy.emotions], dtype=float)
        further = {"tuned": tuned.predict(predicted, faces, stage_type, counts, source.folder)} if tuned else {}
        table = prediction_table(predicted)
        record = {
            **_facts(config, faces, command, mode="evaluation"),
            **score_predictions(predicted, prior / prior.sum(), evaluation, seed=config.seed, further=further),
            **_kept_promises(source, table),
            **({"composition": tuned.to_dict()} if tuned else {}),
            **_split_facts(predicted, evaluation, seed=config.seed),
            **(_robustness(predicted, worse, stages, faces, config, source.guarantee) if robust else {}),
            "trained_on": {"run": source.name, "data": trained["data"]},
            "cost": trained["cost"],
            "training": trained["training"],
        }
        with run_folder.new_folder(results, str(config.name)) as folder:
            _write_start(folder, config, faces, command)
            run_folder.write_table(folder / paths.PREDICTIONS, table)
            run_folder.write_json(folder / paths.METRICS, {**record, "notes": notes})
            with step(REPORTING):
                write_run_report(folder, faces=faces.pixels_of)
    announce_run_scores(record)
    announce(headline(record))
    _announce_baseline(record)
    if tuned:
        announce(tuned_line(record))
    return folder


def _kept_promises(source: Run, test: pd.DataFrame) -> dict[str, Any]:
    """How far the guarantee of a run, from its own calibration faces, holds for other faces."""
    if (guarantee := source.guarantee) is None:
        return {}
    return {"coverage": coverage_record(source.calibration_predictions, test, source.taxonomy, guarantee)}


def _robustness(
    predicted: Predictions,
    rows: pd.DataFrame,
    stages: Mapping[str, Stage],
    faces: Faces,
    config: RunConfig,
    guarantee: Guarantee | None,
) -> dict[str, Any]:
    """The headline's scores for corrupted faces of `rows`, some of those that were predicted."""
    clean = predicted.probabilities[predicted.rows.index.get_indexer(rows.index)]
    settings: dict[str, Any] = {"resamples": config.evaluation.resamples, "seed": config.seed, "guarantee": guarantee}
    return {"robustness": robustness(stages, faces.taxonomy, faces.images.pixels, rows, clean, **settings)}


def _split_facts(predictions: Predictions, evaluation: EvaluationConfig, *, seed: int) -> dict[str, Any]:
    """The official splits of the evaluated faces, and where there are several the scores in each of them."""
    official = predictions.rows["official"].to_numpy(str)
    names = [split for split in SPLITS if split in official]
    found = {}
    for split in names if len(names) > 1 else ():
        rows = predictions.rows[official == split]
        draw: Draw = {"resamples": evaluation.resamples, "seed": seed, "groups": subjects(rows)}
        emotions = predictions.taxonomy.emotions
        found[split] = scores(
            rows["emotion"].to_numpy(str), predictions.probabilities[official == split], emotions, **draw
        )
    return {"split": " and ".join(names), **({"splits": found} if found else {})}


def _audited_depth(manifest: pd.DataFrame) -> list[dict]:
    """The audit of the depth that comes with the pictures; nothing where none does."""
    paired = manifest[manifest["depth_path"] != ""].reset_index(drop=True)
    if paired.empty:
        return []
    try:
        return audit_depth(manifest, load_images(paired, size=AUDIT_SIZE, channels=3, skip_bad=True, depth=True))
    except UserError as error:  # not one of them can be used
        log.warning("Depth: %s", error)
        return []


def audit_data(data: DataConfig, *, name: str | None, results: Path, command: str) -> Path:
    """Report what is wrong with a data set, before anybody trains on it.

    Raises:
        UserError: The data cannot be read at all.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    with run_folder.collect_notes() as notes, Progress(steps=_AUDIT_STEPS):
        data = resolve_data(data)
        with step(READING):
            manifest = read_manifest(data)
            images = load_images(manifest, size=AUDIT_SIZE, channels=1, skip_bad=True)
        with step(COMPARING):
            table = {**audit(images), "depth": _audited_depth(manifest), "command": command, "notes": notes}
        stem = name or f"audit-{'+'.join(sorted(set(manifest['source'])))}"
        with run_folder.new_folder(results, run_folder.free_name(stem, results)) as folder, step(REPORTING):
            write_audit(folder, table, images)
    announce_table(audit_rows(table))
    for line in (*table["pixels"]["known"], *advice(table)):
        announce(line)
    if table["pixels"]["altered"] and data.strict_data:
        raise UserError(f"--strict-data: the data is not as published; the report is in {folder}")
    return folder
