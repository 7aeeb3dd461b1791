"""Faces that people did not agree on join a run: in its train split only, where their shares of votes are targets."""

import logging
from collections.abc import Collection

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.leakage import evaluation_hashes

log = logging.getLogger("hierarchy")


def join_undecided(
    kept: pd.DataFrame,
    undecided: pd.DataFrame,
    *,
    rows: pd.DataFrame,
    emotions: Collection[str],
    share: float,
    seed: int,
) -> pd.DataFrame:
    """`kept` with undecided faces in the train split behind them; the splits of its own rows stay as they are.

    Args:
        kept: Rows that people agreed on, split, perhaps a quick look at some.
        undecided: Rows without a majority, with `pixel_hash`.
        rows: What `kept` was taken from; pictures of its validation and test rows are left out.
        emotions: Those of the run; faces of others are left out.
        share: Share of the faces to take, in (0, 1]: what a quick look kept of the train rows.
        seed: Decides which are taken.

    Returns:
        The rows with their index in the decoded images.
    """
    copies = undecided["pixel_hash"].isin(evaluation_hashes(rows))
    joining = undecided[~copies & undecided["emotion"].isin(list(emotions))]
    if share < 1:
        joining = joining.sample(int(np.ceil(share * len(joining))), random_state=seed).sort_index()
    log.warning(
        "%d faces without a majority joined train, where stages with --soft-labels learn their vote shares; %d that "
        "also stand in validation or test were left out.",
        len(joining),
        int(copies.sum()),
    )
    return pd.concat([kept, joining.assign(split="train")])
