"""Groupings of the emotions: built-in ones, those that a flat model's confusion suggests, and random ones as control.

Pure functions of labels and probabilities. Grouping what a flat model mixes up is how Yan et al., "HD-CNN: Hierarchical
deep convolutional neural networks for large scale visual recognition", ICCV 2015, find their coarse classes.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import AgglomerativeClustering, SpectralClustering

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import class_indices
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.taxonomy import FLAT, TAXONOMIES, Taxonomy, class_order, is_emotion

BUILT_IN, OWN, CONFUSION, RANDOM = "built-in", "own", "confusion", "random"
GROUPS = (2, 3)
_LEAST_AFFINITY = 1e-6  # emotions that are never mixed up hang together by a thread, so that the graph has one piece

Partition = frozenset[frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One grouping, under every name by which it was found.

    Attributes:
        taxonomy: The grouping.
        origins: (kind, name) pairs; the kind is "built-in", "own", "confusion", "random", or "flat" for the flat
            network that all are compared with.
    """

    taxonomy: Taxonomy
    origins: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """What tables and folders call it: the first of its names."""
        return self.origins[0][1]

    @property
    def kind(self) -> str:
        """Where it comes from first of all."""
        return self.origins[0][0]

    @property
    def suggested(self) -> bool:
        """Whether the confusion suggests it, whatever else does."""
        return any(kind == CONFUSION for kind, _ in self.origins)

    @property
    def stages(self) -> tuple[str, ...]:
        """What is trained for it, in order."""
        return self.taxonomy.stages(self.mode)

    @property
    def mode(self) -> str:
        """How it is trained."""
        return FLAT if self.kind == FLAT else "hierarchical"

    @property
    def text(self) -> str:
        """Its groups in words: `happy surprise neutral | angry disgust fear sad`."""
        return in_words(self.taxonomy)


def in_words(taxonomy: Taxonomy) -> str:
    """The groups of a taxonomy by their members: `happy surprise neutral | angry disgust fear sad`."""
    return " | ".join(" ".join(taxonomy.members(group)) for group in taxonomy.group_names)


def affinity(y_true: ArrayLike, probabilities: ArrayLike, emotions: Sequence[str]) -> np.ndarray:
    """How much of each other's probability two emotions get: the soft confusion, made symmetric.

    Args:
        y_true: (n,) emotion names or indices.
        probabilities: (n, emotions), rows sum to 1.
        emotions: In column order.

    Returns:
        (emotions, emotions) float64 in [0, 1], symmetric: the mean of P(j | a face of i) and P(i | a face of j), and
        1 on the diagonal.

    Raises:
        UserError: An emotion without a face, or rows that are no probabilities.
    """
    table = as_probabilities(probabilities, len(emotions), "probabilities of the flat run")
    labels = class_indices(y_true, emotions)
    absent = [emotion for place, emotion in enumerate(emotions) if not (labels == place).any()]
    if absent:
        raise UserError(f"no validation face shows {absent[0]}; confusion needs at least one face of each emotion")
    confusion = np.stack([table[labels == place].mean(axis=0) for place in range(len(emotions))])
    symmetric = (confusion + confusion.T) / 2
    np.fill_diagonal(symmetric, 1.0)
    return symmetric


def confusion_groupings(
    y_true: ArrayLike, probabilities: ArrayLike, emotions: Sequence[str], *, groups: Sequence[int] = GROUPS
) -> list[Taxonomy]:
    """Groups of emotions that a flat model mixes up, by spectral clustering and by average linkage.

    Args:
        y_true: (n,) emotion names or indices of validation faces.
        probabilities: (n, emotions) predictions of the flat model.
        emotions: In column order.
        groups: Numbers of groups; those that are not smaller than the number of emotions are left out.

    Returns:
        Groupings of gate "confusion", one for each method and number of groups (`spectral-2`, `linkage-3`); several
        may be the same, see `merged`.

    Raises:
        UserError: As for `affinity`.
    """
    likeness = affinity(y_true, probabilities, emotions)
    found = []
    for method, cluster in {"spectral": _spectral, "linkage": _linkage}.items():
        for number in [number for number in groups if 2 <= number < len(emotions)]:
            labels = cluster(likeness, number)
            parts = [np.array(emotions)[labels == label].tolist() for label in np.unique(labels)]
            if len(parts) == number:  # k-means may leave a cluster empty
                found.append(grouping(parts, name=f"{method}-{number}", gate=CONFUSION))
    return found


