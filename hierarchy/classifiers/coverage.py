"""How often guaranteed predictions are right, how specific they are, and what the classifier's confidence is worth."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from fer_hierarchy.hierarchy.evaluation.conformal import COVERAGES, LEVELS, Guarantee, Promise
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

WANTED = (0.9, 0.95)
HEDGING = "hedging"  # the rival without a guarantee
_BAND = 0.95
_HALVINGS = 60  # of the search for the strength of hedging


def labels_and_probabilities(table: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """(n,) class indices and (n, emotions) probabilities of a table of predictions."""
    labels = pd.Categorical(table["true"], categories=taxonomy.emotions).codes.astype(np.int64)
    return labels, table[[f"p_{emotion}" for emotion in taxonomy.emotions]].to_numpy(np.float64)


def guarantee_of(calibration: pd.DataFrame, taxonomy: Taxonomy, *, data: str, apart: bool) -> Guarantee:
    """The thresholds that a table of calibration faces gives; see `Guarantee.fit`."""
    labels, probabilities = labels_and_probabilities(calibration, taxonomy)
    return Guarantee.fit(probabilities, labels, taxonomy, data=data, apart=apart)


def coverage_record(calibration: pd.DataFrame, test: pd.DataFrame, taxonomy: Taxonomy, guarantee: Guarantee) -> dict:
    """What metrics.json holds of guaranteed predictions.

    Args:
        calibration: Predictions of the faces that gave `guarantee`.
        test: Predictions of the evaluated faces.
        taxonomy: The run's grouping.
        guarantee: Of the run.

    Returns:
        data, apart, calibration (faces), n, rules (a row a wanted coverage and rule: covered, band, size, bits,
        per_class and shares of the levels), curve (a row a coverage: share of faces at each level), risk (area under
        the curve of risk against coverage; Geifman and El-Yaniv, 2017).
    """
    labels, probabilities = labels_and_probabilities(test, taxonomy)
    known, own = labels_and_probabilities(calibration, taxonomy)
    rules = []
    for coverage in WANTED:
        for each in (False, True):
            promise = Promise(coverage=coverage, each=each)
            nodes = guarantee.nodes(probabilities, taxonomy, promise)
            rules.append(_node_row(nodes, labels, taxonomy, guarantee, promise))
            for sets in ("lac", "aps"):
                held = guarantee.sets(probabilities, taxonomy, Promise(coverage=coverage, each=each, sets=sets))
                rules.append({"rule": sets, **_figures(held, labels, taxonomy, guarantee, promise)})
        chosen = hedged(probabilities, taxonomy, hedging_strength(own, known, taxonomy, coverage))
        row = _node_row(chosen, labels, taxonomy, guarantee, Promise(coverage=coverage))
        rules.append({**row, "rule": HEDGING})
    return {
        "data": guarantee.data,
        "apart": guarantee.apart,
        "calibration": sum(guarantee.faces),
        "n": len(labels),
        "rules": rules,
        "curve": [_level_shares(probabilities, taxonomy, guarantee, coverage) for coverage in COVERAGES],
        "risk": {"area": risk_area(probabilities, labels), "error": float((probabilities.argmax(1) != labels).mean())},
    }


def node_values(
    probabilities: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, guarantee: Guarantee, coverage: float
) -> dict[str, np.ndarray]:
    """What each face's guaranteed node is worth, for comparisons on the same faces.

    Returns:
        covered, emotion, group, any (0 or 1), bits: (n,) float64 each.
    """
    nodes = guarantee.nodes(probabilities, taxonomy, Promise(coverage=coverage))
    sets = members_of(nodes, taxonomy)
    return {
        "covered": sets[np.arange(len(labels)), labels].astype(np.float64),
        **dict(zip(LEVELS, np.eye(len(LEVELS))[_levels(nodes, taxonomy)].T, strict=True)),
        "bits": bits_of(sets, labels),
    }


def members_of(nodes: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(n, emotions) bool: the emotions of (n,) nodes, as `conformal.nodes_of` counts these."""
    groups = np.array(taxonomy.group_index)
    emotions = len(taxonomy.emotions)
    table = np.vstack([np.eye(emotions, dtype=bool), np.arange(len(taxonomy.groups))[:, None] == groups])
    return np.vstack([table, np.ones((1, emotions), dtype=bool)])[nodes]


