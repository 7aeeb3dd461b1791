"""Random variants of training faces: one affine warp an image, then light, blur, noise and erasing.

Depth moves with its face by the same warp. What changes light or covers skin happens to the colours alone; noise and
holes happen to the depth alone.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.depth import depth_planes
from fer_hierarchy.hierarchy.data.operations import draw_operations, moved_maps, relight

# Share of the image and height / width of an erased rectangle: Zhong et al., "Random Erasing Data Augmentation",
# AAAI 2020, with the largest area halved, because a face of 48 pixels has little to spare.
_ERASED_AREA = (0.02, 0.2)
_ERASED_ASPECT = (0.3, 1 / 0.3)
_SHARP = 0.2  # pixels: the standard deviation below which a blur changes nothing
_DRAWS = 13  # uniform numbers that each image consumes, whatever is switched on; shear takes one more


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training face; zero or False switches a part off. `StageConfig` checks the ranges.

    Attributes:
        shift: Largest move along each axis, fraction of the side, 0..0.5.
        flip: Mirror left and right in half of the images.
        rotation: Largest turn either way, degrees, 0..180.
        zoom: Largest change of scale either way, fraction, 0..0.5.
        shear: Largest slant of upright lines either way, the tangent of its angle, 0..0.5.
        erase: Probability that a rectangle is erased, 0..1.
        brightness: Largest change of brightness either way, fraction of the full range, 0..1.
        contrast: Largest change of contrast either way, fraction, 0..1.
        defocus: Largest standard deviation of a Gaussian blur, share of the side, 0..0.1.
        noise: Largest standard deviation of Gaussian noise, fraction of the full range, 0..0.5.
        operations: Operations on each image, drawn as RandAugment does, 0..8.
        magnitude: Their strength, 0..1.
        depth_noise: Standard deviation of the noise on each measured depth, millimetres, 0..50.
        depth_holes: Probability that a rectangle of the depth becomes a hole, 0..1.
    """

    shift: float = 0.1
    flip: bool = True
    rotation: float = 10.0
    zoom: float = 0.1
    shear: float = 0.0
    erase: float = 0.25
    brightness: float = 0.0
    contrast: float = 0.0
    defocus: float = 0.0
    noise: float = 0.0
    operations: int = 0
    magnitude: float = 0.0
    depth_noise: float = 0.0
    depth_holes: float = 0.0

    @property
    def warps(self) -> bool:
        """Whether anything moves pixels."""
        return bool(self.shift or self.flip or self.rotation or self.zoom or self.shear or self.operations)


def augment(batch: np.ndarray, rng: np.random.Generator, settings: Augmentation) -> np.ndarray:
    """A random variant of every image of a batch; depends on nothing but the arguments.

    Args:
        batch: (n, h, w, c) uint8 with 1 to 4 channels, or uint16 whose last plane is depth; not modified.
        rng: Source of all randomness. Image i consumes the same draws for whatever settings, shear, operations, noise
            and erased noise aside.
        settings: What may happen.

    Returns:
        (n, h, w, c) of the same dtype, a new array; image i comes from image i.

    Raises:
        ValueError: The batch has another shape or type.
    """
    colours = depth_planes.colours(batch)
    if batch.ndim != 4 or colours.dtype != np.uint8 or not 1 <= colours.shape[-1] <= 4:
        raise ValueError(f"batch of shape {batch.shape}, {batch.dtype}; right is (n, h, w, 1 to 4) uint8")
    draws = rng.random((len(batch), _DRAWS))
    # Drawn last, and only where it is needed: trainings without shear see what they saw before there was any.
    slants = rng.random((len(batch), 1)) if settings.shear else np.full((len(batch), 1), 0.5)
    moves = np.concatenate([draws[:, :5], slants], axis=1)
    kinds, signs = draw_operations(rng, len(batch), settings.operations)
    strengths, size = settings.magnitude * signs, batch.shape[1:3]
    matrices = moved_maps(_matrices(moves, size, settings), kinds, strengths, size) if settings.warps else None
    result = colours.copy() if matrices is None else _warped(colours, matrices)
    if settings.brightness or settings.contrast:
        result = _relit(result, draws[:, 5:7], settings)
    if settings.operations:
        result = np.stack([relight(*face) for face in zip(result, kinds, strengths, strict=True)])
    if settings.defocus or settings.noise:
        result = _unclear(result, rng, settings)
    for i in np.flatnonzero(draws[:, 7] < settings.erase):
        _erase(result[i], draws[i, 8:], rng)
    if not depth_planes.has_depth(batch):
        return result
    # After all draws of the colours: they stay what they are for the same picture without depth.
    plane = _augmented_depth(batch[..., -1], matrices, rng, settings)
    return np.concatenate([result, plane[..., None]], axis=-1, dtype=np.uint16)


