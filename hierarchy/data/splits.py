"""Which faces train, choose and evaluate: official splits, missing ones cut by subject or by face, or folds."""

import logging
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from fer_hierarchy.hierarchy.config import SPLITS, DataConfig
from fer_hierarchy.hierarchy.data.manifest import people
from fer_hierarchy.hierarchy.errors import UserError

_SHUFFLES = 10  # tried for folds that all show every class

log = logging.getLogger("fer_hierarchy")


def calibrates(ids: ArrayLike, emotions: ArrayLike, persons: ArrayLike, *, seed: int) -> np.ndarray:
    """Which validation faces calibrate, where calibration stands apart: half of them, stratified, people kept whole.

    Args:
        ids: (n,) of the faces, in any order.
        emotions: (n,) their emotions.
        persons: (n,) who is on each, as `manifest.people` names them; the id where nobody knows.
        seed: Of the run.

    Returns:
        (n,) bool; the others choose the epoch.

    Raises:
        UserError: There is one person, or one face, alone.
    """
    order = np.argsort(np.asarray(ids, dtype=str), kind="stable")
    folds = StratifiedGroupKFold(n_splits=2, shuffle=True, random_state=seed)
    try:
        _, half = next(folds.split(order, np.asarray(emotions)[order], np.asarray(persons)[order]))
    except ValueError as error:
        raise UserError(
            f"--calibration-apart: {len(order)} validation faces cannot be cut in two; leave it out"
        ) from error
    return np.isin(np.arange(len(order)), order[half])


def assign(manifest: pd.DataFrame, data: DataConfig, *, seed: int) -> pd.DataFrame:
    """Fill the column `split` of every row.

    Official splits stay as they are. Where only train and validation are official, the official validation rows become
    the test split, so that nothing is ever chosen on the rows that evaluate. What is missing is cut from train:
    stratified, seeded, and grouped by subject, or by identical pixels where no subjects are known. Sources with
    different official splits are served each by itself. With `folds` no official split counts: one fold of all rows is
    the test split, and validation is cut from the others.

    Args:
        manifest: Rows with `split`, `emotion`, `subject`, `source` and `pixel_hash`.
        data: Its `validation_fraction` of the train rows and `test_fraction` of all rows are cut; `folds` and `fold`,
            or None. `split_by` "sample" cuts as if nobody were known: a person may then stand on both sides, as in
            published figures that split at random. Identical faces stay together either way.
        seed: Decides the cuts and the folds.

    Returns:
        A copy with `split` in train, validation, test.

    Raises:
        UserError: A class has too few rows or subjects to stand in every split.
    """
    manifest = manifest.copy()
    if data.folds is not None:
        _hold_out(manifest, data, data.folds, seed)
        _cut(manifest, "validation", data, seed)
        _require_every_class(manifest)
        return manifest
    official = set(manifest["split"])
    manifest["split"] = manifest["split"].where(manifest["split"] != "", "train")
    if "train" not in set(manifest["split"]):
        raise UserError(
            f"the data has no train rows, only {', '.join(sorted(official))}; name a folder that holds train"
        )
    parts = _alike(manifest)
    for sources, part in parts.items():
        name = f"{sources}: " if len(parts) > 1 else ""
        _complete(part, data, seed, name)
        manifest.loc[part.index, "split"] = part["split"]
    _require_every_class(manifest)
    return manifest


