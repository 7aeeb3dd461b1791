"""Stage: a name, its classes and a model; gate, specialist and flat classifier are all the same thing."""

import json
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import f1_score

from hierarchy import training
from hierarchy.config import StageConfig
from hierarchy.data.augment import Augmentation
from hierarchy.data.batches import TrainBatches, evaluation_batches
from hierarchy.data.faces import StageFaces
from hierarchy.data.sampling import class_prior, class_weights, draw_rows, trained_prior
from hierarchy.errors import UserError
from hierarchy.evaluation.calibration import expected_calibration_error, fit_temperature, prior_shift, probabilities
from hierarchy.paths import atomic_write
from hierarchy.progress import Progress
from models import layers as _registered_layers  # noqa: F401 - registers our layers, so that saved models load
from models.cost import multiply_adds, parameters
from models.registry import create_model

RECORD = "stage.json"


@dataclass(kw_only=True)
class Stage:
    """One classifier of the hierarchy.

    Attributes:
        name: `valence`, `positive`, `flat`, ...
        classes: Class order of the outputs.
        model: float32 [0, 255] faces in, logits out; None before `fit` or `load`.
        temperature: Divides the logits; fitted on validation.
        log_prior_shift: Added to the scaled logits; undoes the class prior of a rebalanced training.
        record: Facts of the training: rows, epochs, cost, settings.
    """

    name: str
    classes: tuple[str, ...]
    model: keras.Model | None = None
    temperature: float = 1.0
    log_prior_shift: tuple[float, ...] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def fit(
        self,
        train: StageFaces,
        validation: StageFaces,
        config: StageConfig,
        *,
        folder: Path,
        seed: int,
        progress: Progress,
        callbacks: tuple[keras.callbacks.Callback, ...] = (),
    ) -> "Stage":
        """Train on `train`, choose the epoch on `validation`, go on from a checkpoint in `folder` if there is one.

        Args:
            train: Training faces; only these are rebalanced and augmented.
            validation: Faces that choose the epoch.
            config: Settings with `epochs` given.
            folder: Where model.keras, history.csv and the checkpoint go.
            seed: Decides initial weights, order, sampling and augmentation.
            progress: The whole run's progress, counted in multiply-adds.
            callbacks: More Keras callbacks.

        Raises:
            UserError: The loss became NaN, the model cannot be built, or a file cannot be written or read.
        """
        keras.utils.set_random_seed(seed)
        batches = train_batches(train, config, seed)
        model = build_model(config.model, train.pixels.shape[1:], len(self.classes))
        model.compile(
            optimizer=training.build_optimizer(config, batches.steps_per_epoch),
            loss=training.build_loss(config),
            metrics=["accuracy"],
        )
        state = training.load_checkpoint(folder, model)
        epochs_done = len(state["history"])
        work = multiply_adds(model) * batches.faces_per_step
        progress.done += work * batches.steps_per_epoch * epochs_done
        end = training.EpochEnd(
            folder,
            validate=lambda m: validation_scores(m, validation, config),
            config=config,
            state=state,
            progress=progress,
            work_per_step=work,
            label=self.name,
        )
        if epochs_done < config.epochs and not training.stopped_early(end.history, config.patience):
            model.fit(
                batches.dataset(epochs_done, config.epochs),
                initial_epoch=epochs_done,
                epochs=config.epochs,
                steps_per_epoch=batches.steps_per_epoch,
                class_weight=class_weights(train.labels, config.balance),
                callbacks=[end, *callbacks],
                shuffle=False,  # the batches are a function of seed and step already
                verbose=0,
            )
        self.model = load_model(folder / training.MODEL)
        self.record = _training_record(self.model, end.history, config, train, batches)
        return self

    def calibrate(
        self, validation: StageFaces, train: StageFaces, *, temperature: bool, prior_correction: bool
    ) -> None:
        """Fit the temperature on validation, and undo the class prior of a rebalanced training.

        Args:
            validation: Faces that the temperature is fitted on.
            train: Training faces, whose labels give the natural class prior.
            temperature: Whether to fit one.
            prior_correction: Whether to undo the rebalanced prior.
        """
        logits = self.logits(validation.pixels, validation.rows)
        natural = class_prior(train.labels, len(self.classes))
        balance = self.record["balance"]
        shift = None
        if prior_correction and balance != "none":
            shift = prior_shift(trained_prior(train.labels, balance, len(self.classes)), natural)
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

    def logits(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Raw model outputs of `rows` of `pixels` (uint8), float32 (m, classes)."""
        return predict_logits(self.model, pixels, rows)

    def predict_proba(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Calibrated class probabilities of `rows` of `pixels` (uint8), float64 (m, classes)."""
        return probabilities(self.logits(pixels, rows), self.temperature, self._shift)

    def save(self, folder: Path) -> None:
        """Write stage.json beside the model; its presence says that the stage is complete."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}
        with atomic_write(folder / RECORD) as temporary:
            temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Stage":
        """Read a complete stage.

        Raises:
            UserError: A file is missing or damaged.
        """
        path = folder / RECORD
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            shift = facts["log_prior_shift"]
            return cls(
                name=facts["name"],
                classes=tuple(facts["classes"]),
                model=load_model(folder / training.MODEL),
                temperature=float(facts["temperature"]),
                log_prior_shift=None if shift is None else tuple(shift),
                record=facts["record"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"stage record {path} is missing or damaged ({error}); {_remedy(folder)}") from error


def build_model(name: str, shape: tuple[int, ...], num_classes: int) -> keras.Model:
    """A fresh model of the registry.

    Raises:
        UserError: The registry refuses the name or the shape.
    """
    try:
        return create_model(name, input_shape=tuple(shape), num_classes=num_classes)
    except ValueError as error:
        raise UserError(f"model {name!r}: {error}") from error


def load_model(path: Path) -> keras.Model:
    """Read a .keras file in safe mode: nothing in it is executed.

    Raises:
        UserError: The file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"model {path} is missing; {_remedy(path.parent)}")
    if not zipfile.is_zipfile(path):  # of which Keras says that it is not there
        raise UserError(f"model {path} is damaged: it is no complete .keras file; {_remedy(path.parent)}")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"model {path} is damaged or no Keras model ({reason}); {_remedy(path.parent)}") from error


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder}, then --resume trains this stage again"


