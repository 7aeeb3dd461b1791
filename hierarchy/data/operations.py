"""Random operations on training faces: RandAugment, whose moves are affine maps and whose light is Pillow's.

Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", CVPR Workshops 2020,
without solarizing, which makes negatives of bright skin. Keras's layer of this name does the same to all faces of a
batch, turns them upside down, and draws from a state that no checkpoint holds.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_TURN = 30.0  # degrees at full strength; this and what follows as in the paper
_SLANT = 0.3  # tangent of the angle
_SHIFT = 0.3  # of the side
_ENHANCE = 0.9  # change of a factor that is 1 without any
_LOST_BITS = 4
_MOVES = ("rotate", "shear x", "shear y", "shift x", "shift y")
_LIGHT: dict[str, Callable[[Image.Image, float], Image.Image]] = {  # from an image and a strength in -1..1
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "posterize": lambda image, strength: ImageOps.posterize(image, 8 - round(_LOST_BITS * abs(strength))),
    "color": lambda image, strength: ImageEnhance.Color(image).enhance(1 + _ENHANCE * strength),
    "contrast": lambda image, strength: ImageEnhance.Contrast(image).enhance(1 + _ENHANCE * strength),
    "brightness": lambda image, strength: ImageEnhance.Brightness(image).enhance(1 + _ENHANCE * strength),
    "sharpness": lambda image, strength: ImageEnhance.Sharpness(image).enhance(1 + _ENHANCE * strength),
}
OPERATIONS = (*_MOVES, *_LIGHT)


def draw_operations(rng: np.random.Generator, faces: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each face the places of `count` operations in `OPERATIONS`, and the sign of each, both (faces, count)."""
    draws = rng.random((faces, count, 2))
    return (draws[..., 0] * len(OPERATIONS)).astype(int), np.where(draws[..., 1] < 0.5, -1.0, 1.0)


def moved_maps(matrices: np.ndarray, kinds: np.ndarray, strengths: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Affine maps with the moves among the operations in front of them.

    Args:
        matrices: (n, 2, 3) from result to source pixels (x, y).
        kinds: (n, count) from `draw_operations`.
        strengths: (n, count) in -1..1.
        size: Height and width in pixels.

    Returns:
        (n, 2, 3) of the same meaning.
    """
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    for kind, strength in zip(kinds.T, strengths.T, strict=True):
        turn, shift = _turns(kind, strength), np.zeros((len(kind), 2))
        for axis, name in enumerate(("shift x", "shift y")):
            shift[:, axis] = _SHIFT * strength * (width, height)[axis] * _is(kind, name)
        offset = centre + shift - turn @ centre
        source = np.einsum("nij,nj->ni", matrices[:, :, :2], offset) + matrices[:, :, 2]
        matrices = np.concatenate([matrices[:, :, :2] @ turn, source[:, :, None]], axis=2)
    return matrices


def _turns(kind: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """(n, 2, 2) about the centre: a rotation, a slant along one axis, or neither."""
    angle = np.deg2rad(_TURN) * strength * _is(kind, "rotate")
    cosine, sine = np.cos(angle), np.sin(angle)
    along_x, along_y = (_SLANT * strength * _is(kind, name) for name in ("shear x", "shear y"))
    return np.stack([np.stack([cosine, along_x - sine], 1), np.stack([along_y + sine, cosine], 1)], 1)


def _is(kind: np.ndarray, name: str) -> np.ndarray:
    return kind == OPERATIONS.index(name)


def relight(image: np.ndarray, kinds: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """An image (h, w, 1 or 3) uint8 after those of its operations that change light, in their order."""
    chosen = [(_LIGHT[OPERATIONS[k]], s) for k, s in zip(kinds, strengths, strict=True) if k >= len(_MOVES)]
    if not chosen:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    for operation, strength in chosen:
        picture = operation(picture, strength)
    return np.asarray(picture).reshape(image.shape)
