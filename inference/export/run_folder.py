"""A run of the results folder, opened with Keras: every stage predicts, and the predictions are composed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.batches import EVALUATED
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.inference.model import Metadata, Model

_NEEDED = {"mode", "taxonomy", "synthetic"}  # of metrics.json
_FEW = 32  # faces
# Tracing three networks costs as much processor time as about six direct calls for a face.
_DIRECT_CALLS = 5


class RunFolder(Model):
    """A finished run; see `Model`.

    Attributes:
        stages: Its networks by stage, with their calibration.
    """

    def __init__(self, folder: Path, facts: Metadata, stages: Mapping[str, Stage]) -> None:
        self.facts = facts
        self.source = str(folder)
        self.stages = stages
        self._networks = {id(stage.network): stage.network for stage in stages.values()}  # stages may share one
        self._calls = 0
        self._many = False
        signature = [tf.TensorSpec((None, *facts.shape), tf.uint8)]
        self._traced = tf.function(self._direct, input_signature=signature, autograph=False)

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float64."""
        outputs = self._outputs(faces)
        predicted = {name: stage.answer(outputs[id(stage.network)]) for name, stage in self.stages.items()}
        if FLAT in predicted:
            return predicted[FLAT]
        taxonomy = self.facts.taxonomy
        return HierarchicalClassifier(taxonomy).compose(
            predicted[taxonomy.gate], {group: predicted[group] for group in taxonomy.specialists}
        )

    def _outputs(self, faces: np.ndarray) -> dict[int, np.ndarray]:
        """Each network's outputs, float32 (n, outputs): straight for the first few faces, traced where that will pay.

        Many faces, and the rest of many, are predicted as in an evaluation, by Keras's own function and in batches of
        one size: kernels round by both, and the predictions are to be the same.
        """
        many, self._calls = len(faces) > _FEW, self._calls + 1
        if many or self._many:
            self._many = many
            return self._in_batches(faces)
        call = self._direct if self._calls <= _DIRECT_CALLS else self._traced
        return {key: output.numpy() for key, output in call(tf.constant(faces)).items()}

    def _in_batches(self, faces: np.ndarray) -> dict[int, np.ndarray]:
        filled = np.resize(np.arange(len(faces)), -(-len(faces) // EVALUATED) * EVALUATED).reshape(-1, EVALUATED)
        batches = [faces[rows].astype(np.float32) for rows in filled]
        return {
            key: np.concatenate([network.predict_on_batch(batch) for batch in batches])[: len(faces)]
            for key, network in self._networks.items()
        }

    def _direct(self, faces: tf.Tensor) -> dict[int, tf.Tensor]:
        pixels = tf.cast(faces, tf.float32)
        return {key: network(pixels, training=False) for key, network in self._networks.items()}


def open_run(folder: Path) -> RunFolder:
    """Open a finished run.

    Args:
        folder: With config.json, metrics.json and stages.

    Raises:
        UserError: It is not finished, damaged, of another framework, or takes faces with their depth.
    """
    record = _metrics(folder)
    config = run_folder.read_config(folder)
    if config.reads_depth:
        raise UserError(
            f"run {folder.name} takes faces with their depth, which a picture alone has not; name a run of pictures"
        )
    facts = _facts(folder, config, record)
    stages = KerasStage.load_all(folder / run_folder.STAGES, facts.taxonomy.stages(facts.mode))
    return RunFolder(folder, facts, stages)


def _metrics(folder: Path) -> dict[str, Any]:
    """What a finished run's metrics.json holds."""
    try:
        record = run_folder.read_json(folder / run_folder.METRICS)
    except UserError:
        record = {}
    if not record.keys() >= _NEEDED or not (folder / run_folder.STAGES).is_dir():
        # Says what is wrong and how to go on; loaded only here, because it brings all of training and reports with it.
        from fer_hierarchy.hierarchy.runs import run_results

        run_results.refuse_evaluation(folder)
        run_results.read_metrics(folder)
        raise UserError(f"run {folder.name} is incomplete or of an older version; train it again")
    return record


def _facts(folder: Path, config: RunConfig, record: Mapping[str, Any]) -> Metadata:
    if config.data.image_size is None or config.data.channels is None:
        raise UserError(
            f"run {folder.name}: its {run_folder.CONFIG} does not say how large its faces are; train it again"
        )
    return Metadata(
        run=folder.name,
        mode=config.mode,
        taxonomy=Taxonomy.from_dict(record["taxonomy"], name="run"),
        image_size=int(config.data.image_size),
        channels=int(config.data.channels),
        align=config.data.align,
        synthetic=bool(record["synthetic"]),
    )
