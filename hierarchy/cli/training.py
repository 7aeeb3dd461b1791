"""`--mode hierarchical`, `flat`, `grid` and `crossval`: from the flags that a user gave to one call."""

from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.cli.flags import Given, checked, new_name, refuse_start, start
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
from fer_hierarchy.tuning.search.study import STUDIES, with_hyperparameters

_SHAPE = ("mode", "taxonomy", "exclude", "emotions")  # what decides which stages a run has


def train(given: Given, command: str) -> Path:
    """Train a run, or go on with one."""
    places = {"results": given.pop("results"), "logs": given.pop("logs")}
    if "resume" in given:
        run = _check_resume(given, places["results"])
        from fer_hierarchy.hierarchy.training import pipeline
        from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

        return pipeline.resume_run(run, KerasStage, flags=given, **places, command=command)
    config = _training_config(given, **places)
    from fer_hierarchy.hierarchy.training import pipeline
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return pipeline.train_run(config, KerasStage, **places, command=command)


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
    """Train a grid of runs, or go on with one."""
    results, logs, axes = given.pop("results"), given.pop("logs"), given.pop("axis", [])
    del given["mode"]  # each cell has one of its own
    if "train" in given:
        given["mode"] = check_value(RunConfig, "mode", given.pop("train"), "--train")
    if "resume" in given:
        folder = _check_grid_resume(given, axes, results)
        from fer_hierarchy.hierarchy.experiments import grid_training
        from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

        return grid_training.resume_grid(folder, KerasStage, logs=logs)
    name = new_name({**given, "results": results})
    planned = _planned_grid(given, axes, results, logs, command)
    from fer_hierarchy.hierarchy.experiments import grid_training
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return grid_training.train_grid(planned, KerasStage, name=name, results=results, logs=logs)


def _planned_grid(given: Given, texts: Sequence[str], results: Path, logs: Path, command: str) -> grid.Grid:
    axes = grid.parse_axes(texts)
    if "config" not in given and "mode" not in axes:
        given.setdefault("mode", "flat")
    if "loss" in axes:  # what losses do to features is what such a grid is looked at for
        given.setdefault("feature_map", True)
    config = _start(given, results, logs)
    flags = {**given, "name": None}
    return grid.plan(config, flags, axes, check=lambda cell: checked(cell, results), command=command)


def _check_grid_resume(given: Given, axes: Sequence[str], results: Path) -> Path:
    refuse_start(given, "grid")
    folder = grid.find_grid(given.pop("resume"), results)
    _check_name_kept(given, folder)
    grid.refuse_changes(folder, given, axes)
    return folder


def _check_name_kept(given: Given, folder: Path) -> None:
    if given.pop("name", folder.name) != folder.name:
        raise UserError(f"--resume {folder.name} keeps its name; leave out --name")


def cross_validate(given: Given, command: str) -> Path:
    """Train a run for each fold, or go on with them."""
    results, logs, repeats = given.pop("results"), given.pop("logs"), given.pop("repeats", None)
    del given["mode"]  # each run has one of its own
    if "train" in given:
        given["mode"] = check_value(RunConfig, "mode", given.pop("train"), "--train")
    if "resume" in given:
        folder = _check_crossval_resume(given, repeats, results)
        from fer_hierarchy.hierarchy.experiments import crossval_training
        from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

        return crossval_training.resume_crossval(folder, KerasStage, logs=logs)
    name = new_name({**given, "results": results})
    planned = _planned_crossval(given, repeats, results, logs, command)
    from fer_hierarchy.hierarchy.experiments import crossval_training
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return crossval_training.train_crossval(planned, KerasStage, name=name, results=results, logs=logs)


def _planned_crossval(given: Given, repeats: str | None, results: Path, logs: Path, command: str) -> grid.Grid:
    if "config" not in given:
        given.setdefault("mode", "flat")
    config = _start(given, results, logs)
    flags, times = {**given, "name": None}, 1 if repeats is None else repeats
    return crossval.plan(config, flags, repeats=times, check=lambda fold: checked(fold, results), command=command)


def _check_crossval_resume(given: Given, repeats: str | None, results: Path) -> Path:
    refuse_start(given, "cross-validation")
    folder = crossval.find_crossval(given.pop("resume"), results)
    _check_name_kept(given, folder)
    crossval.refuse_changes(folder, given, repeats)
    return folder
