"""The embedded default: procedural faces that the program draws itself, for a run without any data."""

from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.data.synthetic.embedded import SyntheticSpec, entries, rendered_folder
from fer_hierarchy.hierarchy.data.synthetic.portrait import SIZE

IMAGE_SIZE = (SIZE, SIZE)
LAYOUT = "drawn by the program itself and needs no path"

_NAME = "synthetic"


def detect(path: Path) -> bool:  # noqa: ARG001 - every source's signature
    """Never: no path of the user's holds this data set."""
    return False


def read(path: Path | None = None, *, spec: SyntheticSpec | None = None) -> pd.DataFrame:  # noqa: ARG001
    """Draw the faces, or find them in the cache, and give their manifest with its own three splits.

    Args:
        path: Not used; every source's signature.
        spec: Which faces; None for the default.

    Raises:
        UserError: The cache cannot be written.
    """
    spec = spec or SyntheticSpec()
    folder, faces = rendered_folder(spec), entries(spec)
    return make_manifest(
        ids=[face.name for face in faces],
        paths=[str(folder / face.file) for face in faces],
        emotions=[face.emotion for face in faces],
        splits=[face.split for face in faces],
        subjects=[face.subject for face in faces],
        source=_NAME,
    )