def bits_of(sets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) bits that each set tells, as Deng et al. (2012) count: log2(emotions / its size), 0 where it is wrong."""
    right = sets[np.arange(len(labels)), labels]
    return np.where(right, np.log2(sets.shape[1] / sets.sum(axis=1)), 0.0)


def band(calibration: int, n: int, coverage: float) -> tuple[float, float]:
    """Where the share of n new faces that are covered lies in 95 of 100 cases, by the exact beta-binomial law.

    Args:
        calibration: Calibration faces.
        n: New faces.
        coverage: Wanted.

    Returns:
        (low, high); (0, 1) where there are too few calibration faces, or no new ones.
    """
    rank = math.ceil(round((calibration + 1) * coverage, 9))
    if rank > calibration or not n:
        return 0.0, 1.0
    low, high = betabinom(n, rank, calibration + 1 - rank).interval(_BAND)
    return float(low / n), float(high / n)


def _node_row(
    nodes: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, guarantee: Guarantee, promise: Promise
) -> dict[str, Any]:
    return {
        "rule": "node",
        **_figures(members_of(nodes, taxonomy), labels, taxonomy, guarantee, promise),
        **_shares(nodes, taxonomy),
    }


def _shares(nodes: np.ndarray, taxonomy: Taxonomy) -> dict[str, float]:
    """Level -> share of the faces that are predicted at it."""
    counts = np.bincount(_levels(nodes, taxonomy), minlength=len(LEVELS))
    return dict(zip(LEVELS, (counts / len(nodes)).tolist(), strict=True))


def _levels(nodes: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(n,) places in `LEVELS`."""
    emotions = len(taxonomy.emotions)
    return np.searchsorted([emotions, emotions + len(taxonomy.groups)], nodes, "right")


def _level_shares(
    probabilities: np.ndarray, taxonomy: Taxonomy, guarantee: Guarantee, coverage: float
) -> dict[str, float]:
    nodes = guarantee.nodes(probabilities, taxonomy, Promise(coverage=coverage))
    return {"coverage": coverage, **_shares(nodes, taxonomy)}


def _figures(
    sets: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, guarantee: Guarantee, promise: Promise
) -> dict[str, Any]:
    """Coverage with its exact band, overall and by class, and how much the sets tell."""
    right = sets[np.arange(len(labels)), labels]
    rows = []
    for number, (emotion, calibration) in enumerate(zip(taxonomy.emotions, guarantee.faces, strict=True)):
        own = right[labels == number]
        row = {"class": emotion, "n": len(own), "calibration": calibration}
        rows.append(row | {"covered": float(own.mean()) if len(own) else None})
        if promise.each:
            rows[-1]["band"] = band(calibration, len(own), promise.coverage)
    return {
        "coverage": promise.coverage,
        "each": promise.each,
        "covered": float(right.mean()),
        "band": None if promise.each else band(sum(guarantee.faces), len(labels), promise.coverage),
        "size": float(sets.sum(axis=1).mean()),
        "bits": float(bits_of(sets, labels).mean()),
        "per_class": rows,
    }


def hedged(probabilities: np.ndarray, taxonomy: Taxonomy, strength: float) -> np.ndarray:
    """The node with the largest (information + strength) * probability, which may lie beside the likeliest path.

    Deng, Krause, Berg and Fei-Fei, "Hedging your bets: optimizing accuracy-specificity trade-offs in large scale visual
    recognition", CVPR 2012.

    Args:
        probabilities: (n, emotions).
        taxonomy: The grouping.
        strength: At least 0; the larger, the safer.

    Returns:
        (n,) int, as `conformal.nodes_of` counts nodes.
    """
    emotions = len(taxonomy.emotions)
    members = members_of(np.arange(emotions + len(taxonomy.groups) + 1), taxonomy)  # (nodes, emotions)
    information = np.log2(emotions / members.sum(axis=1))
    return ((probabilities @ members.T) * (information + strength)).argmax(axis=1)


def hedging_strength(probabilities: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, coverage: float) -> float:
    """The least strength of `hedged` that covers the wanted share of calibration faces, by bisection."""

    def covered(strength: float) -> float:
        sets = members_of(hedged(probabilities, taxonomy, strength), taxonomy)
        return float(sets[np.arange(len(labels)), labels].mean())

    low, high = 0.0, 1.0
    while covered(high) < coverage and high < 1e9:
        low, high = high, 2 * high
    if covered(0.0) >= coverage:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if covered(middle) >= coverage else (middle, high)
    return high


def risk_area(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean error among the k most confident faces over all k: 0 for a classifier that knows all its errors to be last.

    Args:
        probabilities: (n, classes), whose highest is the confidence.
        labels: (n,) class indices.
    """
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != labels)[order]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())
