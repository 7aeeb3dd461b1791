"""How a stage learns: optimiser, schedule, and an epoch's end that validates, keeps the best and leaves a checkpoint.

Whatever decides a weight is a function of the step or stands in the checkpoint, so a resumed training ends with the
same weights as an uninterrupted one.
"""

import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from hierarchy.config import StageConfig
from hierarchy.errors import UserError
from hierarchy.paths import atomic_write
from hierarchy.progress import Progress

CHECKPOINT = "checkpoint.npz"
HISTORY = "history.csv"
MODEL = "model.keras"
MONITOR = "val_macro_f1"

_PEAK_RATES = {"sgd": 0.05, "adamw": 1e-3}


def peak_rate(config: StageConfig) -> float:
    """The learning rate at the end of the warm-up."""
    return config.learning_rate or _PEAK_RATES[config.optimizer]


@keras.saving.register_keras_serializable(package="fer")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then cosine or linear decay to zero, or a constant rate.

    Args:
        peak: Highest learning rate.
        warmup_steps: Steps of linear rise.
        total_steps: Step at which the decay ends.
        kind: "cosine", "linear" or "constant".
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, kind: str) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.kind = kind

    def __call__(self, step: Any) -> Any:
        """Learning rate at `step`."""
        step = keras.ops.cast(step, "float32")
        rise = (step + 1) / max(self.warmup_steps, 1)
        span = max(self.total_steps - self.warmup_steps, 1)
        part = keras.ops.clip((step - self.warmup_steps) / span, 0.0, 1.0)
        decay = {
            "cosine": lambda: (1 + keras.ops.cos(np.pi * part)) / 2,
            "linear": lambda: 1 - part,
            "constant": lambda: keras.ops.ones_like(part),
        }[self.kind]()
        return self.peak * keras.ops.where(step < self.warmup_steps, rise, decay)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("peak", "warmup_steps", "total_steps", "kind")
        return {name: getattr(self, name) for name in names}


def build_optimizer(config: StageConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The stage's optimiser with its schedule, decoupled weight decay and weight average."""
    rate = WarmupDecay(
        peak_rate(config), round(config.warmup * steps_per_epoch), config.epochs * steps_per_epoch, config.schedule
    )
    span = max(2.0, config.ema * config.epochs * steps_per_epoch)  # steps; a share, so that short trainings catch up
    common = {
        "learning_rate": rate,
        "weight_decay": config.weight_decay or None,
        "use_ema": config.ema > 0,
        "ema_momentum": 1 - 1 / span,
    }
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(**common | {"weight_decay": config.weight_decay})
    else:
        optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, **common)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def build_loss(config: StageConfig) -> keras.losses.Loss:
    """Cross-entropy on logits with label smoothing."""
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)


class EpochEnd(keras.callbacks.Callback):
    """Validates the averaged weights, writes the best model, the history and the checkpoint, and reports progress.

    Args:
        folder: The stage's folder.
        validate: Takes the model, returns `val_*` scores on validation faces.
        config: The stage's settings.
        state: What `load_checkpoint` returned, or the empty state.
        progress: The whole run's progress.
        work_per_step: What a step adds to it.
        label: What progress lines call the stage.
    """

    def __init__(
        self,
        folder: Path,
        *,
        validate: Callable[[keras.Model], dict[str, float]],
        config: StageConfig,
        state: dict[str, Any],
        progress: Progress,
        work_per_step: float,
        label: str,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.validate = validate
        self.config = config
        self.history = state["history"]
        self.progress = progress
        self.work_per_step = work_per_step
        self.label = label

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Start the epoch's clocks."""
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Count the step."""
        self.progress.advance(self.work_per_step, f"{self.label}, epoch {self._epoch + 1} of {self.config.epochs}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Validate, then write model, history and checkpoint, in this order: the checkpoint makes the epoch count."""
        logs = logs or {}
        self._require_finite(logs["loss"], epoch)
        raw = [np.array(v) for v in self.model.trainable_variables]
        if self.config.ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        scores = self.validate(self.model)
        self._require_finite(scores["val_loss"], epoch)
        self._record(epoch, logs, scores)
        if best_epoch(self.history) == epoch + 1:
            save_model(self.model, self.folder / MODEL)
        for variable, value in zip(self.model.trainable_variables, raw, strict=True):
            variable.assign(value)
        write_history(self.folder, self.history)
        save_checkpoint(self.folder, self.model, self.history)
        if stopped_early(self.history, self.config.patience):
            self.model.stop_training = True

    def _require_finite(self, loss: float, epoch: int) -> None:
        if not np.isfinite(loss):
            raise UserError(
                f"{self.label}: the loss became {loss} in epoch {epoch + 1}; start a new run under another --name "
                f"with a lower --learning-rate (here {peak_rate(self.config)})"
            )

    def _record(self, epoch: int, logs: dict, scores: dict[str, float]) -> None:
        row = {"epoch": epoch + 1, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"]), **scores}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = time.monotonic() - self._wall
        row["cpu_seconds"] = time.process_time() - self._cpu
        self.history.append(row)
        self.progress.settle(
            f"{self.label}, epoch {epoch + 1} of {self.config.epochs}: loss {row['loss']:.3f}, "
            f"validation accuracy {row['val_accuracy']:.3f}, macro F1 {row['val_macro_f1']:.3f}"
        )


def best_epoch(history: list[dict]) -> int:
    """The first epoch (1-based) with the highest validation macro F1."""
    return 1 + int(np.argmax([row[MONITOR] for row in history]))


def stopped_early(history: list[dict], patience: int) -> bool:
    """Whether `patience` epochs have passed without a better one."""
    return bool(patience and history) and len(history) - best_epoch(history) >= patience


def save_model(model: keras.Model, path: Path) -> None:
    """Write the architecture and weights, without the optimiser.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    # Not clone_model: the clone of a compiled model is compiled too, and its optimiser would be saved with it.
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    with atomic_write(path) as temporary:
        copy.save(temporary)


def write_history(folder: Path, history: list[dict]) -> None:
    """Write history.csv, a row an epoch."""
    with atomic_write(folder / HISTORY) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False)


def _training_state(model: keras.Model) -> list[Any]:
    """All that training changes: weights, statistics, dropout seeds, optimiser slots, weight average, step."""
    return [*model.variables, *model.optimizer.variables]


def save_checkpoint(folder: Path, model: keras.Model, history: list[dict]) -> None:
    """Write the training state and the history as arrays, in one atomic file."""
    arrays = {f"v{i}": np.array(v) for i, v in enumerate(_training_state(model))}
    with atomic_write(folder / CHECKPOINT) as temporary:
        np.savez(temporary, history=np.array(json.dumps(history)), **arrays)


def load_checkpoint(folder: Path, model: keras.Model) -> dict[str, Any]:
    """Restore `model` (compiled) from its folder's checkpoint.

    Returns:
        {"history": rows of the finished epochs}; no rows where there is no checkpoint yet.

    Raises:
        UserError: The checkpoint is damaged or of another model.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return {"history": []}
    model.optimizer.build(model.trainable_variables)
    variables = _training_state(model)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            values = [stored[f"v{i}"] for i in range(len(stored.files) - 1)]
            history = json.loads(str(stored["history"]))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # numpy's own words would advise to trust the file.
        raise UserError(
            f"checkpoint {path} is damaged or of another model; delete it, then --resume trains this stage anew"
        ) from error
    return {"history": history}
