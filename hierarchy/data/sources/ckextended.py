"""CK+ (Lucey et al., "The Extended Cohn-Kanade dataset", CVPR workshops 2010) as ckextended.csv, like FER-2013's."""

import logging
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.sources import _pixel_csv
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS

LOG = logging.getLogger("fer_hierarchy")

IMAGE_SIZE = (48, 48)
READS_CSV = True
LAYOUT = "ckextended.csv with the columns emotion (0 to 7), pixels, Usage"
EMOTION_IDS = dict(enumerate(EMOTIONS))

_NAME = "ckextended"
_CSV_NAMES = ("ckextended.csv",)
_CONTEMPT = str(EMOTIONS.index("contempt"))
_SMALL = 64 * 2**20  # bytes; FER-2013's csv has 300 MB, this one about 7


def detect(path: Path) -> bool:
    """Whether `path` is or holds a csv of this name, or a small one with contempt, which FER-2013 does not have."""
    csv = _pixel_csv.find_csv(path, _CSV_NAMES)
    if csv is None:
        return False
    name = csv.stem.lower()
    if name.startswith(("fer", "icml")):
        return False
    return name.startswith("ck") or (csv.stat().st_size < _SMALL and _has_contempt(csv))


def fits(path: Path) -> bool:
    """Whether `path` can be read as this data set where the user names it."""
    return _pixel_csv.find_csv(path, _CSV_NAMES) is not None


def _has_contempt(csv: Path) -> bool:
    try:
        return bool((_pixel_csv.read_columns(csv, ["emotion"])["emotion"].str.strip() == _CONTEMPT).any())
    except UserError:
        return False


def read(path: Path) -> pd.DataFrame:
    """Read the manifest with the csv's own splits.

    Args:
        path: The csv or its folder.

    Raises:
        UserError: A column is missing or a label or split is unknown.
    """
    csv = path if path.is_file() else _pixel_csv.find_csv(path, _CSV_NAMES)
    if csv is None:
        raise UserError(f"{path} does not look like {_NAME}, which is {LAYOUT}")
    faces = _pixel_csv.read_faces(csv, EMOTION_IDS)
    LOG.warning(
        f"{csv.name} names no subjects: neighbouring frames of the same person may stand in several splits, "
        f"which flatters the scores; the CK+48 folder names its subjects"
    )
    return _pixel_csv.rows_manifest(csv, faces, "ck", _NAME)
