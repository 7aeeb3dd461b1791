"""Which faces train, choose and judge: official splits honoured, missing ones cut by subject or by face."""

import logging
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from hierarchy.errors import UserError

SPLITS = ("train", "validation", "test")

log = logging.getLogger("hierarchy")


def assign(
    manifest: pd.DataFrame, *, seed: int, validation_fraction: float, test_fraction: float, by: str = "subject"
) -> pd.DataFrame:
    """Fill the column `split` of every row.

    Official splits stay as they are. Where only train and validation are official, the official validation rows become
    the test split, so that nothing is ever chosen on the rows that judge. What is missing is cut from train:
    stratified, seeded, and grouped by subject, or by identical pixels where no subjects are known.

    Args:
        manifest: Rows with `split`, `emotion`, `subject`, `source` and `pixel_hash`.
        seed: Decides the cuts.
        validation_fraction: Share of the train rows, in (0, 0.5].
        test_fraction: Share of all rows, in (0, 0.5].
        by: "subject", or "sample" to cut as if nobody were known: a person may then stand on both sides, as in
            published figures that split at random. Identical faces stay together either way.

    Returns:
        A copy with `split` in train, validation, test.

    Raises:
        UserError: A class has too few rows or subjects to stand in every split.
    """
    manifest = manifest.copy()
    manifest["split"] = manifest["split"].where(manifest["split"] != "", "train")
    present = set(manifest["split"])
    if "train" not in present:
        raise UserError(
            f"the data has no train rows, only {', '.join(sorted(present))}; name a folder that holds train"
        )
    if "test" not in present and "validation" in present:
        manifest["split"] = manifest["split"].replace({"validation": "test"})
        log.warning(
            "No official test split in this copy: its %d validation rows are the test split here, "
            "and validation is cut from train.",
            int((manifest["split"] == "test").sum()),
        )
    elif "test" not in present:
        _cut(manifest, "test", test_fraction, seed, by)
    if "validation" not in set(manifest["split"]):
        _cut(manifest, "validation", validation_fraction, seed + 1, by)
    _require_every_class(manifest)
    return manifest


def _cut(manifest: pd.DataFrame, split: str, fraction: float, seed: int, by: str) -> None:
    """Move a share of the train rows to `split`, in place."""
    train = manifest[manifest["split"] == "train"]
    has_subjects = bool((train["subject"] != "").any())
    grouped = has_subjects and by == "subject"
    chosen = _by_subject(train, fraction, seed) if grouped else _by_face(train, fraction, seed)
    manifest.loc[chosen, "split"] = split
    how = "grouped by subject" if grouped else "identical faces kept together"
    how += ", subjects ignored" if has_subjects and not grouped else ""
    log.warning(
        "%s split: %d rows cut from train (%s, stratified, seed %d).", split.capitalize(), len(chosen), how, seed
    )


