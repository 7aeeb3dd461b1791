"""Figures of heat maps: one face with all probabilities, a gallery of faces, and the mean maps of a stage."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.data.depth.depth_planes import colours, has_depth, relief
from fer_hierarchy.hierarchy.palette import class_colour
from fer_hierarchy.hierarchy.printing import printable, without_middle
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Image
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.explain.grad_cam import DEPTH, PICTURE
from fer_hierarchy.inference.explain.heat_maps import HeatMaps, StageHeat, enlarged, mean_heat

FACES_A_SHEET = 6
_FACE = 1.12  # inches
_NAMES = 1.25  # inches for the names of the rows
_PANEL, _BARS, _HEIGHT = 1.75, 2.9, 2.45  # inches, of the figure of one face
_LONGEST = 12  # letters of a face's name
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


def draw_explanation(path: Path, title: str, explained: HeatMaps, face: int, *, synthetic: bool) -> None:
    """One face: its pixels, the heat map of each stage that decides, and the bars of all emotions.

    Args:
        path: The PNG file.
        title: Stands above.
        explained: Faces with their maps.
        face: Position of this one.
        synthetic: Whether the run was trained on faces that a program drew.
    """
    maps = [(heat, name) for heat in explained.stages if heat.at(face) is not None for name in heat.maps]
    shares = [*[_PANEL] * (len(maps) + 1), _BARS]
    grid = figures.drawing(
        path, title=title, synthetic=synthetic, width=sum(shares), height=_HEIGHT, columns=len(shares), shares=shares
    )
    with grid as axes:
        pixels, *places, bars = axes[0]
        figures.face(pixels, colours(explained.pixels[face]), f"{explained.size[0]} x {explained.size[0]} pixels")
        pixels.xaxis.label.set_color(figures.MUTED)
        pixels.set_title("face", loc="center")
        for ax, (heat, modality) in zip(places, maps, strict=True):
            _draw_map(ax, explained, face, heat, modality)
            kind = "gate" if heat.stage == explained.taxonomy.gate else "specialist"
            name = "heat" if heat.stage == FLAT else f"{kind}: {heat.stage}"
            where = "" if list(heat.maps) == [PICTURE] else f" on {modality}"
            ax.set_title(f"{name}{where}", loc="center")
        _draw_bars(bars, explained.table[face], explained.taxonomy)


def _draw_bars(ax: Axes, probabilities: np.ndarray, taxonomy: Taxonomy) -> None:
    """All emotions, those of a group together under the group's own share."""
    gate, _ = HierarchicalClassifier(taxonomy).imply(probabilities[None])
    place, ticks = 0.0, {}
    for group, total in zip(taxonomy.group_names, gate[0], strict=True):
        heading = f"{group} {100 * total:.0f} %"
        ax.text(0, place, heading, fontweight="bold", va="center", color=figures.MUTED)
        for emotion in taxonomy.members(group):
            place += 1
            share = probabilities[taxonomy.emotions.index(emotion)]
            ax.barh(place, share, height=0.72, color=class_colour(emotion))
            ax.text(share + 0.02, place, f"{100 * share:.0f} %", va="center")
            ticks[emotion] = place
        place += 1.25
    ax.set_yticks(list(ticks.values()), list(ticks))
    ax.set_ylim(place - 0.6, -0.7)
    ax.set_xlim(0, 1.12)
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    ax.set_xticks([0, 0.5, 1])
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.grid(axis="x")
    ax.set_title("all emotions", loc="center")


def draw_gallery(drawings: figures.Drawings, name: str, title: str, explained: HeatMaps, faces: Sequence[int]) -> Image:
    """Faces beside each other, each with the maps of the stages that decide it below.

    Args:
        drawings: Of the report.
        name: Of the file.
        title: Stands above.
        explained: The faces.
        faces: Positions of those to draw.
    """
    lines = _lines(explained, faces)
    names = ["picture", *["depth"] * has_depth(explained.pixels), *(line for line, _, _ in lines)]
    shares = [_NAMES, *[_FACE] * len(faces)]
    width, height = _NAMES + _FACE * len(faces) + 0.1, 0.55 + len(names) * (_FACE + 0.17)
    with drawings.drawing(name, title, width, height, rows=len(names), columns=len(shares), shares=shares) as axes:
        for ax, row in zip(axes[:, 0], names, strict=True):
            _name_row(ax, row)
        for column, face in zip(axes[:, 1:].T, faces, strict=True):
            _draw_face(column, explained, face, lines)
    return Image(drawings.figure(name), f"{title}: heat maps of {len(faces)}", width)


def _lines(explained: HeatMaps, faces: Sequence[int]) -> list[tuple[str, str, list[StageHeat]]]:
    """Name, modality and stages of each row of maps: specialists share their rows, since one of them decides."""
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
    ax.text(1, 0.5, name, transform=ax.transAxes, ha="right", va="center")


def _draw_face(
    column: np.ndarray, explained: HeatMaps, face: int, lines: Sequence[tuple[str, str, list[StageHeat]]]
) -> None:
    picture, *rest = column
    figures.face(picture, colours(explained.pixels[face]), "")
    true = explained.rows["emotion"][face]
    _caption(picture, explained.predicted[face], explained.confidence[face], true)
    name = printable(explained.rows["id"][face].rpartition("/")[2])
    picture.set_title(without_middle(name, _LONGEST), color=figures.MUTED, loc="center", pad=2)
    if has_depth(explained.pixels):
        overlay(rest.pop(0), background(explained, face, DEPTH), None)
    for ax, (_, modality, heats) in zip(rest, lines, strict=True):
        for heat in heats:
            _draw_map(ax, explained, face, heat, modality)


