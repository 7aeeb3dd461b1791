"""Whether a data set is what it claims to be, by its counts and its pixels; and where its parts differ in pixels."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp, mannwhitneyu

from fer_hierarchy.hierarchy.data.audit.pixels.alterations import LEAST_FACES, STRONG_JPEG, alterations
from fer_hierarchy.hierarchy.data.audit.pixels.measures import COLUMN, MEASURES
from fer_hierarchy.hierarchy.data.audit.pixels.published import Published, published, recognised
from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.data.manifest import people
from fer_hierarchy.hierarchy.errors import UserError

_NOT = "this is not"
_CERTAIN = 1e-5  # p value; a data set has about a hundred comparisons
_DISTANCE = 0.1  # Kolmogorov's distance between splits below which a difference does not matter
_GIVES_AWAY = 0.9  # area under the ROC curve from which a measure alone identifies a class
_LISTED = 3  # measures in a sentence


log = logging.getLogger("fer_hierarchy")


class _Sign(NamedTuple):
    """What is unusual about a picture of any data set."""

    measure: str  # what shows it
    limit: float  # from where it is unusual
    looks: str  # what such a picture does
    above: bool = True  # whether values above the limit are unusual, or those below
    share: float = 0.05  # of the pictures of a split, from which it is reported
    largest: int | None = None  # native side in pixels up to which the limit holds


_SIGNS = (
    _Sign("evenness", 0.95, "look histogram-equalised"),
    # One face in twelve of FER-2013 is lit so, or is no face.
    _Sign("likeness", -0.2, "look inverted, light and dark exchanged", above=False, share=0.4),
    _Sign("blockiness", 1.5, STRONG_JPEG),
    # Sharpness is per pixel: the larger a picture, the softer its true pixels are.
    _Sign("sharpness", 0.2, "look blurred or enlarged from smaller pictures", above=False, largest=64),
    _Sign("clipped", 0.25, "are black or white in more than a quarter", share=0.2),
    _Sign("empty_levels", 0.5, "use less than half of their grey levels"),
    _Sign("border", 0.1, "have constant borders"),
    _Sign("cast", 40, "have a colour cast"),
    _Sign("false_colour", 0.5, "store grey in three equal channels"),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the pixels of a data set show.

    Attributes:
        known: A line for each known data set: as published or not, and what was done to it.
        altered: Whether one of these is not as published.
        signs: What is unusual about single pictures, by split.
        differences: Where validation or test faces differ from train faces, and where a class differs from the others.
    """

    known: list[str]
    altered: bool
    signs: list[str]
    differences: list[str]


def require_published(found: Verdict, *, strict: bool) -> None:
    """Warn of data that is not what it claims to be, and of pixels that differ between its parts.

    Args:
        found: What the pixels show.
        strict: Whether a known data set that is not as published is an error.

    Raises:
        UserError: It is not, and `strict` is set.
    """
    lines = "; ".join(line for line in found.known if line.startswith(_NOT))
    if found.altered and strict:
        raise UserError(f"--strict-data: {lines}; get a true copy, or leave --strict-data out")
    if found.altered:
        log.warning("DATA: %s. No figure on it is one of the data set's own name.", lines)
    for line in found.differences:
        log.warning("Pixels: %s.", line)


def verdict(images: ImageSet, rows: pd.DataFrame | None = None) -> Verdict:
    """Compare a data set with itself, and with what was published where that is known.

    Args:
        images: All usable pictures; their manifest has the data set's own splits.
        rows: Rows of that manifest with the splits of a run; the data set's own where none are given.
    """
    manifest = images.manifest
    lines, altered = [], False
    for source, part in manifest.groupby("source", sort=False):
        known = published(source) or recognised(_counts(part))
        if known is not None:
            line, wrong = _known_line(known, part, images.measures[part.index])
            lines.append(line)
            altered |= wrong
    rows = manifest if rows is None else rows
    measures = images.measures[rows.index]
    return Verdict(
        known=lines,
        altered=altered,
        signs=list(_signs(rows, measures)),
        differences=[*_split_differences(rows, measures), *_give_aways(rows, measures)],
    )