def _spectral(likeness: np.ndarray, number: int) -> np.ndarray:
    joined = np.maximum(likeness, _LEAST_AFFINITY)
    return SpectralClustering(n_clusters=number, affinity="precomputed", random_state=0).fit_predict(joined)


def _linkage(likeness: np.ndarray, number: int) -> np.ndarray:
    clustering = AgglomerativeClustering(n_clusters=number, metric="precomputed", linkage="average")
    return clustering.fit_predict(1 - likeness)


def grouping(parts: Collection[Collection[str]], *, name: str, gate: str) -> Taxonomy:
    """A taxonomy whose groups stand in canonical order and are named by their members: `angry-fear-sad`."""
    ordered = sorted((tuple(sorted(part, key=class_order)) for part in parts), key=lambda part: class_order(part[0]))
    own = tuple(sorted((word for part in parts for word in part if not is_emotion(word)), key=class_order))
    return Taxonomy(name=name, gate=gate, groups=tuple(("-".join(part), part) for part in ordered), own=own)


def partition(taxonomy: Taxonomy) -> Partition:
    """Which emotions stand together, whatever the groups are called."""
    return frozenset(frozenset(members) for _, members in taxonomy.groups)


def sizes_of(taxonomy: Taxonomy) -> tuple[int, ...]:
    """Numbers of emotions in the groups, smallest first."""
    return tuple(sorted(len(members) for _, members in taxonomy.groups))


