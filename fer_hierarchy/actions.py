"""What the program does, as functions: train, resume, evaluate, compare, ensemble, tune, audit, export.

Settings are those of the command line, with the same names, defaults and checks; what is wrong with them or with the
data is a `UserError`, which is a `ValueError` of one line. Nothing is printed but progress; results and notes go to
the logger `fer_hierarchy`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_hierarchy.hierarchy.cli.flags import check_data, checked
from fer_hierarchy.hierarchy.config import DataConfig, EvaluationConfig, RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import progress_shown
from fer_hierarchy.hierarchy.training.workers import WorkerConfig, open_workers
from fer_hierarchy.opened import Audit, Comparison, Run, Study
from fer_hierarchy.tuning.settings import SearchConfig

if TYPE_CHECKING:
    import keras

    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

Place = str | Path
# Beside the notebook or the script that calls.
RESULTS, LOGS, STUDIES = "results", "logs", "logs/tuning"


def train(
    config: RunConfig,
    *,
    results: Place = RESULTS,
    logs: Place = LOGS,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    progress: bool = True,
) -> Run:
    """Train, compose and evaluate a hierarchical or flat run, as `--mode hierarchical` and `--mode flat` do.

    Args:
        config: What to train on which data; its mode decides which of both.
        results: Folder that gets a folder for the run.
        logs: Folder that gets the run's log and TensorBoard's files.
        callbacks: Keras callbacks of your own. They are passed to the training of every stage, behind the program's
            own, and find the validation scores in `logs`.
        progress: Whether to show progress on stderr.

    Returns:
        The finished run.

    Raises:
        UserError: Bad data or settings, or a place that cannot be written.

    Examples:
        >>> from fer_hierarchy import DataConfig, RunConfig, StageConfig, train
        >>> data = DataConfig(dataset="synthetic", limit=84, image_size=16)
        >>> tiny = StageConfig(model="compact_resnet:stem_width=8:widths=16:blocks=1:strides=2", epochs=1)
        >>> config = RunConfig(mode="flat", name="synthetic-first", data=data, stage=tiny)
        >>> run = train(config, progress=False)
        >>> 0 <= run.scores["top1"] <= 1
        True
    """
    from fer_hierarchy.hierarchy.training import pipeline

    with progress_shown(progress):
        folder = pipeline.train_run(
            checked(config, Path(results)),
            _stage_with(callbacks),
            results=Path(results),
            logs=Path(logs),
            command="fer_hierarchy.train(config), with the config.json of this folder",
        )
    return Run(folder)


def train_with_baseline(
    config: RunConfig,
    *,
    results: Place = RESULTS,
    logs: Place = LOGS,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    progress: bool = True,
) -> Comparison:
    """Train a hierarchy and a flat network of the same budget on the same faces, and compare them.

    As `--mode hierarchical --baseline` does, which also resumes what was interrupted here.

    Args:
        config: Of the hierarchy; its name is that of the folder, which gets a folder for each of both runs.
        results: As for `train`.
        logs: As for `train`.
        callbacks: As for `train`.
        progress: As for `train`.

    Raises:
        UserError: Bad data or settings, such as those of a flat run, or a place that cannot be written.

    Examples:
        >>> import dataclasses
        >>> from fer_hierarchy import Run, train_with_baseline
        >>> tree = dataclasses.replace(Run("synthetic-first").config, mode="hierarchical", name="synthetic-question")
        >>> train_with_baseline(tree, progress=False).pairs[["a", "b"]].values.tolist()
        [['synthetic-flat', 'synthetic-hierarchical']]
    """
    from fer_hierarchy.hierarchy.experiments import grid_training

    stage_type, home = _stage_with(callbacks), Path(results)

    def check(own: RunConfig) -> RunConfig:
        return checked(own, home)

    with progress_shown(progress):
        planned = grid_training.plan_baseline(
            check(dataclasses.replace(config, name=None)),
            stage_type,
            check=check,
            command="fer_hierarchy.train_with_baseline(config), with the settings in grid.json of this folder",
        )
        folder = grid_training.train_grid(
            planned, stage_type, name=config.name, results=home, logs=Path(logs), job=grid_training.BASELINE
        )
    return Comparison(folder)


def resume(
    run: Run | Place,
    *,
    results: Place = RESULTS,
    logs: Place = LOGS,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    progress: bool = True,
) -> Run:
    """Resume a run that was interrupted, at the epoch where it was; a finished one is evaluated again.

    Args:
        run: The run, its name or its folder.
        results: Folder of all runs.
        logs: Folder of the logs.
        callbacks: As for `train`.
        progress: Whether to show progress on stderr.

    Raises:
        UserError: No such run, or its data has changed.

    Examples:
        >>> from fer_hierarchy import resume
        >>> resume("synthetic-first", progress=False).finished
        True
    """
    from fer_hierarchy.hierarchy.training import pipeline

    with progress_shown(progress):
        folder = pipeline.resume_run(
            _named(run), _stage_with(callbacks), flags={}, results=Path(results), logs=Path(logs), command="resume"
        )
    return Run(folder)


def evaluate(
    run: Run | Place,
    data: DataConfig | Place,
    *,
    evaluation: EvaluationConfig | None = None,
    splits: Sequence[str] = (),
    robustness: bool = False,
    name: str | None = None,
    results: Place = RESULTS,
) -> Run:
    """Evaluate a finished run on other data; nothing is fitted.

    Args:
        run: The run, its name or its folder.
        data: A path, or settings that also exclude emotions, limit the faces or name FER+ votes.
        evaluation: Resamples and logit adjustment.
        splits: Official splits of the data to evaluate on; by default test, else validation, else all.
        robustness: Also evaluate the faces, at most 2,000 of them, blurred, noisy, compressed, dark, turned, shifted
            and covered, each at five strengths.
        name: Folder below `results`; by default made of the run and the data set.
        results: Folder of all runs.

    Returns:
        The evaluation, which has predictions and metrics but no stages.

    Raises:
        UserError: No finished run, or data that shares no emotion with it.

    Examples:
        >>> from fer_hierarchy import DataConfig, evaluate
        >>> elsewhere = evaluate("synthetic-first", DataConfig(dataset="synthetic", limit=40))
        >>> elsewhere.metrics["trained_on"]["run"]
        'synthetic-first'
    """
    from fer_hierarchy.hierarchy.training import pipeline
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return Run(
        pipeline.evaluate_run(
            _named(run),
            KerasStage,
            data=_data(data),
            evaluation=evaluation or EvaluationConfig(),
            name=name,
            results=Path(results),
            command=f"fer_hierarchy.evaluate({_named(run)!r}, ...)",
            splits=splits,
            robust=robustness,
        )
    )


def compare(
    *runs: Run | Place, name: str | None = None, resamples: int = 1000, seed: int = 0, results: Place = RESULTS
) -> Comparison:
    """Put finished runs beside each other on the same test faces, with paired tests.

    Raises:
        UserError: Fewer than two runs, or runs that were evaluated on other rows, labels or classes.

    Examples:
        >>> import dataclasses
        >>> from fer_hierarchy import Run, compare, train
        >>> flat = Run("synthetic-first").config
        >>> tree = dataclasses.replace(flat, mode="hierarchical", trunk="shared", name="synthetic-second")
        >>> train(tree, progress=False).finished
        True
        >>> both = compare("synthetic-first", "synthetic-second", name="synthetic-both", resamples=100)
        >>> both.pairs[["a", "b"]].values.tolist()
        [['synthetic-first', 'synthetic-second']]
    """
    from fer_hierarchy.hierarchy.experiments.report import compare_runs

    names = [_named(run) for run in runs]
    return Comparison(_of_several(compare_runs, names, name, resamples, seed, results))


def ensemble(
    *runs: Run | Place, name: str | None = None, resamples: int = 1000, seed: int = 0, results: Place = RESULTS
) -> Run:
    """Evaluate the geometric mean of the probabilities of several runs.

    Raises:
        UserError: Fewer than two runs, or runs that were evaluated on other rows, labels or classes.

    Examples:
        >>> from fer_hierarchy import ensemble
        >>> ensemble("synthetic-first", "synthetic-second", name="synthetic-mean", resamples=100).stages
        ()
    """
    from fer_hierarchy.hierarchy.experiments.ensembles import pool_runs

    names = [_named(run) for run in runs]
    return Run(_of_several(pool_runs, names, name, resamples, seed, results))


def tune(
    config: RunConfig,
    search: SearchConfig,
    *,
    name: str | None = None,
    studies: Place = STUDIES,
    results: Place = RESULTS,
    workers: WorkerConfig | None = None,
    progress: bool = True,
) -> Study:
    """Search the hyperparameters of a stage, or of all stages one after the other, with KerasTuner.

    Args:
        config: Data, and the settings that are not searched.
        search: Which stage, and how it is searched.
        name: Folder below `studies`; by default made of data, model, tuner, stage and settings.
        studies: Folder of all studies.
        results: Folder of all runs, where first weights are looked for.
        workers: How many trials run at once, and where; by default one after the other.
        progress: Whether to show progress on stderr.

    Returns:
        The last study.

    Raises:
        UserError: Bad data, settings or space, or no trial that could be trained. The composition and the taxonomy are
            searched on the command line alone.

    Examples:
        >>> from fer_hierarchy import Run, SearchConfig, tune
        >>> search = SearchConfig(stage="flat", tuner="random", max_trials=1, remeasure=0)
        >>> study = tune(Run("synthetic-first").config, search, name="synthetic-search", progress=False)
        >>> study.best["stage"]
        'flat'
    """
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
    from fer_hierarchy.tuning.search.pipeline import start_search
    from fer_hierarchy.tuning.settings import COMPOSITION, TAXONOMY

    if search.stage in (COMPOSITION, TAXONOMY):
        raise UserError(f"--stage {search.stage}: search for it with --mode tune; tune() searches stages")
    with progress_shown(progress), open_workers(workers or WorkerConfig()) as pool:
        folder = start_search(
            checked(dataclasses.replace(config, name=None), Path(results)),
            search,
            KerasStage,
            name=name,
            studies=Path(studies),
            command="fer_hierarchy.tune(config, search)",
            workers=pool,
        )
    return Study(folder)


def audit(data: DataConfig | Place, *, name: str | None = None, results: Place = RESULTS) -> Audit:
    """Report what is wrong with a data set, before anybody trains on it.

    Raises:
        UserError: The data cannot be read at all.

    Examples:
        >>> from fer_hierarchy import DataConfig, audit
        >>> found = audit(DataConfig(dataset="synthetic"), name="synthetic-audit")
        >>> found.altered, found.record["bad"]["images"]
        (False, 0)
    """
    from fer_hierarchy.hierarchy.training import pipeline

    return Audit(
        pipeline.audit_data(_data(data), name=name, results=Path(results), command="fer_hierarchy.audit(data)")
    )


def export(
    run: Run | Place,
    formats: Sequence[str] = ("tflite",),
    *,
    out: Place | None = None,
    data: DataConfig | Place | None = None,
    results: Place = RESULTS,
) -> dict[str, Path]:
    """Write a whole run as one file for other programs.

    Args:
        run: The run, its name or its folder.
        formats: Of saved_model, onnx, tflite and tflite-int8.
        out: Folder for the files; by default `export` in the run's own.
        data: Faces whose train split calibrates tflite-int8; by default the run's own.
        results: Folder of all runs.

    Returns:
        Format -> file.

    Raises:
        UserError: An unknown format, no finished run, or a model that a format cannot hold.

    Examples:
        >>> from fer_hierarchy import export
        >>> export("synthetic-first", ["tflite"])["tflite"].name
        'synthetic-first.tflite'
    """
    from fer_hierarchy.inference.export.writer import export_run
    from fer_hierarchy.inference.settings import FORMATS

    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(f"--format: expected {', '.join(FORMATS)}, got {unknown[0]!r}")
    place = None if out is None else Path(out)
    faces = DataConfig() if data is None else _data(data)
    return export_run(_named(run), tuple(formats), data=faces, out=place, results=Path(results))


def _stage_with(callbacks: "Sequence[keras.callbacks.Callback]") -> "type[KerasStage]":
    """What trains a stage, with callbacks of the user's own."""
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return type("KerasStage", (KerasStage,), {"user_callbacks": tuple(callbacks)}) if callbacks else KerasStage


def _named(run: Run | Place) -> str:
    return str(run.folder if isinstance(run, Run) else run)


def _data(data: DataConfig | Place) -> DataConfig:
    given = data if isinstance(data, DataConfig) else DataConfig(data=str(data))
    check_data(given)
    return given


def _of_several(
    call: Callable[..., Path], names: list[str], name: str | None, resamples: int, seed: int, results: Place
) -> Path:
    """Call what takes several runs, with checked values."""
    return call(
        names,
        name=name,
        resamples=EvaluationConfig(resamples=resamples).resamples,
        seed=RunConfig(seed=seed).seed,
        results=Path(results),
        command=f"fer_hierarchy, of {', '.join(names)}",
    )