def moved(batch: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Every image, and its depth, through its own affine map; the border mirrors what is inside.

    Args:
        batch: As for `augment`.
        matrices: (n, 2, 3) float64 from result to source pixels (x, y).

    Returns:
        (n, h, w, c) of the same dtype, a new array.
    """
    colours = _warped(depth_planes.colours(batch), matrices)
    if not depth_planes.has_depth(batch):
        return colours
    return np.concatenate([colours, _warped_depth(batch[..., -1], matrices)[..., None]], axis=-1, dtype=np.uint16)


def _augmented_depth(
    planes: np.ndarray, matrices: np.ndarray | None, rng: np.random.Generator, settings: Augmentation
) -> np.ndarray:
    """Depth planes (n, h, w) uint16 through the warps of their colours, with noise and holes of their own."""
    result = planes.copy() if matrices is None else _warped_depth(planes, matrices)
    if settings.depth_noise:
        # The whole face is noise-free or noisy alike: sensors differ more than the pixels of one picture.
        level = rng.random((len(planes), 1, 1), dtype=np.float32) * settings.depth_noise / depth_planes.UNIT_MM
        noisy = result + level * rng.standard_normal(result.shape, dtype=np.float32)
        result = np.where(result > 0, np.clip(np.rint(noisy), 1, 65535), 0).astype(np.uint16)
    if settings.depth_holes:
        for image, draws in zip(result, rng.random((len(planes), 5)), strict=True):
            if draws[4] < settings.depth_holes:
                image[_rectangle(image.shape, draws)] = 0
    return result


def _warped_depth(planes: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    size = planes.shape[2:0:-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = [
        depth_planes.warped(depth_planes.to_distance(plane), matrix, size, flags=flags, border=cv2.BORDER_REFLECT_101)
        for plane, matrix in zip(planes, matrices, strict=True)
    ]
    return depth_planes.to_plane(np.stack(moved))


def _warped(batch: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    height, width, channels = batch.shape[1:]
    # OpenCV wants grey images without a channel axis; both are views.
    shape = (len(batch), height, width) if channels == 1 else batch.shape
    source, result = np.ascontiguousarray(batch).reshape(shape), np.empty(shape, np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image, matrix, target in zip(source, matrices, result, strict=True):
        # The border mirrors the face's own pixels: no black corners that a network could take for a feature.
        cv2.warpAffine(image, matrix, (width, height), dst=target, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return result.reshape(batch.shape)


def _matrices(draws: np.ndarray, size: tuple[int, int], settings: Augmentation) -> np.ndarray:
    """(n, 2, 3) float64 maps from result to source pixels (x, y): shift; and turns, zoom and shear about the centre.

    Args:
        draws: (n, 6) uniform in 0..1: shift along x and y, flip, rotation, zoom, shear.
        size: Height and width in pixels.
        settings: Their ranges.
    """
    height, width = size
    signed = 2 * draws - 1
    angle = np.deg2rad(settings.rotation) * signed[:, 3]
    scale = 1 / (1 + settings.zoom * signed[:, 4])
    mirror = np.where(settings.flip & (draws[:, 2] < 0.5), -1.0, 1.0)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack([np.stack([mirror * cosine, -sine], 1), np.stack([mirror * sine, cosine], 1)], 1)  # (n, 2, 2)
    turn[:, :, 1] += settings.shear * signed[:, 5, None] * turn[:, :, 0]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    moved = centre + settings.shift * signed[:, :2] * [width, height]
    offset = centre - np.einsum("nij,nj->ni", turn, moved)
    return np.concatenate([turn, offset[:, :, None]], axis=2)


def _relit(batch: np.ndarray, draws: np.ndarray, settings: Augmentation) -> np.ndarray:
    """Contrast about each image's mean, then brightness; (n, h, w, c) uint8. `draws`: (n, 2) uniform in 0..1."""
    signed = (2 * draws - 1).astype(np.float32)[:, :, None, None, None]
    mean = batch.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    lit = (batch - mean) * (1 + settings.contrast * signed[:, 1]) + mean + 255 * settings.brightness * signed[:, 0]
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def _unclear(batch: np.ndarray, rng: np.random.Generator, settings: Augmentation) -> np.ndarray:
    """Blur and noise of (n, h, w, c) uint8, as lenses and sensors make them, each image with strengths of its own."""
    strengths = rng.random((len(batch), 2), dtype=np.float32)
    sigmas = settings.defocus * batch.shape[1] * strengths[:, 0]
    result = np.stack([_blurred(image, sigma) for image, sigma in zip(batch, sigmas, strict=True)])
    if not settings.noise:
        return result
    levels = 255 * settings.noise * strengths[:, 1, None, None, None]
    noisy = result + levels * rng.standard_normal(batch.shape, dtype=np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """An image (h, w, c), blurred where that changes anything."""
    if sigma < _SHARP:
        return image
    return cv2.GaussianBlur(image, (0, 0), float(sigma)).reshape(image.shape)


def _erase(image: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a rectangle of one (h, w, c) image in place: noise, the image's mean, or one random grey, by turns.

    Args:
        image: Modified.
        draws: (5,) uniform in 0..1: area, aspect, top, left, filling.
        rng: Gives the noise.
    """
    hole = image[_rectangle(image.shape, draws)]
    if draws[4] < 1 / 3:
        hole[:] = rng.integers(0, 256, hole.shape, dtype=np.uint8)
    elif draws[4] < 2 / 3:
        hole[:] = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    else:
        hole[:] = int((draws[4] - 2 / 3) * 3 * 255)


def _rectangle(shape: tuple[int, ...], draws: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a random rectangle of an image; `draws`: uniform in 0..1: area, aspect, top, left."""
    height, width = shape[:2]
    smallest, largest = _ERASED_AREA
    area = (smallest + (largest - smallest) * draws[0]) * height * width
    aspect = math.exp(math.log(_ERASED_ASPECT[0]) + draws[1] * math.log(_ERASED_ASPECT[1] / _ERASED_ASPECT[0]))
    tall = min(height, max(1, round(math.sqrt(area * aspect))))
    wide = min(width, max(1, round(math.sqrt(area / aspect))))
    top, left = int(draws[2] * (height - tall + 1)), int(draws[3] * (width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)