def _by_subject(train: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Rows of whole subjects; the first folds that leave every class on both sides."""
    emotions, persons = train["emotion"].to_numpy(), _persons(train)
    share = _share(fraction, persons.nunique())
    per_class = persons.groupby(train["emotion"]).nunique().sort_values()
    rarest = per_class.index[0]
    # scikit-learn refuses to make more folds than the commonest class has rows.
    if per_class.iloc[0] >= 2 and train["emotion"].value_counts().max() >= share.denominator:
        splitter = StratifiedGroupKFold(n_splits=share.denominator, shuffle=True, random_state=seed)
        folds = [held for _, held in splitter.split(emotions, emotions, persons)]
        for first in range(len(folds)):
            is_held = np.zeros(len(train), dtype=bool)
            is_held[np.concatenate((folds + folds)[first : first + share.numerator])] = True
            if set(emotions[is_held]) == set(emotions) == set(emotions[~is_held]):
                return train.index[is_held]
    raise UserError(
        f"class {rarest!r} has too few subjects ({per_class.iloc[0]}) to split by subject; "
        f"add faces or use --exclude {rarest}"
    )


def _persons(train: pd.DataFrame) -> pd.Series:
    """Who is on each face; subjects who share a picture count as one, so that neither is ever divided."""
    subjects = (train["source"] + "/" + train["subject"]).where(train["subject"] != "", train["pixel_hash"])
    subject, names = pd.factorize(subjects)
    face, hashes = pd.factorize(train["pixel_hash"])
    nodes = len(names) + len(hashes)
    links = coo_array((np.ones(len(train)), (subject, len(names) + face)), shape=(nodes, nodes))
    _, component = connected_components(links, directed=False)
    return subjects.groupby(component[subject]).transform("first")


def _share(fraction: float, subjects: int) -> Fraction:
    """The held folds of all folds that come closest to `fraction`, with no more folds than subjects."""
    share = Fraction(fraction).limit_denominator(max(1, min(subjects, max(10, round(1 / fraction)))))
    if not 0 < share < 1:
        raise UserError(
            f"{subjects} subject(s) are too few to cut {fraction:.0%} of the faces by subject "
            f"(subjects who share a picture count as one); add faces of other people"
        )
    return share


def _by_face(train: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Rows of whole groups of pixel-identical faces, stratified by the first label of each group."""
    faces = train.drop_duplicates("pixel_hash")
    counts = faces["emotion"].value_counts()
    if counts.min() < 2 or len(faces) * fraction < len(counts):
        raise UserError(
            f"class {counts.idxmin()!r} has {counts.min()} different faces of {len(faces)} in train, too few to split; "
            f"add faces or use --exclude {counts.idxmin()}"
        )
    _, held = train_test_split(faces, test_size=fraction, stratify=faces["emotion"], random_state=seed)
    # Stratifying rounds the share of a rare class down to nothing.
    missed = faces[~faces["emotion"].isin(held["emotion"])]
    held = pd.concat([held, missed.groupby("emotion").sample(1, random_state=seed)])
    return train.index[train["pixel_hash"].isin(held["pixel_hash"])]


def _require_every_class(manifest: pd.DataFrame) -> None:
    counts = _require_trainable(manifest, manifest["emotion"])
    for emotion in counts.index[counts["test"] == 0]:
        log.warning("Class %s has no test row: it counts in no averaged score.", emotion)


def _require_trainable(manifest: pd.DataFrame, emotions: pd.Series, when: str = "") -> pd.DataFrame:
    """Rows per emotion and split, refused where a class cannot be trained or chosen on."""
    counts = pd.crosstab(manifest["emotion"], manifest["split"])
    counts = counts.reindex(index=sorted(set(emotions)), columns=list(SPLITS), fill_value=0)
    for emotion, row in counts.iterrows():
        if row["train"] < 2 or row["validation"] < 1:
            raise UserError(
                f"class {emotion!r} has {row['train']} train and {row['validation']} validation rows{when}, too few to "
                f"train and choose on; add faces or use --exclude {emotion}"
            )
    return counts


def note_shared_subjects(manifest: pd.DataFrame) -> None:
    """Warn where test faces show a person whom training shows too: a known face is easier to read than a stranger's.

    Args:
        manifest: Rows with `split`, `source` and `subject`.
    """
    persons = (manifest["source"] + "/" + manifest["subject"])[manifest["subject"] != ""]
    is_test = manifest["split"] == "test"
    trained_on = persons[manifest.loc[persons.index, "split"] == "train"]
    shared = int((persons.isin(trained_on) & is_test[persons.index]).sum())
    if shared:
        text = "%d of %d test faces show a person of the train split: scores are inflated by that."
        log.warning(text, shared, int(is_test.sum()))


def drop_duplicates(manifest: pd.DataFrame, *, drop: bool) -> pd.DataFrame:
    """Find train and validation faces whose exact pixels stand in a later split, and leave them out if `drop`.

    Args:
        manifest: Rows with `split` and `pixel_hash`.
        drop: False only reports how many there are.

    Returns:
        The rows kept, with their index.

    Raises:
        UserError: Dropping leaves a class without enough train or validation rows.
    """
    hashes = {split: set(manifest.loc[manifest["split"] == split, "pixel_hash"]) for split in SPLITS}
    split = manifest["split"]
    repeated = {
        "train": (split == "train") & manifest["pixel_hash"].isin(hashes["test"] | hashes["validation"]),
        "validation": (split == "validation") & manifest["pixel_hash"].isin(hashes["test"]),
    }
    counts = {name: int(mask.sum()) for name, mask in repeated.items()}
    if not any(counts.values()):
        return manifest
    text = f"{counts['train']} train and {counts['validation']} validation faces also stand in a later split"
    log.warning("%s (exact pixels)%s.", text, ", and were dropped" if drop else "; --drop-duplicates leaves them out")
    if not drop:
        return manifest
    kept = manifest[~(repeated["train"] | repeated["validation"])]
    _require_trainable(kept, manifest["emotion"], " without duplicates")
    return kept


def limit_rows(manifest: pd.DataFrame, limit: int, *, seed: int) -> pd.DataFrame:
    """A stratified sample of at most `limit` rows of each split, every class of the split in it.

    Raises:
        UserError: `limit` is smaller than the number of classes.
    """
    classes = manifest["emotion"].nunique()
    if limit < 2 * classes:
        raise UserError(f"--limit {limit} is too small for {classes} emotions; at least {2 * classes} are needed")
    rng = np.random.default_rng(seed)
    kept = []
    for _, rows in manifest.groupby("split", sort=True):
        quota = _quota(rows["emotion"].value_counts().sort_index(), limit)
        for emotion, count in quota.items():
            candidates = rows.index[rows["emotion"] == emotion].to_numpy()
            kept.append(np.sort(rng.choice(candidates, size=count, replace=False)))
    log.warning("Quick look: --limit %d kept a stratified sample of at most %d rows of each split.", limit, limit)
    return manifest.loc[np.sort(np.concatenate(kept))]


def _quota(counts: pd.Series, limit: int) -> pd.Series:
    """Rows per class: proportional, at least two (or all) of each, `limit` in sum."""
    if counts.sum() <= limit:
        return counts
    quota = np.minimum(counts, np.maximum(2, np.floor(counts * limit / counts.sum()).astype(int)))
    while quota.sum() > limit:
        quota[quota.idxmax()] -= 1
    spare = (counts - quota).sort_values(ascending=False)
    for emotion in spare.index[: limit - quota.sum()]:
        quota[emotion] += int(spare[emotion] > 0)
    return quota
