"""Manifest rows -> training batches, and tf.data batches of float32 pixels in [0, 255] and stage targets.

Every training batch is a function of (seed, step) alone: a run that was killed and resumed sees the very batches that
the uninterrupted run would have seen. TensorFlow is imported only where a tf.data pipeline is made.
"""

import mmap
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fer_hierarchy.hierarchy.data.augment import Augmentation, augment

if TYPE_CHECKING:
    import tensorflow as tf


EVALUATED = 64  # faces in a batch that is only predicted; more are no faster
_AHEAD = 16  # steps whose faces are read ahead
_MAPPED = 2**30  # bytes of decoded faces that may stay in the memory of the process


@dataclass(frozen=True, kw_only=True)
class TrainBatches:
    """The training faces of one stage.

    Attributes:
        pixels: (n, height, width, channels) uint8, all faces of the data set, often a memory map; uint16 where the
            last plane is depth.
        rows: (m,) int64, rows of `pixels` that an epoch passes over; oversampled rows stand in it more than once.
        targets: (m, classes) float32, one-hot labels or label shares, aligned with `rows`.
        batch_size: Faces in a step.
        seed: Decides order, augmentation and mixing.
        augmentation: What is done to each training face.
        shares: (m,) probabilities, sum 1, with which each of an epoch's m draws takes a row, with replacement and anew
            in each epoch; None passes over each row once.
        mixup: Alpha of mixup in `dataset`, 0 to 1; 0 is off.
        cutmix: Alpha of CutMix in `dataset`, 0 to 1; 0 is off. With both on, each has about half of the batches.
    """

    pixels: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    batch_size: int
    seed: int
    augmentation: Augmentation
    shares: np.ndarray | None = None
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def faces_per_step(self) -> int:
        """Faces in each step: the batch size, or all rows where there are fewer."""
        return min(self.batch_size, len(self.rows))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the odd rest changes with each epoch's order."""
        return len(self.rows) // self.faces_per_step

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of one global step, never mixed: faces as they are stored, and targets float32 (b, classes)."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        order, size = self._order(epoch), self.faces_per_step
        chosen = order[position * size : (position + 1) * size]
        ahead = position + _AHEAD  # of this epoch: its first steps wait for their own faces
        read_ahead(self.pixels, self.rows[order[ahead * size : (ahead + 1) * size]])
        rng = np.random.default_rng((self.seed, 1, int(step)))
        return augment(gathered(self.pixels, self.rows[chosen]), rng, self.augmentation), self.targets[chosen]

    def _order(self, epoch: int) -> np.ndarray:
        if self.shares is None:
            return _permutation(self.seed, epoch, len(self.rows))
        rng = np.random.default_rng((self.seed, 0, epoch))
        return rng.choice(len(self.rows), len(self.rows), p=self.shares)

    def dataset(self, first_epoch: int, epochs: int) -> "tf.data.Dataset":
        """Batches of the epochs from `first_epoch` (0-based) up to `epochs`, as float32 faces and targets."""
        import tensorflow as tf

        from fer_hierarchy.hierarchy.data.mixing import Mixing

        first, last = first_epoch * self.steps_per_epoch, epochs * self.steps_per_epoch
        face_shape, kind = self.pixels.shape[1:], self.pixels.dtype
        mixing = Mixing(mixup=self.mixup, cutmix=self.cutmix, seed=self.seed)

        def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            faces, targets = tf.numpy_function(self.batch, [step], [kind, tf.float32])
            faces = tf.cast(tf.ensure_shape(faces, (self.faces_per_step, *face_shape)), tf.float32)
            return mixing(faces, tf.ensure_shape(targets, (self.faces_per_step, self.targets.shape[1])), step)

        return _untuned(tf.data.Dataset.range(first, last).map(load).prefetch(4))


@lru_cache(maxsize=2)  # each step of an epoch wants it: of AffectNet it takes milliseconds
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def gathered(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A copy of some faces; of a large memory map nothing else stays in the memory of the process.

    Pages that were read would count as its memory until the machine runs short; here they stay in the cache of the
    system alone, which takes them back as it needs.

    Args:
        pixels: (n, height, width, channels), all faces of the data set.
        rows: (m,) rows of `pixels`.
    """
    mapped = _large_map(pixels)
    if mapped is None:
        return pixels[rows]
    read_ahead(pixels, rows)
    faces = pixels[rows]
    mapped.madvise(mmap.MADV_DONTNEED)
    return faces


def read_ahead(pixels: np.ndarray, rows: np.ndarray) -> None:
    """Let the system read faces of a large memory map without waiting for them, in the order on the disk."""
    mapped = _large_map(pixels)
    if mapped is None:
        return
    header, each = len(mapped) - pixels.nbytes, pixels.nbytes // len(pixels)
    for start in np.sort(header + rows * each).tolist():
        page = start - start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, start + each - page)


def _large_map(pixels: np.ndarray) -> mmap.mmap | None:
    """The mapped file of faces that are not to stay in memory; None for others, and where no system call does it."""
    large = pixels.nbytes > _MAPPED and hasattr(mmap, "MADV_DONTNEED")
    return pixels.base if large and isinstance(pixels.base, mmap.mmap) else None


def evaluation_batches(pixels: np.ndarray, rows: np.ndarray, *, batch_size: int = EVALUATED) -> "tf.data.Dataset":
    """Faces as float32 (b, height, width, channels) in the order of `rows`, untouched.

    Args:
        pixels: (n, height, width, channels) uint8, or uint16 where the last plane is depth.
        rows: (m,) rows of `pixels`.
        batch_size: Faces in a batch; the last one may be smaller.
    """
    import tensorflow as tf

    starts = tf.data.Dataset.range(0, len(rows), batch_size)
    face_shape = pixels.shape[1:]

    def gather(start: np.ndarray) -> np.ndarray:
        return gathered(pixels, rows[int(start) : int(start) + batch_size])

    def load(start: tf.Tensor) -> tf.Tensor:
        faces = tf.numpy_function(gather, [start], pixels.dtype)
        return tf.cast(tf.ensure_shape(faces, (None, *face_shape)), tf.float32)

    return _untuned(starts.map(load).prefetch(2))


def _untuned(dataset: "tf.data.Dataset") -> "tf.data.Dataset":
    """The dataset without TensorFlow's tuner of buffers: nothing here is left to it, and ending it takes seconds."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
