"""FER+ (Barsoum et al., ICMI 2016): from ten people's votes for a face to a majority label and to shares of emotions.

E. Barsoum, C. Zhang, C. Canton Ferrer and Z. Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", ICMI 2016. The rules are those of the paper's code, so that test figures stand beside
the paper's: single votes count as noise and are dropped; a label needs more than half of the votes that remain.
"""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.manifest import SOFT_PREFIX
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS, canonical_emotion

LOG = logging.getLogger("fer_hierarchy")

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
CHOICES = (*VOTES, "unknown", "NF")  # NF: not a face
VOTERS = 10

_MOST_EMOTIONS = 3  # in the shares of a face


def read_votes(table: Path, frame: pd.DataFrame, has_image: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """The votes for each face.

    Args:
        table: For error messages.
        frame: Columns `CHOICES` among others, as text.
        has_image: (n,) bool; the cells of the other rows mean nothing.
        place: How messages name a row.

    Returns:
        (n, 10) int64, zeros for a face without an image.

    Raises:
        UserError: Votes that are not whole numbers from 0 to ten, or do not sum to ten.
    """
    numbers = frame[list(CHOICES)].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    numbers = np.where(has_image[:, None], numbers, 0)
    wrong = ~np.isin(numbers, np.arange(VOTERS + 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"{table}: {frame[CHOICES[column]].iloc[row]!r} votes for {CHOICES[column]!r} in {place(int(row))}; "
            f"a whole number from 0 to {VOTERS} is needed"
        )
    votes = numbers.astype(np.int64)
    _check_sums(table, votes.sum(axis=1), has_image, place)
    return votes


def _check_sums(table: Path, sums: np.ndarray, has_image: np.ndarray, place: Callable[[int], str]) -> None:
    odd = (sums != VOTERS) & has_image
    # The published table lacks one vote: fer0010406.png has nine. A second such row is damage.
    if odd.sum() == 1 and sums[odd][0] == VOTERS - 1:
        return
    if odd.any():
        first = int(odd.argmax())
        raise UserError(
            f"{table}: the votes of {odd.sum()} of {has_image.sum()} faces do not sum to {VOTERS}, first {sums[first]} "
            f"votes in {place(first)}; FER+ has {VOTERS} votes for each face"
        )


def label_faces(faces: pd.DataFrame, votes: np.ndarray, has_image: np.ndarray, *, origin: str) -> pd.DataFrame:
    """Label faces by their votes, and count in one warning those that are left out.

    Args:
        faces: Column `split`, and whatever else is to be kept.
        votes: (n, 10) int, columns as `CHOICES`.
        has_image: (n,) bool; FER+ names no image for some faces.
        origin: What errors name as the place of the votes.

    Returns:
        The rows of `faces` that have a label, with their index, and with the columns `emotion` (the majority),
        `undecided` (bool: a face without a majority, whose `emotion` is the largest of its shares) and float32
        `soft_<emotion>`: shares that sum to 1, in canonical order.

    Raises:
        UserError: No face has a majority.
    """
    winners, shares = majority(votes), vote_shares(votes)
    decided = has_image & (winners >= 0) & (winners < len(VOTES))
    if not decided.any():
        raise UserError(f"{origin}: no face has an emotion with more than half of the votes")
    undecided = has_image & (winners < 0) & shares.any(axis=1)
    _note_left_out(winners, has_image, decided, undecided & (faces["split"] == "train").to_numpy())
    words = np.array([canonical_emotion(word) for word in VOTES])
    kept = decided | undecided
    labels = words[np.where(decided, winners, shares.argmax(axis=1))[kept]]
    soft = pd.DataFrame(shares[kept].astype(np.float32), columns=words, index=faces.index[kept])
    labelled = faces[kept].assign(emotion=labels, undecided=undecided[kept])
    return labelled.join(soft[list(EMOTIONS)].add_prefix(SOFT_PREFIX))


def _note_left_out(winners: np.ndarray, has_image: np.ndarray, decided: np.ndarray, trainable: np.ndarray) -> None:
    reasons = {
        "without a choice of more than half": has_image & (winners < 0),
        "unknown or not a face": has_image & (winners >= len(VOTES)),
        "without an image": ~has_image,
    }
    listed = ", ".join(f"{rows.sum()} {reason}" for reason, rows in reasons.items())
    LOG.warning(
        "FER+ majority labels: %d of %d faces; left out: %s. --soft-labels trains on the vote shares of %d of them.",
        decided.sum(),
        len(winners),
        listed,
        trainable.sum(),
    )


def majority(votes: np.ndarray) -> np.ndarray:
    """The choice of each face that has more than half of the votes, single votes left out; -1 where there is none.

    Args:
        votes: (n, 10) int, columns as `CHOICES`.

    Returns:
        (n,) int64 column of `votes`.
    """
    counts = _without_single(votes)
    wins = 2 * counts.max(axis=1) > counts.sum(axis=1)
    return np.where(wins, counts.argmax(axis=1), -1)


def vote_shares(votes: np.ndarray) -> np.ndarray:
    """Shares of the emotions among the votes for each face, single votes left out.

    Choices count from the most frequent down, equally frequent ones together, until they hold three quarters of the
    votes; "unknown" and "not a face" end the list and have no share. A face has no shares if these emotions hold no
    more than half of the votes or are more than three.

    Args:
        votes: (n, 10) int, columns as `CHOICES`.

    Returns:
        (n, 8) float64, columns as `VOTES`; rows sum to 1, or to 0 where there is no label.
    """
    return np.array([_shares_of(tuple(counts)) for counts in _without_single(votes).tolist()]).reshape(-1, len(VOTES))


@cache
def _shares_of(counts: tuple[int, ...]) -> tuple[float, ...]:
    """The shares of one face; some five thousand patterns of votes stand for all faces."""
    total, emotions = sum(counts), counts[: len(VOTES)]
    taken = [0] * len(VOTES)
    for level in sorted({count for count in counts if count}, reverse=True):
        if 4 * sum(taken) >= 3 * total or sum(map(bool, taken)) >= _MOST_EMOTIONS:
            break
        taken = [count if count == level else before for count, before in zip(emotions, taken, strict=True)]
        if level in counts[len(VOTES) :]:
            break
    total_taken = sum(taken)
    if 2 * total_taken <= total or sum(map(bool, taken)) > _MOST_EMOTIONS:
        return (0.0,) * len(VOTES)
    return tuple(count / total_taken for count in taken)


def _without_single(votes: np.ndarray) -> np.ndarray:
    return np.where(votes > 1, votes, 0)