def _counts(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Split -> emotion -> number of rows."""
    return {split: part["emotion"].value_counts().to_dict() for split, part in rows.groupby("split")}


def _known_line(known: Published, rows: pd.DataFrame, measures: np.ndarray) -> tuple[str, bool]:
    """One line about a known data set, and whether it is not as published."""
    reasons = _surplus(known, rows)
    if known.quantiles:
        emotions, splits = (rows[name].to_numpy(str) for name in ("emotion", "split"))
        reasons += alterations(known, emotions, splits, measures)
    if reasons:
        return f"{_NOT} {known.title} as published: {'; '.join(reasons)}", True
    return _as_published(known, rows), False


def _as_published(known: Published, rows: pd.DataFrame) -> str:
    totals = {split: sum(classes.values()) for split, classes in known.counts.items()}
    counts = rows["split"].value_counts().to_dict()
    missing = [split for split in totals if split not in counts]
    whole = all(counts[split] == totals[split] for split in counts)
    if not known.quantiles:
        share = "all" if whole and not missing else f"{len(rows):,} of"
        return (
            f"these are {share} {known.faces:,} faces of {known.title} by their counts; its pixels are not known here"
        )
    if whole and not missing:
        return f"this is {known.title} as published"
    if whole:
        names = " and ".join(known.splits[split] for split in missing)
        return f"this is {known.title} as published but for the missing {names}"
    few = "too few to compare their pixels" if max(counts.values()) < LEAST_FACES else "with pixels as published"
    return f"these are {len(rows):,} of the {known.faces:,} faces of {known.title}, {few}"


def _surplus(known: Published, rows: pd.DataFrame) -> list[str]:
    """Where there are more faces than were published."""
    found = []
    for split, part in rows.groupby("split", sort=False):
        name, classes = known.splits.get(split, split), known.counts.get(split)
        if classes is None:
            found.append(f"it has no {split} split")
        elif len(part) > (total := sum(classes.values())):
            found.append(f"{len(part):,} {name} pictures, published are {total:,}".replace("  ", " "))
        elif known.own_labels:
            counts = part["emotion"].value_counts()
            more = [e for e in counts.index if counts[e] > classes.get(e, 0)]
            listed = ", ".join(f"{counts[e]:,} {e} (published {classes.get(e, 0):,})" for e in more)
            found += [f"other labels of {name} pictures: {listed}".replace("  ", " ")] if more else []
    return found


def _signs(rows: pd.DataFrame, measures: np.ndarray) -> Iterator[str]:
    """What many single pictures of a split show, whatever the data set."""
    side = rows[["height", "width"]].to_numpy().max(axis=1)
    for (source, split), places in rows.groupby(["source", "split"], sort=False).indices.items():
        for sign in _SIGNS:
            values = measures[places, COLUMN[sign.measure]]
            unusual = values > sign.limit if sign.above else values < sign.limit
            unusual &= side[places] <= (sign.largest or np.inf)
            n = int(unusual.sum())
            if n >= max(LEAST_FACES, sign.share * len(places)):
                yield f"{n:,} of {len(places):,} {split} pictures of {source} {sign.looks}".replace("  ", " ")


def _split_differences(rows: pd.DataFrame, measures: np.ndarray) -> Iterator[str]:
    """Where a model would be evaluated on other pixels than it was trained on."""
    splits = rows["split"].to_numpy(str)
    train = _units(rows, measures, splits == "train")
    for split in ("validation", "test"):
        other = _units(rows, measures, splits == split)
        if min(len(train), len(other)) < LEAST_FACES:
            continue
        found = []
        for column, name in enumerate(MEASURES):
            result = ks_2samp(train[:, column], other[:, column], method="asymp")
            if result.statistic >= _DISTANCE and result.pvalue < _CERTAIN:
                here, there = np.median(other[:, column]), np.median(train[:, column])
                found.append((result.statistic, f"{name} (median {here:.3g}, train {there:.3g})"))
        if found:
            words = ", ".join(words for _, words in sorted(found, reverse=True)[:_LISTED])
            yield f"{split} pictures differ from train pictures beyond chance in {words}"


def _give_aways(rows: pd.DataFrame, measures: np.ndarray) -> Iterator[str]:
    """Where a measure alone distinguishes a class from all others of its split."""
    emotions = rows["emotion"].to_numpy(str)
    for split in ("train", "validation", "test", ""):
        here = (rows["split"] == split).to_numpy()
        for emotion in np.unique(emotions[here]):
            own, others = (_units(rows, measures, here & (emotions == emotion) ^ flip & here) for flip in (False, True))
            if min(len(own), len(others)) < LEAST_FACES:
                continue
            found = []
            for column, name in enumerate(MEASURES):
                if np.ptp(measures[here, column]) == 0:
                    continue
                result = mannwhitneyu(own[:, column], others[:, column], method="asymptotic")
                area = result.statistic / (len(own) * len(others))
                if max(area, 1 - area) >= _GIVES_AWAY and result.pvalue < _CERTAIN:
                    found.append((max(area, 1 - area), name))
            if found:
                words = ", ".join(f"{name} (area under the ROC curve {area:.2f})" for area, name in sorted(found)[::-1])
                yield f"{emotion} in {split or 'this data'} gives itself away by {words}"


def _units(rows: pd.DataFrame, measures: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Measures of the chosen rows; means over each person where persons are known, as their pictures are alike."""
    part, values = rows[chosen], measures[chosen]
    if not (part["subject"] != "").any():
        return values
    return pd.DataFrame(values).groupby(people(part, "id").to_numpy(object)).mean().to_numpy()
