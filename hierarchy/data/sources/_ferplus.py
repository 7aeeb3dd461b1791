"""FER+ (Barsoum et al., ICMI 2016): ten people's labels of every FER-2013 face, in the row order of fer2013.csv."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from hierarchy.data.manifest import SOFT_PREFIX
from hierarchy.data.sources import _pixel_csv
from hierarchy.errors import UserError
from hierarchy.taxonomy import EMOTIONS, canonical_emotion

LOG = logging.getLogger("hierarchy")

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
NO_LABEL = ("unknown", "NF")
IMAGE_NAME = "Image name"

# FER+ and the first labels agree on about two faces in three, shuffled rows on about one in six.
_LEAST_AGREEMENT = 1 / 3
_ROWS_TO_JUDGE = 500


def relabel(faces: pd.DataFrame, *, csv: Path, ferplus: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Replace FER-2013's labels by those that most of the ten voters gave.

    A face keeps its place if one emotion has more votes than every other choice. It is left out if "unknown" or "no
    face" has the most, if two choices share the most, or if FER+ names no image for it.

    Args:
        faces: `emotion` and `split` of every data row of `csv`.
        csv: FER-2013, for error messages.
        ferplus: fer2013new.csv.

    Returns:
        The kept rows of `faces` with new emotions (index = data row number), and their votes as float32 columns
        `soft_<emotion>`: shares over all canonical emotions, which sum to 1.

    Raises:
        UserError: The files do not belong together row by row, or `ferplus` is not a file of votes.
    """
    frame = _pixel_csv.read_columns(ferplus, ("Usage", IMAGE_NAME, *VOTES, *NO_LABEL))
    _check_same_rows(faces, frame, csv, ferplus)
    votes = _counts(ferplus, frame[[*VOTES, *NO_LABEL]])
    kept = _kept(votes, (frame[IMAGE_NAME].str.strip() == "").to_numpy())
    if not len(kept):
        raise UserError(f"{ferplus}: no face has an emotion with more votes than every other choice")
    emotions = np.array([canonical_emotion(word) for word in VOTES])
    relabelled = faces.iloc[kept].assign(emotion=emotions[votes[kept].argmax(axis=1)])
    _check_agreement(faces.loc[relabelled.index, "emotion"], relabelled["emotion"], csv, ferplus)
    return relabelled, _shares(votes[kept, : len(VOTES)], emotions)


def _kept(votes: np.ndarray, unnamed: np.ndarray) -> np.ndarray:
    """Rows whose (n, 10) votes have one winner that is an emotion; counts the others in a warning."""
    top = votes.max(axis=1, keepdims=True)
    tied = ((votes == top).sum(axis=1) > 1) & ~unnamed
    unlabelled = (votes.argmax(axis=1) >= len(VOTES)) & ~unnamed & ~tied
    kept = np.flatnonzero(~(unnamed | tied | unlabelled))
    reasons = {
        "most votes shared by several choices": tied,
        "most votes for unknown or no face": unlabelled,
        "no image name": unnamed,
    }
    listed = ", ".join(f"{rows.sum()} {reason}" for reason, rows in reasons.items())
    LOG.warning(f"FER+ labels: {len(kept)} of {len(votes)} faces kept; left out: {listed}")
    return kept


def _check_same_rows(faces: pd.DataFrame, frame: pd.DataFrame, csv: Path, ferplus: Path) -> None:
    if len(frame) != len(faces):
        raise UserError(
            f"{ferplus} has {len(frame)} data rows and {csv} has {len(faces)}; FER+ labels go by row number, "
            f"so they fit only the complete csv in its original order"
        )
    differ = (_pixel_csv.splits_by_usage(ferplus, frame["Usage"]) != faces["split"]).to_numpy()
    if differ.any():
        raise UserError(
            f"{ferplus} and {csv} name different Usage in {differ.sum()} rows, first in "
            f"{_pixel_csv.place(int(differ.argmax()))}; FER+ labels go by row number, so they fit only the csv in its "
            f"original order"
        )


def _counts(ferplus: Path, frame: pd.DataFrame) -> np.ndarray:
    """Votes as an (n, 10) float64 array; raises UserError for anything but numbers from 0 up."""
    numbers = frame.apply(pd.to_numeric, errors="coerce")
    wrong = ~(numbers >= 0).to_numpy()
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"{ferplus}: {frame.iloc[row, column]!r} votes for {frame.columns[column]!r} in "
            f"{_pixel_csv.place(int(row))}; a number from 0 up is needed"
        )
    return numbers.to_numpy(dtype=float)


def _check_agreement(before: pd.Series, after: pd.Series, csv: Path, ferplus: Path) -> None:
    agreement = float((before == after).mean())
    if len(after) >= _ROWS_TO_JUDGE and agreement < _LEAST_AGREEMENT:
        raise UserError(
            f"{ferplus} agrees with only {agreement:.0%} of the labels in {csv}; FER+ labels go by row number, "
            f"so they fit only the csv in its original order"
        )


def _shares(votes: np.ndarray, emotions: np.ndarray) -> pd.DataFrame:
    """(k, 8) votes in the order of `emotions` -> float32 shares, a column for each emotion in canonical order."""
    shares = pd.DataFrame(votes / votes.sum(axis=1, keepdims=True), columns=emotions)
    return shares[list(EMOTIONS)].add_prefix(SOFT_PREFIX).astype("float32")
