"""Parts of a training: optimiser, schedule, and an epoch's end that validates, keeps the best and saves a checkpoint.

Whatever decides a weight is a function of the step or stands in the checkpoint, so a resumed training ends with the
same weights as an uninterrupted one.
"""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fer_hierarchy.hierarchy.config import ONE_CYCLE, StageConfig
from fer_hierarchy.hierarchy.data.sampling import class_weights
from fer_hierarchy.hierarchy.errors import BAD_ARRAY, UserError
from fer_hierarchy.hierarchy.json_text import parse_json
from fer_hierarchy.hierarchy.paths import MODEL, atomic_write
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training.schedule import (
    CYCLE_FIRST,
    CYCLE_LAST,
    CYCLE_RISE,
    Phase,
    best_epoch,
    epoch_line,
    plateau_scale,
    require_finite,
    stopped_early,
    write_history,
)
from fer_hierarchy.hierarchy.training.transfer import HEAD
from fer_hierarchy.models import losses
from fer_hierarchy.models.precision import with_precision
from fer_hierarchy.models.settings import FLOAT32, MIXED_FLOAT16

CHECKPOINT = "checkpoint.npz"
CLASSES = "classes.json"  # in a .keras file, beside what Keras reads


@contextmanager
def frozen_backbone(network: keras.Model, *, frozen: bool) -> Iterator[None]:
    """Keep every layer but the head as it is while the block runs; batch normalisation then uses its statistics."""
    held = [layer for layer in network.layers if layer.trainable and layer.name != HEAD] if frozen else []
    for layer in held:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in held:
            layer.trainable = True


@keras.saving.register_keras_serializable(package="fer")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then cosine or linear decay to zero, a constant rate, or one that plateaus lower.

    A step is a batch, also where the optimiser makes one update of several.

    Args:
        peak: Highest learning rate.
        warmup_steps: Steps of linear rise, except of "one-cycle".
        total_steps: Step at which the decay ends.
        kind: "cosine", "linear", "constant", "plateau": constant, times `scale`, which an epoch's end may set, or
            "one-cycle", a rise and a fall by half cosines.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, kind: str) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.kind = kind
        self.scale = keras.Variable(1.0, trainable=False, name="plateau_scale")

    def __call__(self, step: Any) -> Any:
        """Learning rate at `step`."""
        step = keras.ops.cast(step, "float32")
        if self.kind == ONE_CYCLE:
            return self.peak * self._one_cycle(keras.ops.minimum(step / self.total_steps, 1.0))
        rise = (step + 1) / max(self.warmup_steps, 1)
        span = max(self.total_steps - self.warmup_steps, 1)
        part = keras.ops.clip((step - self.warmup_steps) / span, 0.0, 1.0)
        decay = {
            "cosine": lambda: (1 + keras.ops.cos(np.pi * part)) / 2,
            "linear": lambda: 1 - part,
            "constant": lambda: keras.ops.ones_like(part),
            "plateau": lambda: self.scale * keras.ops.ones_like(part),
        }[self.kind]()
        return self.peak * keras.ops.where(step < self.warmup_steps, rise, decay)

    def _one_cycle(self, part: Any) -> Any:
        """Share of the peak rate at a share of the steps."""
        rise = CYCLE_FIRST + (1 - CYCLE_FIRST) * (1 - keras.ops.cos(np.pi * part / CYCLE_RISE)) / 2
        fall = (1 + keras.ops.cos(np.pi * (part - CYCLE_RISE) / (1 - CYCLE_RISE))) / 2
        return keras.ops.where(part < CYCLE_RISE, rise, CYCLE_LAST + (1 - CYCLE_LAST) * fall)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("peak", "warmup_steps", "total_steps", "kind")
        return {name: getattr(self, name) for name in names}


def _refuse_replicas(config: StageConfig) -> None:
    """Keras clips the gradients of each device by itself, and cannot gather them on several."""
    devices = tf.distribute.get_strategy().num_replicas_in_sync
    given = {"--accumulate": config.accumulate > 1, "--clip-norm": config.clip_norm > 0}
    flag = next((name for name, on in given.items() if on), None)
    if devices > 1 and flag:
        raise UserError(f"{flag} takes one device, and {devices} train; leave it out, or train on one")


