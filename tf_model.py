"""The command line: parse the arguments into a configuration, check it, make one call.

Only light modules are imported here. TensorFlow comes in with `hierarchy.pipeline`, once the arguments are valid.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer_hierarchy.hierarchy import crossval, grid, runs
from fer_hierarchy.hierarchy.config import (
    SPLITS,
    DataConfig,
    EvaluationConfig,
    RunConfig,
    StageConfig,
    apply_flags,
    check_value,
    differences,
    fields_of,
)
from fer_hierarchy.hierarchy.console import OneLineParser, add_setting, flag, notes_on_screen, run_program
from fer_hierarchy.hierarchy.data.download import KAGGLE_SLUGS, download
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.flags import (
    Given,
    check_data,
    checked,
    did_you_mean,
    new_name,
    refuse_start,
    require_data,
    section,
    start,
)
from fer_hierarchy.hierarchy.paths import LOGS, RESULTS, ROOT
from fer_hierarchy.inference import command as answering
from fer_hierarchy.inference.settings import ExportConfig, FaceConfig, PredictConfig, WebcamConfig
from fer_hierarchy.tuning.command import DEFAULT_ORACLE, TRIAL_PATIENCE, composition_file, tune
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.study import STUDIES, with_hyperparameters

PROGRAM = "tf_model.py"
_GROUPS = {
    FaceConfig: "faces",
    PredictConfig: "answers",
    WebcamConfig: "live",
    ExportConfig: "export",
    SearchConfig: "search",
    DataConfig: "data",
    StageConfig: "training",
    EvaluationConfig: "evaluation",
    RunConfig: "run",
}
_STAGED = "Each takes VALUE for all stages, or STAGE=VALUE,STAGE=VALUE for some (--epochs valence=12,positive=20)."
_OTHER_FLAGS = {
    "config": ("FILE", "settings to start from, as results/<run>/config.json holds them; flags go over them"),
    "resume": ("RUN", "go on with an interrupted run; no setting may differ from the run's own"),
    "results": ("DIR", "where run folders are (default: results/)"),
    "logs": ("DIR", "where run.log and TensorBoard files go (default: logs/)"),
    "axis": ("NAME=VALUE,...", "a setting (any flag, or mode) and the values that it takes; give one for each axis"),
    "image": ("FILE", "a picture of a face to explain by itself; several after one flag, or one flag for each"),
    "train": ("flat|hierarchical", "what the cells are, where mode is no axis (default: flat)"),
    "repeats": ("N", "make all folds N times, each time with the next seed (default: 1)"),
    "hyperparameters": (
        "STUDY|FILE",
        "settings that --mode tune found for a stage, or for all (a name below logs/tuning, or a best.json); "
        "several flags for several stages; other flags go over them",
    ),
    "split": (
        "NAME,...",
        "official splits of the data to judge on: train, validation, test (default: test, else validation, else all)",
    ),
    "composition": ("STUDY|FILE", "also report answers composed as a search for the composition found"),
    "study_dir": ("DIR", "where studies are (default: logs/tuning); shared by all machines of a distributed search"),
    "distributed": ("chief|worker", "this process hands out the trials of the search, or runs some of them"),
    "oracle": (
        "HOST:PORT",
        f"where the chief listens; 0.0.0.0 for all machines (default: {DEFAULT_ORACLE}, this machine alone)",
    ),
    "wait": ("TIME", "how long a worker waits for its chief (default: 5m)"),
    "to": ("DIR", "folder to put the data in (default: data/<dataset>)"),
    "run": (
        "RUN|FILE",
        "a run below results/, its folder, or a file that --mode export wrote (default: the published weights, "
        "or the newest run where there are none)",
    ),
    "out": ("FILE", "also write a row a face into FILE.csv, .json or .parquet; the same call again goes on with it"),
    "annotate": ("DIR", "draw boxes and probabilities into copies of the pictures and videos"),
    "explain": ("DIR", "draw why: each face with the heat maps of gate and specialist and its probabilities"),
    "record": ("FILE", "record what the window shows as .mp4 or .avi"),
    "csv": ("FILE", "write a row for each face and frame"),
    "verify": ("DATA", "compare what was written with the run on the test faces of this folder, csv or zip"),
}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One thing that the program does, and the flags that belong to it.

    Attributes:
        summary: One line for the list of modes.
        example: Arguments of a typical call.
        call: What does it; takes the given flags and the command line, returns the folder to point at, if any.
        fields: Per section of the configuration, the fields that are flags of this mode.
        others: Names in `_OTHER_FLAGS`.
        runs: Fewest and most words beside the flags (None is no limit): runs, or what `noun` says.
        noun: What those words name.
        texts: Help texts that differ from the usual ones.
    """

    summary: str
    example: str
    call: Callable[[Given, str], Path | None]
    fields: Mapping[type, tuple[str, ...]]
    others: tuple[str, ...] = ("results",)
    runs: tuple[int, int | None] = (0, 0)
    noun: str = "run"
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag of this mode as it is typed, `--mode` and `--help` included."""
        return tuple(o for action in _parser(self)._actions for o in action.option_strings)


def _train(given: Given, command: str) -> Path:
    places = {"results": given.pop("results"), "logs": given.pop("logs")}
    if "resume" in given:
        run = _check_resume(given, places["results"])
        from fer_hierarchy.hierarchy import pipeline
        from fer_hierarchy.hierarchy.keras_stage import KerasStage

        return pipeline.resume_run(run, KerasStage, flags=given, **places, command=command)
    config = _training_config(given, **places)
    from fer_hierarchy.hierarchy import pipeline
    from fer_hierarchy.hierarchy.keras_stage import KerasStage

    return pipeline.train_run(config, KerasStage, **places, command=command)


def _training_config(given: Given, results: Path, logs: Path) -> RunConfig:
    """Defaults, then the file, then the flags, checked as far as no data is needed."""
    config = apply_flags(_start(given, results, logs), given)
    runs.check_name(config.name, results)
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
    saved = runs.read_config(runs.find_run(run, results))
    if changed := differences(saved, apply_flags(saved, given)):
        raise UserError(f"--resume {run} keeps the run's own settings; leave out what differs: {'; '.join(changed)}")
    return run


def _grid(given: Given, command: str) -> Path:
    results, logs, axes = given.pop("results"), given.pop("logs"), given.pop("axis", [])
    del given["mode"]  # each cell has one of its own
    if "train" in given:
        given["mode"] = check_value(RunConfig, "mode", given.pop("train"), "--train")
    if "resume" in given:
        folder = _check_grid_resume(given, axes, results)
        from fer_hierarchy.hierarchy import grid_training
        from fer_hierarchy.hierarchy.keras_stage import KerasStage

        return grid_training.resume_grid(folder, KerasStage, logs=logs)
    name = new_name({**given, "results": results})
    planned = _planned_grid(given, axes, results, logs, command)
    from fer_hierarchy.hierarchy import grid_training
    from fer_hierarchy.hierarchy.keras_stage import KerasStage

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


def _crossval(given: Given, command: str) -> Path:
    results, logs, repeats = given.pop("results"), given.pop("logs"), given.pop("repeats", None)
    del given["mode"]  # each run has one of its own
    if "train" in given:
        given["mode"] = check_value(RunConfig, "mode", given.pop("train"), "--train")
    if "resume" in given:
        folder = _check_crossval_resume(given, repeats, results)
        from fer_hierarchy.hierarchy import crossval_training
        from fer_hierarchy.hierarchy.keras_stage import KerasStage

        return crossval_training.resume_crossval(folder, KerasStage, logs=logs)
    name = new_name({**given, "results": results})
    planned = _planned_crossval(given, repeats, results, logs, command)
    from fer_hierarchy.hierarchy import crossval_training
    from fer_hierarchy.hierarchy.keras_stage import KerasStage

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


def _evaluate(given: Given, command: str) -> Path:
    (run,), results = given["runs"], given["results"]
    runs.find_run(run, results)
    data = section(DataConfig, given)
    evaluation = section(EvaluationConfig, given)
    name = new_name(given)
    composition = composition_file(given.get("composition"), given["logs"])
    splits = _splits(given.get("split"))
    require_data(data)
    from fer_hierarchy.hierarchy import pipeline
    from fer_hierarchy.hierarchy.keras_stage import KerasStage

    return pipeline.evaluate_run(
        run,
        KerasStage,
        data=data,
        evaluation=evaluation,
        composition=composition,
        splits=splits,
        name=name,
        results=results,
        command=command,
    )


def _splits(text: str | None) -> tuple[str, ...]:
    """The splits that `--split` names, none where it is not given."""
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in SPLITS]:
        raise UserError(f"--split: expected some of {', '.join(SPLITS)}, separated by commas, got {unknown[0]!r}")
    return tuple(dict.fromkeys(words))


def _refuse_twice(names: Sequence[str], results: Path, what: str) -> None:
    """Refuse a run that is named twice, by whatever names, and one that is not there."""
    folders = [runs.find_run(name, results).resolve() for name in names]
    twice = next((name for name, folder in zip(names, folders, strict=True) if folders.count(folder) > 1), None)
    if twice:
        raise UserError(f"run {twice!r} is named twice; {what} needs different runs")


def _judging(given: Given, command: str) -> Given:
    """What every judgement of several runs takes beside their names."""
    return {
        "resamples": section(EvaluationConfig, given).resamples,
        "seed": check_value(RunConfig, "seed", given.get("seed", RunConfig().seed), "--seed"),
        "name": new_name(given),
        "results": given["results"],
        "command": command,
    }


def _compare(given: Given, command: str) -> Path:
    names, results = given["runs"], given["results"]
    folded = crossval.are_crossvals(names, results)
    if not folded:
        _refuse_twice(names, results, "compare")
    judging = _judging(given, command)
    from fer_hierarchy.hierarchy import crossval_comparison, pipeline

    return (crossval_comparison.compare if folded else pipeline.compare_runs)(names, **judging)


def _ensemble(given: Given, command: str) -> Path:
    _refuse_twice(given["runs"], given["results"], "an ensemble")
    judging = _judging(given, command)
    from fer_hierarchy.hierarchy.opinion_pool import pool_runs

    return pool_runs(given["runs"], **judging)


def _publish(given: Given, command: str) -> Path:
    (run,), results = given["runs"], given["results"]
    source = runs.find_run(run, results)
    data = section(DataConfig, given)
    check_data(data)
    out = Path(given.get("out") or RESULTS / "published" / source.name)
    if out.exists():
        raise UserError(f"--out: {out} exists already; name a new folder")
    try:
        runs.check_name(out.name, out.parent)
        runs.check_writable(out.parent)
    except UserError as error:
        raise UserError(str(error).replace("--name", "--out").replace("--results", "--out")) from error
    mirror = section(EvaluationConfig, given).mirror if "mirror" in given else None
    from fer_hierarchy.hierarchy.publishing import publish_run

    return publish_run(run, out=out, mirror=mirror, data=data, results=results, command=command)


def _explain(given: Given, command: str) -> Path:
    results = given["results"]
    run = next(iter(given["runs"]), None) or answering.default_run(results)
    runs.find_run(run, results)
    data = section(DataConfig, given)
    images = given.get("image", [])
    name = new_name(given)
    check_data(data)
    for file in images:
        if not Path(file).is_file():
            raise UserError(f"--image: {file} is no file; expected a picture of a face")
    from fer_hierarchy.hierarchy.keras_stage import KerasStage
    from fer_hierarchy.inference import explain

    return explain.explain_run(run, KerasStage, data=data, images=images, name=name, results=results, command=command)


def _audit(given: Given, command: str) -> Path:
    data = section(DataConfig, given)
    name = new_name(given)
    require_data(data)
    from fer_hierarchy.hierarchy import pipeline

    return pipeline.audit_data(data, name=name, results=given["results"], command=command)


def _download(given: Given, _command: str) -> Path:
    dataset = given.get("dataset")
    if dataset is None:
        raise UserError("--mode download needs --dataset NAME, for example --dataset fer2013")
    return download(dataset, Path(given.get("to") or ROOT / "data" / dataset))


def _runs(given: Given, _command: str) -> None:
    out = given.get("out")
    if out is not None and not (out.endswith(".csv") and Path(out).absolute().parent.is_dir()):
        raise UserError(f"--out: {out}: expected a .csv file in a folder that exists")
    from fer_hierarchy.hierarchy import run_list

    table = run_list.run_table(given["results"])
    if out is not None:
        runs.write_table(Path(out), table)
    run_list.print_runs(table)


def _models(_given: Given, _command: str) -> None:
    from fer_hierarchy.hierarchy.model_table import print_models

    print_models()


_WORDS = {
    "run": "name of a run below results/, or its folder",
    "input": "a picture, a video, a folder with such, a pattern, or - for a list of paths on stdin",
}
_ALL_STAGE = tuple(fields_of(StageConfig))
_SHAPE = ("mode", "taxonomy", "exclude", "emotions")  # what decides which stages a run has
_TRAIN_FIELDS = {
    DataConfig: tuple(fields_of(DataConfig)),
    StageConfig: _ALL_STAGE,
    EvaluationConfig: tuple(fields_of(EvaluationConfig)),
    RunConfig: ("trunk", "name", "seed", "deterministic"),
}
_TRAIN_OTHERS = ("config", "hyperparameters", "resume", "results", "logs")

MODES = {
    "hierarchical": Mode(
        summary="train a gate and one specialist per group, compose and judge them (the default)",
        example="--mode hierarchical --data data/fer2013 --name first",
        call=_train,
        fields=_TRAIN_FIELDS,
        others=_TRAIN_OTHERS,
    ),
    "flat": Mode(
        summary="train one classifier of all emotions on the same faces",
        example="--mode flat --data data/fer2013 --name flat",
        call=_train,
        fields=_TRAIN_FIELDS,
        others=_TRAIN_OTHERS,
    ),
    "grid": Mode(
        summary="train every combination of some settings, each as a run, and show them in one table",
        example="--mode grid --axis model=shallow_cnn,deep_cnn --axis augment=on,off --data data/fer2013",
        call=_grid,
        fields=_TRAIN_FIELDS,
        others=("axis", "train", *_TRAIN_OTHERS),
        texts={
            "name": "folder of the grid below results/ (default: made of data set and axes)",
            "resume": "go on with a grid; finished cells stay as they are, no setting may differ from the grid's own",
        },
    ),
    "crossval": Mode(
        summary="cut all faces into folds and train a run for each, in which that fold is the test split",
        example="--mode crossval --folds 5 --train hierarchical --data data/ck48 --name ck48-5fold",
        call=_crossval,
        fields={
            **_TRAIN_FIELDS,
            DataConfig: tuple(name for name in fields_of(DataConfig) if name not in ("fold", "test_fraction")),
        },
        others=("repeats", "train", *_TRAIN_OTHERS),
        texts={
            "folds": f"how many (default: {crossval.FOLDS})",
            "train": "what each run is (default: flat)",
            "seed": "seed of the first repeat; each further one has the next",
            "name": "folder of the cross-validation below results/ (default: made of data set, mode, model and folds)",
            "resume": "go on with a cross-validation; finished runs stay as they are, no setting may differ",
        },
    ),
    "compare": Mode(
        summary="put runs, or cross-validations over the same folds, side by side with paired tests",
        example="--mode compare first flat",
        call=_compare,
        fields={EvaluationConfig: ("resamples",), RunConfig: ("name", "seed")},
        runs=(2, None),
        texts={"name": "folder below results/ (default: made of the runs' names)", "seed": "seed of the bootstrap"},
    ),
    "ensemble": Mode(
        summary="judge the geometric mean of what several runs say of the same faces",
        example="--mode ensemble first flat --name both",
        call=_ensemble,
        fields={EvaluationConfig: ("resamples",), RunConfig: ("name", "seed")},
        runs=(2, None),
        texts={"name": "folder below results/ (default: made of the runs' names)", "seed": "seed of the bootstrap"},
    ),
    "tune": Mode(
        summary="search the hyperparameters of a stage, of all stages, of their composition or of the taxonomy",
        example="--mode tune --stage valence --tuner hyperband --epochs 9 --fraction 0.25 --data data/fer2013",
        call=tune,
        fields={
            SearchConfig: tuple(fields_of(SearchConfig)),
            DataConfig: tuple(fields_of(DataConfig)),
            StageConfig: _ALL_STAGE,
            RunConfig: ("name", "seed", "deterministic"),
        },
        others=("distributed", "oracle", "wait", "study_dir", "config", "resume", "results"),
        runs=(0, 2),
        texts={
            "name": "folder of the study below logs/tuning (default: made of data set, model, tuner, stage and key)",
            "resume": "go on with a study, also with more --max-trials or --budget; no other setting may differ",
            "patience": "stop a trial after N epochs without a better validation score; 0 never "
            f"(default here: {TRIAL_PATIENCE})",
            "results": "where the runs are that are named (default: results/)",
        },
    ),
    "evaluate": Mode(
        summary="judge a finished run on other data",
        example="--mode evaluate first --data data/ck48",
        call=_evaluate,
        fields={
            DataConfig: ("data", "dataset", "ferplus", "exclude", "limit", "skip_bad", "strict_data"),
            EvaluationConfig: ("logit_adjustment", "resamples"),
            RunConfig: ("name",),
        },
        others=("split", "composition", "results", "logs"),
        runs=(1, 1),
        texts={
            "logs": "where studies are (default: logs/)",
            "data": "folder, csv or zip to judge the run on",
            "exclude": "emotions of this data to leave out, separated by commas",
            "limit": "a stratified N of the judged faces, for a quick look",
            "name": "folder below results/ (default: made of the run and the data set)",
        },
    ),
    "predict": Mode(
        summary="say what the faces in pictures, folders and videos express",
        example="--mode predict photo.jpg --annotate marked",
        call=answering.predict,
        fields={FaceConfig: tuple(fields_of(FaceConfig)), PredictConfig: tuple(fields_of(PredictConfig))},
        others=("run", "out", "annotate", "explain", "results"),
        runs=(1, None),
        noun="input",
        texts={"run": f"{_OTHER_FLAGS['run'][1]}; several flags put several models side by side"},
    ),
    "webcam": Mode(
        summary="show live what the faces before a camera, or in a video, express",
        example="--mode webcam",
        call=answering.webcam,
        fields={
            WebcamConfig: tuple(fields_of(WebcamConfig)),
            FaceConfig: tuple(name for name in fields_of(FaceConfig) if name != "cropped"),
        },
        others=("run", "record", "csv", "results"),
    ),
    "export": Mode(
        summary="write a whole run as one file for TensorFlow, ONNX or TFLite, and check it",
        example="--mode export first --format tflite --verify data/fer2013",
        call=answering.export,
        fields={ExportConfig: tuple(fields_of(ExportConfig)), DataConfig: ("data", "dataset")},
        others=("out", "verify", "results"),
        runs=(0, 1),
        texts={
            "out": "folder for what is written (default: export/ in the run's own)",
            "data": "faces whose train split calibrates tflite-int8 (default: the run's own data)",
        },
    ),
    "publish": Mode(
        summary="copy a finished run in a form to give away: small weights judged anew, a model card, no faces",
        example="--mode publish flat --out results/published/flat",
        call=_publish,
        fields={DataConfig: ("data", "ferplus"), EvaluationConfig: ("mirror",)},
        others=("out", "results"),
        runs=(1, 1),
        texts={
            "out": "the new folder (default: results/published/<run>)",
            "data": "where the run's own faces are, if they have moved",
            "ferplus": "where their FER+ votes are, if they have moved",
            "mirror": "whether the copy answers with the mean over face and mirror image (default: as the run)",
        },
    ),
    "explain": Mode(
        summary="draw where each network of a finished run looks when it answers (Grad-CAM)",
        example="--mode explain first --data data/ck48",
        call=_explain,
        fields={DataConfig: ("data", "dataset", "limit", "skip_bad"), RunConfig: ("name",)},
        others=("image", "results"),
        runs=(0, 1),
        texts={
            "data": "folder, csv or zip to look at (default: the test faces of the run, or --image alone)",
            "limit": "a stratified N of the faces (default: 500)",
            "name": "folder below results/ (default: made of the run and the data set)",
        },
    ),
    "audit": Mode(
        summary="say what is wrong with a data set before anybody trains on it",
        example="--mode audit --data data/fer2013",
        call=_audit,
        fields={DataConfig: ("data", "dataset", "ferplus", "strict_data"), RunConfig: ("name",)},
        texts={"data": "folder, csv or zip to audit", "name": "folder below results/ (default: made of the data set)"},
    ),
    "runs": Mode(
        summary="list the runs of a results folder with cost and validation scores, the best first",
        example="--mode runs",
        call=_runs,
        fields={},
        others=("out", "results"),
        texts={"out": "also write the table, with every flag that was set, to FILE.csv"},
    ),
    "models": Mode(
        summary="list the models with their input, cost, pretrained weights and source",
        example="--mode models",
        call=_models,
        fields={},
        others=(),
    ),
    "download": Mode(
        summary="fetch a public data set with kagglehub (optional), or say how to get it by hand",
        example="--mode download --dataset fer2013",
        call=_download,
        fields={DataConfig: ("dataset",)},
        others=("to",),
        texts={"dataset": f"which data set to fetch: {', '.join(KAGGLE_SLUGS)}"},
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 1 done but for some of many files, 2 bad input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_program(PROGRAM, lambda: _run(argv))


def _run(argv: list[str]) -> None:
    name = _mode_named(argv)
    if name is None and ("--help" in argv or "-h" in argv):
        print(_overview())
        return
    mode = MODES[name or "hierarchical"]
    _check_flags(argv, name or "hierarchical")
    parser = _parser(mode)
    if "--help" in argv or "-h" in argv:
        print(parser.format_help(), end="")
        return
    given = _given(parser, mode, argv)
    with notes_on_screen():
        folder = mode.call(given, shlex.join(["python", PROGRAM, *argv]))
    if folder is not None:
        print(f"data: {folder}" if mode.call is _download else f"report: {folder / 'report.html'}")


def _mode_named(argv: list[str]) -> str | None:
    first = OneLineParser(add_help=False, allow_abbrev=False)
    first.add_argument("--mode")
    name = first.parse_known_args(argv)[0].mode
    if name is not None and name not in MODES:
        raise UserError(f"--mode: expected one of {', '.join(MODES)}, got {name!r}{did_you_mean(name, MODES)}")
    return name


def _check_flags(argv: list[str], name: str) -> None:
    """Refuse flags that the mode has not, before argparse takes their values for something else."""
    known = MODES[name].flags
    end = argv.index("--") if "--" in argv else len(argv)
    for word in argv[:end]:
        flag = word.partition("=")[0]
        if not re.match(r"--?[A-Za-z]", flag) or flag in known:
            continue
        owners = [other for other, mode in MODES.items() if flag in mode.flags]
        if owners:
            raise UserError(f"{flag} does not belong to --mode {name}; it belongs to {', '.join(owners)}")
        raise UserError(f"unknown flag {flag}{did_you_mean(flag, known)}; --mode {name} --help lists all")


def _given(parser: argparse.ArgumentParser, mode: Mode, argv: list[str]) -> Given:
    arguments, extra = parser.parse_known_intermixed_args(argv)
    given = vars(arguments)
    words = [*given.pop(_words_of(mode), []), *extra]
    low, high = mode.runs
    if words and high == 0:
        hint = f"; write --mode {words[0]}" if words[0] in MODES else "; every setting is a flag"
        raise UserError(f"unexpected argument {words[0]!r}{hint}")
    if len(words) < low or (high is not None and len(words) > high):
        most = f"one {mode.noun}" if low == high == 1 else f"at most {high} {mode.noun}{'s' * (high != 1)}"
        wanted = most if high is not None else f"at least {low} {mode.noun}{'s' * (low > 1)}"
        raise UserError(f"expected {wanted}, got {len(words)}; for example: python {PROGRAM} {mode.example}")
    defaults = {"results": RESULTS, "logs": LOGS, "study_dir": STUDIES}
    places = {key: Path(given.get(key, defaults[key])) for key in mode.others if key in defaults}
    for folder in places.values():
        runs.check_writable(folder)
    return {**given, **places, **({_words_of(mode): words} if high != 0 else {})}


def _words_of(mode: Mode) -> str:
    """The key of the words beside the flags."""
    return f"{mode.noun}s"


def _parser(mode: Mode) -> argparse.ArgumentParser:
    name = next(name for name, known in MODES.items() if known is mode)
    parser = OneLineParser(
        prog=f"python {PROGRAM}",
        usage=f"python {PROGRAM} --mode {name}{_runs_usage(mode)} [flags]",
        description=f"{mode.summary[0].upper()}{mode.summary[1:]}.",
        epilog=f"example: python {PROGRAM} {mode.example}",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    if mode.runs[1] != 0:
        parser.add_argument(_words_of(mode), nargs="*", metavar=mode.noun.upper(), help=_WORDS[mode.noun])
    for part, names in mode.fields.items():
        group = parser.add_argument_group(_GROUPS[part], _STAGED if part is StageConfig else None)
        for field_name in names:
            add_setting(group, part, field_name, text=mode.texts.get(field_name))
    places = parser.add_argument_group("program")
    places.add_argument("--mode", choices=list(MODES), help="what to do (default: hierarchical)")
    for other in mode.others:
        metavar, text = _OTHER_FLAGS[other]
        many = {
            "axis": {"action": "append"},
            "image": {"action": "extend", "nargs": "+"},
            "hyperparameters": {"action": "append"},
            "run": {"action": "append"},
        }.get(other, {})
        places.add_argument(flag(other), metavar=metavar, help=mode.texts.get(other, text), **many)
    return parser


def _runs_usage(mode: Mode) -> str:
    word = mode.noun.upper()
    usual = {(0, 0): "", (0, 1): f" [{word}]", (1, 1): f" {word}", (0, 2): f" [{word} [{word}]]"}
    return usual.get(mode.runs, f" {' '.join([word] * mode.runs[0])} [{word} ...]")


def _overview() -> str:
    modes = "\n".join(f"  {name:<13} {mode.summary}" for name, mode in MODES.items())
    examples = "\n".join(f"  python {PROGRAM} {mode.example}" for mode in MODES.values())
    return (
        f"usage: python {PROGRAM} [--mode MODE] [flags]\n\n"
        "Train, compose and judge a hierarchy of emotion classifiers.\n\n"
        f"modes:\n{modes}\n\nexamples:\n{examples}\n\n"
        f"python {PROGRAM} --mode MODE --help shows the flags of a mode."
    )


if __name__ == "__main__":
    sys.exit(main())
