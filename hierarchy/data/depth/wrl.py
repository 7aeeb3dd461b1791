"""A mesh in VRML 2 text (ISO/IEC 14772-1:1997), and how far away each pixel of its front view is."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_bytes
from fer_hierarchy.hierarchy.data.depth.rasterise import render

MAX_BYTES = 64 * 2**20  # of text: some millions of faces, a hundred times more than a scanned head has
_FARTHEST = 1e6  # coordinates beyond are no millimetres, and products of theirs overflow
_LEAST_AREA = 1e-9  # pixels; a triangle seen from its edge has no plane that could be drawn
_MOST_COVER = 200  # times that the faces' boxes may cover the picture; a face's own cover it two or three times
_HEADER = "#VRML V2.0"
# Patterns that begin with a fixed letter are found many times faster than those that begin with a condition.
_PROSE = re.compile(r'["#](?:(?<=")(?:[^"\\]|\\.)*+"?|(?<=[\s,\[\]{}]#)[^\r\n]*)', re.DOTALL)  # strings and comments
_PICTURE = re.compile(r'url\s*\[?\s*"([^"]*)"')
_SHAPE = re.compile(r"IndexedFaceSet\b")
_LISTS = {
    "point": re.compile(r"coord\s+(?:DEF\s+\S+\s+)?Coordinate\s*\{\s*point\s*\["),
    "coordIndex": re.compile(r"coordIndex\s*\["),
    "texCoord": re.compile(r"texCoord\s+(?:DEF\s+\S+\s+)?TextureCoordinate\s*\{\s*point\s*\["),
    "texCoordIndex": re.compile(r"texCoordIndex\s*\["),
}
_TRANSFORM = re.compile(r"Transform(?<!TextureTransform)\b")
_MOVED = re.compile(r"\b(translation|rotation|scale)\s+([-+.\deE]+(?:[\s,]+[-+.\deE]+){2,3})")


@dataclass(frozen=True)
class Mesh:
    """Triangles in space.

    Attributes:
        points: (n, 3) float64: x to the right, y up, z towards the viewer, in the file's unit.
        triangles: (m, 3) int64 rows of `points`.
        texture: (m, 3, 2) float64: where each corner lies in the picture, from the left and from below, 0..1; None
            where the file lacks it for some triangle.
        pictures: File names of the pictures that the file puts on the mesh.
    """

    points: np.ndarray
    triangles: np.ndarray
    texture: np.ndarray | None
    pictures: tuple[str, ...]


def read_mesh(path: Path | str) -> Mesh:
    """Read all IndexedFaceSets of a file; polygons become triangles.

    Raises:
        BadImageError: The file is missing, empty, enormous, no VRML 2, truncated, without faces, moved by a Transform,
            or its numbers are no numbers, not finite, or name vertices that are not there.
    """
    content = read_bytes(Path(path))
    if len(content) > MAX_BYTES:
        raise BadImageError(f"mesh of {len(content) / 1e6:.0f} MB, more than {MAX_BYTES // 2**20} MB")
    whole = content.decode("utf-8-sig", errors="replace").lstrip()
    if not whole.startswith(_HEADER):
        raise BadImageError(f"not a VRML 2 file: it starts with {whole[:20]!r}, not with {_HEADER!r}")
    text = _PROSE.sub(" ", whole)
    shapes = [shape for part in _SHAPE.split(text)[1:] if (shape := _read_shape(part))]
    _check_whole(text)
    _check_unmoved(text)
    if not any(len(triangles) for _, triangles, _ in shapes):
        raise BadImageError("mesh has no faces")
    return _joined(shapes, tuple(re.split(r"[/\\]", url)[-1] for url in _PICTURE.findall(whole)))


def _check_whole(text: str) -> None:
    opened, closed = text.count("{"), text.count("}")
    if opened != closed:
        raise BadImageError(f"mesh is truncated or damaged: {opened} nodes begin, {closed} end")


def _check_unmoved(text: str) -> None:
    for field, values in _MOVED.findall(text) if _TRANSFORM.search(text) else ():
        numbers = _numbers(values, field, np.float64)
        moved = {"translation": numbers, "rotation": numbers[-1:], "scale": numbers - 1}[field]
        if moved.any():
            raise BadImageError(f"mesh is moved by a Transform ({field} {' '.join(values.split())}), which is not read")


def _read_shape(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """Points, triangles and texture of one IndexedFaceSet; None where it has no faces."""
    corners = _list(text, "coordIndex", np.int64)
    points = _list(text, "point", np.float64, columns=3)
    if corners is None or points is None:
        return None
    _check_finite(points, "vertices")
    return points, _triangles(corners, "coordIndex", len(points)), _read_texture(text, corners)


def _read_texture(text: str, corners: np.ndarray) -> np.ndarray | None:
    """Where the corners of all triangles lie in the picture, (m, 3, 2); None where the shape lacks it."""
    places = _list(text, "texCoord", np.float64, columns=2)
    if places is None:
        return None
    own = _list(text, "texCoordIndex", np.int64)
    if own is None or not own.size:
        own = corners
    if not np.array_equal(own < 0, corners < 0):
        raise BadImageError("'texCoordIndex' and 'coordIndex' do not list the same faces")
    _check_finite(places, "texture coordinates")
    return places[_triangles(own, "texCoordIndex", len(places))]


def _check_finite(rows: np.ndarray, what: str) -> None:
    wrong = ~(np.abs(rows) < _FARTHEST).all(axis=1)
    if wrong.any():
        raise BadImageError(f"{int(wrong.sum())} of {len(rows)} {what} are not finite, or beyond {_FARTHEST:.0e}")


def _list(text: str, name: str, kind: type, columns: int = 1) -> np.ndarray | None:
    """The numbers of a list, (n,) or (n, columns); None where the text has none of that name."""
    start = _LISTS[name].search(text)
    if start is None:
        return None
    end = text.find("]", start.end())
    if end < 0:
        raise BadImageError(f"mesh is truncated within its list {name!r}")
    numbers = _numbers(text[start.end() : end], name, kind)
    if len(numbers) % columns:
        raise BadImageError(f"{len(numbers)} numbers in the list {name!r}, which needs {columns} for each vertex")
    return numbers.reshape(-1, columns) if columns > 1 else numbers


def _numbers(text: str, name: str, kind: type) -> np.ndarray:
    text = text.replace(",", " ").strip()  # blanks alone would be read as -1
    try:
        return np.fromstring(text, dtype=kind, sep=" ")
    except ValueError:
        word = next((word for word in text.split() if not _is_number(word, kind)), text)
        raise BadImageError(f"{word[:20]!r} in the mesh's list {name!r} is not a number that fits there") from None


def _is_number(word: str, kind: type) -> bool:
    try:
        kind(word)
    except (ValueError, OverflowError):
        return False
    return True


def _triangles(corners: np.ndarray, name: str, count: int) -> np.ndarray:
    """Polygons, each a run of vertex numbers that -1 ends, as fans of triangles (m, 3)."""
    if corners.size and not -1 <= corners.min() <= corners.max() < count:
        wrong = corners[(corners < -1) | (corners >= count)][0]
        raise BadImageError(f"list {name!r} names vertex {wrong}, the mesh has {count}")
    ends = corners < 0
    number = np.arange(len(corners))
    first = np.maximum.accumulate(np.where(np.r_[True, ends[:-1]], number, 0)) if len(corners) else number
    last = number[(number - first >= 2) & ~ends]
    return np.stack([corners[first[last]], corners[last - 1], corners[last]], axis=1)


def _joined(shapes: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]], pictures: tuple[str, ...]) -> Mesh:
    """All shapes as one mesh."""
    points, triangles, textures = zip(*shapes, strict=True)
    offsets = np.cumsum([0, *map(len, points[:-1])])
    moved = [part + offset for part, offset in zip(triangles, offsets, strict=True)]
    texture = None if any(part is None for part in textures) else np.concatenate(textures)
    return Mesh(np.concatenate(points), np.concatenate(moved), texture, pictures)


def front_view(mesh: Mesh, places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw a mesh as seen from the front, the nearest surface on top; what no triangle covers stays a hole.

    Args:
        mesh: The mesh.
        places: (m, 3, 2) float (column, row) of each triangle's corners; a picture reaches from (0, 0) to
            (width, height), the centre of its first pixel is (0.5, 0.5).
        size: (height, width).

    Returns:
        (height, width) float32 distance away from the viewer, -z in the mesh's unit; NaN in holes.

    Raises:
        BadImageError: The triangles are so large that they cover the picture hundreds of times.
    """
    limit = np.array([size[1], size[0]])
    extent = np.clip(places.max(axis=1), 0, limit) - np.clip(places.min(axis=1), 0, limit)
    cover = extent.prod(axis=1).sum() / limit.prod()
    if cover > _MOST_COVER:
        raise BadImageError(f"mesh is no face: its {len(places)} triangles cover the picture {cover:.0f} times")
    first, second = places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]
    seen = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) > _LEAST_AREA
    corners = np.arange(places.shape[0] * 3).reshape(-1, 3)[seen]
    return render(places.reshape(-1, 2) - 0.5, -mesh.points[mesh.triangles, 2].ravel(), corners, size)
