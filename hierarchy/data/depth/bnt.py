"""Range files of the Bosphorus database (.bnt): a grid of measured points, and the surface it spans on the picture.

The file is little-endian: uint16 rows, uint16 columns, float64 mark of a missing point, uint16 length and letters of
the picture's name, uint32 count of numbers, then five float64 planes, row by row. Public readers disagree about the
order of the planes and of the rows, so both are found from the numbers: u and v, fractions of the picture's width (to
the right) and height (down), lie within 0..1 and follow the grid's columns and rows; x grows with u, y falls with v,
and what remains is z, the height towards the camera, all three in millimetres.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_bytes
from fer_hierarchy.hierarchy.data.depth.rasterise import render

_START = struct.Struct("<HHdH")
_COUNT = struct.Struct("<I")
_PLANES = 5
_LEAST_POINTS = 100  # fewer are no face, and too few to distinguish the planes
_FRACTION = (-0.05, 1.05)  # u and v: a point at the border may lie a little outside
_LEAST_SHARE = 0.05  # of the picture that a face covers in each direction
_CLEARER = 3.0  # times that u changes more along the columns than along the rows; v the reverse
_FOLLOWS = 0.9  # least correlation of x with u and of y with v; z has less with both
_SPIKE_MM = 6.0  # a point that stands this far before or behind its neighbours was measured wrongly
_NEIGHBOURS = 6  # least number of its eight neighbours that shows it
_STEEPEST = 4.0  # millimetres of depth per millimetre across (76 degrees): more is an edge with nothing between


@dataclass(frozen=True, kw_only=True)
class RangeGrid:
    """Points measured on a grid, each (rows, columns) float64, NaN where nothing was measured.

    The first row is the highest, the first column the leftmost of the picture.
    """

    x: np.ndarray  # millimetres to the right in the picture
    y: np.ndarray  # millimetres upwards
    z: np.ndarray  # millimetres towards the camera
    u: np.ndarray  # fraction of the picture's width
    v: np.ndarray  # fraction of the picture's height, downwards


def read_bnt(path: Path | str) -> RangeGrid:
    """Read a range file.

    Raises:
        BadImageError: It is missing, cut off or inconsistent, holds too few points or values that are not finite, or
            leaves open which plane is which.
    """
    planes = _measured(*_parse(read_bytes(Path(path))))
    x, y, z, u, v = planes[_order(planes)]
    rows = slice(None, None, -1 if np.nanmean(np.diff(v, axis=0)) < 0 else 1)
    columns = slice(None, None, -1 if np.nanmean(np.diff(u, axis=1)) < 0 else 1)
    grid = RangeGrid(**{name: plane[rows, columns] for name, plane in zip("xyzuv", (x, y, z, u, v), strict=True)})
    _check_bulge(grid)
    return grid


def surface(grid: RangeGrid, picture: tuple[int, int]) -> np.ndarray:
    """The surface between the points, as the picture's camera sees it.

    Points that stick out of their surroundings are left out. These, missing points and steps that no skin makes are
    holes.

    Args:
        grid: The points.
        picture: (height, width) of the picture in pixels.

    Returns:
        (height, width) float32 millimetres away from the camera, up to a constant; NaN in holes.

    Raises:
        BadImageError: Nothing of the surface lies within the picture.
    """
    z = np.where(_spikes(grid.z), np.nan, grid.z)
    points = np.stack([grid.x, grid.y, z], axis=-1).reshape(-1, 3)
    places = np.stack([grid.u * picture[1], grid.v * picture[0]], axis=-1).reshape(-1, 2) - 0.5
    distance = render(places, -points[:, 2], _gentle(_triangles(np.isfinite(z)), points), picture)
    if np.isnan(distance).all():
        raise BadImageError("its points span no surface within the picture")
    return distance


def _parse(content: bytes) -> tuple[np.ndarray, float]:
    """The planes (5, rows, columns) as they lie in the file, and the mark of a missing point."""
    if len(content) < _START.size:
        raise BadImageError(f"{len(content)} bytes, too short for a range file's header")
    rows, columns, mark, letters = _START.unpack_from(content)
    start = _START.size + letters
    if len(content) < start + _COUNT.size:
        raise BadImageError(f"cut off within the header: {len(content)} bytes, a name of {letters} letters promised")
    (count,) = _COUNT.unpack_from(content, start)
    if count == 0 or count != _PLANES * rows * columns:
        raise BadImageError(f"header promises {count} numbers for {rows}x{columns} points, expected {_PLANES} a point")
    size = start + _COUNT.size + 8 * count
    if len(content) < size:
        raise BadImageError(f"cut off: {len(content)} of {size} bytes")
    planes = np.frombuffer(content, "<f8", count, start + _COUNT.size)
    return planes.reshape(_PLANES, rows, columns), mark


def _measured(planes: np.ndarray, mark: float) -> np.ndarray:
    """The planes with NaN for missing points in all of them."""
    missing = (planes == mark).any(axis=0)
    count = int((~missing).sum())
    if count < _LEAST_POINTS:
        raise BadImageError(f"{count} of {missing.size} points are measured, at least {_LEAST_POINTS} are needed")
    if not np.isfinite(planes[:, ~missing]).all():
        raise BadImageError("its points have coordinates that are no finite numbers")
    return np.where(missing, np.nan, planes)


def _order(planes: np.ndarray) -> list[int]:
    """Which planes are x, y, z, u and v."""
    points = planes[:, np.isfinite(planes[0])]
    low, high = np.percentile(points, (1, 99), axis=1)
    fractions = np.flatnonzero((low >= _FRACTION[0]) & (high <= _FRACTION[1]))
    if len(fractions) != 2:
        raise BadImageError(
            f"{len(fractions)} of its {_PLANES} planes lie within 0..1, expected 2: places in the picture"
        )
    if ((high - low)[fractions] < _LEAST_SHARE).any():
        raise BadImageError("its places in the picture are all the same")
    u, v = _along_grid(planes, fractions)
    with np.errstate(invalid="ignore", divide="ignore"):
        follows = np.nan_to_num(np.corrcoef(points))
    x, y, z = _lengths(follows, u, v)
    if follows[x, u] < 0 or follows[y, v] > 0:
        raise BadImageError("x must grow with u and y fall with v: its axes point another way")
    return [x, y, z, u, v]


def _along_grid(planes: np.ndarray, fractions: np.ndarray) -> tuple[int, int]:
    """Which of two planes follows the columns (u), and which the rows (v)."""
    across, down = (np.abs(np.diff(planes[fractions], axis=axis)) for axis in (2, 1))
    if np.isnan(across).all() or np.isnan(down).all():
        raise BadImageError("no two neighbouring points are measured")
    across, down = np.nanmean(across, axis=(1, 2)), np.nanmean(down, axis=(1, 2))
    along_columns, along_rows = across > _CLEARER * down, down > _CLEARER * across
    if along_columns.sum() != 1 or along_rows.sum() != 1:
        raise BadImageError("its places in the picture do not follow the grid's columns and rows")
    return int(fractions[along_columns][0]), int(fractions[along_rows][0])


def _lengths(follows: np.ndarray, u: int, v: int) -> tuple[int, int, int]:
    """Which planes are x, y and z, from the correlations (5, 5) of all planes."""
    rest = [plane for plane in range(_PLANES) if plane not in (u, v)]
    beside_u = [plane for plane in rest if abs(follows[plane, u]) >= _FOLLOWS]
    beside_v = [plane for plane in rest if abs(follows[plane, v]) >= _FOLLOWS]
    if len(beside_u) != 1 or len(beside_v) != 1 or beside_u == beside_v:
        raise BadImageError("its planes do not distinguish x, y and z: one must follow u, one v, one neither")
    (z,) = set(rest) - {*beside_u, *beside_v}
    return beside_u[0], beside_v[0], z


def _check_bulge(grid: RangeGrid) -> None:
    """A face's middle is nearer than its rim; where it is not, z does not grow towards the camera."""
    measured = np.isfinite(grid.z)
    x, y, z = grid.x[measured], grid.y[measured], grid.z[measured]
    away = np.hypot(x - np.median(x), y - np.median(y))
    if z[away < np.median(away)].mean() <= z[away >= np.median(away)].mean():
        raise BadImageError("the middle of the face lies behind its rim: z must grow towards the camera")


