"""Data sets as published: how many faces they have, and how each measure of their pixels is distributed.

The numbers stand in published.json, which `measure_published` writes.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.data.audit.pixels.measures import MEASURES

TABLE = Path(__file__).with_name("published.json")
# Shares at which published.json holds the quantiles of a measure.
SHARES = (0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 1)
ANY = "any"  # the quantiles over the faces of all emotions
_STORED = ("title", "splits", "counts", "quantiles", "tolerance")  # of `Published`, in published.json
DIGITS = 5  # of the quantiles, and so of the values that are compared with them


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set as its authors published it.

    Attributes:
        title: Its name for a reader.
        splits: Split -> the authors' name for it; "" is a data set without splits.
        counts: Split -> emotion -> number of faces.
        own_labels: Whether the faces carry the labels that `counts` counts; other labels for the same faces exist.
        quantiles: Measure -> emotion or `ANY` -> values at `SHARES`; empty where nobody measured the true set.
        tolerance: Measure -> distance between distributions that other true copies may show (another JPEG coding).
    """

    title: str
    splits: Mapping[str, str]
    counts: Mapping[str, Mapping[str, int]]
    own_labels: bool
    quantiles: Mapping[str, Mapping[str, list[float]]]
    tolerance: Mapping[str, float]

    @property
    def faces(self) -> int:
        """Number of faces over all splits."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    def quantile(self, measure: str, share: float) -> float:
        """A quantile of a measure over all published faces; `share` is one of `SHARES`."""
        return self.quantiles[measure][ANY][SHARES.index(share)]

    def median(self, measure: str, emotions: np.ndarray) -> float:
        """Median of a measure over published faces, mean over the given faces' emotions."""
        middle = SHARES.index(0.5)
        names, counts = np.unique(emotions, return_counts=True)
        return float(np.average([self._of(measure, name)[middle] for name in names], weights=counts))

    def ranks(self, emotions: np.ndarray, measures: np.ndarray) -> np.ndarray:
        """Where each value stands among the published faces of the same emotion.

        Args:
            emotions: (n,) str.
            measures: (n, len(MEASURES)).

        Returns:
            (n, len(MEASURES)) float64 in [0, 1], even over that range for faces as published. Values that many
            published faces share are spread over their ranks by chance, the same way each time.
        """
        result = np.empty(measures.shape)
        chance = np.random.default_rng(0).random(measures.shape)
        for name in np.unique(emotions):
            rows = emotions == name
            for column, measure in enumerate(MEASURES):
                below, upto = _shares_below(measures[rows, column], self._of(measure, name))
                result[rows, column] = below + chance[rows, column] * (upto - below)
        return result

    def _of(self, measure: str, emotion: str) -> np.ndarray:
        tables = self.quantiles[measure]
        return np.asarray(tables.get(emotion, tables[ANY]) if self.own_labels else tables[ANY])


def _shares_below(values: np.ndarray, quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of a distribution that lie below each value, and below or at it; it rises evenly between quantiles."""
    values = np.round(np.asarray(values, np.float64), DIGITS)
    shares, between = np.asarray(SHARES), np.interp(values, quantiles, SHARES)
    first, after = np.searchsorted(quantiles, values, "left"), np.searchsorted(quantiles, values, "right")
    equal = first < after
    return np.where(equal, shares[first * equal], between), np.where(equal, shares[after - 1], between)


def published(source: str) -> Published | None:
    """What is known of the data set that a source reads; None where nothing is."""
    return next((_published(record, source) for record in _records() if source in record["sources"]), None)


def recognised(counts: Mapping[str, Mapping[str, int]]) -> Published | None:
    """The data set that has just these faces in its train split, whatever its files are called; None where none has.

    Args:
        counts: Split -> emotion -> number of faces. A split "test" may hold validation and test faces together, as in
            many copies of FER-2013.
    """
    for record in _records():
        known = _published(record, record["sources"][0])
        if "train" in known.counts and counts.get("train") == known.counts["train"]:
            together = dict(Counter(known.counts.get("validation", {})) + Counter(known.counts["test"]))
            if "validation" in counts or counts.get("test") != together:
                return known
            name = " and ".join(known.splits[split] for split in ("validation", "test"))
            merged = {"train": known.counts["train"], "test": together}
            return replace(known, counts=merged, splits={"train": known.splits["train"], "test": name})
    return None


@cache
def _records() -> tuple[dict, ...]:
    return tuple(json.loads(TABLE.read_text(encoding="utf-8")).values())


def _published(record: dict, source: str) -> Published:
    own = source == record["sources"][0]
    return Published(own_labels=own, **{name: record[name] for name in _STORED})
