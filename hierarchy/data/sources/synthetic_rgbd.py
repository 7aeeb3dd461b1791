"""The embedded faces in colour and depth: drawn by the program itself, for RGB-D runs without any data."""

from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.depth.depth_planes import DepthScale
from fer_hierarchy.hierarchy.data.depth.png import read_units
from fer_hierarchy.hierarchy.data.synthetic.embedded import spec_manifest
from fer_hierarchy.hierarchy.data.synthetic.embedded_rgbd import RgbdSpec
from fer_hierarchy.hierarchy.data.synthetic.portrait_rgbd import SIZE, UNIT_MM

IMAGE_SIZE = (SIZE, SIZE)
LAYOUT = "drawn by the program itself and needs no path"

DEPTH = DepthScale(kind="metric", mm_per_unit=UNIT_MM, nearest_mm=200.0, farthest_mm=1500.0)


def read(path: Path | None = None, *, spec: RgbdSpec | None = None) -> pd.DataFrame:  # noqa: ARG001
    """Draw the faces, or find them in the cache, and give their manifest with its own three splits.

    Args:
        path: Not used; every source's signature.
        spec: Which faces; None for the default.

    Raises:
        UserError: The cache cannot be written.
    """
    return spec_manifest(spec or RgbdSpec(), DEPTH.kind)


def read_depth(path: str, picture: tuple[int, int]) -> np.ndarray:
    """Read the depth of one face.

    Args:
        path: Its 16-bit PNG.
        picture: (height, width) of the colour picture.

    Returns:
        (h, w) float32 millimetres away from the camera, NaN in holes.

    Raises:
        BadImageError: It is missing, damaged, of another size or not 16-bit.
    """
    units = read_units(path, picture)
    return np.where(units > 0, units * np.float32(DEPTH.mm_per_unit), np.float32(np.nan))
