"""The embedded faces in colour and depth: drawn by the program itself, for RGB-D runs without any data."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth.depth_planes import SCALES
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.data.synthetic.embedded import entries, rendered_folder
from fer_hierarchy.hierarchy.data.synthetic.embedded_rgbd import RgbdSpec
from fer_hierarchy.hierarchy.data.synthetic.portrait_rgbd import SIZE

IMAGE_SIZE = (SIZE, SIZE)
LAYOUT = "drawn by the program itself and needs no path"

_NAME = "synthetic-rgbd"


def detect(path: Path) -> bool:  # noqa: ARG001 - every source's signature
    """Never: no path of the user's holds this data set."""
    return False


def read(path: Path | None = None, *, spec: RgbdSpec | None = None) -> pd.DataFrame:  # noqa: ARG001
    """Draw the faces, or find them in the cache, and give their manifest with its own three splits.

    Args:
        path: Not used; every source's signature.
        spec: Which faces; None for the default.

    Raises:
        UserError: The cache cannot be written.
    """
    spec = spec or RgbdSpec()
    folder, faces = rendered_folder(spec), entries(spec)
    colours, depths = zip(*(spec.files(face) for face in faces), strict=True)
    return make_manifest(
        ids=[face.name for face in faces],
        paths=[str(folder / file) for file in colours],
        emotions=[face.emotion for face in faces],
        splits=[face.split for face in faces],
        subjects=[face.subject for face in faces],
        depth_paths=[str(folder / file) for file in depths],
        depth_kinds=SCALES[_NAME].kind,
        source=_NAME,
    )


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
    content = np.fromfile(path, np.uint8) if Path(path).is_file() else np.empty(0, np.uint8)
    units = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if units is None:
        raise BadImageError(f"depth {Path(path).name} is missing or damaged")
    if units.dtype != np.uint16 or units.shape != tuple(picture):
        raise BadImageError(
            f"depth {Path(path).name} is {units.shape} {units.dtype}, expected {tuple(picture)} uint16 like its picture"
        )
    return np.where(units > 0, units * np.float32(SCALES[_NAME].mm_per_unit), np.float32(np.nan))
