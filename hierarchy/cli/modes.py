"""What the program does, mode by mode, and the flags of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.cli.flags import Given
from fer_hierarchy.hierarchy.cli.results import (
    audit,
    compare,
    ensemble,
    evaluate,
    explain,
    fetch,
    list_models,
    list_runs,
    publish,
)
from fer_hierarchy.hierarchy.cli.training import cross_validate, train, train_grid
from fer_hierarchy.hierarchy.config import (
    DataConfig,
    EvaluationConfig,
    RunConfig,
    StageConfig,
    fields_of,
)
from fer_hierarchy.hierarchy.data.download import KAGGLE_SLUGS
from fer_hierarchy.hierarchy.experiments import crossval
from fer_hierarchy.hierarchy.training.workers import WorkerConfig
from fer_hierarchy.inference.command import export, predict, webcam
from fer_hierarchy.inference.settings import ExportConfig, FaceConfig, PredictConfig, WebcamConfig
from fer_hierarchy.tuning.command import TRIAL_PATIENCE, tune
from fer_hierarchy.tuning.settings import SearchConfig

OTHER_FLAGS = {
    "config": ("FILE", "settings to start from, as results/<run>/config.json holds them; flags go over them"),
    "resume": ("RUN", "go on with an interrupted run; no setting may differ from the run's own"),
    "results": ("DIR", "where run folders are (default: results/)"),
    "logs": ("DIR", "where run.log and TensorBoard files go (default: logs/)"),
    "axis": ("NAME=VALUE,...", "a setting (any flag, or mode) and the values that it takes; give one for each axis"),
    "figures": ("DIR", "also write the report's figures as PDF, SVG and PNG at 300 dpi, its tables as LaTeX and csv"),
    "image": ("FILE", "a picture of a face to explain by itself; several after one flag, or one flag for each"),
    "baseline": ("", "also train a flat network of the same budget on the same faces, and compare both in one report"),
    "train": ("flat|hierarchical", "what the cells are, where mode is no axis (default: flat)"),
    "repeats": ("N", "make all folds N times, each time with the next seed (default: 1)"),
    "hyperparameters": (
        "STUDY|FILE",
        "settings that --mode tune found for a stage, or for all (a name below logs/tuning, or a best.json); "
        "several flags for several stages; other flags go over them",
    ),
    "split": (
        "NAME,...",
        "official splits of the data to evaluate: train, validation, test (default: test, else validation, else all)",
    ),
    "robustness": ("", "also evaluate the faces blurred, noisy, compressed, dark, turned, shifted and covered"),
    "composition": ("STUDY|FILE", "also report predictions composed as a search for the composition found"),
    "study_dir": ("DIR", "where studies are (default: logs/tuning); shared by all machines of a cluster"),
    "to": ("DIR", "folder to put the data in (default: data/<dataset>)"),
    "run": (
        "RUN|FILE",
        "a run below results/, its folder, or a file that --mode export wrote (default: the published weights, "
        "or the newest run where there are none)",
    ),
    "out": ("FILE", "also write a row a face into FILE.csv, .json or .parquet; the same call again goes on with it"),
    "annotate": ("DIR", "draw boxes and probabilities into copies of the pictures and videos"),
    "blur": ("DIR", "copy the pictures and videos with all faces blurred, and without what their files tell besides"),
    "explain": ("DIR", "draw why: each face with the heat maps of gate and specialist and its probabilities"),
    "record": ("FILE", "record what the window shows as .mp4 or .avi"),
    "csv": ("FILE", "write a row for each face and frame"),
    "verify": ("DATA", "compare what was written with the run on the test faces of this folder, csv or zip"),
}

# Those that may be given more than once, with what argparse makes of them.
REPEATED: dict[str, dict[str, Any]] = {
    **{key: {"action": "append"} for key in ("axis", "hyperparameters", "run")},
    "image": {"action": "extend", "nargs": "+"},
}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One thing that the program does, and the flags that belong to it.

    Attributes:
        summary: One line for the list of modes.
        example: Arguments of a typical call.
        call: What does it; takes the given flags and the command line, returns the folder to point at, if any.
        fields: Per section of the configuration, the fields that are flags of this mode.
        others: Names in `OTHER_FLAGS`.
        runs: Fewest and most words beside the flags (None is no limit): runs, or what `noun` names.
        noun: What those words name.
        texts: Help texts that differ from the usual ones.
    """

    summary: str
    example: str
    call: Callable[[Given, str], Path | None]
    fields: Mapping[type, tuple[str, ...]]
    others: tuple[str, ...] = ("figures", "results")
    runs: tuple[int, int | None] = (0, 0)
    noun: str = "run"
    texts: Mapping[str, str] = field(default_factory=dict)


