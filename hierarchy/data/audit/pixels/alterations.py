"""What was done to pictures: their ranks among published ones, put into words."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fer_hierarchy.hierarchy.data.audit.pixels.measures import COLUMN, MEASURES
from fer_hierarchy.hierarchy.data.audit.pixels.published import Published

STRONG_JPEG = "show the 8x8 blocks of a strong JPEG compression"
LEAST_FACES = 20  # of a group, for a distribution to be compared
# Kolmogorov's distance times the root of n that chance exceeds once in 8,000 groups.
_CHANCE = 2.2
# Faces that carry other labels than the published ones are compared with faces of all emotions, from which those of one
# emotion differ by up to this distance: surprise is brighter than neutral.
_LABELS = 0.2
_TAIL = 0.01  # share of the published pictures beyond which a picture counts as altered
_CLEAR = 0.3  # distance from which a measure that names the alteration itself goes first
_MOST = 0.9  # share of altered pictures from which their number is exact enough to be given as such


class _Kind(NamedTuple):
    """One way in which pictures can be altered, and how the measures show it."""

    measure: str  # what shows it
    higher: bool  # whether the measure rises
    group: str  # what a group of such pictures is, compared with the published one
    single: str = ""  # what one such picture does, where the measure names the alteration itself
    follows: tuple[str, ...] = ()  # measures that change along with it and then show nothing further
    typical: float | None = None  # value that altered pictures exceed, where there is one that only they do


_GREYS = ("brightness", "contrast", "clipped", "empty_levels", "evenness")
_TEXTURE = ("sharpness", "blockiness", "likeness", "border")
_BLURRED = (*_GREYS, "blockiness", "likeness", "border")
_KINDS = (
    _Kind("colour", True, "are more colourful", "are coloured", ("cast", "false_colour", *_GREYS, *_TEXTURE)),
    _Kind("likeness", False, "resemble a face less", "look inverted, light and dark exchanged", ("brightness",)),
    _Kind("evenness", True, "have more even histograms", "look histogram-equalised", (*_GREYS, *_TEXTURE), typical=0.9),
    _Kind("evenness", True, "have more even histograms", follows=_GREYS),
    _Kind("blockiness", True, "show more JPEG blocks", STRONG_JPEG, ("sharpness", *_GREYS)),
    _Kind("sharpness", False, "are less sharp", "look blurred or enlarged from smaller pictures", _BLURRED),
    _Kind("sharpness", True, "are sharper or noisier", "look sharpened or noisy", (*_GREYS, "blockiness", "likeness")),
    _Kind("border", True, "have wider constant borders", "have constant borders", (*_GREYS, *_TEXTURE)),
    _Kind("brightness", True, "are brighter", follows=(*_GREYS, "sharpness")),
    _Kind("brightness", False, "are darker", follows=(*_GREYS, "sharpness")),
    _Kind("contrast", True, "have more contrast", follows=_GREYS),
    _Kind("contrast", False, "have less contrast", follows=_GREYS),
    _Kind("clipped", True, "are clipped more", follows=_GREYS),
    _Kind("clipped", False, "are clipped less", follows=_GREYS),
    _Kind("empty_levels", True, "use fewer grey levels", follows=_GREYS),
    _Kind("empty_levels", False, "use more grey levels", follows=_GREYS),
    _Kind("evenness", False, "have less even histograms", follows=_GREYS),
    _Kind("likeness", True, "resemble an average face more"),
    _Kind("blockiness", False, "show fewer JPEG blocks"),
    _Kind("border", False, "have narrower constant borders"),
    _Kind("cast", True, "have more of a colour cast"),
)
_TONE = ("brightness", "contrast")  # what explains the measures of the histogram best


@dataclass(frozen=True)
class _Group:
    """Pictures that are compared together."""

    name: str  # for a reader, such as "Training pictures"
    emotions: np.ndarray  # (n,) str
    measures: np.ndarray  # (n, len(MEASURES))
    ranks: np.ndarray  # (n, len(MEASURES)) as `Published.ranks` gives them

    def __len__(self) -> int:
        return len(self.emotions)

    def part(self, rows: np.ndarray, name: str) -> "_Group":
        return _Group(name, self.emotions[rows], self.measures[rows], self.ranks[rows])


def alterations(known: Published, emotions: np.ndarray, splits: np.ndarray, measures: np.ndarray) -> list[str]:
    """What was done to the pictures of a known data set, a phrase for each kind and split; nothing if as published.

    Args:
        known: The data set.
        emotions: (n,) str.
        splits: (n,) str, the data set's own.
        measures: (n, len(MEASURES)).
    """
    everything = _Group("", emotions, measures, known.ranks(emotions, measures))
    found: list[str] = []
    for split, name in known.splits.items():
        for group in _groups(known, everything.part(splits == split, name)):
            distances = _distances(known, group)
            kinds = _explained(distances, group)
            found += [_phrase(known, kind, group, distances[kind.measure][0]) for kind in kinds]
    return found


def _groups(known: Published, split: _Group) -> Iterator[_Group]:
    """The pictures of a split together, or its emotions one by one where only some of them are altered."""
    if len(split) < LEAST_FACES:
        return
    cells = [split.part(split.emotions == e, f"{split.name} {e} pictures".strip()) for e in np.unique(split.emotions)]
    cells = [cell for cell in cells if len(cell) >= LEAST_FACES]
    altered = [cell for cell in cells if known.own_labels and _distances(known, cell)]
    if altered and len(altered) <= len(cells) / 2:
        yield from altered
    else:
        yield split.part(np.ones(len(split), bool), f"{split.name} pictures".strip())


def _distances(known: Published, group: _Group) -> dict[str, tuple[float, bool]]:
    """Measure -> (distance from the published distribution, whether values are higher), where it exceeds chance."""
    n = len(group)
    chance = _CHANCE / np.sqrt(n) + (0 if known.own_labels else _LABELS)
    steps = np.arange(1, n + 1) / n
    found = {}
    for name, ranks in zip(MEASURES, np.sort(group.ranks, axis=0).T, strict=True):
        higher, lower = float((ranks - steps + 1 / n).max()), float((steps - ranks).max())
        if max(higher, lower) > known.tolerance[name] + chance:
            found[name] = (max(higher, lower), higher > lower)
    return found


def _explained(distances: dict[str, tuple[float, bool]], group: _Group) -> list[_Kind]:
    """The fewest kinds that account for all distances: clear signs first, then what they leave over."""
    fitting = [
        kind
        for kind in _KINDS
        if distances.get(kind.measure, (0, None))[1] == kind.higher
        and (kind.typical is None or (group.measures[:, COLUMN[kind.measure]] > kind.typical).mean() >= _CLEAR)
    ]
    clear = [kind for kind in fitting if kind.single and distances[kind.measure][0] >= _CLEAR]
    clear.sort(key=lambda kind: -distances[kind.measure][0])
    chosen: list[_Kind] = []
    covered: set[str] = set()
    for kind in (*clear, *(kind for kind in fitting if kind.measure in _TONE), *fitting):
        if kind.measure not in covered:
            chosen.append(kind)
            covered.update((kind.measure, *kind.follows))
    return chosen


def _phrase(known: Published, kind: _Kind, group: _Group, distance: float) -> str:
    n, column = len(group), COLUMN[kind.measure]
    if kind.single and distance >= _CLEAR:
        ranks = group.ranks[:, column]
        beyond = int((ranks > 1 - _TAIL).sum() if kind.higher else (ranks < _TAIL).sum())
        # A share f of altered pictures moves the distribution by f at most, so the distance is a lower bound as well.
        altered = max(beyond, int(distance * n))
        return f"{'' if altered >= _MOST * n else 'at least '}{altered:,} of {n:,} {group.name} {kind.single}"
    here, there = float(np.median(group.measures[:, column])), known.median(kind.measure, group.emotions)
    name = kind.measure.replace("_", " ")
    return f"{n:,} {group.name} {kind.group} than published (median {name} {here:.3g}, published {there:.3g})"
