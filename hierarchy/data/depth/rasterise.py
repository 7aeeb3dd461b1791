"""Triangles seen from the front: an orthographic z-buffer in numpy."""

import numpy as np

_PIXELS_AT_ONCE = 1 << 19  # of all the triangles' boxes together: some tens of megabytes of work space
_SLACK = 1e-9  # of a triangle's area: pixels on a shared edge belong to both triangles, so no seam opens


def render(vertices_xy: np.ndarray, z: np.ndarray, triangles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw triangles, the nearest one on top; a pixel shows what its centre hits.

    Args:
        vertices_xy: (n, 2) float (column, row) in pixels; the centre of the first pixel is (0, 0). Anything outside the
            picture is cut off.
        z: (n,) float distance of each vertex; smaller is nearer. A vertex that is not finite takes its triangles
            along.
        triangles: (m, 3) int rows of the vertices, in any turning direction.
        size: (height, width) of the result.

    Returns:
        (height, width) float32 distances, linear within each triangle; NaN where no triangle is.
    """
    nearest = np.full(size[0] * size[1], np.inf)
    corners = np.concatenate([vertices_xy, np.reshape(z, (-1, 1))], axis=1, dtype=np.float64)[triangles]
    planes = _planes(corners)
    drawable = np.isfinite(planes).all(axis=(1, 2))
    planes = planes[drawable]
    first, extent = _boxes(corners[drawable, :, :2], size)
    ends = np.cumsum(extent.prod(axis=1))
    # Cut by pixels, not by triangles: a few large ones cost as much as thousands of small ones.
    cuts = np.searchsorted(ends, np.arange(_PIXELS_AT_ONCE, ends[-1] if len(ends) else 0, _PIXELS_AT_ONCE))
    for part in np.split(np.arange(len(planes)), np.unique(cuts)):
        _draw(nearest, planes[part], first[part], extent[part], size[1])
    return np.where(np.isinf(nearest), np.nan, nearest).reshape(size).astype(np.float32)


def _boxes(corners: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """First pixel (column, row) and extent of each triangle (m, 3, 2)'s box within the picture; (m, 2) int."""
    limit = np.array([size[1], size[0]])
    first = np.clip(np.ceil(corners.min(axis=1)), 0, limit).astype(np.int64)
    last = np.clip(np.floor(corners.max(axis=1)), -1, limit - 1).astype(np.int64)
    return first, np.maximum(last - first + 1, 0)


def _planes(corners: np.ndarray) -> np.ndarray:
    """Linear functions of the position for each triangle (m, 3, 3).

    Returns:
        (m, 3, 3): for the second and third corner's share, and for the distance, the value at (0, 0) and what one
        column and one row add. Not finite for a triangle without area, or with a vertex that is no place.
    """
    (x, y, z) = np.moveaxis(corners, 2, 0)  # each (m, 3)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ax, ay, bx, by = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
        scale = 1 / (ax * by - ay * bx)
        second = np.stack([by * scale, -bx * scale], axis=1)
        third = np.stack([-ay * scale, ax * scale], axis=1)
        slope = second * (z[:, 1] - z[:, 0])[:, None] + third * (z[:, 2] - z[:, 0])[:, None]
        slopes = np.stack([second, third, slope], axis=1)  # (m, 3, 2)
        at_corner = np.stack([np.zeros(len(z)), np.zeros(len(z)), z[:, 0]], axis=1)
        offsets = at_corner - np.einsum("mkd,md->mk", slopes, corners[:, 0, :2])
        return np.concatenate([offsets[..., None], slopes], axis=2)


def _draw(nearest: np.ndarray, planes: np.ndarray, first: np.ndarray, extent: np.ndarray, width: int) -> None:
    """Put some triangles into the flat z-buffer: every pixel of every box is tried."""
    count = extent.prod(axis=1)
    owner = np.repeat(np.arange(len(planes)), count)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    down, right = np.divmod(step, extent[owner, 0])
    column, row = first[owner, 0] + right, first[owner, 1] + down
    second, third, distance = (
        planes[owner, k, 0] + planes[owner, k, 1] * column + planes[owner, k, 2] * row for k in range(3)
    )
    inside = (second >= -_SLACK) & (third >= -_SLACK) & (second + third <= 1 + _SLACK)
    np.minimum.at(nearest, (row * width + column)[inside], distance[inside])
