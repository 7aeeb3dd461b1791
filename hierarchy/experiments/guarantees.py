"""Guaranteed predictions of several runs on the same faces: who leaves fewer faces without an emotion or a group."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.classifiers.coverage import WANTED, node_values
from fer_hierarchy.hierarchy.evaluation.conformal import ANY
from fer_hierarchy.hierarchy.evaluation.significance import mean_std
from fer_hierarchy.hierarchy.experiments.table import GridCell
from fer_hierarchy.hierarchy.reports.page import Section, Table
from fer_hierarchy.hierarchy.wording import decimals, difference, percent, points, spread

_SHARES = {"Covered %": "covered", "Emotion %": "emotion", "Group %": "group", "Any %": ANY}


def compare_guarantees(
    cells: Sequence[GridCell],
    pairs: Iterable[tuple[GridCell, GridCell]],
    repeated: Iterable[Sequence[GridCell]],
    draw: Mapping[str, Any],
) -> dict[str, Any]:
    """Guaranteed predictions of runs with one grouping, and differences on the same faces.

    Args:
        cells: The runs, with the same test faces in one order.
        pairs: Those to compare.
        repeated: Runs of one configuration that differ in the seed.
        draw: resamples, seed and groups (subjects) of the bootstrap.

    Returns:
        runs, pairs (b - a, with intervals), repeats (mean and deviation over seeds), each a row a wanted coverage;
        empty where a run has kept no predictions of its validation faces.
    """
    if any(cell.finished.guarantee is None for cell in cells):
        return {}
    values = {(cell.name, wanted): _values(cell, wanted) for cell in cells for wanted in WANTED}
    means = {key: {name: float(own.mean()) for name, own in one.items()} for key, one in values.items()}
    weights = _weights(len(cells[0].labels), **draw)
    return {
        "runs": [{"run": name, "coverage": wanted, **one} for (name, wanted), one in means.items()],
        "pairs": [
            {"a": a.name, "b": b.name, "coverage": wanted}
            | {
                name: _difference(values[b.name, wanted][name] - values[a.name, wanted][name], weights)
                for name in means[a.name, wanted]
            }
            for a, b in pairs
            for wanted in WANTED
        ],
        "repeats": [
            {"runs": [cell.name for cell in alike], "coverage": wanted}
            | {
                name: mean_std([means[cell.name, wanted][name] for cell in alike])
                for name in means[alike[0].name, wanted]
            }
            for alike in repeated
            for wanted in WANTED
        ],
    }


def _values(cell: GridCell, coverage: float) -> dict[str, np.ndarray]:
    run = cell.finished
    assert run.guarantee is not None
    return node_values(cell.probabilities, cell.labels, run.taxonomy, run.guarantee, coverage)


def _weights(faces: int, *, resamples: int, seed: int, groups: np.ndarray | None) -> np.ndarray:
    """(resamples, n) how often each face is drawn; whole subjects where they are known."""
    subjects = np.arange(faces)
    if groups is not None:
        names = [name or f"face {place}" for place, name in enumerate(groups)]
        subjects = np.unique(names, return_inverse=True)[1]
    count = subjects.max() + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, subjects].astype(np.float32)


def _difference(values: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    drawn = (weights @ values) / weights.sum(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"difference": float(values.mean()), "low": float(low), "high": float(high)}


def guarantees_section(comparison: Mapping, labels: Mapping[str, str], names: Mapping[tuple[str, ...], str]) -> Section:
    """The section of a comparison's report.

    Args:
        comparison: With `guarantees`, see `compare_guarantees`.
        labels: Run -> what the report calls it.
        names: Runs of a configuration -> what the report calls that.
    """
    record = comparison.get("guarantees")
    if not record:
        return Section("Guaranteed predictions", "", [])
    promised = {"Promised": ("coverage", percent)}
    runs = {"Run": ("run", labels.__getitem__), **promised} | {
        heading: (name, points) for heading, name in _SHARES.items()
    }
    pairs = {"Difference": lambda row: f"{labels[row['b']]} minus {labels[row['a']]}", **promised} | {
        heading: (name, difference) for heading, name in _SHARES.items()
    }
    repeats = {"Configuration": lambda row: names[tuple(row["runs"])], **promised} | {
        heading: (name, spread) for heading, name in _SHARES.items()
    }
    caption = "Shares of the faces by what is guaranteed of them, in percent; bits are the mean that a prediction tells"
    blocks = [Table.of(record["runs"], {**runs, "Bits": ("bits", decimals)}, caption=caption, words=(0, 1))]
    if record["repeats"]:
        caption = "The same as mean and standard deviation over seeds"
        blocks.append(Table.of(record["repeats"], repeats, caption=caption, words=(0, 1)))
    caption = "Paired differences on the same faces in points, with 95 % bootstrap intervals"
    blocks.append(Table.of(record["pairs"], pairs, caption=caption, words=(0, 1)))
    return Section(
        "Guaranteed predictions",
        "The most specific of emotion, group and any emotion that is right as often as promised. At equal promise the "
        "better run names more emotions and leaves fewer faces with any.",
        blocks,
    )
