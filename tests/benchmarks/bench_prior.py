"""What `--prior` gives where the truth is known: test faces drawn anew with life-like and with ordinary shares.

`python tests/benchmarks/bench_prior.py RUN ... [--faces N] [--draws N] [--split validation]` prints a table for each
kind of run and draw, from the predictions that the runs hold. A life-like draw is half neutral, a quarter happy, and
the rest in the proportion of the split; an ordinary one has the split's own shares. Faces are drawn with replacement,
class by class, so that the intervals (2.5 to 97.5 % over draws and runs) hold the noise of the split as well.

What `auto` rests on was chosen with `--split validation`: one half of the validation faces then plays the validation
split, the other half the test split.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fer_hierarchy.hierarchy.classifiers.priors import validation_facts
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation import label_shift
from fer_hierarchy.hierarchy.evaluation.calibration import expected_calibration_error
from fer_hierarchy.hierarchy.evaluation.label_shift import ValidationFacts, reweigh
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

LIFE = {"neutral": 0.5, "happy": 0.25}
DRAWS = ("life-like", "ordinary")
_SINGULAR = 1e8  # condition of a confusion matrix from which its inverse is noise


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Predictions of labelled faces, and what the run's validation faces tell.

    Attributes:
        taxonomy: Of the run.
        labels: (n,) emotion indices.
        table: (n, emotions) probabilities.
        prior: (emotions,) shares that they are made for.
        facts: Of validation faces.
        confusion: (emotions, emotions) counts on validation faces.
    """

    taxonomy: Taxonomy
    labels: np.ndarray
    table: np.ndarray
    prior: np.ndarray
    facts: ValidationFacts
    confusion: np.ndarray


def faces_of(run: Run, trained: Run, split: str, rng: np.random.Generator) -> Faces:
    """The test faces of a run, or half of its validation faces, whose other half then tells about them.

    `trained` is the run itself or, where that is an evaluation, the run that it evaluated.
    """
    known = trained.validation_predictions
    tested = run.predictions
    if split == "validation":
        order = rng.permutation(len(known))
        tested, known = known.iloc[order[::2]], known.iloc[order[1::2]]
    emotions = run.classes
    counts = np.array([trained.real_train_counts[emotion] for emotion in emotions], dtype=float)
    labels, table = _arrays(tested, run.taxonomy)
    own, predicted = _arrays(known, run.taxonomy)
    return Faces(
        taxonomy=run.taxonomy,
        labels=labels,
        table=table,
        prior=counts / counts.sum(),
        facts=validation_facts(known, run.taxonomy),
        confusion=confusion_counts(own, predicted.argmax(axis=1), len(emotions)),
    )