def _alike(manifest: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Copies of the rows by what is missing to their sources, under the names of those."""
    present = manifest.groupby("source")["split"].agg(lambda split: ", ".join(sorted(set(split))))
    kinds = manifest["source"].map(present)
    return {"+".join(sorted(set(rows["source"]))): rows.copy() for _, rows in manifest.groupby(kinds, sort=True)}


def _complete(part: pd.DataFrame, data: DataConfig, seed: int, name: str) -> None:
    """Cut what is missing in rows that hold train rows, in place."""
    present = set(part["split"])
    if "train" not in present:
        return
    if "test" not in present and "validation" in present:
        part["split"] = part["split"].replace({"validation": "test"})
        log.warning(
            "%sNo official test split in this copy: its %d validation rows are the test split here, "
            "and validation is cut from train.",
            name,
            int((part["split"] == "test").sum()),
        )
    elif "test" not in present:
        _cut(part, "test", data, seed, name)
    if "validation" not in set(part["split"]):
        _cut(part, "validation", data, seed, name)


def _hold_out(manifest: pd.DataFrame, data: DataConfig, folds: int, seed: int) -> None:
    """Make one fold the test split and all others train, in place."""
    official = sorted(set(manifest.loc[manifest["split"] != "", "source"]))
    if official:
        log.warning(
            "The official splits of %s are not used: scores on folds are not comparable with those on an official "
            "test split.",
            ", ".join(official),
        )
    is_cut = fold_numbers(manifest, folds=folds, seed=seed, by=data.split_by) == data.fold
    manifest["split"] = np.where(is_cut, "test", "train")
    text = "Fold %s of %d: %d of %d rows are the test split (%s, stratified, seed %d)."
    log.warning(text, data.fold, folds, int(is_cut.sum()), len(manifest), _how(manifest, data.split_by), seed)


def fold_numbers(manifest: pd.DataFrame, *, folds: int, seed: int, by: str = "subject") -> pd.Series:
    """The fold of every row: stratified, and whole subjects or at least identical faces together, as for `assign`.

    Args:
        manifest: As for `assign`.
        folds: How many.
        seed: Of the shuffle.
        by: `split_by` for `assign`.

    Returns:
        int64 from 1 to `folds`, with the index of `manifest`.

    Raises:
        UserError: A class has fewer subjects, or different faces, than there are folds.
    """
    grouped = _is_grouped(manifest, by)
    groups = _persons(manifest) if grouped else manifest["pixel_hash"]
    # Single faces are dealt out by the first label of their pixels.
    rows = manifest if grouped else manifest.drop_duplicates("pixel_hash")
    _require_groups(groups[rows.index].groupby(rows["emotion"]).nunique(), folds, grouped)
    tried = []
    for number in range(_SHUFFLES):
        shuffle = _shuffled(rows["emotion"], groups[rows.index], folds, (seed + 7919 * number) % 2**32, grouped)
        tried.append(groups.map(shuffle))
        if (pd.crosstab(tried[-1], manifest["emotion"]) > 0).all(axis=None):
            return tried[-1]
    return tried[0]


def _require_groups(per_class: pd.Series, folds: int, grouped: bool) -> None:
    """Refuse folds of which some could not show every class."""
    rarest, count = per_class.idxmin(), int(per_class.min())
    if count < folds:
        what = "subject" if grouped else "different face"
        fewer = f"use --folds {count}, " if count > 1 else ""
        raise UserError(
            f"class {rarest!r} has {count} {what}{'s' * (count != 1)}, too few for {folds} folds; "
            f"{fewer}add faces or use --exclude {rarest}"
        )


def _shuffled(emotions: pd.Series, groups: pd.Series, folds: int, seed: int, grouped: bool) -> pd.Series:
    """Group -> fold of one shuffle, from 1."""
    # With groups of single faces the grouped splitter would give much the same, and take minutes for many faces.
    splitter = StratifiedGroupKFold if grouped else StratifiedKFold
    cut = splitter(n_splits=folds, shuffle=True, random_state=seed)
    cut_groups = [groups.iloc[test].unique() for _, test in cut.split(emotions, emotions, groups if grouped else None)]
    return pd.concat([pd.Series(number, index=names) for number, names in enumerate(cut_groups, 1)])


def _is_grouped(manifest: pd.DataFrame, by: str) -> bool:
    return by == "subject" and bool((manifest["subject"] != "").any())


def _how(manifest: pd.DataFrame, by: str) -> str:
    """What a cut keeps together, in words."""
    if _is_grouped(manifest, by):
        return "grouped by subject"
    ignored = ", subjects ignored" if (manifest["subject"] != "").any() else ""
    return f"identical faces kept together{ignored}"


def _cut(manifest: pd.DataFrame, split: str, data: DataConfig, seed: int, name: str = "") -> None:
    """Move a share of the train rows to `split`, in place; `name` begins the messages."""
    train = manifest[manifest["split"] == "train"]
    fraction, seed = (data.test_fraction, seed) if split == "test" else (data.validation_fraction, seed + 1)
    try:
        chosen = (_by_subject if _is_grouped(train, data.split_by) else _by_face)(train, fraction, seed)
    except UserError as error:
        raise UserError(f"{name}{error}") from error
    manifest.loc[chosen, "split"] = split
    text = "%s%s split: %d rows cut from train (%s, stratified, seed %d)."
    log.warning(text, name, split.capitalize(), len(chosen), _how(train, data.split_by), seed)


def _by_subject(train: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Rows of whole subjects; the first folds that leave every class on both sides."""
    emotions, persons = train["emotion"].to_numpy(), _persons(train)
    share = _share(fraction, persons.nunique())
    per_class = persons.groupby(train["emotion"]).nunique().sort_values()
    rarest = per_class.index[0]
    # scikit-learn refuses to make more folds than the commonest class has rows.
    if per_class.iloc[0] >= 2 and train["emotion"].value_counts().max() >= share.denominator:
        splitter = StratifiedGroupKFold(n_splits=share.denominator, shuffle=True, random_state=seed)
        folds = [rows for _, rows in splitter.split(emotions, emotions, persons)]
        for first in range(len(folds)):
            is_cut = np.zeros(len(train), dtype=bool)
            is_cut[np.concatenate((folds + folds)[first : first + share.numerator])] = True
            if set(emotions[is_cut]) == set(emotions) == set(emotions[~is_cut]):
                return train.index[is_cut]
    raise UserError(
        f"class {rarest!r} has too few subjects ({per_class.iloc[0]}) to split by subject; "
        f"add faces or use --exclude {rarest}"
    )


def _persons(train: pd.DataFrame) -> pd.Series:
    """Who is on each face; subjects who share a picture count as one, so that neither is ever divided."""
    subjects = people(train)
    subject, names = pd.factorize(subjects)
    face, hashes = pd.factorize(train["pixel_hash"])
    nodes = len(names) + len(hashes)
    links = coo_array((np.ones(len(train)), (subject, len(names) + face)), shape=(nodes, nodes))
    _, component = connected_components(links, directed=False)
    return subjects.groupby(component[subject]).transform("first")


def _share(fraction: float, subjects: int) -> Fraction:
    """The folds to cut, of all folds, that come closest to `fraction`, with no more folds than subjects."""
    share = Fraction(fraction).limit_denominator(max(1, min(subjects, max(10, round(1 / fraction)))))
    if share == 0 and subjects > 1:
        return Fraction(1, subjects)  # one person is more than requested, but the least that there is
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
    _, chosen = train_test_split(faces, test_size=fraction, stratify=faces["emotion"], random_state=seed)
    # Stratifying rounds the share of a rare class down to nothing.
    missed = faces[~faces["emotion"].isin(chosen["emotion"])]
    chosen = pd.concat([chosen, missed.groupby("emotion").sample(1, random_state=seed)])
    return train.index[train["pixel_hash"].isin(chosen["pixel_hash"])]


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
    is_test = manifest["split"] == "test"
    named = manifest["subject"] != ""
    trained_on = people(manifest[named & (manifest["split"] == "train")])
    shared = int(people(manifest[named & is_test]).isin(trained_on).sum())
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
    later = {"train": ["validation", "test"], "validation": ["test"]}
    split, pixels = manifest["split"], manifest["pixel_hash"]
    repeated = {name: (split == name) & pixels.isin(pixels[split.isin(after)]) for name, after in later.items()}
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
    log.warning("Quick check: --limit %d kept a stratified sample of at most %d rows of each split.", limit, limit)
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
