"""`--mode hierarchical`, `flat`, `grid` and `crossval`: from the flags that a user gave to one call."""

from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.cli.flags import Given, checked, new_name, refuse_start, start, workers
from fer_hierarchy.hierarchy.config import (
    RunConfig,
    apply_flags,
    check_value,
    differences,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import crossval, grid
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.workers import open_workers
from fer_hierarchy.tuning.search.study import STUDIES, with_hyperparameters

_SHAPE = ("mode", "taxonomy", "exclude", "emotions")  # what decides which stages a run has


def train(given: Given, command: str) -> Path:
    """Train a run, or resume one."""
    if given.pop("baseline", False):
        return _train_with_baseline(given, command)
    places = {"results": given.pop("results"), "logs": given.pop("logs")}
    run = _check_resume(given, places["results"]) if "resume" in given else None
    config = RunConfig() if run else _training_config(given, **places)
    from fer_hierarchy.hierarchy.training import pipeline
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    if run:
        return pipeline.resume_run(run, KerasStage, flags=given, **places, command=command)
    return pipeline.train_run(config, KerasStage, **places, command=command)


def _train_with_baseline(given: Given, command: str) -> Path:
    """Train a hierarchy and a flat network of the same budget as a grid of two runs, or resume them."""
    results, logs = given.pop("results"), given.pop("logs")
    if "resume" in given:
        return _resume_with_baseline(given, results, logs)
    name = new_name({**given, "results": results})
    start = _training_config({**given, "name": None}, results, logs)
    from fer_hierarchy.hierarchy.experiments import grid_training
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    planned = grid_training.plan_baseline(start, KerasStage, check=lambda own: checked(own, results), command=command)
    job = grid_training.BASELINE
    return grid_training.train_grid(planned, KerasStage, name=name, results=results, logs=logs, job=job)


def _resume_with_baseline(given: Given, results: Path, logs: Path) -> Path:
    folder = _resumed(given, results, "comparison", kind=grid.KIND)
    mode = given.pop("mode", RunConfig().mode)
    grid.refuse_changes(folder, given, mode=mode)
    from fer_hierarchy.hierarchy.experiments import grid_training
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return grid_training.resume_grid(folder, KerasStage, logs=logs, job=grid_training.BASELINE)


def _resumed(given: Given, results: Path, noun: str, *, kind: str) -> Path:
    """The folder of the grid that goes on."""
    refuse_start(given, noun)
    folder = grid.find_grid(given.pop("resume"), results, kind=kind)
    if given.pop("name", folder.name) != folder.name:
        raise UserError(f"--resume {folder.name} keeps its name; leave out --name")
    return folder


def _training_config(given: Given, results: Path, logs: Path) -> RunConfig:
    """Defaults, then the file, then the flags, checked as far as no data is needed."""
    config = apply_flags(_start(given, results, logs), given)
    run_folder.check_name(config.name, results)
    return checked(config, results)


def _start(given: Given, results: Path, logs: Path) -> RunConfig:
    """Defaults, or what the file holds, with what searches found for the stages."""
    config, found = start(given, results), given.pop("hyperparameters", None)
    if not found:
        return config
    shape = apply_flags(config, {name: given[name] for name in _SHAPE if name in given})
    return with_hyperparameters(shape, found, logs / STUDIES.name)


def _check_resume(given: Given, results: Path) -> str:
    refuse_start(given, "run")
    run = given.pop("resume")
    saved = Run(run, results=results).config
    if changed := differences(saved, apply_flags(saved, given)):
        raise UserError(f"--resume {run} keeps the run's own settings; leave out what differs: {'; '.join(changed)}")
    return run


def train_grid(given: Given, command: str) -> Path:
    """Train a grid of runs, or resume one."""
    return _train_cells(given, command, kind=grid.KIND)


def cross_validate(given: Given, command: str) -> Path:
    """Train a run for each fold, or resume them."""
    return _train_cells(given, command, kind=crossval.KIND)


def _train_cells(given: Given, command: str, *, kind: str) -> Path:
    """Train the runs of a grid, which has axes, or of a cross-validation, which has repeats."""
    results, logs, folded = given.pop("results"), given.pop("logs"), kind == crossval.KIND
    at_once = workers(given)
    axes = given.pop("repeats", None) if folded else given.pop("axis", [])
    del given["mode"]  # each run has one of its own
    if "train" in given:
        given["mode"] = check_value(RunConfig, "mode", given.pop("train"), "--train")
    if "resume" in given:
        folder = _resumed(given, results, "cross-validation" if folded else "grid", kind=kind)
        (crossval if folded else grid).refuse_changes(folder, given, axes)
        from fer_hierarchy.hierarchy.experiments import grid_training
        from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

        with open_workers(at_once) as pool:
            return grid_training.resume_grid(folder, KerasStage, logs=logs, workers=pool)
    name = new_name({**given, "results": results})
    planned = (_planned_crossval if folded else _planned_grid)(given, axes, results, logs, command)
    from fer_hierarchy.hierarchy.experiments import grid_training
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    with open_workers(at_once) as pool:
        return grid_training.train_grid(planned, KerasStage, name=name, results=results, logs=logs, workers=pool)


def _planned_grid(given: Given, texts: Sequence[str], results: Path, logs: Path, command: str) -> grid.Grid:
    axes = grid.parse_axes(texts)
    if "config" not in given and "mode" not in axes:
        given.setdefault("mode", "flat")
    if "loss" in axes:  # what losses do to features is what such a grid is looked at for
        given.setdefault("feature_map", True)
    config = _start(given, results, logs)
    flags = {**given, "name": None}
    return grid.plan(config, flags, axes, check=lambda cell: checked(cell, results), command=command)


def _planned_crossval(given: Given, repeats: str | None, results: Path, logs: Path, command: str) -> grid.Grid:
    if "config" not in given:
        given.setdefault("mode", "flat")
    config = _start(given, results, logs)
    flags, times = {**given, "name": None}, 1 if repeats is None else repeats
    return crossval.plan(config, flags, repeats=times, check=lambda fold: checked(fold, results), command=command)
