"""The part of a report that shows what every run says of the same faces: a figure and a table for each emotion."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from fer_hierarchy.hierarchy.experiments.comparison_figures import emotion_keys, probability_bars
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Block, Image, Images, Section, Table

# Ids of n faces -> (n, height, width, channels) uint8, or None where they are not at hand.
FacesOf = Callable[[Sequence[str]], np.ndarray | None]

_NAME_INCHES = 0.072  # width of a letter of a run's name
_BARS = 2.9  # inches of a column of bars, answers included
_FACE = 1.15
_LONGEST_ID = 34
_LONGEST_LINE = 28


def side_by_side_section(
    sample: Sequence[Mapping],
    *,
    classes: Sequence[str],
    labels: Mapping[str, str],
    folder: Path,
    synthetic: bool,
    faces: FacesOf | None,
    table: str,
    stem: str = "side_by_side",
) -> Section:
    """Draw the figures below `folder`/figures and put the section together.

    Args:
        sample: What `hierarchy.experiments.side_by_side.sample` returns.
        classes: Emotions in class order.
        labels: Run name -> the short name of figures and tables.
        folder: The report's folder; `figures` below it exists.
        synthetic: Whether the faces were drawn by the program.
        faces: Gives the pictures by id, or None; without it only ids are shown.
        table: File name of the table of all faces; empty where there is none.
        stem: First part of the figures' file names.
    """
    blocks: list[Block] = []
    pictures = _pictures(sample, faces)
    for emotion in dict.fromkeys(face["true"] for face in sample):
        held = [face for face in sample if face["true"] == emotion]
        path = folder / "figures" / f"{stem}_{emotion}.png"
        width = _draw(path, held, classes=classes, labels=labels, pictures=pictures, synthetic=synthetic)
        blocks += [
            Images((Image(path, f"What each run says of {len(held)} faces of {emotion}", width),)),
            _table(held, classes, labels),
        ]
    more = f" {table} has all test faces." if table else ""
    more += "" if pictures else " The faces themselves are not at hand, so only their ids are shown."
    return Section(
        "Side by side",
        "Test faces drawn at random, two of each emotion where there are two. A bar is one run's probabilities: the "
        f"outlined part is what it gives to the true emotion, the word behind it is its answer.{more}",
        blocks,
    )


def _pictures(sample: Sequence[Mapping], faces: FacesOf | None) -> dict[str, np.ndarray]:
    """Row id -> pixels of one face; empty where there are no pictures."""
    ids = [face["row"] for face in sample]
    found = faces(ids) if faces and ids else None
    return {} if found is None else dict(zip(ids, found, strict=True))


def _draw(
    path: Path,
    held: Sequence[Mapping],
    *,
    classes: Sequence[str],
    labels: Mapping[str, str],
    pictures: Mapping[str, np.ndarray],
    synthetic: bool,
) -> float:
    """Draw the faces of one emotion beside each other; returns the width in inches."""
    names = [fill(labels[run["run"]], _LONGEST_LINE, break_long_words=False) for run in held[0]["runs"]]
    margin = _NAME_INCHES * max(len(line) for name in names for line in name.splitlines())
    parts = ([_FACE] if pictures else []) + [_BARS]
    width = margin + len(held) * sum(parts) + 0.3
    lines = max(name.count("\n") for name in names) + 1
    height = 1.15 + max(0.27, 0.17 * lines) * max(len(names), 3)
    title = f"Faces of {held[0]['true']}"
    drawn = figures.drawing(
        path,
        title=title,
        synthetic=synthetic,
        width=width,
        height=height,
        columns=len(held) * len(parts),
        shares=parts * len(held),
    )
    with drawn as axes:
        for number, face in enumerate(held):
            *picture, bars = axes[0, number * len(parts) : (number + 1) * len(parts)]
            for ax in picture:
                figures.face(ax, pictures[face["row"]], "")
            probability_bars(
                bars,
                face["runs"],
                classes=classes,
                true=face["true"],
                names=None if number else names,
                title=_shortened(face["row"]),
            )
        keys = emotion_keys(classes)
        axes[0, 0].figure.legend(
            handles=keys,
            loc="outside lower center",
            ncols=min(len(keys), max(3, int(width / 0.8))),
            fontsize=7.5,
            handlelength=1.1,
            columnspacing=1.0,
        )
    return width


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST_ID:
        return name
    return f"{name[: _LONGEST_ID // 2 - 1]}…{name[-_LONGEST_ID // 2 :]}"


def _table(held: Sequence[Mapping], classes: Sequence[str], labels: Mapping[str, str]) -> Table:
    rows = []
    for face in held:
        for number, run in enumerate(face["runs"]):
            mark = "✓" if run["answer"] == face["true"] else "✗"
            cells = [
                f"{100 * share:.0f}" + (f" {mark}" if name == run["answer"] else "")
                for name, share in zip(classes, run["probabilities"], strict=True)
            ]
            rows.append(("" if number else _shortened(face["row"]), labels[run["run"]], *cells))
    caption = f"Faces of {held[0]['true']}: probabilities in percent; ✓ (right) or ✗ (wrong) stands at the run's answer"
    return Table(("Face", "Run", *classes), rows, caption=caption, words=(0, 1))