def all_partitions(sizes: Sequence[int], emotions: Sequence[str]) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Every way to put the emotions into groups of these sizes, each once."""
    if not emotions:
        yield ()
        return
    first, rest = emotions[0], emotions[1:]
    for size in sorted(set(sizes)):
        left = list(sizes)
        left.remove(size)
        for others in combinations(rest, size - 1):
            remaining = [emotion for emotion in rest if emotion not in others]
            for tail in all_partitions(left, remaining):
                yield ((first, *others), *tail)


def random_groupings(
    sizes: Sequence[int],
    emotions: Sequence[str],
    *,
    count: int,
    rng: np.random.Generator,
    apart: Collection[Partition] = (),
) -> list[Taxonomy]:
    """Different groupings drawn at random, all equally likely.

    Args:
        sizes: Numbers of emotions in the groups.
        emotions: What is grouped.
        count: How many; fewer where there are not so many.
        rng: Draws them.
        apart: What must not be drawn.

    Returns:
        Taxonomies `random-1`, `random-2`, ... of gate "random".

    Raises:
        UserError: The sizes do not add up to the number of emotions.
    """
    if sum(sizes) != len(emotions) or min(sizes, default=0) < 1:
        raise UserError(
            f"random groupings of sizes {list(sizes)}: needed sizes that add up to {len(emotions)} emotions"
        )
    pool = [parts for parts in all_partitions(sizes, emotions) if frozenset(map(frozenset, parts)) not in apart]
    drawn = rng.choice(len(pool), size=min(count, len(pool)), replace=False) if pool else ()
    return [grouping(pool[place], name=f"{RANDOM}-{number}", gate=RANDOM) for number, place in enumerate(drawn, 1)]


def built_in_groupings(emotions: Sequence[str]) -> tuple[list[Taxonomy], dict[str, str]]:
    """The built-in taxonomies over these emotions.

    Returns:
        Those that are possible, and name -> why not of those that are not or that leave no specialist anything to do.
    """
    possible, left_out = [], {}
    for name, taxonomy in TAXONOMIES.items():
        try:
            own = taxonomy.restrict(emotions)
        except UserError as error:
            left_out[name] = str(error)
            continue
        if own.specialists:
            possible.append(own)
        else:
            left_out[name] = "every group would hold one emotion, so that the gate alone would be the flat model"
    return possible, left_out


def merged(found: Sequence[tuple[str, Taxonomy]]) -> list[Candidate]:
    """Groupings that are the same but for their names as one candidate, in order of first appearance.

    Args:
        found: (kind, taxonomy) pairs.
    """
    alike: dict[Partition, list[tuple[str, Taxonomy]]] = {}
    for kind, taxonomy in found:
        alike.setdefault(partition(taxonomy), []).append((kind, taxonomy))
    return [
        Candidate(taxonomy=pairs[0][1], origins=tuple((kind, taxonomy.name) for kind, taxonomy in pairs))
        for pairs in alike.values()
    ]


def with_controls(
    candidates: Sequence[Candidate], emotions: Sequence[str], *, count: int, rng: np.random.Generator
) -> list[Candidate]:
    """The candidates and, behind them, random groupings of the same sizes.

    Args:
        candidates: None of them is drawn again.
        emotions: What is grouped.
        count: Controls in all; they are dealt out to the sizes in turn, those that confusion suggests first.
        rng: Draws them.
    """
    first = sorted(candidates, key=lambda candidate: not candidate.suggested)
    sizes = list(dict.fromkeys(sizes_of(candidate.taxonomy) for candidate in first))
    taken = {partition(candidate.taxonomy) for candidate in candidates}
    shares = Counter(islice(cycle(sizes), count)) if sizes else {}
    drawn = [
        taxonomy
        for size, share in shares.items()
        for taxonomy in random_groupings(size, emotions, count=share, rng=rng, apart=taken)
    ]
    named = (dataclasses.replace(taxonomy, name=f"{RANDOM}-{number}") for number, taxonomy in enumerate(drawn, 1))
    return [*candidates, *merged([(RANDOM, taxonomy) for taxonomy in named])]


def implied(flat_probabilities: ArrayLike, y_true: ArrayLike, taxonomy: Taxonomy) -> dict[str, Any]:
    """What a flat model's predictions imply for a grouping, without any training.

    The soft composition of what is implied is the flat prediction itself, whatever the grouping, so only the gate, the
    specialists and the routings that choose a group differ between groupings.

    Args:
        flat_probabilities: (n, emotions), columns as `taxonomy.emotions`.
        y_true: (n,) emotion names or indices.
        taxonomy: The grouping.

    Returns:
        {"n", "gate_accuracy", "gate_balanced_accuracy", "specialists": group -> accuracy on the faces of the group
        (None without faces), "oracle_accuracy": of all faces sent to the specialist of their true group,
        "hard_accuracy", "hard_balanced_accuracy", "hard_macro_f1": of faces sent where the gate decides}.

    Raises:
        UserError: Rows that are no probabilities, or labels that are none of the emotions.
    """
    composer = HierarchicalClassifier(taxonomy)
    labels, to_group = class_indices(y_true, taxonomy.emotions), np.array(taxonomy.group_index)
    gate, specialists = composer.imply(flat_probabilities)
    true_groups = to_group[labels]
    right = composer.compose(gate, specialists, "oracle", true_groups=true_groups).argmax(axis=1) == labels
    routed = composer.compose(gate, specialists, "hard").argmax(axis=1)
    gated = confusion_figures(confusion_counts(true_groups, gate.argmax(axis=1), len(taxonomy.groups)))
    hard = confusion_figures(confusion_counts(labels, routed, len(taxonomy.emotions)))
    faces = {group: true_groups == place for place, group in enumerate(taxonomy.group_names)}
    return {
        "n": len(labels),
        "gate_accuracy": float(gated["top1"]),
        "gate_balanced_accuracy": float(gated["balanced_accuracy"]),
        "specialists": {g: float(right[faces[g]].mean()) if faces[g].any() else None for g in taxonomy.specialists},
        "oracle_accuracy": float(right.mean()),
        "hard_accuracy": float(hard["top1"]),
        "hard_balanced_accuracy": float(hard["balanced_accuracy"]),
        "hard_macro_f1": float(hard["macro_f1"]),
    }
