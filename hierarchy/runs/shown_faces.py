"""Pictures for a report: a few faces of a finished run, read again where its data is still at hand."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.depth.depth_planes import colours
from fer_hierarchy.hierarchy.data.faces import decode, read_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run_folder import SPLITS, read_config

_MOST_ROWS = 100_000  # of a data set that is listed again for the sake of a few pictures
_SIZE = 96  # pixels, where the run says nothing

log = logging.getLogger("hierarchy")


def faces_of_run(folder: Path, ids: Sequence[str]) -> np.ndarray | None:
    """Read a few faces of a run from where its data was.

    Args:
        folder: The run's folder, with config.json and splits.csv.
        ids: Row ids of the faces.

    Returns:
        (n, height, width, channels) uint8 in the order of `ids`; None where the data is gone, has changed or is large.
    """
    try:
        return _read(folder, list(ids))
    except (UserError, OSError, ValueError, KeyError) as error:
        log.info("The faces of %s cannot be shown: %s", folder.name, error)
        return None


def _read(folder: Path, ids: list[str]) -> np.ndarray | None:
    config = read_config(folder)
    data = config.data
    saved = pd.read_csv(folder / SPLITS, usecols=["row", "pixel_hash"], dtype=str, keep_default_na=False)
    if len(saved) > _MOST_ROWS:
        return None
    manifest = read_manifest(data)
    asked = manifest[manifest["id"].isin(ids)].reset_index(drop=True)
    wanted = dataclasses.replace(data, skip_bad=False)
    images = decode(asked, wanted, with_depth=config.reads_depth, size=_SIZE)
    position = pd.Series(images.manifest.index, index=images.manifest["id"]).loc[ids].to_numpy()
    same = images.manifest["pixel_hash"].to_numpy()[position] == saved.set_index("row")["pixel_hash"].loc[ids]
    return colours(images.pixels[position]) if same.all() else None
