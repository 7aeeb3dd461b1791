"""Frozen settings of a run: defaults, JSON in and out, and every check that needs no data.

Each field carries its own help text and limits, so that the command line, the checks and the saved record share one
definition. Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import parse_file, read_written
from fer_hierarchy.hierarchy.own_classes import OwnClasses, read_own_classes
from fer_hierarchy.hierarchy.taxonomy import (
    EMOTIONS,
    FLAT,
    TAXONOMIES,
    TRUNK,
    Taxonomy,
    canonical_emotion,
    is_emotion,
    load_taxonomy,
)
from fer_hierarchy.models.registry import NO_WEIGHTS, PRETRAINED
from fer_hierarchy.models.settings import FLOAT32, PRECISIONS

FORMAT = 1
SYNTHETIC = "synthetic"  # so do the names of all embedded data sets begin
SPLITS = ("train", "validation", "test")
PICTURES = ("image_size", "channels", "align")  # settings of the data that decide what a network is shown
TRAINING_MODES = ("hierarchical", "flat")
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps")
FRAMEWORKS = ("keras", "pytorch")
FEATURE_LOSSES = ("center", "island")
LOSSES = ("ce", "weighted", "focal", *FEATURE_LOSSES, "balanced-softmax")
MODALITIES = ("rgb", "depth", "rgbd")
SEPARATE, SHARED = TRUNKS = ("separate", "shared")
ONE_CYCLE = "one-cycle"
RGBD_MODELS = ("rgbd_fusion",)  # the models that read a depth plane behind the colours
_TAXONOMY_HELP = f"grouping of the emotions: {', '.join(TAXONOMIES)}, or a JSON file"


def option(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    metavar: str | None = None,
) -> Any:
    """A dataclass field with the help text, limits (`above` exclusive) and placeholder that the command line shows."""
    metadata = {"help": text, "choices": choices, "low": low, "high": high, "above": above, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """A section of the settings, which refuses bad values when it is made."""

    def __post_init__(self) -> None:
        for name in fields_of(type(self)):
            value = getattr(self, name)
            # As the command line names and words it, so that both are alike.
            checked = check_value(type(self), name, value, f"--{name.replace('_', '-')}")
            if checked is not value:
                object.__setattr__(self, name, checked)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which faces a run sees, and how they are grouped and split.

    Examples:
        >>> from fer_hierarchy import DataConfig
        >>> DataConfig(data="data/fer2013", exclude=("Disgust", "contempt")).exclude
        ('disgust', 'contempt')
    """

    data: str | list | None = option(
        None,
        "folder, csv or zip; given more than once, the data sets are merged "
        "(default: data/fer2013 if it is there, else synthetic faces)",
        metavar="PATH",
    )
    dataset: str | None = option(None, "read the data as this kind instead of recognising it", metavar="NAME")
    ferplus: str | None = option(
        None,
        "FER+ votes for FER-2013: fer2013new.csv beside a csv, a table by file name beside folders",
        metavar="FILE",
    )
    taxonomy: str | dict = option("valence", _TAXONOMY_HELP)
    classes: str | dict | None = option(
        None, "what your own class folders mean: a JSON file of words and emotions or new classes", metavar="FILE"
    )
    exclude: tuple[str, ...] = option((), "emotions to leave out everywhere, separated by commas", metavar="EMOTIONS")
    emotions: tuple[str, ...] = option((), "keep these emotions and leave out all others", metavar="EMOTIONS")
    generated: str | None = option(
        None, "folder of faces made by pt_files.gan, which join the train rows only", metavar="FOLDER"
    )
    teacher: str | list | None = option(
        None,
        "finished run whose predictions of the train faces are mixed into the labels (distillation); "
        "given more than once, the geometric mean of theirs",
        metavar="RUN",
    )
    teacher_weight: float = option(0.7, "share of the teacher's prediction in each label", above=0, high=1)
    teacher_temperature: float = option(1.0, "flattens the teacher's prediction above 1", above=0, high=20)
    limit: int | None = option(None, "a stratified N rows of each split, for a quick trial", low=1)
    drop_duplicates: bool = option(False, "drop train and validation faces that also stand in a later split")
    skip_bad: bool = option(False, "leave unreadable images out and record them, instead of stopping")
    strict_data: bool = option(False, "stop where a known data set does not have its published pixels or counts")
    image_size: int | None = option(
        None, "height and width in pixels that the models see (default: what the model was made for)", low=16, high=512
    )
    channels: int | None = option(
        None, "1 for grey, 3 for colour (default: 3 where depth comes with it, else 1)", choices=("1", "3")
    )
    align: bool = option(
        False, "turn faces until the eyes are level, depth with them, where landmarks or eyes are found"
    )
    min_intensity: int | None = option(
        None, "BU-3DFE: keep expressions of at least this intensity, and neutral faces", low=1, high=4
    )
    validation_fraction: float = option(
        0.1, "share of train cut off where there is no validation split", above=0, high=0.5
    )
    test_fraction: float = option(0.2, "share of all rows cut off where there is no test split", above=0, high=0.5)
    split_by: str = option(
        "subject", "what a cut keeps together; sample lets a person stand on both sides", choices=("subject", "sample")
    )
    folds: int | None = option(
        None, "cut all faces into this many folds, of which one is the test split", low=2, high=100
    )
    fold: int | None = option(None, "which of the --folds is the test split, from 1", low=1, high=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("exclude", "emotions"):
            classes = dict.fromkeys(self._class_of(word, f"--{name}") for word in getattr(self, name))
            object.__setattr__(self, name, tuple(classes))

    def _class_of(self, word: str, where: str) -> str:
        own = OwnClasses() if is_emotion(word) else self.own_classes
        found = canonical_emotion(word) if is_emotion(word) else own.of(word)
        if not found:
            raise UserError(f"{where}: unknown emotion {word!r}; known: {', '.join((*EMOTIONS, *own.groups))}")
        return found

    @property
    def named_taxonomy(self) -> Taxonomy:
        """What `taxonomy` names, without the classes of `classes`."""
        value = self.taxonomy
        return Taxonomy.from_dict(value, name="custom") if isinstance(value, dict) else load_taxonomy(value)

    @property
    def own_classes(self) -> OwnClasses:
        """The user's own words and classes, those of the taxonomy among them."""
        return read_own_classes(self.classes).with_names(self.named_taxonomy.own)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every place that is read, none where the faces are embedded or not yet settled."""
        return several(self.data)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Every run that teaches."""
        return several(self.teacher)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Every emotion that the run leaves out, by exclusion or because others were requested."""
        others = [e for e in (*EMOTIONS, *self.own_classes.groups) if self.emotions and e not in self.emotions]
        return tuple(dict.fromkeys([*self.exclude, *others]))


@dataclass(frozen=True, kw_only=True)
class StageConfig(Checked):
    """How one stage is trained; every field can be set for all stages or for one (`stage=value`).

    Examples:
        >>> from fer_hierarchy import RunConfig, StageConfig
        >>> config = RunConfig(stage=StageConfig(epochs=12), stages={"negative": {"balance": "oversample"}})
        >>> config.for_stage("negative").epochs, config.for_stage("negative").balance
        (12, 'oversample')
    """

    model: str = option("compact_resnet", "NAME or NAME:key=value:..., see --mode models", metavar="NAME")
    modality: str | None = option(
        None, "what an RGB-D model sees (default: rgbd); all of them are trained on the same faces", choices=MODALITIES
    )
    depth: str | None = option(
        None,
        "how an RGB-D model reads depth (default: normals, the directions of the surface)",
        choices=("relief", "distance", "normals"),
    )
    weights: str = option(
        NO_WEIGHTS, f"first weights: none, {', '.join(PRETRAINED)}, or RUN/STAGE of another run", metavar="FROM"
    )
    freeze: int = option(0, "train only the last layer for the first N epochs", low=0)
    thaw_rate: float = option(0.1, "share of the learning rate that the thawed model goes on with", above=0, high=1)
    epochs: int | None = option(
        None, "passes over the drawn train rows (default: 24, or 4 on synthetic faces)", low=1, high=100_000
    )
    batch_size: int = option(64, "faces in a training step", low=1)
    precision: str = option(
        FLOAT32,
        "numbers between a network's layers in training; the mixed ones are made for GPUs and slow on a processor, and "
        "what is saved is float32",
        choices=PRECISIONS,
    )
    accumulate: int = option(1, "batches whose mean gradient makes one update", low=1, high=10_000)
    optimizer: str = option(
        "adamw",
        "sgd is Nesterov with momentum 0.9, nadam is adamw with Nesterov's momentum",
        choices=("sgd", "adamw", "nadam"),
    )
    learning_rate: float | None = option(None, "peak rate (default: 0.05 for sgd, else 0.001)", above=0)
    schedule: str = option(
        "cosine",
        "course of the rate after the warm-up; one-cycle rises over 30 %% of the steps, without another warm-up",
        choices=("cosine", "linear", "constant", "plateau", ONE_CYCLE),
    )
    plateau_factor: float = option(
        0.5, "what a plateau of the validation score multiplies the rate by", above=0, high=1
    )
    plateau_patience: int = option(3, "epochs without a better validation score that make a plateau", low=1)
    warmup: float = option(1.0, "epochs of linear warm-up", low=0, high=100_000)
    weight_decay: float = option(5e-4, "decoupled weight decay", low=0)
    clip_norm: float = option(
        0.0, "largest norm of all gradients together, to which longer ones are scaled down; 0 leaves them", low=0
    )
    loss: str = option("ce", "what training minimises", choices=LOSSES)
    focal_gamma: float = option(2.0, "how much the focal loss ignores easy faces", low=0, high=10)
    center_weight: float = option(0.01, "weight of the centre or island penalty beside cross-entropy", low=0, high=10)
    island_weight: float = option(10.0, "weight of the island part within that penalty", low=0, high=1000)
    center_rate: float = option(0.5, "how far a step moves the centres", above=0, high=1)
    label_smoothing: float = option(0.1, "share of each label spread over the classes", low=0, high=0.9)
    # Off by default: while the rate is high the averaged weights do not fit the latest batch statistics.
    ema: float = option(
        0.0,
        "span of an average of the weights, validated and saved in their place, as a share of all steps",
        low=0,
        high=0.5,
    )
    balance: str = option(
        "none",
        "imbalance handling on train rows; sampler draws every class alike, anew each epoch",
        choices=("none", "oversample", "class-weight", "sampler"),
    )
    patience: int = option(0, "stop after N epochs without a better validation score; 0 never stops early", low=0)
    soft_labels: bool = option(False, "train on FER+ vote shares, also of faces without a majority")
    augment: bool = option(
        True,
        "augmentation as a whole; strong is on, with blur and noise (--defocus 0.015 --noise 0.03); randaugment is on, "
        "with random operations instead of turns and zoom (--operations 2 --rotation 0 --zoom 0)",
        metavar="on|off|strong|randaugment",
    )
    shift: float = option(0.1, "augmentation: largest shift as a fraction of the size", low=0, high=0.5)
    flip: bool = option(True, "augmentation: mirror half of the faces")
    rotation: float = option(10.0, "augmentation: largest rotation in degrees", low=0, high=180)
    zoom: float = option(0.1, "augmentation: largest zoom as a fraction", low=0, high=0.5)
    shear: float = option(0.0, "augmentation: largest shear as a fraction", low=0, high=0.5)
    brightness: float = option(0.0, "augmentation: largest change of brightness as a fraction", low=0, high=1)
    contrast: float = option(0.0, "augmentation: largest change of contrast as a fraction", low=0, high=1)
    defocus: float = option(
        0.0, "augmentation: largest blur, its standard deviation as a fraction of the size", low=0, high=0.1
    )
    noise: float = option(
        0.0, "augmentation: largest noise, its standard deviation as a fraction of white", low=0, high=0.5
    )
    operations: int = option(0, "augmentation: operations on each face that RandAugment draws", low=0, high=8)
    magnitude: float = option(0.5, "augmentation: strength of these operations, 1 is the paper's 10", above=0, high=1)
    erase: float = option(0.25, "augmentation: probability of erasing a rectangle", low=0, high=1)
    depth_noise: float = option(
        0.5, "augmentation: standard deviation of noise on depth in millimetres", low=0, high=50
    )
    depth_holes: float = option(0.25, "augmentation: probability of a hole in the depth", low=0, high=1)
    mixup: float = option(
        0.0, "blend faces and labels by shares from Beta(ALPHA, ALPHA)", low=0, high=1, metavar="ALPHA"
    )
    cutmix: float = option(0.0, "paste faces into faces by such shares", low=0, high=1, metavar="ALPHA")

    @property
    def model_spec(self) -> str:
        """The model with what it is to see, as the registry takes it."""
        if not self.reads_depth:
            return self.model
        return f"{self.model}:modality={self.modality or 'rgbd'}:depth={self.depth or 'normals'}"

    @property
    def reads_depth(self) -> bool:
        """Whether the model takes faces with a depth plane."""
        return self.model.partition(":")[0] in RGBD_MODELS

    @property
    def weighs_classes(self) -> bool:
        """Whether the loss weighs each face by its class."""
        return self.loss == "weighted" or self.balance == "class-weight"

    @property
    def levels_prior(self) -> bool:
        """Whether training makes the stage expect all classes alike."""
        return self.balance != "none" or self.loss in ("weighted", "balanced-softmax")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Checked):
    """How a trained run is evaluated; nothing here changes a weight.

    Examples:
        >>> from fer_hierarchy import EvaluationConfig
        >>> EvaluationConfig(logit_adjustment=1).resamples
        1000
    """

    temperature: bool = option(True, "fit one temperature per stage on validation before composing")
    mirror: bool = option(
        False, "predict the mean over each face and its mirror image, here and ever after, at twice the cost"
    )
    prior_correction: bool = option(True, "undo the class prior of a rebalanced stage before composing")
    logit_adjustment: float = option(
        0.0, "also report predictions adjusted by prior^-TAU (Menon et al., 2021)", low=0, high=10, metavar="TAU"
    )
    feature_map: bool = option(
        False, "map the features of every stage by t-SNE; a centre or island loss and an axis of losses always do"
    )
    resamples: int = option(1000, "bootstrap resamples of the 95 %% intervals", low=100, high=100_000)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """Everything that decides what a run computes; a bad value is refused when it is made.

    Examples:
        >>> from fer_hierarchy import RunConfig
        >>> RunConfig(mode="flat", seed=3).for_stage("flat").model
        'compact_resnet'
        >>> RunConfig(seed=-5)
        Traceback (most recent call last):
        fer_hierarchy.hierarchy.errors.UserError: --seed: expected at least 0 and at most 2147483647, got -5

    Attributes:
        stage: Settings of all stages.
        stages: Per stage, the fields that differ from `stage`.
        searched: Per stage, the best.json of the search that found its hyperparameters.
    """

    mode: str = option("hierarchical", "what to train", choices=TRAINING_MODES)
    trunk: str = option(
        SEPARATE,
        "shared: gate and specialists are heads of one network, trained together, that costs what a flat one does",
        choices=TRUNKS,
    )
    framework: str = option("keras", "what trains the stages", choices=FRAMEWORKS)
    name: str | None = option(None, "folder below results/ (default: made of data set, mode, model and seed)")
    seed: int = option(
        0, "seed of splits, sampling, initial weights, shuffling and augmentation", low=0, high=2**31 - 1
    )
    deterministic: bool = option(True, "deterministic kernels: the same seed gives the same weights")
    device: str = option(
        "auto",
        "what trains and predicts: a GPU where there is one, or the processor; cuda and mps name PyTorch's",
        choices=DEVICES,
    )
    jit: str = option(
        "auto",
        "compile networks by XLA; auto where kernels need not repeat (--no-deterministic) and all layers can be",
        choices=("auto", "on", "off"),
    )
    calibration_apart: bool = option(
        False, "choose epochs on one half of the validation faces and calibrate on the other, people kept whole"
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    stage: StageConfig = dataclasses.field(default_factory=StageConfig)
    stages: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    searched: Mapping[str, str] = dataclasses.field(default_factory=dict)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_together()

    def for_stage(self, stage: str) -> StageConfig:
        """The settings of one stage, with its own values over the common ones."""
        return dataclasses.replace(self.stage, **self.stages.get(stage, {}))

    @property
    def shares_trunk(self) -> bool:
        """Whether one network predicts for all stages."""
        return self.trunk == SHARED

    @property
    def reads_depth(self) -> bool:
        """Whether the faces of the run come with depth."""
        return any(self.for_stage(stage).reads_depth for stage in self.grouping().stages(self.mode))

    @property
    def learns_votes(self) -> bool:
        """Whether some stage is trained on shares of votes."""
        return any(self.for_stage(stage).soft_labels for stage in self.grouping().stages(self.mode))

    def grouping(self) -> Taxonomy:
        """The taxonomy with the exclusions taken out."""
        taxonomy = self.data.own_classes.added_to(self.data.named_taxonomy)
        dropped = [e for e in self.data.left_out if e in taxonomy.emotions]
        return taxonomy.exclude(dropped) if dropped else taxonomy

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; a taxonomy file is written out in full, so the record stands alone."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        record["data"]["exclude"] = list(self.data.exclude)
        record["data"]["emotions"] = list(self.data.emotions)
        if isinstance(self.data.taxonomy, str) and self.data.taxonomy not in TAXONOMIES:
            record["data"]["taxonomy"] = load_taxonomy(self.data.taxonomy).to_dict()
        if isinstance(self.data.classes, str):
            place = f"--classes {self.data.classes}"
            record["data"]["classes"] = read_written(Path(self.data.classes), place)
        return record

    @classmethod
    def from_dict(cls, record: Any, *, source: str = "config") -> "RunConfig":
        """Read what `to_dict` wrote; keys that are left out take their defaults.

        Raises:
            UserError: An unknown key, a value of the wrong type or out of its limits.
        """
        if not isinstance(record, dict):
            raise UserError(f"{source}: expected a JSON object of settings, got {type(record).__name__}")
        values = {k: v for k, v in record.items() if k != "format"}
        if record.get("format", FORMAT) != FORMAT:
            raise UserError(f"{source}: format {record['format']!r} is not the {FORMAT} that this version reads")
        for key, part in SECTIONS.items():
            if key in values:
                values[key] = part(**_checked(part, values[key], f"{source}: {key}"))
        stages = values.get("stages", {})
        if not isinstance(stages, dict):
            raise UserError(f"{source}: stages: expected an object of stage names, got {stages!r}")
        values["stages"] = {s: _checked(StageConfig, v, f"{source}: stages.{s}") for s, v in stages.items()}
        searched = values.get("searched", {})
        if not isinstance(searched, dict) or not all(isinstance(path, str) for path in searched.values()):
            raise UserError(f"{source}: searched: expected an object of stage names and files, got {searched!r}")
        simple = {k: v for k, v in values.items() if k not in (*SECTIONS, "stages", "searched")}
        return cls(**{**values, **_checked(cls, simple, source)})

    def _check_together(self) -> None:
        """Refuse values that do not go together: of an exclusion, a stage, a balance or a trunk."""
        taxonomy = self.grouping()
        known = taxonomy.stages(self.mode)
        for name in self.stages:
            if name not in known:
                raise UserError(f"stage {name!r} is not part of this run; its stages are {', '.join(known)}")
        self._check_trunk(known)
        self._check_depth(known)
        self._check_folds()
        if len(self.data.paths) > 1 and (self.data.dataset or self.data.ferplus):
            given = "--dataset" if self.data.dataset else "--ferplus"
            raise UserError(f"{given} belongs to a single data set; leave it out where several --data are merged")
        for stage in known:
            settings = self.for_stage(stage)
            if settings.loss in ("weighted", "balanced-softmax") and settings.balance != "none":
                raise UserError(
                    f"--loss {settings.loss} with --balance {settings.balance} rebalances stage {stage} twice; "
                    "leave one of them out"
                )
            if settings.schedule == ONE_CYCLE and settings.warmup != StageConfig.warmup:
                raise UserError(
                    f"--warmup {settings.warmup} with --schedule {ONE_CYCLE} warms stage {stage} up twice; "
                    "leave one of them out"
                )
        if self.jit == "on" and self.deterministic:
            raise UserError("--jit on: XLA's kernels need not repeat; add --no-deterministic, or leave it at auto")
        both = sorted(set(self.data.emotions) & set(self.data.exclude))
        if both:
            raise UserError(f"{both[0]} stands in --emotions and in --exclude; leave it out of one of them")

    def _check_trunk(self, stages: Iterable[str]) -> None:
        """One network for all stages needs several, and is trained once."""
        if not self.shares_trunk:
            return
        if self.mode == FLAT:
            raise UserError(
                "--trunk shared joins the stages of a hierarchy; a flat run is one network; leave it at separate"
            )
        for stage, own in self.stages.items():
            if own:
                raise UserError(
                    f"--trunk shared trains one network; give --{next(iter(own)).replace('_', '-')} for all stages "
                    f"instead of stage {stage} alone"
                )
        if TRUNK in stages:
            raise UserError(f"--trunk shared calls its network {TRUNK!r}; give that stage of the taxonomy another name")

    def _check_depth(self, stages: Iterable[str]) -> None:
        """Stages of a run see the same faces: with depth all of them, or none."""
        settings = {stage: self.for_stage(stage) for stage in stages}
        plain = {stage: own for stage, own in settings.items() if not own.reads_depth}
        models = " or ".join(RGBD_MODELS)
        for stage, own in plain.items():
            given = next((name for name in ("modality", "depth") if getattr(own, name) is not None), None)
            if given:
                raise UserError(
                    f"--{given} {getattr(own, given)} belongs to an RGB-D model (--model {models}); "
                    f"stage {stage} is {own.model}"
                )
        if plain and len(plain) < len(settings):
            stage, own = next(iter(plain.items()))
            raise UserError(
                f"stage {stage} is {own.model}, but other stages read depth: give it --model {models}, "
                f"with --modality {stage}=rgb if it is to see colour alone"
            )
        spelled = next((own.model for own in settings.values() if own.reads_depth and _names_input(own.model)), None)
        if spelled:
            raise UserError(f"--model {spelled}: give what it sees as --modality and how it reads depth as --depth")
        mixed = next((stage for stage, own in settings.items() if own.reads_depth and own.mixup), None)
        if mixed:
            raise UserError(f"--mixup of depth would blend faces with holes; leave it out of stage {mixed}")

    def _check_folds(self) -> None:
        folds, fold = self.data.folds, self.data.fold
        if (folds is None) != (fold is None):
            given, needed = ("--folds", "--fold") if fold is None else ("--fold", "--folds")
            raise UserError(f"{given} needs {needed} N beside it; --mode crossval trains every fold")
        if folds and fold and fold > folds:
            raise UserError(f"--fold {fold}: expected 1 to {folds}, as many as --folds")


def _names_input(spec: str) -> bool:
    """Whether a model's settings name what the flags `--modality` and `--depth` set."""
    return any(setting.partition("=")[0] in ("modality", "depth") for setting in spec.split(":")[1:])


SECTIONS = {"data": DataConfig, "stage": StageConfig, "evaluation": EvaluationConfig}


def fields_of(part: type) -> dict[str, dataclasses.Field]:
    """The settable fields of a section by name, without nested sections."""
    return {f.name: f for f in dataclasses.fields(part) if f.metadata}


def _checked(part: type, values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected an object of settings, got {values!r}")
    known = fields_of(part)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(known)}")
    return {name: check_value(part, name, value, f"{where}.{name}") for name, value in values.items()}


def check_value(part: type, name: str, value: Any, where: str) -> Any:
    """`value` as the field `name` of `part` holds it.

    Args:
        part: DataConfig, StageConfig, EvaluationConfig or RunConfig.
        name: A field of `part`.
        value: Text from the command line, or a JSON value.
        where: What errors call the value: a flag or a key.

    Raises:
        UserError: The value cannot be read as the field's type, or is out of its limits.
    """
    field = fields_of(part)[name]
    kinds = kinds_of(part, name)
    if value is None and type(None) in kinds:
        return None
    if tuple in kinds:
        return _emotion_list(value, where)
    if list in kinds and isinstance(value, list | tuple):
        return _paths(value, where)
    if dict in kinds and isinstance(value, dict):
        if name == "classes":
            OwnClasses.from_dict(value, where=where)
            return value
        return Taxonomy.from_dict(value, name="custom").to_dict()
    return _within_limits(_convert(value, kinds, where), field.metadata, where)


@cache
def kinds_of(part: type, name: str) -> tuple[type, ...]:
    """The types that a field may hold: (int, NoneType) of an optional whole number."""
    hint = typing.get_type_hints(part)[name]
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(typing.get_origin(kind) or kind for kind in parts)


def several(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """What a flag that can be given more than once holds."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _paths(values: Iterable[Any], where: str) -> str | list[str]:
    """Several paths as a list, one as itself."""
    paths = [_convert(value, (str,), where) for value in values]
    twice = next((path for number, path in enumerate(paths) if path in paths[:number]), None)
    if twice or not paths:
        raise UserError(f"{where}: {twice} is given twice" if twice else f"{where}: expected at least one name")
    return paths[0] if len(paths) == 1 else paths


def _emotion_list(value: Any, where: str) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, Iterable):
        raise UserError(f"{where}: expected emotions, got {value!r}")
    emotions = tuple(str(word).strip() for word in words if str(word).strip())
    if isinstance(value, str) and value and not emotions:
        raise UserError(f"{where}: expected emotions, got {value!r}")
    return emotions


def _convert(value: Any, kinds: tuple[type, ...], where: str) -> Any:
    if bool in kinds:
        words = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise UserError(f"{where}: expected on or off, got {value!r}")
    if str in kinds:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(value, str) and value:
            return value
        raise UserError(f"{where}: expected text, got {value!r}")
    kind, word = (int, "a whole number") if int in kinds else (float, "a number")
    try:
        number = kind(value) if not isinstance(value, float) else float(value)
        usable = math.isfinite(number) and not (kind is int and number != int(number))
    except (TypeError, ValueError, OverflowError):  # OverflowError: a whole number too large for a float
        usable = False
    if isinstance(value, bool) or not usable:
        raise UserError(f"{where}: expected {word}, got {value!r}")
    return kind(number)


def _within_limits(value: Any, limits: Mapping[str, Any], where: str) -> Any:
    if limits["choices"] and str(value) not in limits["choices"]:
        raise UserError(f"{where}: expected one of {', '.join(limits['choices'])}, got {value!r}")
    low, high, above = limits["low"], limits["high"], limits["above"]
    if (
        (low is not None and value < low)
        or (above is not None and value <= above)
        or (high is not None and value > high)
    ):
        lower = f"above {above}" if above is not None else f"at least {low}"
        upper = f" and at most {high}" if high is not None else ""
        raise UserError(f"{where}: expected {lower}{upper}, got {value}")
    return value


def parse_staged(name: str, text: str, flag: str) -> dict[str | None, Any]:
    """Read `VALUE` or `stage=VALUE,stage=VALUE` (a bare VALUE among them is for all other stages).

    Returns:
        Stage name to value; the key None holds the value for all stages.
    """
    values: dict[str | None, Any] = {}
    for item in text.split(","):
        stage, equals, value = item.partition("=")
        equals = equals and ":" not in stage  # NAME:key=value is a model with its own settings
        key = stage.strip() if equals else None
        if key in values:
            raise UserError(f"{flag}: {key or 'the common value'} is given twice in {text!r}")
        values[key] = check_value(StageConfig, name, (value if equals else item).strip(), flag)
    return values


# Words for several settings at once: (flag, word) -> what they stand for; flags of these settings go over them.
WORDS = {
    ("augment", "strong"): {"augment": "on", "defocus": "0.015", "noise": "0.03"},
    ("augment", "randaugment"): {"augment": "on", "operations": "2", "rotation": "0", "zoom": "0"},
}


def apply_flags(config: RunConfig, flags: Mapping[str, Any]) -> RunConfig:
    """`config` with command-line values over it.

    Args:
        config: Defaults or what a file holds.
        flags: Field name to text or boolean, only those that the user gave.
    """
    sections: dict[str, dict[str, Any]] = {key: {} for key in SECTIONS}
    own: dict[str, Any] = {}
    stages = {name: dict(values) for name, values in config.stages.items()}
    for word in WORDS.keys() & {(name, str(value)) for name, value in flags.items()}:
        flags = {**flags, **WORDS[word], **{name: value for name, value in flags.items() if (name, value) != word}}
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if name in fields_of(StageConfig):
            _apply_staged(name, parse_staged(name, str(value), flag), sections["stage"], stages)
        elif name in fields_of(RunConfig):
            own[name] = check_value(RunConfig, name, value, flag)
        else:
            key = "data" if name in fields_of(DataConfig) else "evaluation"
            sections[key][name] = check_value(SECTIONS[key], name, value, flag)
    parts = {key: dataclasses.replace(getattr(config, key), **values) for key, values in sections.items()}
    return dataclasses.replace(config, **parts, **own, stages={s: v for s, v in stages.items() if v})


def _apply_staged(name: str, values: Mapping[str | None, Any], common: dict, stages: dict[str, dict]) -> None:
    if None in values:  # a value for all stages takes the place of what a file holds of single ones
        common[name] = values[None]
        for own in stages.values():
            own.pop(name, None)
    for stage, value in values.items():
        if stage is not None:
            stages.setdefault(stage, {})[name] = value


def load_config(path: Path) -> RunConfig:
    """Read a config.json.

    Raises:
        UserError: The file is missing, no JSON, or holds a bad setting.
    """
    try:
        record = parse_file(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"config {path}: not readable as JSON ({error}); expected what a run's config.json holds"
        ) from error
    return RunConfig.from_dict(record, source=f"config {path}")


def differences(saved: RunConfig, requested: RunConfig) -> list[str]:
    """Settings that differ, each as `key: saved -> requested`."""
    left, right = _flatten(saved.to_dict()), _flatten(requested.to_dict())
    return [f"{k}: {left.get(k)!r} -> {right.get(k)!r}" for k in sorted({*left, *right}) if left.get(k) != right.get(k)]


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping) and key != "taxonomy":
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
