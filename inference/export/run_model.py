"""A run of the results folder, opened with Keras: every stage predicts, and the predictions are composed."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.priors import prior_of, validation_facts
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.data.batches import EVALUATED
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.inference.model import Metadata, Model

_FEW = 32  # faces
# Tracing three networks costs as much processor time as about six direct calls for a face.
_DIRECT_CALLS = 5

log = logging.getLogger("fer_hierarchy")


class RunModel(Model):
    """A finished run; see `Model`.

    Args:
        run: Its folder.

    Attributes:
        stages: Its networks by stage, with their calibration.

    Raises:
        UserError: The run is not finished, damaged, of another framework, or takes faces with their depth.
    """

    def __init__(self, run: Run) -> None:
        run.require_networks()
        facts = _metadata(run)
        self.source = str(run.folder)
        self.stages = run.load_stages(KerasStage)
        self.facts = dataclasses.replace(facts, **_shares(run, self.stages))
        self._networks = {id(stage.network): stage.network for stage in self.stages.values()}  # stages may share one
        self._calls = 0
        self._many = False
        signature = [tf.TensorSpec((None, *self.facts.shape), tf.uint8)]
        self._traced = tf.function(self._direct, input_signature=signature, autograph=False)

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float64."""
        outputs = self._outputs(faces)
        predicted = {name: stage.calibrated(outputs[id(stage.network)]) for name, stage in self.stages.items()}
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


def _metadata(run: Run) -> Metadata:
    metrics, data = run.metrics, run.config.data
    if run.config.reads_depth:
        raise UserError(
            f"run {run.name} takes faces with their depth, which a picture alone has not; name a run of pictures"
        )
    if data.image_size is None or data.channels is None:
        raise UserError(f"run {run.name}: its config.json does not tell how large its faces are; train it again")
    return Metadata(
        run=run.name,
        mode=run.config.mode,
        taxonomy=run.taxonomy,
        image_size=data.image_size,
        channels=data.channels,
        align=data.align,
        synthetic=bool(metrics["synthetic"]),
    )


def _shares(run: Run, stages: Mapping[str, Stage]) -> dict[str, Any]:
    """The prior of a run's probabilities and what its validation faces tell, as far as its files hold them."""
    shares: dict[str, Any] = {}
    try:
        shares["prior"] = tuple(prior_of(stages, run.taxonomy, run.real_train_counts).tolist())
        if (run.folder / VALIDATION_PREDICTIONS).is_file():
            shares["validation"] = validation_facts(run.validation_predictions, run.taxonomy)
        shares["guarantee"] = run.guarantee
    except UserError as error:  # no reason to refuse predictions for the prior of training
        log.info("%s: %s", run.name, error)
    return shares
