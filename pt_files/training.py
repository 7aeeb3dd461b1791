"""How a PyTorch stage trains: steps, epochs, and a checkpoint that an interrupted training goes on from.

Whatever decides a weight is a function of the step or stands in the checkpoint, so a resumed training ends with the
same weights as an uninterrupted one.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.data.batches import TrainBatches
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.training.schedule import peak_rate, plateau_scale, rate_at
from fer_hierarchy.models.settings import FLOAT32
from fer_hierarchy.pt_files.losses import Loss
from fer_hierarchy.pt_files.model_file import write_record
from fer_hierarchy.pt_files.optimizers import average_and_clip, build_optimizer

CHECKPOINT = "checkpoint.pt"


@dataclass(kw_only=True)
class Training:
    """A training between two epochs.

    Attributes:
        network: What is trained.
        loss: What it minimises.
        config: The stage's settings.
        batches: The stage's training batches.
        history: Rows of the finished epochs.
        optimizer: Made from the settings.
    """

    network: nn.Module
    loss: Loss
    config: StageConfig
    batches: TrainBatches
    history: list[dict] = field(default_factory=list)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = build_optimizer(self.network, self.config)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def rate(self, step: int) -> float:
        """Learning rate at a step of the complete training."""
        per_epoch = self.batches.steps_per_epoch
        return rate_at(
            step,
            peak=peak_rate(self.config),
            warmup_steps=round(self.config.warmup * per_epoch),
            total_steps=self.config.epochs * per_epoch,
            kind=self.config.schedule,
            scale=plateau_scale(self.history, self.config),
        )

    def epoch(self, advance: Callable[[], None]) -> tuple[float, float]:
        """Pass over the training faces once.

        Args:
            advance: Called after each step.

        Returns:
            Mean loss, and the share of faces predicted right while training.
        """
        per_epoch = self.batches.steps_per_epoch
        first = len(self.history) * per_epoch
        sums = np.zeros(2)
        self.network.train()
        for step, (faces, targets) in _prefetched(self.batches, range(first, first + per_epoch)):
            sums += self._step(as_pixels(faces).to(self.device), torch.from_numpy(targets).to(self.device), step)
            advance()
        loss, accuracy = sums / per_epoch
        return float(loss), float(accuracy)

    def _step(self, faces: Tensor, targets: Tensor, step: int) -> tuple[float, float]:
        """The gradients of one batch, and an update where they are enough for it; the batch's loss and accuracy."""
        half = self.config.precision != FLOAT32
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits = self.network(faces)
        logits = logits.float()
        loss = self.loss(logits, targets)
        loss.backward()
        if (step + 1) % self.config.accumulate == 0:
            self._update(self.rate(step))
        right = logits.detach().argmax(dim=1) == targets.argmax(dim=1)
        return loss.item(), right.float().mean().item()

    def _update(self, rate: float) -> None:
        """Let the optimiser use up the gathered gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        average_and_clip(self.network.parameters(), count=self.config.accumulate, clip_norm=self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, folder: Path) -> None:
        """Write the checkpoint; it appears at once."""
        state = {
            "history": self.history,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "gradients": [weight.grad for weight in self.network.parameters()],  # too few for an update yet
            "random": torch.get_rng_state(),  # dropout draws from it
            "device_random": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }
        write_record(state, folder / CHECKPOINT)

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint in `folder`, if there is one.

        Raises:
            UserError: It is damaged or of another model.
        """
        path = folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            for weight, slope in zip(self.network.parameters(), state.get("gradients", ()), strict=False):
                weight.grad = None if slope is None else slope.to(weight.device)
            torch.set_rng_state(state["random"])
            if self.device.type == "cuda" and state.get("device_random") is not None:
                torch.cuda.set_rng_state(state["device_random"])
            self.history = state["history"]
        except Exception as error:  # a damaged file makes torch raise almost any kind
            raise UserError(
                f"checkpoint {path} is damaged or of another model; delete it, then --resume trains this stage anew"
            ) from error


def _prefetched(batches: TrainBatches, steps: range) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Each step and its batch, which another thread makes while the step before it trains."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(batches.batch, steps[0])
        for step in steps:
            batch = coming.result()
            if step + 1 in steps:
                coming = worker.submit(batches.batch, step + 1)
            yield step, batch


def as_pixels(faces: np.ndarray) -> Tensor:
    """(b, height, width, channels) uint8 as float32 (b, channels, height, width); the memory keeps its order."""
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2).float()
