"""Heat maps over faces: a gallery of single faces, and the averages of each answer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.ticker import MaxNLocator

from fer_hierarchy.hierarchy.data.depth.depth_planes import colours, relief
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.inference.explain.grad_cam import DEPTH, PICTURE
from fer_hierarchy.inference.explain.heat import enlarged, is_blank, mean_heat
from fer_hierarchy.inference.explain.heat_maps import HeatMaps, StageHeat, depth_planes

FACES_A_SHEET = 6
_FACE = 1.12  # inches
_NAMES = 1.25  # inches for the names of the rows
_LONGEST = 20  # letters of a face's name
_RELIEF_MM = 45.0  # heights that black and white stand for
_HOLE = 236  # grey of what was not measured
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)

# From see-through over dark red to yellow: lightness rises all the way, so that it reads without colour vision too.
_STOPS = (
    (0.0, "#6b0f5a", 0.0),
    (0.25, "#8f1152", 0.18),
    (0.5, "#d22e2e", 0.5),
    (0.75, "#f5861d", 0.66),
    (1.0, "#ffe949", 0.75),
)
HEAT = LinearSegmentedColormap.from_list("heat", [(at, to_rgba(colour, alpha)) for at, colour, alpha in _STOPS])


def draw_gallery(path: Path, title: str, explained: HeatMaps, faces: Sequence[int], *, synthetic: bool) -> float:
    """Faces beside each other, each with the maps of the stages that answered below it.

    Args:
        path: The PNG file.
        title: Stands above.
        explained: The faces.
        faces: Positions of those to draw.
        synthetic: Whether the program has drawn them.

    Returns:
        The figure's width in inches.
    """
    lines = _lines(explained, faces)
    with_depth = depth_planes(explained) is not None
    rows = 1 + with_depth + len(lines)
    width, height = _NAMES + _FACE * len(faces) + 0.1, 0.55 + rows * (_FACE + 0.17)
    drawn = figures.drawing(
        path, title=title, synthetic=synthetic, width=width, height=height, rows=rows, columns=len(faces) + 1,
        shares=[_NAMES, *[_FACE] * len(faces)],
    )  # fmt: skip
    with drawn as axes:
        for row, name in enumerate(["picture", *["depth"] * with_depth, *(name for name, _, _ in lines)]):
            _name_row(axes[row, 0], name)
        for column, face in enumerate(faces, start=1):
            _draw_face(axes[:, column], explained, face, lines, with_depth=with_depth)
    return width


def _lines(explained: HeatMaps, faces: Sequence[int]) -> list[tuple[str, str, list[StageHeat]]]:
    """Name, modality and stages of each row of maps: specialists share their rows, since one of them answers."""
    first, *specialists = [heat for heat in explained.stages if np.isin(heat.faces, faces).any()]
    levels = [("heat" if first.stage == FLAT else f"gate: {first.stage}", [first])]
    levels += [("specialist", specialists)] if specialists else []
    lines = []
    for name, heats in levels:
        modalities = list(dict.fromkeys(modality for heat in heats for modality in heat.maps))
        several = modalities != [PICTURE]
        lines += [(f"{name}\non {modality}" if several else name, modality, heats) for modality in modalities]
    return lines


def _name_row(ax: Axes, name: str) -> None:
    ax.axis("off")
    ax.text(1, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=8)


def _draw_face(
    column: Sequence[Axes],
    explained: HeatMaps,
    face: int,
    lines: Sequence[tuple[str, str, list[StageHeat]]],
    *,
    with_depth: bool,
) -> None:
    true = explained.rows["emotion"][face]
    answer, share = explained.answers[face], explained.probabilities[face]
    figures.face(column[0], colours(explained.pixels[face]), _caption(answer, share, true))
    _colour_caption(column[0], answer, true)
    column[0].set_title(_shortened(explained.rows["id"][face]), fontsize=6, color=figures.MUTED, loc="center", pad=2)
    if with_depth:
        overlay(column[1], background(explained, face, DEPTH), None)
    for ax, (_, modality, heats) in zip(column[1 + with_depth :], lines, strict=True):
        heat = next((heat for heat in heats if modality in heat.maps and heat.at(face) is not None), None)
        if heat is None:
            ax.axis("off")
        else:
            _draw_map(ax, explained, face, heat, modality)


def _draw_map(ax: Axes, explained: HeatMaps, face: int, heat: StageHeat, modality: str) -> None:
    at = heat.at(face)
    says, truth = heat.says()[at], explained.truth(heat.stage)[face]
    known = explained.rows["emotion"][face]
    one = heat.maps[modality][at]
    overlay(ax, background(explained, face, modality), enlarged(one, explained.size))
    caption = _caption(says, heat.probabilities[at], truth or known)
    blank = is_blank(one[None])[0]
    ax.set_xlabel(f"{caption}\nnothing speaks for it" if blank else caption, fontsize=7.5, labelpad=3)
    _colour_caption(ax, says, truth or known)


def _caption(answer: str, share: float, true: str) -> str:
    mark = "" if not true else " ✓" if answer == true else " ✗"
    return f"{answer} {100 * share:.0f} %{mark}"


def _colour_caption(ax: Axes, answer: str, true: str) -> None:
    ax.xaxis.label.set_color(figures.SECOND if true and answer != true else figures.INK)


def _shortened(name: str) -> str:
    name = name.rpartition("/")[2]
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2 - 1]}…{name[-_LONGEST // 2 :]}"


def overlay(ax: Axes, grey: np.ndarray, heat: np.ndarray | None, *, scale: tuple[float, float] = (0.0, 1.0)) -> None:
    """A heat map over a grey picture.

    Args:
        ax: Where to draw.
        grey: (height, width) picture, 0 to 255, NaN where there is nothing.
        heat: (height, width), at least 0; None for the picture alone.
        scale: Heat of the faintest and of the brightest colour.
    """
    ax.imshow(np.nan_to_num(grey, nan=_HOLE), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if heat is not None:
        ax.imshow(heat, cmap=HEAT, vmin=scale[0], vmax=scale[1], interpolation="bilinear")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def background(explained: HeatMaps, face: int, modality: str) -> np.ndarray:
    """What the heat maps of a modality lie over: the picture, or the heights that its depth tells.

    Args:
        explained: The faces.
        face: Position of one.
        modality: What the maps look at.

    Returns:
        (height, width) grey, 0 to 255; NaN where nothing was measured.
    """
    pixels = explained.pixels[face]
    if modality == DEPTH:
        return 127.5 * (1 + np.clip(relief(pixels[None, ..., -1])[0] / _RELIEF_MM, -1, 1))
    planes = colours(pixels).astype(np.float32)
    return planes[..., 0] if planes.shape[-1] < 3 else planes[..., :3] @ _LUMINANCE


def draw_averages(path: Path, title: str, explained: HeatMaps, heat: StageHeat, *, synthetic: bool) -> float:
    """The mean map of each answer of a stage over the mean of the faces that were answered so.

    Args:
        path: The PNG file.
        title: Stands above.
        explained: The faces.
        heat: The stage, which answered for one face at least.
        synthetic: Whether the program has drawn the faces.

    Returns:
        The figure's width in inches.
    """
    named = list(heat.maps) != [PICTURE]
    columns, left = len(heat.classes), 0.9 if named else 0.05
    width, height = left + _FACE * columns + 0.8, 0.6 + len(heat.maps) * (_FACE + 0.17)
    panels = [_means(explained, heat, modality) for modality in heat.maps]
    values = [mean for row in panels for _, mean, count in row if count]
    scale = (float(np.min(values)), float(np.max(values)))
    grid = figures.drawing(
        path, title=title, synthetic=synthetic, width=width, height=height, rows=len(panels), columns=columns + 1,
        shares=[left, *[_FACE] * columns],
    )  # fmt: skip
    with grid as axes:
        for row, modality in zip(axes, heat.maps, strict=True):
            _name_row(row[0], modality if named else "")
        for ax, name in zip(axes[0, 1:], heat.classes, strict=True):
            ax.set_title(name, loc="center")
        for ax, panel in zip(axes[:, 1:].flat, (panel for row in panels for panel in row), strict=True):
            _draw_mean(ax, *panel, scale=scale)
        _draw_scale(axes, scale)
    return width


def _draw_mean(ax: Axes, grey: np.ndarray, mean: np.ndarray, count: int, *, scale: tuple[float, float]) -> None:
    overlay(ax, grey, mean if count else None, scale=scale)
    ax.set_xlabel(f"n = {count:,}" if count else "never said", fontsize=7.5, labelpad=3, color=figures.MUTED)


def _draw_scale(axes: np.ndarray, scale: tuple[float, float]) -> None:
    bar = axes[0, 0].figure.colorbar(ScalarMappable(Normalize(*scale), HEAT), ax=axes, shrink=0.75, aspect=18, pad=0.02)
    bar.ax.yaxis.set_major_locator(MaxNLocator(4))
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("mean heat", fontsize=7.5)
    bar.outline.set_visible(False)


def _means(explained: HeatMaps, heat: StageHeat, modality: str) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Mean face, mean map and number of faces of each class that the stage can name."""
    panels = []
    for index in range(len(heat.classes)):
        own = np.flatnonzero(heat.answers == index)
        mean = mean_heat((heat.maps[modality][i] for i in own), explained.size)
        nobody = np.full(explained.size, np.nan)
        grey = _mean_face(explained, heat.faces[own], modality) if len(own) else nobody
        panels.append((grey, mean, len(own)))
    return panels


def _mean_face(explained: HeatMaps, faces: np.ndarray, modality: str) -> np.ndarray:
    """Mean of what maps lie over, of places that half of the faces have."""
    total, seen = np.zeros(explained.size), np.zeros(explained.size)
    for face in faces:
        grey = background(explained, face, modality)
        total += np.nan_to_num(grey)
        seen += ~np.isnan(grey)
    mean = np.where(2 * seen >= len(faces), total / np.maximum(seen, 1), np.nan)
    if modality == DEPTH:
        return mean
    low, high = np.percentile(mean, [1, 99])  # a mean is pale: its own range becomes black to white
    return np.clip((mean - low) / max(high - low, 1.0), 0, 1) * 255
