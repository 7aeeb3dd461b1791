"""Plots of a search over the composition: the chosen values beside what was chosen without each fold."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from fer_hierarchy.hierarchy.reports.figures import HAIRLINE, INK

_DARK = 0.72  # cells farther than this from neutral carry white letters


def value_strip(
    ax: Axes, values: np.ndarray, offsets: np.ndarray, *, rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Values as cells, coloured by how far and in which direction they are from changing nothing.

    Args:
        ax: Where to draw.
        values: (rows, columns) numbers that are written.
        offsets: (rows, columns) from -1 (lower end of the range) over 0 (neutral) to 1 (upper end).
        rows: Names of the rows; a line parts the first from the others.
        columns: Names of the columns.
    """
    ax.imshow(offsets, cmap="PuOr_r", norm=TwoSlopeNorm(0, -1.15, 1.15), aspect="auto")
    ax.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    ax.grid(True, which="minor", color="white", linewidth=2)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(offsets[row, column]) > _DARK else INK
        weight = "bold" if row == 0 else "normal"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8.5, color=colour, fontweight=weight)
    ax.axhline(0.5, color=HAIRLINE, linewidth=1)