def predict_logits(model: keras.Model, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Outputs of `model` for `rows` of `pixels` (uint8), float32 (m, classes)."""
    return model.predict(evaluation_batches(pixels, rows), verbose=0)


def validation_scores(model: keras.Model, faces: StageFaces, config: StageConfig) -> dict[str, float]:
    """Loss (as in training), accuracy and macro F1 of `model` on validation faces."""
    logits = predict_logits(model, faces.pixels, faces.rows)
    predicted = logits.argmax(axis=1)
    return {
        "val_loss": float(training.build_loss(config)(faces.targets, logits)),
        "val_accuracy": float((predicted == faces.labels).mean()),
        "val_macro_f1": float(f1_score(faces.labels, predicted, average="macro", zero_division=0)),
    }


def planned_work(config: StageConfig, shape: tuple[int, ...], num_classes: int, labels: np.ndarray) -> float:
    """Multiply-adds of all forward passes that training the stage takes, for the run's progress."""
    rows = len(draw_rows(labels, config.balance, seed=0))
    size = min(config.batch_size, rows)
    return multiply_adds(build_model(config.model, shape, num_classes)) * (rows // size) * size * config.epochs


def train_batches(train: StageFaces, config: StageConfig, seed: int) -> TrainBatches:
    """The rebalanced, shuffled and augmented batches that a stage trains on."""
    drawn = draw_rows(train.labels, config.balance, seed=seed)
    settings = Augmentation(
        shift=config.shift, flip=config.flip, rotation=config.rotation, zoom=config.zoom, erase=config.erase
    )
    return TrainBatches(
        pixels=train.pixels,
        rows=train.rows[drawn],
        targets=train.targets[drawn],
        batch_size=config.batch_size,
        seed=seed,
        augmentation=settings,
    )


def _training_record(
    model: keras.Model, history: list[dict], config: StageConfig, train: StageFaces, batches: TrainBatches
) -> dict[str, Any]:
    return {
        **asdict(config),
        "epochs_run": len(history),
        "best_epoch": training.best_epoch(history),
        "rows": len(train.rows),
        "drawn_rows": len(batches.rows),
        "parameters": parameters(model),
        "multiply_adds": multiply_adds(model),
        "cpu_seconds": sum(row["cpu_seconds"] for row in history),
        "wall_seconds": sum(row["seconds"] for row in history),
    }
