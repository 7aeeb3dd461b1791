"""Stage: a name, its classes and a network; gate, specialist and flat classifier are all the same thing.

Free of any framework: `hierarchy.training.keras_stage` and `pt_files.stage` train one and predict with it.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.metrics import f1_score

from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.augment import Augmentation
from fer_hierarchy.hierarchy.data.batches import TrainBatches
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.data.sampling import class_prior, draw_rows, draw_shares
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    prior_shift,
    probabilities,
)
from fer_hierarchy.hierarchy.json_text import parse_file
from fer_hierarchy.hierarchy.paths import STAGE_RECORD, atomic_write
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.taxonomy import TRUNK, Taxonomy


@dataclass(kw_only=True)
class Stage(ABC):
    """One classifier of the hierarchy.

    Attributes:
        name: `valence`, `positive`, `flat`, ...
        classes: Class order of the outputs.
        network: uint8 faces in, logits out; None before `fit` or `load`. With `mirror`, what
            averages the logits of the trained network, `core`, for each face and its mirror image.
        columns: First of the network's outputs that are the stage's own, and the one after its last; None where all
            are. A stage with columns has no network of its own but shares that of the stage `trunk` beside it.
        groups: Of such a trunk, whose classes are those of all heads side by side: for each group the places of its
            emotions among all, which `fit` composes the logits by. Empty for all other stages.
        mirror: Whether the prediction of a face is the mean of the logits of the face and of its mirror image.
        temperature: Divides the logits; fitted on validation.
        log_prior_shift: Added to the scaled logits; undoes the class prior of a rebalanced training.
        record: Facts of the training: rows, epochs, cost, settings.
    """

    framework: ClassVar[str]
    can_share_trunk: ClassVar[bool] = False  # whether `fit` knows what to do with `groups`
    checkpoint: ClassVar[str]  # file that an unfinished training leaves

    name: str
    classes: tuple[str, ...]
    network: Any = None
    columns: tuple[int, int] | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    mirror: bool = False
    temperature: float = 1.0
    log_prior_shift: tuple[float, ...] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @abstractmethod
    def prepare(cls, config: RunConfig) -> None:
        """Set up the framework for a run and its device, in each process that trains, before any stage is made."""

    @classmethod  # noqa: B027 - stages without a framework have nothing to choose
    def use_device(cls, config: RunConfig) -> None:
        """Choose what trains and predicts, before any data is read.

        Raises:
            UserError: This machine or framework has no such device.
        """

    @classmethod
    @abstractmethod
    def native_size(cls, config: StageConfig) -> int:
        """Image side in pixels that the settings' model was made for.

        Raises:
            UserError: There is no such model.
        """

    @classmethod
    @abstractmethod
    def check(cls, config: StageConfig, shape: tuple[int, int, int]) -> None:
        """Refuse, before any data is read, settings that cannot be trained on faces of `shape`.

        Raises:
            UserError: With what would be right.
        """

    @classmethod
    @abstractmethod
    def planned_work(cls, config: StageConfig, shape: tuple[int, ...], num_classes: int, labels: np.ndarray) -> float:
        """Work that training the stage takes, in the unit that `fit` adds to the run's progress."""

    @classmethod
    @abstractmethod
    def blank_prediction(cls, stages: Mapping[str, "Stage"], shape: tuple[int, ...]) -> Callable[[], object]:
        """What makes all stages predict one blank face of `shape`, for timing; a shared network predicts once."""

    @abstractmethod
    def fit(
        self,
        train: StageFaces,
        validation: StageFaces,
        config: StageConfig,
        *,
        folder: Path,
        logs: Path,
        seed: int,
        progress: Progress,
        until: int | None = None,
        since: int = 0,
    ) -> Self:
        """Train on `train`, choose the epoch on `validation`, go on from a checkpoint in `folder` if there is one.

        Args:
            train: Training faces; only these are rebalanced and augmented.
            validation: Faces that choose the epoch.
            config: Settings with `epochs` given.
            folder: Where the model, history.csv and the checkpoint go.
            logs: Where TensorBoard's files go.
            seed: Decides initial weights, order, sampling and augmentation.
            progress: The whole run's progress.
            until: Pause after this epoch, counted from 1, with a checkpoint to go on from; the learning rate follows
                the course of all `config.epochs` all the same.
            since: Epochs before this one, counted from 0, are not chosen: they saw the faces in another size.

        Raises:
            UserError: The loss became NaN, the model cannot be built, or a file cannot be written or read.
        """

    @abstractmethod
    def outputs(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The network's outputs for `rows` of `pixels` (uint8), float32 (m, outputs)."""

    @abstractmethod
    def features(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What goes into the last layer for `rows` of `pixels` (uint8), float32 (m, features)."""

    @classmethod
    @abstractmethod
    def load_network(cls, folder: Path) -> Any:
        """The network that `fit` left in `folder`.

        Raises:
            UserError: It is missing, damaged, or of another framework.
        """

    @classmethod
    @abstractmethod
    def with_mirror_image(cls, network: Any) -> Any:
        """What predicts the mean of a network's logits for a face and for its mirror image."""

    def takes(self, shape: tuple[int, int, int]) -> bool:  # noqa: ARG002 - a framework may not know
        """Whether the network takes faces of this (height, width, channels)."""
        return True

    @property
    @abstractmethod
    def core(self) -> Any:
        """The network as it was trained, without its mirror image."""

    def use_mirror_image(self) -> None:
        """From now on predict the mean over each face and its mirror image, at twice the cost."""
        self.network, self.mirror = self.with_mirror_image(self.network), True

    def logits(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Raw predictions of `rows` of `pixels` (uint8), float32 (m, classes)."""
        return self.own(self.outputs(pixels, rows))

    def own(self, outputs: np.ndarray) -> np.ndarray:
        """The stage's own among its network's outputs: (m, outputs) -> (m, classes)."""
        return outputs if self.columns is None else outputs[:, slice(*self.columns)]

    @property
    def first_output(self) -> int:
        """Which of the network's outputs is the stage's first class."""
        return 0 if self.columns is None else self.columns[0]

    def calibrate(
        self,
        validation: StageFaces,
        train: StageFaces,
        *,
        temperature: bool,
        prior_correction: bool,
        level: np.ndarray | None = None,
    ) -> None:
        """Fit the temperature on validation, and undo the class prior of a training that was not the natural one.

        Args:
            validation: Faces that the temperature is fitted on.
            train: Training faces; the labels of the real ones give the natural class prior.
            temperature: Whether to fit one.
            prior_correction: Whether to undo the prior of rebalanced or generated faces.
            level: (classes,) shares of the classes in a rebalanced training; None for equal ones.
        """
        logits = self.logits(validation.pixels, validation.rows)
        classes, shift = len(self.classes), None
        level = np.full(classes, 1 / classes) if level is None else level
        natural = class_prior(train.labels[~train.generated], classes)
        trained = level if self.record["levels_prior"] else class_prior(train.labels, classes)
        if prior_correction and not np.array_equal(trained, natural):
            shift = prior_shift(trained, natural)
        self.log_prior_shift = None if shift is None else tuple(float(s) for s in shift)
        self.temperature = fit_temperature(logits, validation.labels, shift) if temperature else 1.0
        self.record |= {"temperature": self.temperature, "prior_correction": shift is not None}

    def calibration_errors(self, faces: StageFaces) -> dict[str, float]:
        """Expected calibration error on `faces` before and after the temperature: {"ece_before", "ece_after"}."""
        logits, shift = self.logits(faces.pixels, faces.rows), self._shift
        temperatures = {"ece_before": 1.0, "ece_after": self.temperature}
        return {
            name: expected_calibration_error(faces.labels, probabilities(logits, temperature, shift))
            for name, temperature in temperatures.items()
        }

    @property
    def _shift(self) -> np.ndarray | None:
        return None if self.log_prior_shift is None else np.array(self.log_prior_shift)

    def predict_proba(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Calibrated class probabilities of `rows` of `pixels` (uint8), float64 (m, classes)."""
        return self.calibrated(self.outputs(pixels, rows))

    def calibrated(self, outputs: np.ndarray) -> np.ndarray:
        """Calibrated class probabilities, float64 (m, classes), from the network's outputs (m, outputs)."""
        return probabilities(self.own(outputs), self.temperature, self._shift)

    def save(self, folder: Path) -> None:
        """Write stage.json beside the model; a stage that has one is complete."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "network"}
        with atomic_write(folder / STAGE_RECORD) as temporary:
            temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, networks: dict[Path, Any] | None = None) -> Self:
        """Read a complete stage.

        Args:
            folder: The stage's folder.
            networks: Folder -> network that was read from there before, which is not read again; one that is read now
                is added.

        Raises:
            UserError: A file is missing or damaged.
        """
        path, networks = folder / STAGE_RECORD, {} if networks is None else networks
        try:
            facts = parse_file(path)
            shift, columns = facts["log_prior_shift"], facts.get("columns")  # runs of older versions have no columns
            home = folder if columns is None else folder.parent / TRUNK
            if home not in networks:
                network = cls.load_network(home)
                networks[home] = cls.with_mirror_image(network) if facts.get("mirror") else network
            return cls(
                name=facts["name"],
                classes=tuple(facts["classes"]),
                network=networks[home],
                columns=None if columns is None else _span(*columns),
                groups=tuple(map(tuple, facts.get("groups", ()))),
                mirror=facts.get("mirror", False),
                temperature=float(facts["temperature"]),
                log_prior_shift=None if shift is None else tuple(map(float, shift)),
                record=dict(facts["record"]),
            )
        except UserError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"stage record {path} is missing or damaged ({error}); {remedy(folder)}") from error

    @classmethod
    def load_all(cls, folder: Path, names: Iterable[str]) -> dict[str, Self]:
        """Read the stages `names` of a run by name; those that share a network are given the same one.

        Args:
            folder: The folder `stages` of the run.
            names: Of the stages.

        Raises:
            UserError: As for `load`.
        """
        networks: dict[Path, Any] = {}
        return {name: cls.load(folder / name, networks) for name in names}


def _span(first: Any, end: Any) -> tuple[int, int]:
    """Columns of a network's output, as a record holds them."""
    return int(first), int(end)


def predict_stages(stages: Mapping[str, Stage], pixels: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Predict the same faces by all stages; a network that several of them share predicts once.

    Args:
        stages: Stages by name.
        pixels: (n, height, width, channels) uint8.
        rows: (m,) rows of `pixels`.

    Returns:
        Stage -> calibrated class probabilities, float64 (m, classes).
    """
    outputs: dict[int, np.ndarray] = {}
    for stage in stages.values():
        if id(stage.network) not in outputs:
            outputs[id(stage.network)] = stage.outputs(pixels, rows)
    return {name: stage.calibrated(outputs[id(stage.network)]) for name, stage in stages.items()}


def check_classes(stages: Mapping[str, Stage], taxonomy: Taxonomy, folder: Path) -> None:
    """Refuse stages whose name or classes are not those of the run's taxonomy, in its order.

    Args:
        stages: By name.
        taxonomy: Of the run.
        folder: The folder `stages` of the run.

    Raises:
        UserError: A stage has others.
    """
    for name, stage in stages.items():
        path = folder / name / STAGE_RECORD
        if stage.name != name:
            raise UserError(f"{path} is damaged: it is that of a stage {stage.name!r}; {remedy(path.parent)}")
        if stage.classes != (classes := taxonomy.stage_classes(name)):
            found, right = (", ".join(map(str, words)) for words in (stage.classes, classes))
            raise UserError(
                f"{path} is damaged: its classes are {found}, those of the run {right}; {remedy(path.parent)}"
            )


def remedy(folder: Path) -> str:
    """What to do about a damaged stage folder."""
    return f"delete the folder {folder}, then --resume trains this stage again"


def train_batches(train: StageFaces, config: StageConfig, seed: int) -> TrainBatches:
    """The rebalanced, shuffled and augmented batches that a stage trains on."""
    drawn = draw_rows(train.labels, config.balance, seed=seed)
    return TrainBatches(
        pixels=train.pixels,
        rows=train.rows[drawn],
        targets=train.targets[drawn],
        batch_size=config.batch_size,
        seed=seed,
        augmentation=_augmentation(config),
        shares=draw_shares(train.labels[drawn], config.balance),
        mixup=config.mixup,
        cutmix=config.cutmix,
    )


def _augmentation(config: StageConfig) -> Augmentation:
    names = [f.name for f in fields(Augmentation)]
    settings: dict[str, Any] = {name: getattr(config, name) if config.augment else 0 for name in names}
    return Augmentation(**{**settings, "flip": config.augment and config.flip})


def scored_groups(logits: np.ndarray, labels: np.ndarray, groups: Sequence[Sequence[int]]) -> dict[str, float]:
    """Accuracy of the gate in a composed prediction, as history.csv names it; nothing where there are no groups.

    Args:
        logits: (n, emotions), composed.
        labels: (n,) emotion indices.
        groups: For each group, the places of its emotions.
    """
    if not groups:
        return {}
    sums = np.stack([np.logaddexp.reduce(logits[:, list(group)], axis=1) for group in groups], axis=1)
    held = np.array([[label in group for group in groups] for label in labels])
    return {"val_gate_accuracy": float(held[np.arange(len(labels)), sums.argmax(axis=1)].mean())}


def scored_logits(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 of a stage on validation faces, as history.csv names them.

    Args:
        logits: (n, classes).
        labels: (n,) class indices.
    """
    predicted = logits.argmax(axis=1)
    return {
        "val_accuracy": float((predicted == labels).mean()),
        "val_macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
    }


def training_record(
    history: list[dict],
    config: StageConfig,
    train: StageFaces,
    batches: TrainBatches,
    *,
    best_epoch: int,
    parameters: int,
    multiply_adds: int,
) -> dict[str, Any]:
    """Facts of a finished training, as stage.json and metrics.json hold them."""
    return {
        **asdict(config),
        "levels_prior": config.levels_prior,
        "epochs_run": len(history),
        "best_epoch": best_epoch,
        "rows": len(train.rows),
        "drawn_rows": len(batches.rows),
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "cpu_seconds": sum(row["cpu_seconds"] for row in history),
        "wall_seconds": sum(row["seconds"] for row in history),
    }


def single_face_latency(predict: Callable[[], object], *, repeats: int = 50) -> dict[str, float]:
    """Milliseconds of one call after warm-up: median, 10th and 90th percentile.

    Args:
        predict: What `Stage.blank_prediction` returns.
        repeats: Timed calls.
    """
    times = []
    for _ in range(repeats + 5):
        start = time.perf_counter()
        predict()
        times.append(1000 * (time.perf_counter() - start))
    low, median, high = np.percentile(times[5:], [10, 50, 90])
    return {"median": float(median), "p10": float(low), "p90": float(high)}
