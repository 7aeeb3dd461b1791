"""A whole run as one TensorFlow function: uint8 faces in, calibrated and composed probabilities out."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.export.backends import INPUT, OUTPUT
from fer_hierarchy.inference.model import Metadata

# Names of operations that int8 would spoil begin so, or hold the name that our models give their first layer: its
# squares and reciprocal roots need more than 256 steps, and so do probabilities that are multiplied.
COMPOSING = "composing"
FIRST_LAYER = "standardize"


def one_function(stages: Mapping[str, Stage], facts: Metadata) -> "tf.types.experimental.PolymorphicFunction":
    """Every stage, its temperature and prior shift, softmax and soft composition, with the weights as constants.

    Args:
        stages: All stages of a run by name, as Keras trained them.
        facts: Of the run.

    Returns:
        `INPUT`, uint8 (n, size, size, channels) with any n, to a dictionary of `OUTPUT`, float32 (n, emotions).
    """
    networks = {id(stage.network): _outputs(stage.network) for stage in stages.values()}  # stages may share one

    def predict(faces: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.cast(faces, tf.float32)
        outputs = {key: call(pixels) for key, call in networks.items()}
        with tf.name_scope(COMPOSING):
            predicted = {
                name: tf.nn.softmax(_scaled(stage, outputs[id(stage.network)])) for name, stage in stages.items()
            }
            table = predicted[FLAT] if FLAT in predicted else _composed(predicted, facts.taxonomy)
            return {OUTPUT: tf.identity(table, name=OUTPUT)}

    signature = [tf.TensorSpec((None, *facts.shape), tf.uint8, name=INPUT)]
    return tf.function(predict, input_signature=signature, autograph=False)


def _outputs(network: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """A network as a function of float32 pixels."""
    # Arrays in place of the variables: every converter then finds constants and folds what it can.
    trained = [variable.numpy() for variable in network.trainable_variables]
    counted = [variable.numpy() for variable in network.non_trainable_variables]
    return lambda pixels: network.stateless_call(trained, counted, pixels, training=False)[0]


def _scaled(stage: Stage, outputs: tf.Tensor) -> tf.Tensor:
    """What softmax makes calibrated probabilities of: the stage's own outputs by its temperature and prior shift."""
    logits = stage.own(outputs)
    scaled = logits / tf.constant(stage.temperature, logits.dtype)
    return scaled if stage.log_prior_shift is None else scaled + tf.constant(stage.log_prior_shift, logits.dtype)


def _composed(predicted: Mapping[str, tf.Tensor], taxonomy: Taxonomy) -> tf.Tensor:
    """P(group|x) P(emotion|group, x), columns as `taxonomy.emotions`; see `hierarchy.classifiers.hierarchical`.

    Column by column: int8 conversion rounds what is gathered or joined before it is multiplied, wanted or not.
    """
    columns = []
    for emotion in taxonomy.emotions:
        group = taxonomy.group_of(emotion)
        column = _column(predicted[taxonomy.gate], taxonomy.group_names.index(group))
        if group in taxonomy.specialists:
            column *= _column(predicted[group], taxonomy.members(group).index(emotion))
        columns.append(column)
    return tf.concat(columns, axis=1)


def _column(table: tf.Tensor, index: int) -> tf.Tensor:
    return table[:, index : index + 1]
