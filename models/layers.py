"""Layers of our own, written with `keras.ops` so that they run on every Keras backend."""

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from fer_hierarchy.models import rgbd_settings as rgbd
from fer_hierarchy.models.settings import Factor
from fer_hierarchy.models.spec import check_limits

Shape = tuple[Any, ...]  # sizes; None for one that is open


class OwnLayer(keras.layers.Layer):
    """A layer that a saved model builds again from its settings; its output has the input's shape by default.

    Attributes:
        settings: Names of the constructor's arguments, which are attributes as well.
    """

    settings: ClassVar[tuple[str, ...]] = ()

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's own shape, or shapes."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Settings that a saved model needs to build the layer again."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.settings}}


@keras.saving.register_keras_serializable(package="fer")
class Standardize(OwnLayer):
    """Give every image zero mean and unit variance over height, width and channels.

    Works on each image alone, so it neither trains nor needs statistics of a data set, and takes out the exposure and
    contrast of a photograph. Input and output: (batch, height, width, channels); pixels in [0, 255] in.

    Args:
        epsilon: Added to the variance, in squared grey levels. The default, one grey level of deviation, leaves
            ordinary faces as they are, and keeps a blank image at zero instead of blowing up its rounding noise.
        **options: Keras's own layer options, such as `name`.
    """

    settings = ("epsilon",)

    def __init__(self, *, epsilon: float = 1.0, **options: Any):
        super().__init__(**options)
        self.epsilon = epsilon

    def call(self, pixels: Any) -> Any:
        """Standardise a batch of images."""
        centred = pixels - ops.mean(pixels, axis=(1, 2, 3), keepdims=True)
        # Variance from the centred pixels: the difference of two large means would lose its digits in float32.
        variance = ops.mean(ops.square(centred), axis=(1, 2, 3), keepdims=True)
        return centred * ops.rsqrt(variance + self.epsilon)


@keras.saving.register_keras_serializable(package="fer")
class MirrorImage(OwnLayer):
    """Mirror images left to right. Input and output: (batch, height, width, channels)."""

    def call(self, pixels: Any) -> Any:
        """Mirror a batch of images."""
        return ops.flip(pixels, axis=2)


@keras.saving.register_keras_serializable(package="fer")
class AdaptiveMean(OwnLayer):
    """Average maps of any size to size x size pixels, as PyTorch's `AdaptiveAvgPool2d` does.

    Of n rows, row i of the result is the mean of those from floor(i n / size) up to ceil((i + 1) n / size); so are the
    columns. Windows overlap where n is no multiple of `size`, and rows are repeated where n is smaller.
    `keras.layers.AdaptiveAveragePooling2D` is the same, but Keras 3.15 cannot compile it for maps of one pixel.

    Input: (batch, height, width, channels) with a fixed height and width. Output: (batch, size, size, channels).

    Args:
        size: Height and width of the result in pixels.
        **options: Keras's own layer options, such as `name`.
    """

    settings = ("size",)

    def __init__(self, *, size: int, **options: Any):
        super().__init__(**options)
        self.size = size

    def call(self, maps: Any) -> Any:
        """Average a batch of maps."""
        rows, columns = (ops.convert_to_tensor(_windows(n, self.size), maps.dtype) for n in maps.shape[1:3])
        # Plain products of matrices: einsum would do, but TFLite has no counterpart of what TensorFlow makes of it.
        narrow = ops.tensordot(maps, columns, axes=[[2], [1]])  # (batch, rows, channels, size)
        small = ops.tensordot(narrow, rows, axes=[[1], [1]])  # (batch, channels, size of columns, size of rows)
        return ops.transpose(small, (0, 3, 2, 1))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the averaged maps."""
        return input_shape[0], self.size, self.size, input_shape[-1]


def _windows(count: int, size: int) -> np.ndarray:
    """Weights (size, count) by which `count` rows are averaged to `size` rows."""
    weights = np.zeros((size, count))
    for i in range(size):
        window = slice(i * count // size, -(-(i + 1) * count // size))
        weights[i, window] = 1 / (window.stop - window.start)
    return weights


@keras.saving.register_keras_serializable(package="fer")
class ZeroFilled(OwnLayer):
    """Fill a map with zeros, below and to the right, until it has at least `size` rows and columns.

    Input: (batch, height, width, channels) with a fixed height and width. Output: (batch, max(height, size),
    max(width, size), channels).

    Args:
        size: Least height and width of the result in pixels.
        **options: Keras's own layer options, such as `name`.
    """

    settings = ("size",)

    def __init__(self, *, size: int, **options: Any):
        super().__init__(**options)
        self.size = size

    def call(self, maps: Any) -> Any:
        """Fill a batch of maps."""
        return _zero_filled(maps, self.compute_output_shape(maps.shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the filled maps."""
        batch, height, width, channels = input_shape
        return batch, max(height, self.size), max(width, self.size), channels


