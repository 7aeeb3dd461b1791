"""Whether a training saw the faces that evaluate another one: behind first weights, a teacher, a search or a run.

A training has seen the train and validation faces of its splits.csv: it was fitted to the former and chosen by the
latter. A face is recognised by its pixels (`pixel_hash`), whatever its file is called.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fer_hierarchy.hierarchy.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("fer_hierarchy")


def evaluation_hashes(rows: "pd.DataFrame") -> set[str]:
    """Pixel hashes of the faces that choose or evaluate: those of the rows outside of train."""
    return set(rows.loc[rows["split"] != "train", "pixel_hash"])


def seen_hashes(splits: Path, among: Collection[str] = ("train", "validation")) -> set[str]:
    """Pixel hashes of the faces that a training saw.

    Args:
        splits: Its splits.csv.
        among: Splits to count.

    Raises:
        UserError: The file is missing or damaged.
    """
    import pandas as pd  # here: the command line imports this module before the arguments are valid

    try:
        table = pd.read_csv(splits, usecols=["split", "pixel_hash"], dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        needed = "it needs the columns split and pixel_hash; start a new run"
        raise UserError(f"{splits} is missing or damaged: {needed}") from error
    return set(table.loc[table["split"].isin(list(among)), "pixel_hash"])


def without_seen(rows: "pd.DataFrame", splits: Path, *, run: str) -> "pd.DataFrame":
    """Leave out the faces that a run trained on or chose by.

    Args:
        rows: With `pixel_hash`.
        splits: The run's splits.csv.
        run: How messages call the run.

    Raises:
        UserError: No face is left.
    """
    seen = rows["pixel_hash"].isin(seen_hashes(splits))
    if seen.all():
        raise UserError(f"{run} has trained on every one of these faces; name other data")
    if seen.any():
        log.warning("%d faces that %s trained on or chose by were left out.", seen.sum(), run)
    return rows[~seen]


def check_unseen(origins: Mapping[str, Path], test: Collection[str], validation: Collection[str] = ()) -> None:
    """Refuse what has seen test faces of this run; what trained on validation faces is only noted.

    Args:
        origins: splits.csv of each training that this run builds on, by the flag that named it.
        test: Pixel hashes of this run's test faces.
        validation: Of its validation faces.

    Raises:
        UserError: One of them saw test faces.
    """
    for given, splits in origins.items():
        if not splits.is_file():
            log.warning("%s: what it was trained on is not recorded; if it saw test faces, no score counts.", given)
            continue
        seen = seen_hashes(splits).intersection(test)
        if seen:
            raise UserError(
                f"{given}: {len(seen)} test faces of this run stand in the train or validation split of "
                f"{splits.parent.name}; start from a run with the same splits"
            )
        known = seen_hashes(splits, ["train"]).intersection(validation)
        if known:
            log.warning(
                "%s: it was trained on %d of this run's %d validation faces. Validation scores come out too high, and "
                "epoch and temperature are chosen by them; another seed, or other emotions, cut other faces.",
                given,
                len(known),
                len(set(validation)),
            )


def note_searched(searched: Mapping[str, Path], test: Collection[str]) -> None:
    """Warn where hyperparameters were chosen on faces that evaluate this run.

    Args:
        searched: Stage -> splits.csv of its search.
        test: Pixel hashes of this run's test faces.
    """
    for stage, splits in searched.items():
        study = splits.parent
        if not splits.is_file():
            log.warning("Which faces the hyperparameters of %s (%s) were chosen on is not recorded.", stage, study)
        elif seen := seen_hashes(splits).intersection(test):
            log.warning(
                "The hyperparameters of %s were searched on %d faces of this run's test split (study %s): its scores "
                "are optimistic; search and train with the same --seed and splits.",
                stage,
                len(seen),
                study.name,
            )
