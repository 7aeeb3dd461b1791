"""Fetch a data set from Kaggle, or explain how to do it by hand."""

import shutil
from pathlib import Path

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_folder

KAGGLE_SLUGS = {
    "fer2013": "msambare/fer2013",
    "ckextended": "davilsena/ckdataset",
    "rafdb": "shuvoalok/raf-db-dataset",
}


def download(dataset: str, to: Path) -> Path:
    """Fetch `dataset` through the optional package kagglehub.

    Args:
        dataset: A key of `KAGGLE_SLUGS`.
        to: The folder that shall hold it; must not exist yet or be empty.

    Returns:
        `to`, complete.

    Raises:
        UserError: Unknown data set, folder in use, kagglehub missing, or no way to Kaggle.
    """
    if dataset not in KAGGLE_SLUGS:
        raise UserError(f"--dataset {dataset} cannot be downloaded; these can: {', '.join(KAGGLE_SLUGS)}")
    to = to.absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is in use already; remove it to download {dataset} again")
    fetched = _fetch(KAGGLE_SLUGS[dataset], to)
    _copy(fetched, to)
    return to


def _fetch(slug: str, to: Path) -> Path:
    """Let kagglehub download to its own cache; returns the folder there."""
    try:
        import kagglehub
    except ImportError as error:
        raise UserError(
            f"downloading needs the package kagglehub: pip install kagglehub; or {_by_hand(slug, to)}"
        ) from error
    try:
        return Path(kagglehub.dataset_download(slug))
    # kagglehub passes on its own errors, those of requests and of the standard library, which share no base class.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"Kaggle could not be reached ({reason}); {_by_hand(slug, to)}") from error


def _by_hand(slug: str, to: Path) -> str:
    return f"by hand: fetch the zip from https://www.kaggle.com/datasets/{slug} and unpack it into {to}"


def _copy(fetched: Path, to: Path) -> None:
    """Copy kagglehub's folder; `to` appears when it is complete."""
    try:
        with atomic_folder(to) as copy:
            shutil.copytree(fetched, copy, copy_function=shutil.copyfile, dirs_exist_ok=True)
    # shutil.Error is an OSError whose message is a list of one entry for each file; the first is enough.
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())[:200]
        raise UserError(f"downloaded to {fetched}, but it cannot be copied to {to}: {reason}") from error
