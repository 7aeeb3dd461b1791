"""Mixup and CutMix of a training batch inside tf.data, as a function of (seed, step) alone.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Yun et al., "CutMix", ICCV 2019.
"""

from functools import partial

import keras
import tensorflow as tf

Batch = tuple[tf.Tensor, tf.Tensor]


class _StepSeeds(keras.random.SeedGenerator):
    """Seeds for the random numbers of one step: what Keras needs, without a state that earlier steps have moved.

    Args:
        seed: The run's seed.
        step: Scalar int64 tensor.
    """

    def __init__(self, seed: int, step: tf.Tensor) -> None:
        # Not the parent's: it would make a variable, and a draw from it would depend on all draws before.
        self._key = tf.stack([tf.constant(seed, tf.int64), step])
        self._drawn = 0

    def next(self, ordered: bool = True) -> tf.Tensor:  # noqa: ARG002 - Keras's signature
        """Another seed, int64 (2,); the draws of a step come in a fixed order."""
        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._key, tf.constant(self._drawn, tf.int64))


class Mixing:
    """Blends each face of a batch with another of it, and their targets by the same shares.

    Args:
        mixup: Alpha of mixup, whose shares come from Beta(alpha, alpha); 0 is off.
        cutmix: Alpha of CutMix; 0 is off. With both on, a fair coin chooses for each batch.
        seed: Decides everything, together with the step.
    """

    def __init__(self, *, mixup: float, cutmix: float, seed: int) -> None:
        self.seed = seed
        self._ways = []
        if mixup:
            self._ways.append(partial(_blended, keras.layers.MixUp(alpha=mixup, seed=seed)))
        if cutmix:
            # Keras draws alpha between two bounds; the paper has one alpha.
            self._ways.append(partial(_patched, keras.layers.CutMix(factor=(cutmix, cutmix), seed=seed)))

    def __call__(self, faces: tf.Tensor, targets: tf.Tensor, step: tf.Tensor) -> Batch:
        """The mixed batch of a step.

        Args:
            faces: float32 (b, height, width, channels) of a static shape.
            targets: float32 (b, classes), one-hot or shares.
            step: Scalar int64, the global step.
        """
        if not self._ways:
            return faces, targets
        seeds, batch = _StepSeeds(self.seed, step), (faces, targets)
        if len(self._ways) == 1:
            return self._ways[0](batch, seeds)
        heads = tf.random.stateless_uniform((), seed=seeds.next()) < 0.5
        return tf.cond(heads, lambda: self._ways[0](batch, seeds), lambda: self._ways[1](batch, seeds))


def _blended(layer: keras.layers.MixUp, batch: Batch, seeds: _StepSeeds) -> Batch:
    # Not layer(...): it would take its seeds from a state of its own.
    layer.backend.set_backend("tensorflow")
    drawn = layer.get_random_transformation(batch[0], seed=seeds)
    return layer.transform_images(batch[0], drawn), layer.transform_labels(batch[1], drawn)


def _patched(layer: keras.layers.CutMix, batch: Batch, seeds: _StepSeeds) -> Batch:
    layer.backend.set_backend("tensorflow")
    drawn = layer.get_random_transformation(batch[0], seed=seeds)
    # Keras weighs by the area of the rectangle as drawn; what shows of it are whole pixels.
    drawn["mix_weight"] = 1 - tf.reduce_mean(tf.cast(drawn["batch_masks"], tf.float32), axis=(1, 2, 3))
    return layer.transform_images(batch[0], drawn), layer.transform_labels(batch[1], drawn)
