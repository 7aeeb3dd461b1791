"""The embedded default: procedural faces that the program draws itself, for a run without any data."""

from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.synthetic.embedded import SyntheticSpec, spec_manifest
from fer_hierarchy.hierarchy.data.synthetic.portrait import SIZE

IMAGE_SIZE = (SIZE, SIZE)
LAYOUT = "drawn by the program itself and needs no path"


def read(path: Path | None = None, *, spec: SyntheticSpec | None = None) -> pd.DataFrame:  # noqa: ARG001
    """Draw the faces, or find them in the cache, and give their manifest with its own three splits.

    Args:
        path: Not used; every source's signature.
        spec: Which faces; None for the default.

    Raises:
        UserError: The cache cannot be written.
    """
    return spec_manifest(spec or SyntheticSpec())
