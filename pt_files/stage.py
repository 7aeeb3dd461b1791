"""TorchStage: a stage that PyTorch trains."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from fer_hierarchy.hierarchy.classifiers.stage import Stage, remedy, scored_logits, train_batches, training_record
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.batches import gathered
from fer_hierarchy.hierarchy.data.depth.depth_planes import depth_statistics
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.data.sampling import draw_rows
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.progress import Progress, count_predictions
from fer_hierarchy.hierarchy.training.schedule import (
    best_epoch,
    epoch_line,
    require_finite,
    stopped_early,
    write_history,
)
from fer_hierarchy.pt_files.cost import multiply_adds, parameters
from fer_hierarchy.pt_files.layers import MirrorAveraged
from fer_hierarchy.pt_files.limits import refuse_unsupported
from fer_hierarchy.pt_files.losses import Loss, build_loss
from fer_hierarchy.pt_files.model_file import SavedModel, read_model, write_model
from fer_hierarchy.pt_files.registry import create_model, model_info
from fer_hierarchy.pt_files.rgbd import depth_image
from fer_hierarchy.pt_files.training import CHECKPOINT, Training, as_pixels

MODEL = "model.pt"
KERAS_MODEL = "model.keras"
_ORDER = torch.channels_last  # in memory: faces come so, and convolutions on processors are faster so
_BATCH = 256  # faces that are predicted at once
_NO_ROOM = ("can't allocate memory", "inline_container")  # the second writes files


class TorchStage(Stage):
    """One classifier of the hierarchy, trained by PyTorch on the processor; see `Stage`."""

    framework = "pytorch"
    checkpoint = CHECKPOINT
    device: ClassVar[torch.device] = torch.device("cpu")

    @classmethod
    def use_device(cls, config: RunConfig) -> None:
        """Choose the device; see `Stage.use_device`."""
        if config.jit == "on":
            raise UserError("--jit on: PyTorch trains without XLA; leave it at auto")
        cls.device = chosen_device(config.device)

    @classmethod
    def prepare(cls, config: RunConfig) -> None:
        """Choose the device, in a worker's process too, and kernels that repeat, where the run wants them."""
        cls.use_device(config)
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's matrix products repeat with it alone
        torch.use_deterministic_algorithms(config.deterministic)
        # A help in finding kernels that read what nobody wrote; it costs 7 % of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False

    @classmethod
    def native_size(cls, config: StageConfig) -> int:
        """Image side in pixels that the settings' model was made for."""
        try:
            return model_info(config.model).size
        except ValueError as error:
            raise UserError(f"--model: {error}") from error

    @classmethod
    def check(cls, config: StageConfig, shape: tuple[int, int, int]) -> None:
        """Refuse what PyTorch stages cannot do, and a model that cannot be built for `shape`."""
        refuse_unsupported(config)
        build_model(config.model_spec, shape, 2)

    @classmethod
    def planned_work(cls, config: StageConfig, shape: tuple[int, ...], num_classes: int, labels: np.ndarray) -> float:
        """Multiply-adds of all forward passes that training the stage takes."""
        rows = len(draw_rows(labels, config.balance, seed=0))
        size = min(config.batch_size, rows)
        network = build_model(config.model_spec, shape, num_classes)
        return multiply_adds(network, shape) * (rows // size) * size * config.epochs

    @classmethod
    def blank_prediction(cls, stages: Mapping[str, Stage], shape: tuple[int, ...]) -> Callable[[], None]:
        """All stages' networks, one after the other, on a blank face of `shape`."""
        networks = [stage.network.eval() for stage in stages.values()]
        face = as_pixels(np.zeros((1, *shape), np.uint8)).to(cls.device)

        @torch.inference_mode()
        def predict() -> None:
            for network in networks:
                network(face)

        return predict

    def fit(
        self,
        train: StageFaces,
        validation: StageFaces,
        config: StageConfig,
        *,
        folder: Path,
        logs: Path,  # noqa: ARG002 - TensorBoard's files are Keras's
        seed: int,
        progress: Progress,
        until: int | None = None,
        since: int = 0,
    ) -> Self:
        """Train with PyTorch; see `Stage.fit`."""
        torch.manual_seed(seed)
        shape, batches = train.pixels.shape[1:], train_batches(train, config, seed)
        network = build_model(config.model_spec, shape, len(self.classes))
        if depth := depth_image(network):
            depth.set_statistics(*depth_statistics(train.pixels, train.rows, reading=depth.reading))
        loss = build_loss(config, train.labels, len(self.classes)).to(self.device)
        training = Training(network=network.to(self.device), loss=loss, config=config, batches=batches)
        training.restore(folder)
        work = multiply_adds(network, shape) * batches.faces_per_step
        progress.done += work * batches.steps_per_epoch * len(training.history)
        with _no_room():
            self._train(training, validation, folder, progress, work, until or config.epochs, since)
        self.network = self.load_network(folder)
        self.record = training_record(
            training.history,
            config,
            train,
            batches,
            best_epoch=best_epoch(training.history, since=since),
            parameters=parameters(self.network),
            multiply_adds=multiply_adds(self.network, shape),
        )
        self.record["device"] = self.device.type
        return self

    def _train(
        self,
        training: Training,
        validation: StageFaces,
        folder: Path,
        progress: Progress,
        work: float,
        last: int,
        since: int,
    ) -> None:
        """Train the epochs up to `last`; each ends with the best model, the history and the checkpoint on the disk."""
        config, history = training.config, training.history
        while len(history) < last and not stopped_early(history, config.patience, since=since):
            history.append(self._epoch(training, validation, progress, work))
            progress.settle(epoch_line(history[-1], config, stage=self.name))
            if best_epoch(history, since=since) == len(history):
                facts = {"input_shape": validation.pixels.shape[1:], "num_classes": len(self.classes)}
                write_model(SavedModel(spec=config.model_spec, **facts, model=training.network), folder / MODEL)
            write_history(folder, history)
            training.save(folder)  # the last: it makes the epoch count

    def _epoch(self, training: Training, validation: StageFaces, progress: Progress, work: float) -> dict[str, float]:
        """Train one epoch and validate; its row of history.csv."""
        wall, cpu = time.monotonic(), time.process_time()
        config, epoch = training.config, len(training.history) + 1
        text = f"{self.name}, epoch {epoch} of {config.epochs}"
        loss, accuracy = training.epoch(lambda: progress.advance(work, text))
        require_finite(loss, config, stage=self.name, epoch=epoch)
        scores = validation_scores(training.network, validation, config)
        require_finite(scores["val_loss"], config, stage=self.name, epoch=epoch)
        return {
            "epoch": epoch,
            "loss": loss,
            "accuracy": accuracy,
            **scores,
            "learning_rate": training.rate(epoch * training.batches.steps_per_epoch),
            "seconds": time.monotonic() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }

    def outputs(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """All outputs of the network for `rows` of `pixels` (uint8), float32 (m, outputs)."""
        outputs = _predicted(self.network, self.network, pixels, rows)
        work = self.record.get("multiply_adds", 0) * (1 + self.mirror) * len(rows)
        count_predictions(work, f"{self.name}, predicting")
        return outputs

    def features(self, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What goes into the layer `predictions`, float32 (m, features)."""
        return _predicted(self.core, self.core.features, pixels, rows)

    @classmethod
    def with_mirror_image(cls, network: nn.Module) -> nn.Module:
        """A network that gives the mean of a network's logits for a face and for its mirror image."""
        return MirrorAveraged(network)

    @property
    def core(self) -> nn.Module:
        """The network as it was trained, without the mirror image."""
        return self.network.core if self.mirror else self.network

    @classmethod
    def load_network(cls, folder: Path) -> nn.Module:
        """The .pt file of a stage folder."""
        if not (folder / MODEL).is_file():
            way = f"python -m fer_hierarchy.pt_files.convert {folder} {folder / MODEL} makes a PyTorch model of it"
            found = f"{folder} was trained by Keras; {way}" if (folder / KERAS_MODEL).is_file() else remedy(folder)
            raise UserError(f"model {folder / MODEL} is missing; {found}")
        return read_model(folder / MODEL).model.to(cls.device, memory_format=_ORDER)


@contextmanager
def _no_room() -> Iterator[None]:
    """Raise a NoRoomError where PyTorch runs out of disk or memory."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        if not any(words in reason for words in _NO_ROOM):
            raise
        raise NoRoomError(reason) from error


def chosen_device(name: str) -> torch.device:
    """The device that `--device` names.

    Args:
        name: "cpu", "cuda", "mps", "gpu" for either of these, or "auto" for the processor where there is neither.

    Raises:
        UserError: This machine has none.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = {"gpu": ("cuda", "mps"), "auto": tuple(here)}.get(name, (name,))
    found = next((kind for kind in wanted if here[kind]), None)
    if found is None:
        raise UserError(f"--device {name}: PyTorch finds none here; use cpu or auto (docs/gpu.md)")
    return torch.device(found)


def build_model(spec: str, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A fresh twin of the registry.

    Raises:
        UserError: The registry refuses the name, a keyword or the shape.
    """
    try:
        return create_model(spec, input_shape=tuple(shape), num_classes=num_classes).to(memory_format=_ORDER)
    except ValueError as error:
        raise UserError(f"model {spec!r}: {error}") from error


def validation_scores(network: nn.Module, faces: StageFaces, config: StageConfig) -> dict[str, float]:
    """Cross-entropy, accuracy and macro F1 of `network` on validation faces."""
    logits = _predicted(network, network, faces.pixels, faces.rows)
    cross_entropy = Loss(label_smoothing=config.label_smoothing)
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(faces.targets))
    return {"val_loss": loss.item(), **scored_logits(logits, faces.labels)}


@torch.inference_mode()
def _predicted(
    network: nn.Module, predict: Callable[[Tensor], Tensor], pixels: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Outputs of `predict`, a part of `network`, for `rows` of `pixels`, without training."""
    network.eval()
    device = next(network.parameters()).device
    batches = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
    return np.concatenate([predict(as_pixels(gathered(pixels, batch)).to(device)).cpu().numpy() for batch in batches])
