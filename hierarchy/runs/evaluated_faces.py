"""The faces of other data that a finished run is judged on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.config import SPLITS, DataConfig
from fer_hierarchy.hierarchy.data.audit.pixels.verdict import require_published
from fer_hierarchy.hierarchy.data.faces import Faces, decode, read_manifest
from fer_hierarchy.hierarchy.data.leakage import without_seen
from fer_hierarchy.hierarchy.data.splits import limit_rows
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

log = logging.getLogger("hierarchy")


def evaluated_faces(
    data: DataConfig, taxonomy: Taxonomy, source: Path, *, with_depth: bool, seed: int, splits: Sequence[str] = ()
) -> Faces:
    """The faces of another data set that a run is judged on, all in the split "test".

    Args:
        data: What to read, resolved.
        taxonomy: The run's grouping.
        source: The run's folder; faces that it trained on or chose by are left out.
        with_depth: Whether each face comes with its depth plane.
        seed: Of the choice that `data.limit` makes.
        splits: Official splits of the data to judge on; the test split, else validation, else all where none is named.

    Raises:
        UserError: The data cannot be read, knows none of the run's emotions or no such split, or was all trained on.
    """
    manifest = read_manifest(data)
    manifest = manifest[~manifest["emotion"].isin(data.left_out)]
    known = manifest["emotion"].isin(taxonomy.emotions)
    if not known.any():
        raise UserError(
            f"{', '.join(data.paths)}: none of its emotions is one of the run's: {', '.join(taxonomy.emotions)}"
        )
    if not known.all():
        foreign = ", ".join(sorted(set(manifest["emotion"][~known])))
        log.warning("%d faces of emotions that the run does not know (%s) were left out.", (~known).sum(), foreign)
    images = decode(manifest[known].reset_index(drop=True), data, with_depth=with_depth)
    rows = _evaluated_rows(images.manifest, splits)
    rows = without_seen(rows, source / run_folder.SPLITS, run="the run").assign(split="test")
    rows = limit_rows(rows, data.limit, seed=seed) if data.limit else rows
    faces = Faces(images=images, manifest=rows, taxonomy=taxonomy)
    require_published(faces.verdict, strict=data.strict_data)
    return faces


def _evaluated_rows(manifest: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """The rows of the official splits that were asked for; else the test rows, else the validation rows, else all."""
    if asked:
        there = [split for split in SPLITS if (manifest["split"] == split).any()]
        if absent := [split for split in asked if split not in there]:
            raise UserError(
                f"--split: this data has no official {absent[0]} split; it has {', '.join(there) or 'none'}"
            )
        log.warning("Judged on the data's official %s rows.", " and ".join(asked))
        return manifest[manifest["split"].isin(asked)]
    for split in ("test", "validation"):
        if (manifest["split"] == split).any():
            log.warning("Judged on the data's official %s split.", split)
            return manifest[manifest["split"] == split]
    return manifest
