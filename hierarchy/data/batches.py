"""Manifest rows -> tf.data batches of float32 pixels in [0, 255] and stage targets.

Every training batch is a function of (seed, step) alone: a run that was killed and resumed sees the very batches that
the uninterrupted run would have seen.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from hierarchy.data.augment import Augmentation, augment


@dataclass(frozen=True, kw_only=True)
class TrainBatches:
    """The training faces of one stage.

    Attributes:
        pixels: (n, height, width, channels) uint8, all faces of the data set, often a memory map.
        rows: (m,) int64, rows of `pixels` that an epoch passes over; oversampled rows stand in it more than once.
        targets: (m, classes) float32, one-hot labels or label shares, aligned with `rows`.
        batch_size: Faces in a step.
        seed: Decides order and augmentation.
        augmentation: What is done to each training face.
    """

    pixels: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    batch_size: int
    seed: int
    augmentation: Augmentation

    @property
    def faces_per_step(self) -> int:
        """Faces in each step: the batch size, or all rows where there are fewer."""
        return min(self.batch_size, len(self.rows))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the odd rest changes with each epoch's order."""
        return len(self.rows) // self.faces_per_step

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Faces uint8 (b, height, width, channels) and targets float32 (b, classes) of one global step."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.rows))
        chosen = order[position * self.faces_per_step : (position + 1) * self.faces_per_step]
        rng = np.random.default_rng((self.seed, 1, int(step)))
        return augment(self.pixels[self.rows[chosen]], rng, self.augmentation), self.targets[chosen]

    def dataset(self, first_epoch: int, epochs: int) -> tf.data.Dataset:
        """Batches of the epochs from `first_epoch` (0-based) up to `epochs`, as float32 faces and targets."""
        first, last = first_epoch * self.steps_per_epoch, epochs * self.steps_per_epoch
        face_shape = self.pixels.shape[1:]

        def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            faces, targets = tf.numpy_function(self.batch, [step], [tf.uint8, tf.float32])
            faces = tf.ensure_shape(faces, (self.faces_per_step, *face_shape))
            return tf.cast(faces, tf.float32), tf.ensure_shape(targets, (self.faces_per_step, self.targets.shape[1]))

        return tf.data.Dataset.range(first, last).map(load).prefetch(4)


def evaluation_batches(pixels: np.ndarray, rows: np.ndarray, *, batch_size: int = 256) -> tf.data.Dataset:
    """Faces as float32 (b, height, width, channels) in the order of `rows`, untouched.

    Args:
        pixels: (n, height, width, channels) uint8.
        rows: (m,) rows of `pixels`.
        batch_size: Faces in a batch; the last one may be smaller.
    """
    starts = tf.data.Dataset.range(0, len(rows), batch_size)
    face_shape = pixels.shape[1:]

    def gather(start: np.ndarray) -> np.ndarray:
        return pixels[rows[int(start) : int(start) + batch_size]]

    def load(start: tf.Tensor) -> tf.Tensor:
        faces = tf.numpy_function(gather, [start], tf.uint8)
        return tf.cast(tf.ensure_shape(faces, (None, *face_shape)), tf.float32)

    return starts.map(load).prefetch(2)
