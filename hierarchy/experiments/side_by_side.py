"""The part of a report that shows predictions of all runs on the same faces: a figure and a table for each emotion."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill

import numpy as np

from fer_hierarchy.hierarchy.experiments.figures import emotion_keys, probability_bars
from fer_hierarchy.hierarchy.printing import without_middle
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.reports.page import Block, Image, Section, Table

# Ids of n faces -> (n, height, width, channels) uint8, or None where they are not at hand.
FacesOf = Callable[[Sequence[str]], np.ndarray | None]

_NAME_INCHES = 0.072  # width of a letter of a run's name
_BARS = 2.9  # inches of a column of bars, predictions included
_FACE = 1.15
_LONGEST_ID = 34
_LONGEST_LINE = 28


def side_by_side_section(
    drawings: Drawings,
    sample: Sequence[Mapping],
    *,
    classes: Sequence[str],
    labels: Mapping[str, str],
    faces: FacesOf | None,
    table: str,
    stem: str = "",
) -> Section:
    """Draw the figures and put the section together.

    Args:
        drawings: The figures of the report.
        sample: What `hierarchy.experiments.comparison.sample` returns.
        classes: Emotions in class order.
        labels: Run name -> the short name of figures and tables.
        faces: Gives the pictures by id, or None; without it only ids are shown.
        table: File name of the table of all faces; empty where there is none.
        stem: Part of the figures' file names that tells them from others.
    """
    blocks: list[Block] = []
    ids = [face["row"] for face in sample]
    found = faces(ids) if faces and ids else None
    pictures = {} if found is None else dict(zip(ids, found, strict=True))
    for emotion in dict.fromkeys(face["true"] for face in sample):
        shown = [face for face in sample if face["true"] == emotion]
        image = _draw(drawings, f"side_by_side{stem}_{emotion}", shown, classes, labels, pictures)
        blocks += [image, _table(shown, classes, labels)]
    more = f" {table} has all faces." if table else ""
    more += "" if pictures else " The faces themselves are not at hand, so only their ids are shown."
    return Section(
        "Side by side",
        "Faces drawn at random, two of each emotion where there are two. A bar shows the probabilities of one "
        f"run: the outlined part is that of the true emotion, the word behind it is the prediction.{more}",
        blocks,
    )


def _draw(
    drawings: Drawings,
    name: str,
    shown: Sequence[Mapping],
    classes: Sequence[str],
    labels: Mapping[str, str],
    pictures: Mapping[str, np.ndarray],
) -> Image:
    """Draw the faces of one emotion beside each other."""
    names = [fill(labels[run["run"]], _LONGEST_LINE, break_long_words=False) for run in shown[0]["runs"]]
    parts = ([_FACE] if pictures else []) + [_BARS]
    emotion, each = shown[0]["true"], len(parts)
    width = (
        _NAME_INCHES * max(len(line) for text in names for line in text.splitlines()) + len(shown) * sum(parts) + 0.3
    )
    lines = max(text.count("\n") for text in names) + 1

    height = 1.15 + max(0.27, 0.17 * lines) * max(len(names), 3)
    grid = {"columns": len(shown) * each, "shares": parts * len(shown)}
    with drawings.drawing(name, f"Faces of {emotion}", width, height, **grid) as axes:
        for number, face in enumerate(shown):
            *picture, bars = axes[0, number * each : (number + 1) * each]
            for ax in picture:
                figures.face(ax, pictures[face["row"]], "")
            title, named = without_middle(face["row"], _LONGEST_ID), None if number else names
            probability_bars(bars, face["runs"], classes=classes, true=emotion, names=named, title=title)
        keys = emotion_keys(classes)
        columns = min(len(keys), max(3, int(width / 0.8)))
        style = {"handlelength": 1.1, "columnspacing": 1.0}
        axes[0, 0].figure.legend(handles=keys, loc="outside lower center", ncols=columns, **style)
    return Image(drawings.figure(name), f"Predictions of each run on {len(shown)} faces of {emotion}", width)


def _table(shown: Sequence[Mapping], classes: Sequence[str], labels: Mapping[str, str]) -> Table:
    rows = []
    for face in shown:
        for number, run in enumerate(face["runs"]):
            mark = "✓" if run["answer"] == face["true"] else "✗"
            cells = [
                f"{100 * share:.0f}" + (f" {mark}" if name == run["answer"] else "")
                for name, share in zip(classes, run["probabilities"], strict=True)
            ]
            rows.append(("" if number else without_middle(face["row"], _LONGEST_ID), labels[run["run"]], *cells))
    caption = (
        f"Faces of {shown[0]['true']}: probabilities in percent; ✓ (right) or ✗ (wrong) marks the run's prediction"
    )
    return Table(("Face", "Run", *classes), rows, caption=caption, words=(0, 1))
