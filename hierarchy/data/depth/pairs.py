"""A face with depth: colour and depth of one manifest row, cut to the face together and stacked."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from fer_hierarchy.hierarchy.data.alignment import leveled
from fer_hierarchy.hierarchy.data.audit.pixels.measures import middle
from fer_hierarchy.hierarchy.data.decoding import BadImageError, Decoded, digest_of, read_image, with_channels
from fer_hierarchy.hierarchy.data.depth import depth_planes
from fer_hierarchy.hierarchy.data.sources import source_module
from fer_hierarchy.hierarchy.paths import atomic_write, cache_dir

_FORMAT = 1  # part of the cache key: raise it when reading a mesh or a range file changes
_MARGIN = 0.05  # of the face's side, left around it
_STRAY = 0.5  # percent of measured rows and columns on each side that do not count as face
_LEAST_FACE = 0.01  # share of the picture that must be measured


def read_pair(path: str, depth_path: str, source: str, *, align: bool) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth of one face, cut to the square that the depth covers.

    Args:
        path: The picture.
        depth_path: What holds its depth; "" where the data has none.
        source: Name of the data source, which knows how to read it.
        align: Whether to turn the face until its eyes are level.

    Returns:
        Colour uint8 (s, s) or (s, s, 3); distance float32 (s, s) in millimetres away from the camera, NaN in holes.

    Raises:
        BadImageError: Either is missing or unusable, or they do not belong together.
    """
    if not depth_path:
        raise BadImageError("no depth beside this picture; an RGB-D model needs both, others read colour alone")
    colour = read_image(path, source_module(source).IMAGE_SIZE)
    distance = _distance(depth_path, source, colour.shape[:2])
    if np.isfinite(distance).mean() < _LEAST_FACE:
        raise BadImageError(f"depth {Path(depth_path).name} is all holes")
    if align:
        colour, distance = leveled(path, colour, distance)
    return _cut(colour, distance)


def _distance(path: str, source: str, picture: tuple[int, int]) -> np.ndarray:
    """The source's own reading, from the cache where that is slow."""
    module = source_module(source)
    kept = _place(path, source, picture) if getattr(module, "CACHED", False) else None
    if kept and kept.is_file() and kept.stat().st_size:
        plane = cv2.imdecode(np.frombuffer(kept.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if plane is not None and plane.shape == picture and plane.dtype == np.uint16:
            return depth_planes.to_distance(plane)
    try:
        distance = module.read_depth(path, picture)
    except BadImageError as error:
        raise BadImageError(f"{Path(path).name}: {error}") from error
    if kept is None:
        return distance
    plane = depth_planes.to_plane(distance)
    _keep(plane, kept)
    return depth_planes.to_distance(plane)


def _place(path: str, source: str, picture: tuple[int, int]) -> Path:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise BadImageError(f"depth {Path(path).name} cannot be read ({error.strerror or error})") from error
    facts = f"{_FORMAT} {source} {path} {status.st_size} {status.st_mtime_ns} {picture}"
    return cache_dir() / "depth" / f"{hashlib.blake2b(facts.encode(), digest_size=12).hexdigest()}.png"


def _keep(plane: np.ndarray, place: Path) -> None:
    """Write a plane as 16-bit PNG, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(place) as temporary:
        # Encoded in memory: cv2.imwrite hides that the disk is full.
        temporary.write_bytes(cv2.imencode(".png", plane)[1].tobytes())


def _cut(colour: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both within the square around what was measured: the same scale whatever the picture shows besides."""
    rows, columns = np.nonzero(np.isfinite(distance))
    (top, bottom), (left, right) = (np.percentile(at, [_STRAY, 100 - _STRAY]) for at in (rows, columns))
    side = max(8, round((1 + 2 * _MARGIN) * (max(bottom - top, right - left) + 1)))
    start = np.round([(top + bottom + 1 - side) / 2, (left + right + 1 - side) / 2]).astype(int)
    return _window(colour, start, side, 0), _window(distance, start, side, np.nan)


def _window(image: np.ndarray, start: np.ndarray, side: int, outside: float) -> np.ndarray:
    """A square of an image; what lies beyond its border is `outside`."""
    result = np.full((side, side, *image.shape[2:]), outside, image.dtype)
    low = np.maximum(start, 0)
    high = np.minimum(start + side, image.shape[:2])
    (top, left), (bottom, right) = low - start, high - start
    result[top:bottom, left:right] = image[low[0] : high[0], low[1] : high[1]]
    return result


def stacked(colour: np.ndarray, distance: np.ndarray, size: int, channels: int) -> Decoded:
    """Fingerprint a pair and bring it to the working size: colour planes, then the depth plane.

    Args:
        colour: uint8 (h, w) or (h, w, 3).
        distance: float32 (h, w) in millimetres, NaN in holes.
        size: Side of the result in pixels.
        channels: Colour planes, 1 (grey) or 3 (RGB).

    Returns:
        `pixels` is uint16 (size, size, channels + 1).
    """
    plane = depth_planes.to_plane(distance)
    pixels = np.empty((size, size, channels + 1), np.uint16)
    pixels[..., :-1] = with_channels(colour, size, channels)
    pixels[..., -1] = depth_planes.to_plane(depth_planes.resized(distance, size))
    return Decoded(pixels, digest_of(colour, plane), colour.shape[:2], middle(colour))
