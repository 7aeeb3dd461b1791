"""A run of the results folder, opened with Keras: every stage answers, and the answers are composed as a run's are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hierarchy import runs
from hierarchy.config import RunConfig
from hierarchy.ensemble import HierarchicalClassifier
from hierarchy.errors import UserError
from hierarchy.evaluation.calibration import probabilities
from hierarchy.keras_stage import KerasStage
from hierarchy.stage import Stage
from hierarchy.taxonomy import FLAT, Taxonomy
from inference.answers import Facts, Model

_NEEDED = {"mode", "taxonomy", "synthetic"}  # of metrics.json
_BATCH = 256  # faces; more at once take memory and no less time
_FEW = 32  # faces
# Tracing three networks costs as much processor time as about six direct calls for a face.
_DIRECT_CALLS = 5


class RunFolder(Model):
    """A finished run; see `Model`.

    Attributes:
        stages: Its networks by stage, with their calibration.
    """

    def __init__(self, folder: Path, facts: Facts, stages: Mapping[str, Stage]) -> None:
        self.facts = facts
        self.source = str(folder)
        self.stages = stages
        self._calls = 0
        signature = [tf.TensorSpec((None, *facts.shape), tf.float32)]
        self._traced = tf.function(self._direct, input_signature=signature, autograph=False)

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float64."""
        starts = range(0, len(faces), _BATCH)
        return np.concatenate([self._composed(faces[start : start + _BATCH]) for start in starts])

    def _composed(self, faces: np.ndarray) -> np.ndarray:
        taxonomy = self.facts.taxonomy
        logits = self._logits(faces.astype(np.float32))
        said = {
            name: probabilities(logits[name], stage.temperature, stage.log_prior_shift)
            for name, stage in self.stages.items()
        }
        if FLAT in said:
            return said[FLAT]
        return HierarchicalClassifier(taxonomy).compose(said[taxonomy.gate], {g: said[g] for g in taxonomy.specialists})

    def _logits(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Each stage's raw outputs, float32 (n, classes): straight, or traced where that will pay."""
        self._calls += 1
        straight = len(pixels) <= _FEW and self._calls <= _DIRECT_CALLS
        call = self._direct if straight else self._traced
        return {name: output.numpy() for name, output in call(tf.constant(pixels)).items()}

    def _direct(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: stage.network(pixels, training=False) for name, stage in self.stages.items()}


def open_run(folder: Path) -> RunFolder:
    """Open a finished run.

    Args:
        folder: With config.json, metrics.json and stages.

    Raises:
        UserError: It is not finished, damaged, of another framework, or takes faces with their depth.
    """
    record = _metrics(folder)
    config = runs.read_config(folder)
    if config.reads_depth:
        raise UserError(
            f"run {folder.name} takes faces with their depth, which a picture alone has not; name a run of pictures"
        )
    facts = _facts(folder, config, record)
    stages = {name: KerasStage.load(folder / runs.STAGES / name) for name in facts.taxonomy.stages(facts.mode)}
    return RunFolder(folder, facts, stages)


def _metrics(folder: Path) -> dict[str, Any]:
    """What a finished run's metrics.json holds."""
    try:
        record = runs.read_json(folder / runs.METRICS)
    except UserError:
        record = {}
    if not record.keys() >= _NEEDED or not (folder / runs.STAGES).is_dir():
        # Says what is wrong and how to go on; loaded only here, because it brings all of training and reports with it.
        from hierarchy import pipeline

        pipeline.refuse_evaluation(folder)
        pipeline.read_metrics(folder)
        raise UserError(f"run {folder.name} is incomplete or of an older version; train it again")
    return record


def _facts(folder: Path, config: RunConfig, record: Mapping[str, Any]) -> Facts:
    if config.data.image_size is None or config.data.channels is None:
        raise UserError(f"run {folder.name}: its {runs.CONFIG} does not say how large its faces are; train it again")
    return Facts(
        run=folder.name,
        mode=config.mode,
        taxonomy=Taxonomy.from_dict(record["taxonomy"], name="run"),
        image_size=int(config.data.image_size),
        channels=int(config.data.channels),
        align=config.data.align,
        synthetic=bool(record["synthetic"]),
    )