def _arrays(rows: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    labels = pd.Categorical(rows["true"], categories=taxonomy.emotions).codes.astype(np.int64)
    return labels, rows[[f"p_{emotion}" for emotion in taxonomy.emotions]].to_numpy(float)


def shares_of(draw: str, faces: Faces) -> np.ndarray:
    """(emotions,) shares of a draw."""
    shares = np.bincount(faces.labels, minlength=len(faces.prior)) / len(faces.labels)
    if draw == "ordinary":
        return shares
    fixed = np.array([LIFE.get(emotion, 0.0) for emotion in faces.taxonomy.emotions])
    rest = np.where(fixed > 0, 0.0, shares)
    return fixed + rest / rest.sum() * (1 - fixed.sum())


def estimate_groups_em(
    probabilities: ArrayLike, prior: ArrayLike, taxonomy: Taxonomy, *, pseudo_faces: float = 0.0
) -> np.ndarray:
    """Shares of the emotions where only those of the groups are estimated, from the gate; within a group as in `prior`.

    Args:
        probabilities: (n, emotions) for `prior`; their sums over a group are the gate's.
        prior: (emotions,) as for `label_shift.estimate_em`.
        taxonomy: The grouping.
        pseudo_faces: As for `label_shift.estimate_em`.

    Returns:
        (emotions,) float64 that sums to 1.

    Raises:
        UserError: As for `label_shift.estimate_em`.
    """
    before = np.asarray(prior, dtype=np.float64) / np.sum(prior)
    members = list(taxonomy.group_index)
    gate = np.asarray(probabilities, dtype=np.float64) @ np.eye(len(taxonomy.group_names))[members]
    groups = np.bincount(members, weights=before)
    return before * (label_shift.estimate_em(gate, groups, pseudo_faces=pseudo_faces) / groups)[members]


def estimate_bbse(predicted: ArrayLike, confusion: ArrayLike) -> np.ndarray:
    """Shares of the classes by black box shift estimation, for a classifier of any calibration.

    Lipton, Wang and Smola, "Detecting and correcting for label shift with black box predictors", ICML 2018. The
    shares of the predictions are what the confusion matrix makes of the true shares, and that is solved for them.

    Args:
        predicted: (n,) class indices that the classifier predicts, n at least 1.
        confusion: (classes, classes) counts on labelled validation faces, rows are the true classes.

    Returns:
        (classes,) float64 that sums to 1; shares that come out negative are 0.

    Raises:
        UserError: No faces, a class without validation faces, or a matrix that cannot be inverted, as where a class is
            never predicted.
    """
    counts, labels = np.asarray(confusion, dtype=np.float64), np.asarray(predicted)
    if not len(labels):
        raise UserError("shares of classes: got no faces; needed at least one")
    support = counts.sum(axis=1)
    if not support.all():
        raise UserError(f"confusion matrix: class {int(support.argmin())} has no validation face; needed one of each")
    rates = (counts / support[:, None]).T  # (predicted, true) P(predicted|true)
    if np.linalg.cond(rates) > _SINGULAR:
        raise UserError("confusion matrix: it cannot be inverted; needed a classifier that tells all classes apart")
    shares = np.linalg.solve(rates, np.bincount(labels, minlength=len(counts)) / len(labels)).clip(min=0)
    return shares / shares.sum()


def estimates(table: np.ndarray, faces: Faces, true: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What each method takes for the shares of the faces drawn; a method that fails keeps those of training."""
    facts, counts = faces.facts, np.array(faces.facts.counts)
    calibrated = facts.calibrated(table)
    yield "without", faces.prior
    yield "true shares", true
    found = label_shift.estimate_shares(table, facts)
    yield "`auto`", found.shares if found.shifted else faces.prior
    yield "EM, calibrated", label_shift.estimate_em(calibrated, counts)
    yield "EM, as predicted", label_shift.estimate_em(table, faces.prior)
    yield "gate alone, calibrated", estimate_groups_em(calibrated, counts, faces.taxonomy)
    yield "gate alone, as predicted", estimate_groups_em(table, faces.prior, faces.taxonomy)
    try:
        yield "BBSE", estimate_bbse(table.argmax(axis=1), faces.confusion)
    except UserError:
        yield "BBSE", faces.prior


def measured(faces: Faces, draw: str, *, count: int, draws: int, rng: np.random.Generator) -> pd.DataFrame:
    """A row a draw and method: method, top1, gain, balanced, ece, error (points; of shares: summed, 0 to 2)."""
    true, rows = shares_of(draw, faces), []
    pools = [np.flatnonzero(faces.labels == label) for label in range(len(true))]
    for number in range(draws):
        labels = rng.choice(len(true), count, p=true)
        chosen = np.array([rng.choice(pools[label]) for label in labels])
        occurring = np.bincount(labels, minlength=len(true)) / count
        for method, shares in estimates(faces.table[chosen], faces, true):
            table = reweigh(faces.table[chosen], faces.prior, shares)
            figures = confusion_figures(confusion_counts(labels, table.argmax(axis=1), len(true)))
            rows.append(
                {
                    "draw": number,
                    "method": method,
                    "top1": 100 * figures["top1"],
                    "balanced": 100 * figures["balanced_accuracy"],
                    "ece": 100 * expected_calibration_error(labels, table),
                    "error": np.abs(shares - occurring).sum(),
                }
            )
    made = pd.DataFrame(rows)
    without = made[made["method"] == "without"].set_index("draw")["top1"]
    return made.assign(gain=made["top1"] - made["draw"].map(without))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--faces", type=int, default=1000, help="of each draw")
    parser.add_argument("--draws", type=int, default=100, help="of each run")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--trained", metavar="RUN", help="the run that was evaluated, where RUN is an evaluation")
    given = parser.parse_args()
    runs = [(Run(run), Run(given.trained or run)) for run in given.runs]
    for kind in dict.fromkeys(run.config.mode for _, run in runs):
        own = [pair for pair in runs if pair[1].config.mode == kind]
        for draw in DRAWS:
            rng = np.random.default_rng(0)
            parts = [
                measured(faces_of(*pair, given.split, rng), draw, count=given.faces, draws=given.draws, rng=rng)
                for pair in own
            ]
            print(f"\n{kind}, {draw} draw: {given.draws} draws of {given.faces} faces for each of {len(own)} runs\n")
            print(table(pd.concat(parts)))


def table(made: pd.DataFrame) -> str:
    """The means as Markdown, with the interval of the gain."""
    lines = [
        "| shares | top-1 % | gain, points | balanced % | ECE % | error of the shares |",
        "|---|---|---|---|---|---|",
    ]
    for method, rows in made.groupby("method", sort=False):
        low, high = np.percentile(rows["gain"], [2.5, 97.5])
        means = rows[["top1", "gain", "balanced", "ece", "error"]].mean()
        gain = f"{means['gain']:+.1f} ({low:+.1f} to {high:+.1f})" if method != "without" else ""
        cells = (method, f"{means['top1']:.1f}", gain, f"{means['balanced']:.1f}", f"{means['ece']:.1f}")
        lines.append(f"| {' | '.join(cells)} | {means['error']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