@keras.saving.register_keras_serializable(package="fer")
class ZeroFilledSum(OwnLayer):
    """Add two maps whose sizes may differ: zeros stand below, to the right and in the last channels of the smaller one.

    Input: two maps (batch, height, width, channels), each with a fixed height and width. Output: their sum, on each
    axis as large as the larger of them.
    """

    def call(self, maps: list[Any]) -> Any:
        """Add a batch of maps."""
        first, second = (_zero_filled(x, self.compute_output_shape([y.shape for y in maps])) for x in maps)
        return first + second

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """Return the shape of the sum."""
        (batch, *first), (_, *second) = input_shape
        return batch, *map(max, first, second)


def _zero_filled(maps: Any, shape: Shape) -> Any:
    """Maps with zeros behind the last row, column and channel, as far as `shape` goes beyond them."""
    missing = [(0, 0), *((0, wanted - size) for size, wanted in zip(maps.shape[1:], shape[1:], strict=True))]
    return ops.pad(maps, missing) if any(after for _, after in missing) else maps


@keras.saving.register_keras_serializable(package="fer")
class ClassTokenAndPositions(OwnLayer):
    """Put a learned token before those of the patches, and add a learned embedding to every position.

    Input: (batch, patches, dim). Output: (batch, 1 + patches, dim); the learned token comes first. A. Dosovitskiy and
    others, "An image is worth 16x16 words", ICLR 2021.
    """

    def build(self, input_shape: Shape) -> None:
        """Make the token, which begins at zero, and the positions."""
        _, patches, dim = input_shape
        positions = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token = self.add_weight(name="token", shape=(1, 1, dim), initializer="zeros")
        self.positions = self.add_weight(name="positions", shape=(1, 1 + patches, dim), initializer=positions)

    def call(self, patches: Any) -> Any:
        """Extend a batch of sequences by the token."""
        token = ops.broadcast_to(self.token, (ops.shape(patches)[0], 1, patches.shape[-1]))
        return ops.concatenate([token, patches], axis=1) + self.positions

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with one more token."""
        batch, patches, dim = input_shape
        return batch, 1 + patches, dim


@keras.saving.register_keras_serializable(package="fer")
class Planes(OwnLayer):
    """Take some of the planes of a stack: (batch, height, width, planes) to (batch, height, width, count).

    Args:
        first: Number of the first plane that is kept, from 0.
        count: How many are kept.
        **options: Keras's own layer options, such as `name`.
    """

    settings = ("first", "count")

    def __init__(self, *, first: int, count: int, **options: Any):
        super().__init__(**options)
        self.first = first
        self.count = count

    def call(self, stack: Any) -> Any:
        """Cut a batch of stacks."""
        return stack[..., self.first : self.first + self.count]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with `count` planes."""
        return *input_shape[:-1], self.count


