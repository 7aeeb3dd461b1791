"""What `--resting` gives: faces measured against a picture of the same person at rest, beside the same without it.

`python tests/benchmarks/bench_resting.py DATA ... [--run RUN]`. A person's first neutral picture is the one at rest,
and all others are measured. Of data without neutral pictures but with sequences (CK+48), the first frame of a sequence
is at rest and the last is measured. Every picture is a face. Intervals draw whole persons. `--half first` and
`--half second` take every other person: the strength was chosen on the first half, by balanced accuracy. Half neutral
is the accuracy where half of the faces are neutral: the mean of that on neutral faces and that on all others.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fer_hierarchy.hierarchy.data.images import load_images
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.evaluation.resting import mean_logs, measured, resting_offset
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures, paired_bootstrap
from fer_hierarchy.hierarchy.paths import RESULTS
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.model import Metadata, Model
from fer_hierarchy.inference.resting import neutral_logs

NEUTRAL = "neutral"


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Predictions of n faces that are measured, and of the same persons at rest.

    Attributes:
        labels: (n,) emotion indices.
        people: (n,) their names.
        table: (n, emotions) probabilities.
        resting: (n, emotions) those of the picture at rest.
    """

    labels: np.ndarray
    people: np.ndarray
    table: np.ndarray
    resting: np.ndarray

    def measured(self, neutral: np.ndarray, strength: float) -> np.ndarray:
        """(n, emotions) probabilities against the picture at rest."""
        logs = np.stack([mean_logs(row[None]) for row in self.resting])
        return measured(self.table, resting_offset(logs, neutral, strength=strength))


def faces_of(data: str, model: Model, half: str | None) -> Faces:
    """The faces of a data set whose emotion the model knows, of every other person where a half is named."""
    facts = model.facts
    images = load_images(read_source(Path(data)), size=facts.image_size, channels=facts.channels, skip_bad=True)
    rows = images.manifest.reset_index(drop=True)
    table = model.predict(images.pixels)
    pairs = np.array(list(_pairs(rows)))
    known = rows["emotion"].isin(facts.taxonomy.emotions).to_numpy()
    order = {person: place for place, person in enumerate(sorted(rows["subject"].unique()))}
    wanted = {None: (0, 1), "first": (0,), "second": (1,)}[half]
    kept = [known[own] and order[rows["subject"][own]] % 2 in wanted for own, _ in pairs]
    own, rest = pairs[kept].T
    labels = pd.Categorical(rows["emotion"][own], categories=facts.taxonomy.emotions).codes.astype(np.int64)
    return Faces(labels=labels, people=rows["subject"].to_numpy(str)[own], table=table[own], resting=table[rest])


def _pairs(rows: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """(row that is measured, row of the same person at rest)."""
    if (rows["emotion"] == NEUTRAL).any():
        for _, own in rows.groupby("subject"):
            resting = own.index[own["emotion"] == NEUTRAL]
            yield from ((row, resting[0]) for row in own.index if len(resting) and row != resting[0])
        return
    sequences = rows["id"].str.extract(r"(S\d+_\d+)_\d+")[0]
    for _, own in rows.sort_values("id").groupby(sequences):
        yield own.index[-1], own.index[0]


def table(faces: Faces, facts: Metadata, strengths: list[float]) -> str:
    """A row a strength, as Markdown; 0 is without a picture at rest."""
    neutral, classes = neutral_logs(facts), len(facts.taxonomy.emotions)
    place, before = facts.taxonomy.emotions.index(NEUTRAL), faces.table.argmax(axis=1)
    lines = [
        "| strength | top-1 % | gain, points | balanced % | neutral right % | called neutral % | half neutral % |",
        "|---|" + "---|" * 6,
    ]
    for strength in strengths:
        predicted = faces.measured(neutral, strength).argmax(axis=1)
        figures = confusion_figures(confusion_counts(faces.labels, predicted, classes))
        gain = paired_bootstrap(faces.labels, before, predicted, classes, groups=faces.people)["top1"]
        right, is_neutral = predicted == faces.labels, faces.labels == place
        halves = [right[is_neutral].mean(), right[~is_neutral].mean()] if is_neutral.any() else []
        cells = (
            f"{strength:g}",
            f"{100 * figures['top1']:.1f}",
            "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * gain[name] for name in ("difference", "low", "high"))),
            f"{100 * figures['balanced_accuracy']:.1f}",
            f"{100 * halves[0]:.0f}" if halves else "",
            f"{100 * (predicted == place).mean():.0f}",
            f"{50 * sum(halves):.1f}" if halves else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", metavar="DATA")
    parser.add_argument("--run", help="a run or an export (default: the published one)")
    parser.add_argument("--half", choices=("first", "second"), help="every other person alone")
    parser.add_argument("--strength", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75, 1])
    given = parser.parse_args()
    model = open_model(given.run or default_model(RESULTS, quick=True), RESULTS)
    for data in given.data:
        faces = faces_of(data, model, given.half)
        people = len(set(faces.people))
        print(f"\n{Path(data).name}, {model.facts.run}: {len(faces.labels)} faces of {people} people\n")
        print(table(faces, model.facts, given.strength))


if __name__ == "__main__":
    main()
