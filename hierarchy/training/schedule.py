"""The course of a training in any framework: phases, peak rate, plateaus, best epoch, early stop and history.csv.

All of it is a function of the settings and of the finished epochs' rows, so a resumed training takes the same course.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import ONE_CYCLE, StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import HISTORY, atomic_write

MONITOR = "val_macro_f1"

_PEAK_RATES = {"sgd": 0.05, "adamw": 1e-3, "nadam": 1e-3}
# One cycle: the share of the steps that rises, and the shares of the peak that it begins and ends with. Smith and
# Topin, "Super-Convergence", 2018, with half cosines, as fastai has them (Howard and Gugger, 2020).
CYCLE_RISE, CYCLE_FIRST, CYCLE_LAST = 0.3, 1 / 25, 1 / 250_000


def peak_rate(config: StageConfig) -> float:
    """The learning rate at the end of the warm-up."""
    return config.learning_rate or _PEAK_RATES[config.optimizer]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A span of epochs with an optimiser of its own.

    Attributes:
        first: First epoch, from 0.
        last: Epoch after the last one.
        frozen: Whether only the head learns.
        rate: Peak learning rate.
        patience: Epochs without a better one that end the training; 0 for never.
    """

    first: int
    last: int
    frozen: bool
    rate: float
    patience: int


def phases(config: StageConfig) -> list[Phase]:
    """One phase, or two: a frozen backbone under a fresh head, then all of it at a lower rate."""
    epochs = config.epochs or 0  # they are given once the faces are known
    rate, frozen = peak_rate(config), min(config.freeze, epochs)
    head = Phase(first=0, last=frozen, frozen=True, rate=rate, patience=0)
    whole_rate = rate * config.thaw_rate if frozen else rate
    whole = Phase(first=frozen, last=epochs, frozen=False, rate=whole_rate, patience=config.patience)
    return [phase for phase in (head, whole) if phase.last > phase.first]


def rate_at(step: int, *, peak: float, warmup_steps: int, total_steps: int, kind: str, scale: float = 1.0) -> float:
    """Learning rate at a step; `hierarchy.training.callbacks.WarmupDecay` is the same inside a TensorFlow graph.

    Args:
        step: From 0; a batch, also where several make one update.
        peak: Highest learning rate.
        warmup_steps: Steps of linear rise, except of "one-cycle".
        total_steps: Step at which the decay ends.
        kind: "cosine" or "linear" decay to zero, "constant", "plateau": constant, times `scale`, or "one-cycle".
        scale: From `plateau_scale`.
    """
    if kind == ONE_CYCLE:
        return peak * _one_cycle(min(step / total_steps, 1.0))
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    part = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    if kind == "cosine":
        return peak * (1 + math.cos(math.pi * part)) / 2
    if kind == "linear":
        return peak * (1 - part)
    return peak * scale if kind == "plateau" else peak


def _one_cycle(part: float) -> float:
    """Share of the peak rate at a share of the steps."""
    if part < CYCLE_RISE:
        return CYCLE_FIRST + (1 - CYCLE_FIRST) * (1 - math.cos(math.pi * part / CYCLE_RISE)) / 2
    fall = (part - CYCLE_RISE) / (1 - CYCLE_RISE)
    return CYCLE_LAST + (1 - CYCLE_LAST) * (1 + math.cos(math.pi * fall)) / 2


def best_epoch(history: list[dict], *, since: int = 0) -> int:
    """The first epoch (1-based) with the highest validation macro F1, those before `since` (0-based) left out."""
    return 1 + since + int(np.argmax([row[MONITOR] for row in history[since:]]))


def plateau_scale(history: list[dict], config: StageConfig) -> float:
    """What a rate that falls on plateaus has been multiplied by; a function of the history, so that it resumes.

    Args:
        history: Rows of the phase's finished epochs.
        config: Gives factor and patience.
    """
    scale, best, waited = 1.0, -np.inf, 0
    for row in history:
        if row[MONITOR] > best:
            best, waited = row[MONITOR], 0
            continue
        waited += 1
        if waited == config.plateau_patience:
            scale, waited = scale * config.plateau_factor, 0
    return scale


def stopped_early(history: list[dict], patience: int, *, since: int = 0) -> bool:
    """Whether `patience` epochs have passed without a better one, those before `since` (0-based) left out."""
    return bool(patience and history[since:]) and len(history) - best_epoch(history, since=since) >= patience


def require_finite(loss: float, config: StageConfig, *, stage: str, epoch: int) -> None:
    """Refuse to go on after a loss that is no number.

    Args:
        loss: Of an epoch, on train or validation faces.
        config: The stage's settings.
        stage: The stage's name.
        epoch: From 1.

    Raises:
        UserError: It is infinite or NaN.
    """
    if not np.isfinite(loss):
        raise UserError(
            f"{stage}: the loss became {loss} in epoch {epoch}; start a new run under another --name "
            f"with a lower --learning-rate (here {peak_rate(config)})"
        )


def epoch_line(row: dict, config: StageConfig, *, stage: str) -> str:
    """The line of progress of a finished epoch, given its row of the history."""
    return (
        f"{stage}, epoch {row['epoch']} of {config.epochs}: loss {row['loss']:.3f}, "
        f"validation accuracy {row['val_accuracy']:.3f}, macro F1 {row[MONITOR]:.3f}"
    )


def write_history(folder: Path, history: list[dict]) -> None:
    """Write history.csv, a row an epoch."""
    with atomic_write(folder / HISTORY) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False)
