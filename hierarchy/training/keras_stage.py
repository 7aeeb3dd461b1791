"""KerasStage: a stage that Keras trains."""

import logging
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from fer_hierarchy.hierarchy.classifiers.stage import (
    Stage,
    remedy,
    scored_groups,
    scored_logits,
    train_batches,
    training_record,
)
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.batches import EVALUATED, TrainBatches, evaluation_batches
from fer_hierarchy.hierarchy.data.depth.depth_planes import depth_statistics
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.data.sampling import draw_rows
from fer_hierarchy.hierarchy.errors import BAD_ZIP, NoRoomError, UserError
from fer_hierarchy.hierarchy.json_text import parse_json
from fer_hierarchy.hierarchy.paths import MODEL
from fer_hierarchy.hierarchy.progress import Progress, count_predictions
from fer_hierarchy.hierarchy.taxonomy import TRUNK
from fer_hierarchy.hierarchy.training import callbacks, schedule
from fer_hierarchy.hierarchy.training.transfer import NAMED, with_fresh_head
from fer_hierarchy.models import keras_defaults as _keras_defaults  # noqa: F401 - before any layer is made
from fer_hierarchy.models import layers  # registers our layers, too, so that saved models load
from fer_hierarchy.models import losses as _registered_losses  # noqa: F401 - the same for the losses' centres
from fer_hierarchy.models.cost import Cost, multiply_adds, parameters, planned_cost
from fer_hierarchy.models.heads import with_composed_logits
from fer_hierarchy.models.normalisation import measure_statistics
from fer_hierarchy.models.precision import with_precision
from fer_hierarchy.models.pretrained import check_pretrained
from fer_hierarchy.models.registry import NO_WEIGHTS, PRETRAINED, create_model, model_info, parse_spec
from fer_hierarchy.models.rgbd import depth_image
from fer_hierarchy.models.settings import FLOAT32