def build_optimizer(config: StageConfig, phase: Phase, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The phase's optimiser with its schedule, decoupled weight decay, clipped gradients and weight average.

    Where several batches make one update, gradients go on gathering over the end of an epoch, and those that are too
    few for an update at the end of the phase are left out. Schedule and weight average count batches.

    Raises:
        UserError: Several devices train, and the gradients are to be clipped or to gather.
    """
    _refuse_replicas(config)
    steps = (phase.last - phase.first) * steps_per_epoch
    # A head on a frozen backbone learns at one rate: its few epochs are no schedule's whole course.
    kind = "constant" if phase.frozen else config.schedule
    rate = WarmupDecay(phase.rate, round(config.warmup * steps_per_epoch), steps, kind)
    span = max(2.0, config.ema * steps)  # steps; a share, so that short trainings catch up
    common = {
        "learning_rate": rate,
        "weight_decay": config.weight_decay or None,
        "use_ema": config.ema > 0,
        "ema_momentum": 1 - 1 / span,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": config.accumulate if config.accumulate > 1 else None,
    }
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(**common | {"weight_decay": config.weight_decay})
    elif config.optimizer == "nadam":
        optimizer = keras.optimizers.Nadam(**common)
    else:
        optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, **common)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # Small slopes would be 0 in float16: the loss is scaled up, and the slopes down again.
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.precision == MIXED_FLOAT16 else optimizer


def build_loss(config: StageConfig, labels: np.ndarray, num_classes: int) -> keras.losses.Loss:
    """What training minimises on logits; centre and island penalties come on top of it.

    Args:
        config: The stage's settings.
        labels: (n,) class index of each train row, before rebalancing.
        num_classes: Number of classes.

    Raises:
        UserError: A class that the loss needs has no row.
    """
    smoothing = config.label_smoothing
    if config.loss == "balanced-softmax":
        counts = np.bincount(labels, minlength=num_classes).tolist()
        if not all(counts):
            raise UserError(f"--loss balanced-softmax: class {counts.index(0)} has no train row; use another --loss")
        return losses.CrossEntropy(smoothing, class_counts=counts)
    weights = class_weights(labels, num_classes) if config.weighs_classes else None
    gamma = config.focal_gamma if config.loss == "focal" else None
    return losses.CrossEntropy(smoothing, weights, gamma=gamma)


class PenalisedTrainer(keras.Model):
    """A network, and a penalty on its features that joins the loss while training.

    Args:
        network: Ends in the head, whose input are the features, or in what composes the head's logits.
        penalty: Layer from (features, targets) to a scalar; its class centres are part of the training state.
        weight: Of the penalty in the loss.
    """

    def __init__(self, network: keras.Model, penalty: keras.layers.Layer, weight: float) -> None:
        super().__init__()
        head = network.get_layer(HEAD)
        self.inner = keras.Model(network.input, [network.output, head.input])
        self.penalty = penalty
        self.penalty.build([head.input.shape, network.output.shape])
        self.weight = weight
        self.built = True

    def call(self, faces: Any, training: bool = False) -> list[Any]:
        """Logits and features of (batch, height, width, channels) faces."""
        return self.inner(faces, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss on the logits and the weighted penalty on the features."""
        logits, features = y_pred
        loss = super().compute_loss(x, y, logits, sample_weight, training=training)
        return loss + self.weight * self.penalty((features, y), training=training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Accuracy of the logits."""
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


def build_trainer(network: keras.Model, config: StageConfig, seed: int) -> keras.Model:
    """What is fitted: the network itself, or the network with a penalty on its features."""
    if config.loss not in ("center", "island"):
        return network
    penalty = losses.CenterLoss(
        network.output_shape[-1],
        rate=config.center_rate,
        island_weight=config.island_weight if config.loss == "island" else None,
        seed=seed,
    )
    return PenalisedTrainer(network, penalty, config.center_weight)


@dataclass(kw_only=True, eq=False)
class EpochEnd(keras.callbacks.Callback):
    """Validates the averaged weights, writes the best model, the history and the checkpoint, and reports progress.

    Attributes:
        folder: The stage's folder.
        network: What is validated and saved.
        classes: Of its outputs.
        validate: Returns the network's `val_*` scores on validation faces.
        config: The stage's settings.
        history: Rows of the finished epochs, which this adds to.
        progress: The whole run's progress.
        work_per_step: What a step adds to it.
        label: What progress lines call the stage.
        since: First epoch, from 0, that may be the best.
        phase: The phase that is being trained.
    """

    folder: Path
    network: keras.Model
    classes: Sequence[str]
    validate: Callable[[], dict[str, float]]
    config: StageConfig
    history: list[dict]
    progress: Progress
    work_per_step: float
    label: str
    since: int = 0
    phase: Phase = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Start the epoch's clocks, and lower the rate where the validation score has stopped rising."""
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._epoch = epoch
        if self.config.schedule == "plateau" and not self.phase.frozen:
            self._schedule.scale.assign(plateau_scale(self.history[self.phase.first :], self.config))

    @property
    def _schedule(self) -> WarmupDecay:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return optimizer._learning_rate  # the public name gives the rate of the moment

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Count the step."""
        self.progress.advance(self.work_per_step, f"{self.label}, epoch {self._epoch + 1} of {self.config.epochs}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Validate, then write model, history and checkpoint, in this order: the checkpoint makes the epoch count."""
        logs = logs or {}
        require_finite(logs["loss"], self.config, stage=self.label, epoch=epoch + 1)
        raw = [np.asarray(v) for v in self.model.trainable_variables]
        if self.config.ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        scores = self.validate()
        require_finite(scores["val_loss"], self.config, stage=self.label, epoch=epoch + 1)
        self._record(epoch, logs, scores)
        logs.update(scores)  # for the user's own callbacks, which come after this one
        if best_epoch(self.history, since=self.since) == epoch + 1:
            save_model(self.network, self.folder / MODEL, self.classes)
        for variable, value in zip(self.model.trainable_variables, raw, strict=True):
            variable.assign(value)
        write_history(self.folder, self.history)
        save_checkpoint(self.folder, self.model, self.history)
        if stopped_early(self.history, self.phase.patience, since=self.since):
            self.model.stop_training = True

    def _record(self, epoch: int, logs: dict, scores: dict[str, float]) -> None:
        row = {"epoch": epoch + 1, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"]), **scores}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = time.monotonic() - self._wall
        row["cpu_seconds"] = time.process_time() - self._cpu
        self.history.append(row)
        self.progress.settle(epoch_line(row, self.config, stage=self.label))


def save_model(model: keras.Model, path: Path, classes: Sequence[str]) -> None:
    """Write the architecture and weights, without the optimiser, and the classes of the outputs beside them.

    The file is float32, whatever the precision of training, so that it predicts alike on every machine.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    # Not clone_model: the clone of a compiled model is compiled too, and its optimiser would be saved with it.
    copy = with_precision(model, FLOAT32)
    for layer in copy.layers:
        layer.trainable = True  # what is frozen is for the next training to decide anew
    with atomic_write(path) as temporary:
        copy.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(CLASSES, json.dumps(list(classes)))


def save_small_model(model: keras.Model, path: Path, classes: Sequence[str]) -> None:
    """Write a model as `save_model` does, with its matrices rounded to half precision and packed.

    Vectors, which are a hundredth of it but hold variances and thresholds, stay as they are. What is rounded is still
    float32 to every reader, with zeros at the end of each number, which packing takes out.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(np.array(weight).astype(np.float16).astype(np.float32))
    with atomic_write(path) as temporary:
        save_model(model, temporary, classes)
        with zipfile.ZipFile(temporary) as whole:
            parts = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for name, content in parts.items():
                packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What an interrupted training left.

    Attributes:
        history: Rows of the finished epochs.
        model: Weights, statistics, dropout seeds, centres.
        optimizer: Slots, weight average, step.
    """

    history: list[dict]
    model: list[np.ndarray]
    optimizer: list[np.ndarray]


def save_checkpoint(folder: Path, model: keras.Model, history: list[dict]) -> None:
    """Write the training state and the history as arrays, in one atomic file."""
    arrays: dict[str, Any] = {f"m{i}": np.asarray(v) for i, v in enumerate(model.variables)}
    arrays |= {f"o{i}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
    with atomic_write(folder / CHECKPOINT) as temporary:
        np.savez(temporary, history=np.array(json.dumps(history)), **arrays)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, None where there is none yet.

    Raises:
        UserError: It is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            parts = {
                key: [
                    stored[f"{key}{i}"]
                    for i in range(sum(name.startswith(key) for name in stored.files if name != "history"))
                ]
                for key in ("m", "o")
            }
            return Checkpoint(history=parse_json(str(stored["history"])), model=parts["m"], optimizer=parts["o"])
    except BAD_ARRAY as error:
        raise _damaged(path) from error  # numpy's own words would advise to trust the file


def restore(saved: Checkpoint, model: keras.Model, phase: Phase, folder: Path) -> None:
    """Bring a compiled model, whose optimiser is built, to the state of its checkpoint.

    A checkpoint from the end of an earlier phase holds that phase's optimiser, which the next one does not go on with.
    One from before this phase's turn in the same training has been used up already.

    Raises:
        UserError: The checkpoint is of another model.
    """
    done = len(saved.history)
    if done < phase.first:
        return
    variables, values = list(model.variables), list(saved.model)
    if done > phase.first:
        variables, values = variables + model.optimizer.variables, values + saved.optimizer
    try:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    except ValueError as error:
        raise _damaged(folder / CHECKPOINT) from error


def _damaged(path: Path) -> UserError:
    return UserError(
        f"checkpoint {path} is damaged or of another model; delete it, then --resume trains this stage anew"
    )
