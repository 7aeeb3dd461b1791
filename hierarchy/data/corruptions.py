"""What happens to faces outside of data sets, at five strengths each, to measure how much a model suffers by it.

After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019, arXiv:1903.12261; with what befalls faces that a detector finds: turned, cut out beside the middle, covered.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.augment import moved
from fer_hierarchy.hierarchy.data.depth import depth_planes

STRENGTHS = 5
_SENSOR_NOISE = 3.0  # grey levels, what a small camera's picture has in the dark


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One thing that happens to faces.

    Attributes:
        unit: What its levels are.
        levels: Of the strengths 1 to 5.
        colours: Changes (n, h, w, c) uint8 colours; None where it moves pixels.
        matrices: Maps from result to source pixels, for what moves pixels, depth too; None for what changes colours.
    """

    unit: str
    levels: tuple[float, ...]
    colours: Callable[[np.ndarray, float, np.random.Generator], np.ndarray] | None = None
    matrices: Callable[[int, int, float, np.random.Generator], np.ndarray] | None = None


def corrupted(batch: np.ndarray, name: str, strength: int, *, seed: int) -> np.ndarray:
    """The faces of a batch with one of `CORRUPTIONS`; depends on nothing but the arguments.

    A face is turned, moved and covered in the same direction and place at all strengths.

    Args:
        batch: (n, h, w, c) uint8, or uint16 whose last plane is depth, which moves with its face and has a hole where
            the face is covered; not modified.
        name: Key of `CORRUPTIONS`.
        strength: 1 to 5; 0 changes nothing.
        seed: Of all randomness.

    Returns:
        (n, h, w, c) of the same dtype, a new array.
    """
    if strength == 0:
        return batch.copy()
    corruption, rng = CORRUPTIONS[name], np.random.default_rng(seed)
    level = corruption.levels[strength - 1]
    if corruption.matrices is not None:
        return moved(batch, corruption.matrices(len(batch), batch.shape[1], level, rng))
    assert corruption.colours is not None
    colours = corruption.colours(depth_planes.colours(batch), level, rng)
    if not depth_planes.has_depth(batch):
        return colours
    result = np.concatenate([colours, batch[..., -1:]], axis=-1, dtype=np.uint16)
    if name == "occlusion":
        places = _places(len(batch), batch.shape[1], level, np.random.default_rng(seed))
        for face, place in zip(result, places, strict=True):
            face[(*place, -1)] = 0
    return result


def _blurred(batch: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    sigma = level * batch.shape[1]
    return _each(batch, lambda face: cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def _noisy(batch: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return _rounded(batch + 255 * level * rng.standard_normal(batch.shape, dtype=np.float32))


def _compressed(batch: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    return _each(batch, lambda face: _jpeg(face, int(level)))


def _jpeg(face: np.ndarray, quality: int) -> np.ndarray:
    """A face (h, w) or (h, w, 3) RGB as a JPEG file of this quality gives it back."""
    _, data = cv2.imencode(".jpg", face[..., ::-1] if face.ndim == 3 else face, [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    return read[..., ::-1] if face.ndim == 3 else read


def _darkened(batch: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Less light on the same sensor: its own noise stays, and grey levels are lost."""
    noise = _SENSOR_NOISE * rng.standard_normal(batch.shape, dtype=np.float32)
    return _rounded(batch * np.float32(1 - level) + noise)


def _occluded(batch: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    result = batch.copy()
    places = _places(len(batch), batch.shape[1], level, rng)
    for face, place, grey in zip(result, places, rng.integers(0, 256, len(batch)), strict=True):
        face[place] = grey
    return result


def _places(count: int, side: int, share: float, rng: np.random.Generator) -> list[tuple[slice, slice]]:
    """A square of this share of each face, anywhere in it."""
    length = min(side, round(side * math.sqrt(share)))
    starts = np.rint(rng.random((count, 2)) * (side - length)).astype(int)
    return [(slice(top, top + length), slice(left, left + length)) for top, left in starts]


def _turns(count: int, side: int, degrees: float, rng: np.random.Generator) -> np.ndarray:
    signs = rng.choice([-1.0, 1.0], count)
    middle = ((side - 1) / 2, (side - 1) / 2)
    return np.stack([cv2.getRotationMatrix2D(middle, float(sign * degrees), 1.0) for sign in signs])


def _shifts(count: int, side: int, share: float, rng: np.random.Generator) -> np.ndarray:
    angles = rng.uniform(0, 2 * math.pi, count)
    matrices = np.tile(np.eye(2, 3), (count, 1, 1))
    matrices[:, :, 2] = share * side * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return matrices


def _each(batch: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Every face changed; OpenCV wants grey ones without a channel axis."""
    grey = batch.shape[-1] == 1
    changed = [change(np.ascontiguousarray(face[..., 0] if grey else face)) for face in batch]
    return np.stack(changed).reshape(batch.shape)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


CORRUPTIONS: Mapping[str, Corruption] = {
    "blur": Corruption(unit="of the side, sigma", levels=(0.01, 0.02, 0.03, 0.045, 0.06), colours=_blurred),
    "noise": Corruption(unit="of the range, deviation", levels=(0.03, 0.06, 0.1, 0.15, 0.2), colours=_noisy),
    "JPEG": Corruption(unit="quality", levels=(40, 25, 15, 10, 6), colours=_compressed),
    "darkness": Corruption(unit="of the light gone", levels=(0.3, 0.5, 0.65, 0.78, 0.88), colours=_darkened),
    "turning": Corruption(unit="degrees", levels=(6, 12, 20, 30, 45), matrices=_turns),
    "shift": Corruption(unit="of the side", levels=(0.04, 0.08, 0.12, 0.18, 0.25), matrices=_shifts),
    "occlusion": Corruption(unit="of the area", levels=(0.05, 0.1, 0.2, 0.3, 0.4), colours=_occluded),
}