TORCH_MODEL = "model.pt"
MIRRORED = "looking_twice"
_WIDTHS = ("units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "depth_multiplier")
_WIDEST = 2**16
_JIT: dict[str, bool | str] = {"auto": "auto", "on": True, "off": False}
_MEASURED = 2048  # train faces, at most, that batch normalisation is measured on


class KerasStage(Stage):
    """One classifier of the hierarchy, trained by Keras; see `Stage`."""

    framework = "keras"
    can_share_trunk = True
    checkpoint = callbacks.CHECKPOINT
    user_callbacks: ClassVar[Sequence[keras.callbacks.Callback]] = ()  # a subclass sets them
    jit: ClassVar[str] = "auto"  # as `RunConfig.jit`, from `prepare`

    @classmethod
    def prepare(cls, config: RunConfig) -> None:
        """Choose the device, in a worker's process too, and kernels that repeat, where the run wants them."""
        # Several networks one after the other, each compiled once, are what TensorFlow takes for a mistake.
        tf.get_logger().addFilter(_no_retracing)
        cls.use_device(config)
        cls.jit = config.jit
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()

    @classmethod
    def use_device(cls, config: RunConfig) -> None:
        """Show TensorFlow the GPUs, whose memory it then takes as it needs it, or hide them; see `Stage.use_device`."""
        gpus = tf.config.list_physical_devices("GPU")
        if config.device == "mps":
            raise UserError("--device mps is PyTorch's; Keras trains on cpu, gpu or auto")
        if config.device in ("gpu", "cuda") and not gpus:
            raise UserError(f"--device {config.device}: TensorFlow finds no GPU here; use cpu or auto (docs/gpu.md)")
        try:
            if config.device == "cpu":
                tf.config.set_visible_devices([], "GPU")
                return
        except RuntimeError as error:
            raise UserError(
                f"--device {config.device}: TensorFlow has started already and cannot change devices; choose it before "
                "anything of TensorFlow is called"
            ) from error
        with suppress(RuntimeError):  # TensorFlow has started, and has its memory
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)

    @classmethod
    def native_size(cls, config: StageConfig) -> int:
        """Image side in pixels that the settings' model was made for."""
        try:
            return model_info(parse_spec(config.model)[0]).size
        except ValueError as error:
            raise UserError(f"--model: {error}") from error

    @classmethod
    def check(cls, config: StageConfig, shape: tuple[int, int, int]) -> None:
        """Refuse a model that cannot be built for `shape`, or whose pretrained weights cannot be had."""
        _planned_cost(config.model_spec, shape, 2)
        if (weights := _pretrained(config)) != NO_WEIGHTS:
            try:
                check_pretrained(config.model_spec, weights)
            except ValueError as error:
                raise UserError(f"--weights {weights}: {error}") from error
            keras.backend.clear_session()

    @classmethod
    def planned_work(cls, config: StageConfig, shape: tuple[int, ...], num_classes: int, labels: np.ndarray) -> float:
        """Multiply-adds of all forward passes that training the stage takes."""
        rows = len(draw_rows(labels, config.balance, seed=0))
        size = min(config.batch_size, rows)
        cost = _planned_cost(config.model_spec, shape, num_classes)
        return cost.multiply_adds * (rows // size) * size * (config.epochs or 0)

    @classmethod
    def blank_prediction(cls, stages: Mapping[str, Stage], shape: tuple[int, ...]) -> Callable[[], object]:
        """One compiled call of all stages' networks on a blank face of `shape`."""
        networks = {id(stage.network): stage.network for stage in stages.values()}.values()
        call = tf.function(lambda face: [network(face, training=False) for network in networks])
        face = tf.zeros((1, *shape))
        return lambda: [output.numpy() for output in call(face)]

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
        """Train with Keras; see `Stage.fit`."""
        keras.utils.set_random_seed(seed)
        batches = train_batches(train, config, seed)
        saved = callbacks.read_checkpoint(folder)
        network = _first_network(config, train, len(self.classes), seed=None if saved else seed)
        if config.precision != FLOAT32:
            network = with_precision(network, config.precision)
        fitted = with_composed_logits(network, self.groups) if self.groups else network
        trainer = callbacks.build_trainer(fitted, config, seed)
        loss = callbacks.build_loss(config, train.labels, train.targets.shape[1])
        history = list(saved.history) if saved else []
        work = multiply_adds(network) * batches.faces_per_step
        progress.done += work * batches.steps_per_epoch * len(history)
        end = callbacks.EpochEnd(
            folder=folder,
            network=network,
            classes=self.classes,
            validate=lambda: validation_scores(fitted, validation, config, self.groups),
            config=config,
            history=history,
            progress=progress,
            work_per_step=work,
            label=self.name,
            since=since,
        )
        board = keras.callbacks.TensorBoard(str(logs), write_graph=False)
        for phase in schedule.phases(config):
            last = min(phase.last, until or phase.last)
            if len(history) < last and not schedule.stopped_early(history, phase.patience, since=since):
                watching = [end, board, *self.user_callbacks]
                _fit_phase(trainer, phase, loss, config, batches, saved, watching, last=last, jit=_JIT[self.jit])
        self.network = self.load_network(folder)
        self.record = training_record(
            history,
            config,
            train,
            batches,
            best_epoch=schedule.best_epoch(history, since=since),
            parameters=parameters(self.network),
            multiply_adds=multiply_adds(self.network),
        )
        self.record["device"] = "gpu" if tf.config.list_logical_devices("GPU") else "cpu"
        return self

    def outputs(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The network's outputs for `rows` of `pixels` (uint8), float32 (m, outputs)."""
        work = self.record.get("multiply_adds", 0) * (1 + self.mirror) * EVALUATED
        counted = keras.callbacks.LambdaCallback(
            # Keras names its arguments.
            on_predict_batch_end=lambda batch, logs: count_predictions(work, f"{self.name}, predicting")  # noqa: ARG005
        )
        return _predicted(self.network, pixels, rows, [counted])

    def features(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What goes into the layer `predictions`, float32 (m, features)."""
        backbone = keras.Model(self.core.input, self.core.get_layer("predictions").input)
        return _predicted(backbone, pixels, rows)

    @classmethod
    def with_mirror_image(cls, network: keras.Model) -> keras.Model:
        """What predicts the mean of a network's logits for a face and for its mirror image."""
        faces = keras.Input(network.input_shape[1:], name=network.input.name)
        mirrored = layers.MirrorImage(name="mirror_image")(faces)
        logits = keras.layers.Average(name="mean")([network(faces), network(mirrored)])
        return keras.Model(faces, logits, name=MIRRORED)

    @classmethod
    def load(cls, folder: Path, networks: dict[Path, keras.Model] | None = None) -> Self:
        """Read a complete stage, and refuse a network of another number of classes; see `Stage.load`."""
        stage = super().load(folder, networks)
        (outputs,) = stage.network.output_shape[1:]
        first, end = stage.columns or (0, outputs)
        if end - first != len(stage.classes) or not 0 <= first < end <= outputs:
            raise UserError(
                f"stage {folder}: its network has {outputs} outputs, its record has {len(stage.classes)} classes; "
                f"{remedy(folder)}"
            )
        home = folder if stage.columns is None else folder.parent / TRUNK
        stored = _stored_classes(home / MODEL)
        if stored is not None and stored[first:end] != stage.classes:
            raise UserError(
                f"stage {folder}: the classes of its network are {', '.join(stored[first:end])}, those of its record "
                f"{', '.join(map(str, stage.classes))}; {remedy(folder)}"
            )
        return stage

    def takes(self, shape: tuple[int, int, int]) -> bool:
        """Whether the network takes faces of this (height, width, channels)."""
        return self.network.input_shape[1:] == shape

    @property
    def core(self) -> keras.Model:
        """The network as it was trained, without its mirror image."""
        return next(layer for layer in self.network.layers if layer.weights) if self.mirror else self.network

    @classmethod
    def load_network(cls, folder: Path) -> keras.Model:
        """The .keras file of a stage folder."""
        if not (folder / MODEL).is_file() and (folder / TORCH_MODEL).is_file():
            raise UserError(
                f"{folder} was trained by PyTorch; python -m fer_hierarchy.pt_files.convert {folder / TORCH_MODEL} "
                f"{folder / MODEL} makes a Keras model of it"
            )
        return load_model(folder / MODEL)


def _predicted(
    network: keras.Model, pixels: np.ndarray, rows: np.ndarray, watching: Sequence[keras.callbacks.Callback] = ()
) -> np.ndarray:
    """A network's outputs for `rows` of `pixels`, float32 (m, outputs).

    All batches are of one size, the last filled up: kernels round by the size of a batch, and a face is to get the same
    prediction whatever faces are predicted with it.
    """
    filled = np.resize(rows, -(-len(rows) // EVALUATED) * EVALUATED)
    return network.predict(evaluation_batches(pixels, filled), verbose=0, callbacks=list(watching))[: len(rows)]


def _no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in str(record.msg)


def _pretrained(config: StageConfig) -> str:
    """The name of the weights that the settings, or the model's own, name; none where they name none or a file."""
    if config.weights != NO_WEIGHTS:
        return config.weights if config.weights in PRETRAINED else NO_WEIGHTS
    return parse_spec(config.model)[1].get("weights") or NO_WEIGHTS


def _first_network(config: StageConfig, train: StageFaces, num_classes: int, *, seed: int | None) -> keras.Model:
    """A fresh model with the first weights that the settings name, and with what is measured on the train faces.

    The seed draws the faces that batch normalisation is measured on, where the weights come without statistics; None
    leaves that out, for a checkpoint that holds them already.
    """
    weights = _pretrained(config)
    network = build_model(config.model_spec, train.pixels.shape[1:], num_classes, weights=weights)
    if depth := depth_image(network):
        depth.set_statistics(*depth_statistics(train.pixels, train.rows, reading=depth.reading))
    if config.weights in NAMED:
        if seed is not None and weights != NO_WEIGHTS and not PRETRAINED[weights].normalised:
            measure_statistics(network, _measured_faces(train, seed))
        return network
    return with_fresh_head(load_model(Path(config.weights)), network, source=config.weights)


def _measured_faces(train: StageFaces, seed: int) -> tf.data.Dataset:
    """Batches of train faces, drawn without regard to their classes and as they are."""
    count = min(_MEASURED, len(train.rows))
    rows = np.random.default_rng(seed).choice(train.rows, count, replace=False)
    return evaluation_batches(train.pixels, np.sort(rows))


def _fit_phase(
    trainer: keras.Model,
    phase: schedule.Phase,
    loss: keras.losses.Loss,
    config: StageConfig,
    batches: TrainBatches,
    saved: callbacks.Checkpoint | None,
    watching: list[keras.callbacks.Callback],
    *,
    last: int,
    jit: bool | str,
) -> None:
    """Train from the phase's first epoch, or from the checkpoint if that lies further on, to the epoch `last`."""
    end = watching[0]
    end.phase = phase
    with callbacks.frozen_backbone(end.network, frozen=phase.frozen), _no_room():
        optimizer = callbacks.build_optimizer(config, phase, batches.steps_per_epoch)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        trainer.compile(optimizer=optimizer, loss=loss, metrics=[accuracy], jit_compile=jit)
        # With every variable there before the first step, TensorFlow traces that step once instead of twice.
        optimizer.build(trainer.trainable_variables)
        if saved:
            callbacks.restore(saved, trainer, phase, end.folder)
        done = max(phase.first, len(end.history))
        trainer.fit(
            batches.dataset(done, last),
            initial_epoch=done,
            epochs=last,
            steps_per_epoch=batches.steps_per_epoch,
            callbacks=watching,
            shuffle=False,  # the batches are a function of seed and step already
            verbose=0,
        )


@contextmanager
def _no_room() -> Iterator[None]:
    """TensorFlow's word for a full disk (TensorBoard's file) or memory (a tensor) as ours."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise NoRoomError(re.sub(r"{{.*?}} *", "", error.message.splitlines()[0])) from error


def build_model(spec: str, shape: tuple[int, ...], num_classes: int, **keywords: str) -> keras.Model:
    """A fresh model of the registry.

    Raises:
        UserError: The registry refuses the name, a keyword or the shape.
    """
    height, width, channels = shape
    with _as_user_error(spec):
        return create_model(spec, input_shape=(height, width, channels), num_classes=num_classes, **keywords)


def _planned_cost(spec: str, shape: tuple[int, ...], num_classes: int) -> Cost:
    with _as_user_error(spec):
        return planned_cost(spec, input_shape=tuple(shape), num_classes=num_classes)


@contextmanager
def _as_user_error(spec: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"model {spec!r}: {error}") from error


def load_model(path: Path) -> keras.Model:
    """Read a .keras file in safe mode: nothing in it is executed.

    Raises:
        UserError: The file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"model {path} is missing; {remedy(path.parent)}")
    if not zipfile.is_zipfile(path):  # Keras would report it as missing
        raise UserError(f"model {path} is damaged: it is no complete .keras file; {remedy(path.parent)}")
    try:
        _check_widths(path)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        if [len(tensor.shape) for tensor in (*model.inputs, *model.outputs)] != [4, 2]:
            raise ValueError("it does not take pictures and give logits")
    except Exception as error:  # each layer has kinds of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError(f"model {path} is damaged or no Keras model ({reason}); {remedy(path.parent)}") from error
    return model


def _stored_classes(path: Path) -> tuple[str, ...] | None:
    """The classes that a .keras file keeps beside its network; None where it was written before they were kept."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(map(str, parse_json(archive.read(callbacks.CLASSES))))
    except KeyError:
        return None
    except (*BAD_ZIP, TypeError) as error:
        raise UserError(f"model {path} is damaged: its {callbacks.CLASSES} ({error}); {remedy(path.parent)}") from error


def _check_widths(path: Path) -> None:
    """Refuse a model with a layer that no memory holds, before Keras fills it.

    Raises:
        ValueError: It has one, or its settings are no JSON.
    """
    with zipfile.ZipFile(path) as archive:
        waiting = [parse_json(archive.read("config.json"))]
    while waiting:
        part = waiting.pop()
        values = part.items() if isinstance(part, dict) else enumerate(part)
        waiting += [value for _, value in values if isinstance(value, dict | list)]
        wide = next((v for key, v in values if key in _WIDTHS and isinstance(v, int) and v > _WIDEST), None)
        if wide:
            raise ValueError(f"a layer is {wide} wide")


def validation_scores(
    network: keras.Model, faces: StageFaces, config: StageConfig, groups: Sequence[Sequence[int]] = ()
) -> dict[str, float]:
    """Cross-entropy, accuracy and macro F1 of `network` on validation faces; with groups the gate's accuracy too."""
    logits = _predicted(network, faces.pixels, faces.rows)
    cross_entropy = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    return {
        "val_loss": float(cross_entropy(faces.targets, logits)),
        **scored_logits(logits, faces.labels),
        **scored_groups(logits, faces.labels, groups),
    }