@keras.saving.register_keras_serializable(package="fer")
class DepthImage(OwnLayer):
    """Turn a depth plane into three planes of grey levels, with every hole masked: none is ever read as a distance.

    Input: (batch, height, width, 1) distances from the camera in twentieths of a millimetre, larger is farther, 0 is a
    hole. Output: (batch, height, width, 3), about 0 to 255, so that any network for colour pictures takes it:

    - relief: heights towards the camera over the face's own mean, cut off at 120 mm, less `mean`, over `deviation`;
      128 + 48 of those in the first two planes, 128 in holes; 255 in the third plane where something was measured.
    - distance: the same of the distance itself, nearer is brighter.
    - normals: the surface's unit normal as 127.5 (1 + n), to the right, downwards, towards the camera. From central
      differences, the picture taken to be 200 mm wide; 127.5 thrice where a hole or the border is among the four
      neighbours.

    `mean` and `deviation` are scalar weights in millimetres that training leaves alone: statistics of the train faces,
    see `set_statistics`. Normals have none.

    Args:
        reading: "relief", "distance" or "normals".
        **options: Keras's own layer options, such as `name`.

    Raises:
        ValueError: There is no such reading.
    """

    settings = ("reading",)

    def __init__(self, *, reading: str = "relief", **options: Any):
        super().__init__(**options)
        check_limits("reading", reading, rgbd.Reading)
        self.reading = reading

    def build(self, input_shape: Shape) -> None:  # noqa: ARG002 - the same for any shape
        """Make the statistics, which begin where most faces lie."""
        for name, start in zip(("mean", "deviation"), rgbd.START.get(self.reading, ()), strict=False):
            initial = keras.initializers.Constant(start)
            setattr(self, name, self.add_weight(name=name, shape=(), initializer=initial, trainable=False))

    def set_statistics(self, mean: float, deviation: float) -> None:
        """Set what becomes 0, and what becomes 1 over it: millimetres of this reading over the train faces.

        Normals have neither, and stay as they are.

        Raises:
            ValueError: The deviation is not above 0.
        """
        check_limits("deviation", deviation, Factor)
        if self.reading in rgbd.START:
            self.mean.assign(mean)
            self.deviation.assign(deviation)

    def call(self, depth: Any) -> Any:
        """Read a batch of depth planes."""
        if self.reading == "normals":
            return _normals(depth * rgbd.UNIT_MM)
        seen = ops.cast(depth > 0, depth.dtype)
        values = self._values(depth * rgbd.UNIT_MM, seen)
        grey = rgbd.GREY + rgbd.GREYS * seen * (values / self.deviation)
        return ops.concatenate([grey, grey, rgbd.SEEN * seen], axis=-1)

    def _values(self, distance: Any, seen: Any) -> Any:
        """Millimetres over the mean, towards the camera; of no meaning in holes."""
        if self.reading == "distance":
            return self.mean - distance
        count = ops.maximum(ops.sum(seen, axis=(1, 2), keepdims=True), 1)
        middle = ops.sum(distance * seen, axis=(1, 2), keepdims=True) / count
        return ops.clip(middle - distance, -rgbd.MOST_RELIEF_MM, rgbd.MOST_RELIEF_MM) - self.mean

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with three planes."""
        return *input_shape[:-1], 3


def _normals(distance: Any) -> Any:
    """Unit normals (batch, height, width, 3) of a surface (batch, height, width, 1) in millimetres, as grey levels."""
    around = ops.pad(distance, ((0, 0), (1, 1), (1, 1), (0, 0)))  # nothing is measured outside
    left, right = around[:, 1:-1, :-2], around[:, 1:-1, 2:]
    above, below = around[:, :-2, 1:-1], around[:, 2:, 1:-1]
    apart = 2 * rgbd.FACE_MM / distance.shape[2]  # neighbours on either side, in millimetres
    # Where the surface recedes to the right, it faces right.
    normal = [(right - left) / apart, (below - above) / apart, ops.ones_like(distance)]
    length = ops.sqrt(sum(ops.square(component) for component in normal))
    sound = ops.all(ops.concatenate([distance, left, right, above, below], axis=-1) > 0, axis=-1, keepdims=True)
    direction = ops.concatenate(normal, axis=-1) / length * ops.cast(sound, distance.dtype)
    return rgbd.DIRECTION_GREY * (1 + direction)


@keras.saving.register_keras_serializable(package="fer")
class BranchDropout(OwnLayer):
    """While training, drop the output of one of two branches for a face, never that of both.

    So each branch learns to recognise a face alone. Otherwise the one that overfits first, as colour does where there
    are few people, leaves the other little to learn. N. Neverova, C. Wolf, G. Taylor and F. Nebout, "ModDrop: adaptive
    multi-modal gesture recognition", TPAMI 2016.

    Input: two tensors of the same batch. Output: the same two.

    Args:
        rate: Probability that the first is dropped, and that the second is, in [0, 0.5]; at 0.5 no face reaches both.
        seed: Of the draws; None takes one from Keras's global seed.
        **options: Keras's own layer options, such as `name`.
    """

    settings = ("rate", "seed")

    def __init__(self, *, rate: float, seed: int | None = None, **options: Any):
        super().__init__(**options)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, branches: list[Any], training: bool = False) -> list[Any]:
        """Drop in training, pass on otherwise."""
        first, second = branches
        if not training or not self.rate:
            return [first, second]
        draw = keras.random.uniform((ops.shape(first)[0],), seed=self.seed_generator)
        return [_kept(first, draw >= self.rate), _kept(second, draw < 1 - self.rate)]


def _kept(x: Any, rows: Any) -> Any:
    """`x` with zeros in every row but these."""
    return x * ops.cast(ops.reshape(rows, (-1, *(1 for _ in x.shape[1:]))), x.dtype)
