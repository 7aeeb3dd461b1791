"""The manifest: one row an image, the only thing that passes between reading a data set and making batches."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import SPLITS
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.own_classes import current
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS

log = logging.getLogger("fer_hierarchy")

MANIFEST_COLUMNS = (
    "id",
    "path",
    "row",
    "emotion",
    "split",
    "source",
    "subject",
    "depth_path",
    "depth_kind",
    "intensity",
)
DEPTH_KINDS = ("", "metric", "relative")
UNASSIGNED = ""
SOFT_PREFIX = "soft_"
UNDECIDED = "undecided"

_NUMBER_COLUMNS = ("row", "intensity")
_TEXT_COLUMNS = tuple(column for column in MANIFEST_COLUMNS if column not in _NUMBER_COLUMNS)


def make_manifest(
    *,
    ids: Sequence[str],
    paths: Sequence[str] | str,
    emotions: Sequence[str],
    source: str,
    splits: Sequence[str] | str = UNASSIGNED,
    rows: Sequence[int] | int = -1,
    subjects: Sequence[str] | str = "",
    depth_paths: Sequence[str] | str = "",
    depth_kinds: Sequence[str] | str = "",
    intensities: Sequence[int] | int = 0,
    soft: pd.DataFrame | None = None,
    undecided: Sequence[bool] | bool = False,
) -> pd.DataFrame:
    """Build a manifest and check it; a single value stands for the same value in every row.

    Args:
        ids: Names of the images, unique and the same on every machine.
        paths: Absolute paths of the image files, or of the csv that holds the pixels.
        emotions: Canonical emotions.
        source: Name of the data source.
        splits: "train", "validation", "test", or "" where the source assigns none.
        rows: 0-based data row numbers inside the csv, -1 for image files.
        subjects: Who is on the image, "" where the source does not name them.
        depth_paths: Absolute paths of the depth that belongs to each image (a picture, a mesh or a range file), ""
            where there is none.
        depth_kinds: "metric" where a sensor measured distances from itself, "relative" where only differences count,
            "" without depth.
        intensities: How strong the expression is on the data set's own scale, from 1; 0 without one.
        soft: `soft_<emotion>` columns, one row an image: shares of votes that sum to 1.
        undecided: With `soft`: whether people did not agree on a face. Its emotion is the largest share; it is only
            good for training on the shares.

    Returns:
        A frame with `MANIFEST_COLUMNS` (int64 `row` and `intensity`, the others str), then float32 `soft` columns
        and bool `undecided`; RangeIndex.

    Raises:
        UserError: No rows, an unknown split or emotion, or an id that occurs twice.
    """
    if len(ids) == 0:
        raise UserError(f"{source}: no image found; a data set needs at least one")
    given = (ids, paths, rows, emotions, splits, source, subjects, depth_paths, depth_kinds, intensities)
    values = dict(zip(MANIFEST_COLUMNS, given, strict=True))
    for names in (ids, paths, depth_paths):
        _check_encodable([names] if isinstance(names, str) else list(names))
    # Bare values, so that no index of a Series takes part in lining the columns up; one by one would be slow.
    columns = {name: getattr(value, "array", value) for name, value in values.items()}
    manifest = pd.DataFrame(columns, index=pd.RangeIndex(len(ids))).astype(
        dict.fromkeys(_NUMBER_COLUMNS, "int64") | dict.fromkeys(_TEXT_COLUMNS, "str")
    )
    if soft is not None:
        manifest = pd.concat([manifest, soft.reset_index(drop=True).astype("float32")], axis=1)
        manifest[UNDECIDED] = np.asarray(undecided, dtype=bool)  # bare values: no index takes part
    left_out = (manifest["emotion"] == "") & (None in current().words.values())
    if left_out.any():
        log.warning("%s: %d faces left out by --classes.", source, left_out.sum())
        manifest = manifest[~left_out].reset_index(drop=True)
    check_manifest(manifest)
    return manifest


def vote_columns(manifest: pd.DataFrame) -> list[str]:
    """The columns of people's votes; none where nobody voted."""
    return [column for column in manifest.columns if column.startswith(SOFT_PREFIX) or column == UNDECIDED]


def with_votes(manifest: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """A manifest with the vote columns of another: where nobody voted, the emotion of a face has every vote."""
    emotion = manifest["emotion"]
    shares = {column: (emotion == column.removeprefix(SOFT_PREFIX)).astype("float32") for column in columns}
    filled = {**shares, UNDECIDED: False}
    return manifest.assign(**{column: filled[column] for column in columns if column not in manifest})


def people(rows: pd.DataFrame, otherwise: str = "pixel_hash") -> pd.Series:
    """Who is on each face; the column `otherwise` where nobody knows. Subjects are people of their source."""
    return (rows["source"] + "/" + rows["subject"]).where(rows["subject"] != "", rows[otherwise])


def check_manifest(manifest: pd.DataFrame) -> None:
    """Check a manifest's values.

    Raises:
        UserError: A value breaks the rules of `make_manifest`; the message names the row's id.
    """
    _check_known(manifest, "split", (*SPLITS, UNASSIGNED), "train, validation, test or nothing")
    known = (*EMOTIONS, *current().groups)
    _check_known(manifest, "emotion", known, ", ".join(known))
    _check_known(manifest, "depth_kind", DEPTH_KINDS, "metric, relative or nothing")
    repeated = manifest["id"].duplicated(keep=False)
    if repeated.any():
        twins = manifest[repeated & (manifest["id"] == manifest.loc[repeated.idxmax(), "id"])]
        raise UserError(
            f"{twins['source'].iloc[0]}: the id {twins['id'].iloc[0]!r} stands for {len(twins)} images "
            f"({', '.join(twins['path'].head(3))}); every image needs a name of its own"
        )


def _check_known(manifest: pd.DataFrame, column: str, known: Sequence[str], described: str) -> None:
    unknown = ~manifest[column].isin(known)
    if unknown.any():
        first = manifest[unknown].iloc[0]
        raise UserError(f"image {first['id']!r}: unknown {column} {first[column]!r}; known: {described}")


def _check_encodable(names: Iterable[str]) -> None:
    """File names that are no UTF-8 go neither into pandas's strings nor into a run's csv files."""
    try:
        "\n".join(names).encode()
    except UnicodeEncodeError as error:
        name = next(n for n in names if not n.isascii() and n != n.encode(errors="ignore").decode())
        raise UserError(f"file name {name!a} is not valid UTF-8; rename the file") from error