def _draw_map(ax: Axes, explained: HeatMaps, face: int, heat: StageHeat, modality: str) -> None:
    """The map of a face with the stage's prediction; nothing where the stage does not predict it."""
    at = heat.at(face)
    if at is None or modality not in heat.maps:
        return
    one = heat.maps[modality][at]
    overlay(ax, background(explained, face, modality), enlarged(one, explained.size))
    true = explained.truth(heat.stage)[face] or explained.rows["emotion"][face]
    note = "" if one.any() else "\nno evidence"
    _caption(ax, heat.predicted[at], heat.confidence[at], true, note)


def _caption(ax: Axes, predicted: str, share: float, true: str, note: str = "") -> None:
    """A prediction below a picture, marked as right or wrong where the label is known."""
    mark = "" if not true else " ✓" if predicted == true else " ✗"
    colour = figures.SECOND if true and predicted != true else figures.INK
    ax.set_xlabel(f"{predicted} {100 * share:.0f} %{mark}{note}", labelpad=3, color=colour)


def overlay(ax: Axes, grey: np.ndarray, heat: np.ndarray | None, scale: tuple[float, float] = (0.0, 1.0)) -> None:
    """A heat map over a grey picture.

    Args:
        ax: Where to draw.
        grey: (height, width) picture, 0 to 255, NaN where there is nothing.
        heat: (height, width), at least 0; None for the picture alone.
        scale: Heat of the faintest and of the brightest colour.
    """
    figures.face(ax, np.nan_to_num(grey, nan=_HOLE)[..., None], "")
    if heat is not None:
        ax.imshow(heat, cmap=HEAT, vmin=scale[0], vmax=scale[1], interpolation="bilinear")


def background(explained: HeatMaps, face: int, modality: str) -> np.ndarray:
    """What the heat maps of a modality lie over: the picture, or the heights that its depth tells.

    Args:
        explained: The faces.
        face: Position of one.
        modality: What the maps are of.

    Returns:
        (height, width) grey, 0 to 255; NaN where nothing was measured.
    """
    pixels = explained.pixels[face]
    if modality == DEPTH:
        return 127.5 * (1 + np.clip(relief(pixels[None, ..., -1])[0] / _RELIEF_MM, -1, 1))
    planes = colours(pixels).astype(np.float32)
    return planes[..., 0] if planes.shape[-1] < 3 else planes[..., :3] @ _LUMINANCE


def draw_averages(drawings: figures.Drawings, name: str, title: str, explained: HeatMaps, heat: StageHeat) -> Image:
    """The mean map of each class that a stage predicts over the mean of the faces that it predicts to be so.

    Args:
        drawings: Of the report.
        name: Of the file.
        title: Stands above.
        explained: The faces.
        heat: The stage, which predicts one face at least.
    """
    named = list(heat.maps) != [PICTURE]
    shares = [0.9 if named else 0.05, *[_FACE] * len(heat.classes)]
    width, height = sum(shares) + 0.8, 0.6 + len(heat.maps) * (_FACE + 0.17)
    panels = [_means(explained, heat, modality) for modality in heat.maps]
    values = [mean for row in panels for _, mean, count in row if count]
    scale = (float(np.min(values)), float(np.max(values)))
    with drawings.drawing(name, title, width, height, rows=len(panels), columns=len(shares), shares=shares) as axes:
        for row, modality, means in zip(axes, heat.maps, panels, strict=True):
            _name_row(row[0], modality if named else "")
            for ax, (grey, mean, count) in zip(row[1:], means, strict=True):
                overlay(ax, grey, mean if count else None, scale=scale)
                words = f"n = {count:,}" if count else "never predicted"
                ax.set_xlabel(words, labelpad=3, color=figures.MUTED)
        for ax, label in zip(axes[0, 1:], heat.classes, strict=True):
            ax.set_title(label, loc="center")
        _draw_scale(axes, scale)
    return Image(drawings.figure(name), f"{title}: mean heat map over the mean face", width)


def _draw_scale(axes: np.ndarray, scale: tuple[float, float]) -> None:
    bar = axes[0, 0].figure.colorbar(ScalarMappable(Normalize(*scale), HEAT), ax=axes, shrink=0.75, aspect=18, pad=0.02)
    bar.ax.yaxis.set_major_locator(MaxNLocator(4))
    bar.ax.tick_params(length=2)
    bar.set_label("mean heat")
    bar.outline.set_visible(False)


def _means(explained: HeatMaps, heat: StageHeat, modality: str) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Mean face, mean map and number of faces of each class of a stage."""
    panels = []
    for name in heat.classes:
        own = np.flatnonzero(heat.predicted == name)
        faces = [background(explained, face, modality) for face in heat.faces[own]]
        mean = mean_heat(heat.maps[modality][own], explained.size)
        panels.append((_mean_face(faces, explained.size, modality), mean, len(own)))
    return panels


def _mean_face(faces: Sequence[np.ndarray], size: tuple[int, int], modality: str) -> np.ndarray:
    """Mean of what maps lie over, of places that half of the faces have."""
    if not faces:
        return np.full(size, np.nan)
    seen = ~np.isnan(faces)
    total = np.nan_to_num(faces).sum(axis=0, dtype=np.float64)
    mean = np.where(2 * seen.sum(axis=0) >= len(faces), total / np.maximum(seen.sum(axis=0), 1), np.nan)
    if modality == DEPTH:
        return mean
    low, high = np.percentile(mean, [1, 99])  # a mean is pale: its own range becomes black to white
    return np.clip((mean - low) / max(high - low, 1.0), 0, 1) * 255