_ALL_STAGE = tuple(fields_of(StageConfig))
_TRAIN_FIELDS = {
    DataConfig: tuple(fields_of(DataConfig)),
    StageConfig: _ALL_STAGE,
    EvaluationConfig: tuple(fields_of(EvaluationConfig)),
    RunConfig: ("trunk", "name", "seed", "deterministic", "device", "jit", "calibration_apart"),
}
_AT_ONCE: Mapping[type, tuple[str, ...]] = {WorkerConfig: tuple(fields_of(WorkerConfig))}
_TRAIN_OTHERS = ("config", "hyperparameters", "resume", "figures", "results", "logs")

MODES = {
    "hierarchical": Mode(
        summary="train a gate and one specialist per group, compose and evaluate them (the default)",
        example="--mode hierarchical --data data/fer2013 --name first",
        call=train,
        fields=_TRAIN_FIELDS,
        others=("baseline", *_TRAIN_OTHERS),
    ),
    "flat": Mode(
        summary="train one classifier of all emotions on the same faces",
        example="--mode flat --data data/fer2013 --name flat",
        call=train,
        fields=_TRAIN_FIELDS,
        others=_TRAIN_OTHERS,
    ),
    "grid": Mode(
        summary="train every combination of some settings, each as a run, and show them in one table",
        example="--mode grid --axis model=shallow_cnn,deep_cnn --axis augment=on,off --data data/fer2013",
        call=train_grid,
        fields={**_TRAIN_FIELDS, **_AT_ONCE},
        others=("axis", "train", *_TRAIN_OTHERS),
        texts={
            "name": "folder of the grid below results/ (default: made of data set and axes)",
            "resume": "go on with a grid; finished cells stay as they are, no setting may differ from the grid's own",
        },
    ),
    "crossval": Mode(
        summary="cut all faces into folds and train a run for each, in which that fold is the test split",
        example="--mode crossval --folds 5 --train hierarchical --data data/ck48 --name ck48-5fold",
        call=cross_validate,
        fields={
            **_TRAIN_FIELDS,
            **_AT_ONCE,
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
        call=compare,
        fields={EvaluationConfig: ("resamples",), RunConfig: ("name", "seed")},
        runs=(2, None),
        texts={"name": "folder below results/ (default: made of the runs' names)", "seed": "seed of the bootstrap"},
    ),
    "ensemble": Mode(
        summary="evaluate the geometric mean of the probabilities of several runs",
        example="--mode ensemble first flat --name both",
        call=ensemble,
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
            RunConfig: ("name", "seed", "deterministic", "device", "jit"),
            **_AT_ONCE,
        },
        others=("study_dir", "config", "resume", "figures", "results"),
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
        summary="evaluate a finished run on other data",
        example="--mode evaluate first --data data/ck48",
        call=evaluate,
        fields={
            DataConfig: ("data", "dataset", "ferplus", "classes", "exclude", "limit", "skip_bad", "strict_data"),
            EvaluationConfig: ("logit_adjustment", "resamples"),
            RunConfig: ("name",),
        },
        others=("split", "robustness", "composition", "figures", "results", "logs"),
        runs=(1, 1),
        texts={
            "logs": "where studies are (default: logs/)",
            "data": "folder, csv or zip to evaluate the run on",
            "exclude": "emotions of this data to leave out, separated by commas",
            "limit": "a stratified N of the faces of each evaluated split, for a quick trial",
            "name": "folder below results/ (default: made of the run and the data set)",
        },
    ),
    "predict": Mode(
        summary="predict the emotions of the faces in pictures, folders and videos",
        example="--mode predict photo.jpg --annotate marked",
        call=predict,
        fields={FaceConfig: tuple(fields_of(FaceConfig)), PredictConfig: tuple(fields_of(PredictConfig))},
        others=("run", "out", "annotate", "blur", "explain", "results"),
        runs=(1, None),
        noun="input",
        texts={"run": f"{OTHER_FLAGS['run'][1]}; several flags put several models side by side"},
    ),
    "webcam": Mode(
        summary="show live what the faces before a camera, or in a video, express",
        example="--mode webcam",
        call=webcam,
        fields={
            WebcamConfig: tuple(fields_of(WebcamConfig)),
            FaceConfig: tuple(name for name in fields_of(FaceConfig) if name != "cropped"),
        },
        others=("run", "record", "csv", "results"),
    ),
    "export": Mode(
        summary="write a whole run as one file for TensorFlow, ONNX or TFLite, and check it",
        example="--mode export first --format tflite --verify data/fer2013",
        call=export,
        fields={ExportConfig: tuple(fields_of(ExportConfig)), DataConfig: ("data", "dataset")},
        others=("out", "verify", "results"),
        runs=(0, 1),
        texts={
            "out": "folder for what is written (default: export/ in the run's own)",
            "data": "faces whose train split calibrates tflite-int8 (default: the run's own data)",
        },
    ),
    "publish": Mode(
        summary="copy a finished run in a form to give away: small weights evaluated anew, a model card, no faces",
        example="--mode publish flat --out results/published/flat",
        call=publish,
        fields={DataConfig: ("data", "ferplus"), EvaluationConfig: ("mirror",)},
        others=("out", "results"),
        runs=(1, 1),
        texts={
            "out": "the new folder (default: results/published/<run>)",
            "data": "where the run's own faces are, if they have moved",
            "ferplus": "where their FER+ votes are, if they have moved",
            "mirror": "whether the copy predicts the mean over face and mirror image (default: as the run)",
        },
    ),
    "explain": Mode(
        summary="draw which parts of a face each network of a finished run predicts from (Grad-CAM)",
        example="--mode explain first --data data/ck48",
        call=explain,
        fields={DataConfig: ("data", "dataset", "limit", "skip_bad"), RunConfig: ("name",)},
        others=("image", "figures", "results"),
        runs=(0, 1),
        texts={
            "data": "folder, csv or zip to explain (default: the test faces of the run, or --image alone)",
            "limit": "a stratified N of the faces (default: 500)",
            "name": "folder below results/ (default: made of the run and the data set)",
        },
    ),
    "audit": Mode(
        summary="report what is wrong with a data set before anybody trains on it",
        example="--mode audit --data data/fer2013",
        call=audit,
        fields={DataConfig: ("data", "dataset", "ferplus", "classes", "strict_data"), RunConfig: ("name",)},
        texts={"data": "folder, csv or zip to audit", "name": "folder below results/ (default: made of the data set)"},
    ),
    "runs": Mode(
        summary="list the runs of a results folder with cost and validation scores, the best first",
        example="--mode runs",
        call=list_runs,
        fields={},
        others=("out", "results"),
        texts={"out": "also write the table, with every flag that was set, to FILE.csv"},
    ),
    "models": Mode(
        summary="list the models with their input, cost, pretrained weights and source",
        example="--mode models",
        call=list_models,
        fields={},
        others=(),
    ),
    "download": Mode(
        summary="fetch a public data set with kagglehub (optional), or explain how to get it by hand",
        example="--mode download --dataset fer2013",
        call=fetch,
        fields={DataConfig: ("dataset",)},
        others=("to",),
        texts={"dataset": f"which data set to fetch: {', '.join(KAGGLE_SLUGS)}"},
    ),
}