def _spikes(z: np.ndarray) -> np.ndarray:
    """Which points (rows, columns) stand before, or behind, all but one of their neighbours.

    A median of the neighbours would take the jaw's edge for errors, and at the rim too few are left for it; what
    is wrong there is cut off by its steepness.
    """
    wide = np.pad(z, 1, constant_values=np.nan)
    rows, columns = z.shape
    steps = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]
    around = np.sort([wide[down : down + rows, right : right + columns] for down, right in steps], axis=0)  # NaN last
    count = np.isfinite(around).sum(axis=0)
    nearest_but_one = np.take_along_axis(around, np.maximum(count - 2, 0)[None], axis=0)[0]
    sticks_out = (z > nearest_but_one + _SPIKE_MM) | (z < around[1] - _SPIKE_MM)
    return sticks_out & (count >= _NEIGHBOURS)


def _triangles(measured: np.ndarray) -> np.ndarray:
    """Two triangles for every four neighbours, one where a corner is missing; (m, 3) numbers of points."""
    number = np.arange(measured.size).reshape(measured.shape)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    there = measured.ravel()
    without_a, without_c = ~there[a], ~there[c]
    corners = [
        (a, b, c),
        (a, c, d),
        (b[without_a], c[without_a], d[without_a]),
        (a[without_c], b[without_c], d[without_c]),
    ]
    triangles = np.concatenate([np.stack(three, axis=1) for three in corners])
    return triangles[there[triangles].all(axis=1)]


def _gentle(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The triangles without an edge that is steeper than skin."""
    corners = points[triangles]
    edges = np.abs(corners - np.roll(corners, 1, axis=1))
    return triangles[(edges[..., 2] <= _STEEPEST * np.hypot(edges[..., 0], edges[..., 1])).all(axis=1)]
