"""Faces that join a run in its train split only: generated ones, and those that people did not agree on.

No face that chooses or evaluates may have had a part in making the former, or be a copy of the latter.
"""

import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.leakage import evaluation_hashes
from fer_hierarchy.hierarchy.data.manifest import check_manifest, vote_columns, with_votes
from fer_hierarchy.hierarchy.data.sources import generated
from fer_hierarchy.hierarchy.data.sources._listing import subfolders
from fer_hierarchy.hierarchy.errors import UserError

GENERATED = "generated"

log = logging.getLogger("fer_hierarchy")


def refuse_as_data(manifest: pd.DataFrame) -> None:
    """Refuse generated faces in the place of real ones, also where they were read as an ordinary folder.

    Raises:
        UserError: The manifest holds some.
    """
    parents = {os.path.dirname(os.path.dirname(path)) for path in manifest["path"]}  # noqa: PTH120 - tens of thousands
    for folder in sorted(parents):
        if generated.detect(Path(folder)):
            raise UserError(
                f"{folder} holds generated faces, on which nothing can be evaluated; "
                f"give real faces as --data and these as --generated {folder}"
            )


def append_generated(manifest: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The manifest of a run with the faces of `--generated` behind its own, not split yet.

    Args:
        manifest: Real faces, with `soft_<emotion>` columns or without.
        path: A folder that pt_files.gan wrote, or a folder of such folders.

    Raises:
        UserError: There are none, or they are damaged.
    """
    made = pd.concat([generated.read(folder) for folder in _folders(path)], ignore_index=True)
    joined = pd.concat([manifest, with_votes(made, vote_columns(manifest))], ignore_index=True)
    check_manifest(joined)
    return joined


def check_makers(made: pd.DataFrame, rows: pd.DataFrame, path: Path) -> None:
    """Refuse generated faces that were made from validation or test faces of the run.

    Args:
        made: Generated rows with `pixel_hash`.
        rows: Real rows with `pixel_hash` and their final `split`.
        path: What `--generated` named.

    Raises:
        UserError: They were, or one is such a face.
    """
    known = set(made["pixel_hash"]).union(*(generated.read_seen(folder) for folder in _folders(path)))
    evaluating = known & evaluation_hashes(rows)
    if evaluating:
        raise UserError(
            f"--generated {path}: it was made from {len(evaluating)} faces of this run's validation or test split; "
            f"make it anew with this run's --data, --seed and split settings"
        )


def join_generated(rows: pd.DataFrame, made: pd.DataFrame, *, emotions: Collection[str], **sample: Any) -> pd.DataFrame:
    """`rows` with generated faces in the train split behind them.

    Args:
        rows: Real rows, split.
        made: Generated rows.
        emotions: Those of the run; faces of others are left out.
        sample: `share` and `seed` of `_sampled`.

    Returns:
        The rows with their index in the decoded images.
    """
    unknown = ~made["emotion"].isin(list(emotions))
    if unknown.any():
        names = ", ".join(sorted(set(made.loc[unknown, "emotion"])))
        log.warning("%d generated faces of %s were left out: the run has no such emotion.", unknown.sum(), names)
    made = _sampled(made[~unknown], **sample)
    real = rows.loc[rows["split"] == "train", "emotion"].value_counts()
    for emotion, count in made["emotion"].value_counts().items():
        log.warning(
            "%d generated faces of %s joined %d real ones in train; validation and test hold real faces only.",
            count,
            emotion,
            real.get(emotion, 0),
        )
    return pd.concat([rows, made.assign(split="train")])


def join_undecided(
    kept: pd.DataFrame, undecided: pd.DataFrame, *, rows: pd.DataFrame, emotions: Collection[str], **sample: Any
) -> pd.DataFrame:
    """`kept` with undecided faces in the train split behind them, where their shares of votes are targets.

    Args:
        kept: Rows that people agreed on, split, perhaps some of them only.
        undecided: Rows without a majority, with `pixel_hash`.
        rows: What `kept` was taken from; pictures of its validation and test rows are left out.
        emotions: Those of the run; faces of others are left out.
        sample: `share` and `seed` of `_sampled`.

    Returns:
        The rows with their index in the decoded images.
    """
    copies = undecided["pixel_hash"].isin(evaluation_hashes(rows))
    joining = _sampled(undecided[~copies & undecided["emotion"].isin(list(emotions))], **sample)
    log.warning(
        "%d faces without a majority joined train, where stages with --soft-labels are fitted to their vote shares; %d "
        "that also stand in validation or test were left out.",
        len(joining),
        int(copies.sum()),
    )
    return pd.concat([kept, joining.assign(split="train")])


def _sampled(rows: pd.DataFrame, *, share: float, seed: int) -> pd.DataFrame:
    """A random share, in (0, 1], of the rows: as much as --limit kept of the real train rows."""
    return rows.sample(int(np.ceil(share * len(rows))), random_state=seed).sort_index() if share < 1 else rows


def _folders(path: Path) -> list[Path]:
    places = [path] if generated.detect(path) else [path / name for name in subfolders(path)]
    found = [place for place in places if generated.detect(place)]
    if not found:
        raise UserError(f"--generated {path}: no {generated.RECORD} there; give a folder that pt_files.gan wrote")
    return found
