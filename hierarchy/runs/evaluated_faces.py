"""The faces of other data that a finished run is evaluated on."""

import dataclasses
import logging
from collections.abc import Sequence

import pandas as pd

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.config import PICTURES, SPLITS, DataConfig
from fer_hierarchy.hierarchy.data.audit.pixels.verdict import require_published
from fer_hierarchy.hierarchy.data.faces import Faces, decode, read_manifest, refuse_emptied, resolve_data
from fer_hierarchy.hierarchy.data.leakage import without_seen
from fer_hierarchy.hierarchy.data.splits import limit_rows
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import Run

log = logging.getLogger("fer_hierarchy")


def as_trained(data: DataConfig, run: Run) -> DataConfig:
    """Settings of other data, resolved, with which its faces are read as the run's own were."""
    own = run.config.data
    pictures = {name: getattr(own, name) for name in (*PICTURES, "taxonomy")}
    return dataclasses.replace(resolve_data(data), **pictures, classes=data.classes or own.classes)


def evaluated_faces(data: DataConfig, run: Run, *, splits: Sequence[str] = ()) -> Faces:
    """The faces of another data set that a run is evaluated on, all in the split "test".

    Faces that the run trained on, or chose by, are left out. The column `official` of the manifest names the split of
    the data that each face stands in, "" where it has none.

    Args:
        data: What to read, from `as_trained`.
        run: Finished.
        splits: Official splits of the data to evaluate on; the test split, else validation, else all where none is
            named.

    Raises:
        UserError: The data cannot be read, has none of the run's emotions or no such split, or was all trained on.
    """
    taxonomy = run.taxonomy
    manifest = read_manifest(data)
    manifest = manifest[~manifest["emotion"].isin(data.left_out)]
    known = manifest["emotion"].isin(taxonomy.emotions)
    if not known.any():
        raise UserError(
            f"{', '.join(data.paths)}: none of its emotions is one of the run's: {', '.join(taxonomy.emotions)}"
        )
    if not known.all():
        unknown = ", ".join(sorted(set(manifest["emotion"][~known])))
        log.warning("%d faces of emotions that the run does not know (%s) were left out.", (~known).sum(), unknown)
    manifest = manifest[known].reset_index(drop=True)
    images = decode(manifest, data, with_depth=run.config.reads_depth)
    rows = _evaluated_rows(images.manifest, splits)
    refuse_emptied(manifest[manifest["split"].isin(rows["split"])], rows, "--skip-bad")
    rows = without_seen(rows, run.folder / paths.SPLITS, run="the run")
    rows = limit_rows(rows, data.limit, seed=run.config.seed) if data.limit else rows
    faces = Faces(images=images, manifest=rows.assign(official=rows["split"], split="test"), taxonomy=taxonomy)
    require_published(faces.verdict, strict=data.strict_data)
    return faces


def _evaluated_rows(manifest: pd.DataFrame, requested: Sequence[str]) -> pd.DataFrame:
    """The rows of the official splits that are requested; else the test rows, else the validation rows, else all."""
    if requested:
        there = [split for split in SPLITS if (manifest["split"] == split).any()]
        if absent := [split for split in requested if split not in there]:
            raise UserError(
                f"--split: this data has no official {absent[0]} split; it has {', '.join(there) or 'none'}"
            )
        log.warning("Evaluated on the data's official %s rows.", " and ".join(requested))
        return manifest[manifest["split"].isin(requested)]
    for split in ("test", "validation"):
        if (manifest["split"] == split).any():
            log.warning("Evaluated on the data's official %s split.", split)
            return manifest[manifest["split"] == split]
    return manifest
