"""`--mode tune`: from the flags that a user gave to the one call that searches; light until they are valid."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.cli import flags
from fer_hierarchy.hierarchy.cli.console import flag
from fer_hierarchy.hierarchy.cli.flags import Given
from fer_hierarchy.hierarchy.config import RunConfig, apply_flags, check_value, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.workers import WorkerConfig, open_workers
from fer_hierarchy.tuning.search import study
from fer_hierarchy.tuning.settings import COMPOSITION, TAXONOMY, SearchConfig, seconds

TRIAL_PATIENCE = "5"  # epochs; a trial that no longer improves takes time from the others


def tune(given: Given, command: str) -> Path:
    """Search for a stage, or for what comes after the stages: their composition, their grouping.

    Args:
        given: The flags; `runs` holds the words beside them.
        command: The command line.

    Returns:
        The folder of the study.
    """
    del given["mode"]
    words, searched, at_once = given.pop("runs"), _search_flags(given), flags.workers(given)
    what = searched.get("stage")
    if words and what not in (COMPOSITION, TAXONOMY):
        raise UserError(f"unexpected argument {words[0]!r}; --stage composition and --stage taxonomy take runs")
    if "resume" in given:
        return _resume_search(given, searched, at_once)
    if what == COMPOSITION:
        if at_once.used:
            raise UserError("--workers and --ray do not go with --stage composition, which trains nothing")
        return _tune_composition(words, given, searched, command)
    if what == TAXONOMY:
        return _tune_taxonomy(words, given, searched, at_once, command)
    return _start_search(given, searched, at_once, command)


def _search_flags(given: Given) -> dict[str, Any]:
    """Take the settings of the search out of `given` and check them."""
    names = [name for name in fields_of(SearchConfig) if name in given]
    values = {name: check_value(SearchConfig, name, given.pop(name), flag(name)) for name in names}
    if values.get("budget"):
        seconds(values["budget"], "--budget")
    if values.get("space") and not Path(values["space"]).is_file():
        raise UserError(f"--space: {values['space']} is no file; expected a JSON file of keys and their values")
    return values


def _new_study(given: Given) -> tuple[Path, Path, str | None]:
    """Take the folder of all studies, that of all runs, and the name of the new study out of `given`."""
    studies, results = given.pop("study_dir"), given.pop("results")
    name = check_value(RunConfig, "name", given.pop("name", None), "--name")
    run_folder.check_name(name, studies)
    return studies, results, name


def _start_search(given: Given, searched: Mapping[str, Any], at_once: WorkerConfig, command: str) -> Path:
    studies, results, name = _new_study(given)
    if "config" not in given:
        given.setdefault("patience", TRIAL_PATIENCE)
    config = flags.start(given, results)
    if config.shares_trunk:
        raise UserError(
            "--config: its stages share a trunk, and a search is about a stage with a network of its own; leave the "
            "file out, or set its trunk to separate"
        )
    config = apply_flags(config, given)
    if config.data.teachers:
        raise UserError("--teacher: the trials of a search are trained on the labels alone; leave the teacher out")
    config = flags.checked(dataclasses.replace(config, name=None), results)
    search = SearchConfig(**searched)
    study.stages_named(search.stage, config)
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
    from fer_hierarchy.tuning.search import pipeline as searching

    with open_workers(at_once) as pool:
        return searching.start_search(
            config, search, KerasStage, name=name, studies=studies, command=command, workers=pool
        )


def _resume_search(given: Given, searched: Mapping[str, Any], at_once: WorkerConfig) -> Path:
    """Continue a study, or all of a search over several stages."""
    studies, _ = given.pop("study_dir"), given.pop("results")
    flags.refuse_start(given, "search")
    folders = study.find_studies(given.pop("resume"), studies)
    if study.kind_of(folders[0]) == TAXONOMY:
        _refuse_others([*given, *searched], ("stage",), "taxonomy and --resume; leave it out")
        from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
        from fer_hierarchy.tuning.taxonomies.search import resume_taxonomies

        with open_workers(at_once) as pool:
            return resume_taxonomies(folders[0], KerasStage, workers=pool)
    planned = {folder: study.extended(study.read_study(folder), given, searched) for folder in folders}
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
    from fer_hierarchy.tuning.search import pipeline as searching

    with open_workers(at_once) as pool:
        return searching.resume_search(planned, KerasStage, workers=pool)


def _refuse_others(given: Iterable[str], known: Sequence[str], stage: str) -> None:
    """Refuse flags that have no meaning for a search of this kind."""
    if other := next((name for name in given if name not in known), None):
        raise UserError(f"{flag(other)} does not go with --stage {stage}")


def _tune_composition(words: Sequence[str], given: Given, searched: Mapping[str, Any], command: str) -> Path:
    """Search how to compose a finished run's stages, on their predictions for its validation faces."""
    studies, results, name = _new_study(given)
    if not words:
        raise UserError(
            "--stage composition needs a hierarchical RUN, and a flat RUN behind it if both are to be blended"
        )
    folders = [Run(word, results=results).folder for word in words]
    seed = check_value(RunConfig, "seed", given.pop("seed", RunConfig().seed), "--seed")
    _refuse_others([*given, *searched], ("stage", "objective"), "composition")
    from fer_hierarchy.tuning.composition.search import search_composition

    objective = searched.get("objective") or "macro_f1"
    return search_composition(folders, objective=objective, seed=seed, name=name, studies=studies, command=command)


def _tune_taxonomy(
    words: Sequence[str], given: Given, searched: Mapping[str, Any], at_once: WorkerConfig, command: str
) -> Path:
    """Search for the grouping of the emotions, among those that a flat run's predictions suggest and others."""
    studies, results, name = _new_study(given)
    if len(words) != 1:
        raise UserError(f"--stage taxonomy needs one flat RUN, got {len(words)}")
    run = Run(words[0], results=results)
    _refuse_others(searched, ("stage", "objective", "controls", "implied", "fraction"), "taxonomy")
    start = dataclasses.replace(run.config, name=None)
    config = flags.checked(apply_flags(start, given), results)
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
    from fer_hierarchy.tuning.taxonomies.search import search_taxonomies

    search = SearchConfig(**searched)
    with open_workers(at_once) as pool:
        return search_taxonomies(
            run.folder,
            KerasStage,
            config=config,
            search=search,
            name=name,
            studies=studies,
            command=command,
            workers=pool,
        )


def composition_file(text: str | None, logs: Path) -> Path | None:
    """The best.json that `--composition` means."""
    if text is None or Path(text).is_file():
        return Path(text) if text else None
    (folder, *others) = study.find_studies(text, logs / study.STUDIES.name)
    if others or study.kind_of(folder) != COMPOSITION:
        raise UserError(f"--composition {text}: it is no study made by --mode tune --stage composition")
    return folder / study.BEST
