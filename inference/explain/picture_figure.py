"""Why a run answers as it does for one face: the face, where each stage looked, and all probabilities beside."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.data.depth.depth_planes import colours
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.explain.figures import background, overlay
from fer_hierarchy.inference.explain.grad_cam import PICTURE
from fer_hierarchy.inference.explain.heat import enlarged, is_blank
from fer_hierarchy.inference.explain.heat_maps import HeatMaps, StageHeat

_PANEL, _BARS, _HEIGHT = 1.75, 2.9, 2.45  # inches


def draw_explanation(path: Path, title: str, explained: HeatMaps, face: int, *, synthetic: bool) -> float:
    """One face: as it was seen, the heat map of each stage that answered, and the bars of all emotions.

    Args:
        path: The PNG file.
        title: Stands above.
        explained: Faces with their maps.
        face: Position of this one.
        synthetic: Whether the run learned from faces that a program drew.

    Returns:
        The figure's width in inches.
    """
    heats = [heat for heat in explained.stages if heat.at(face) is not None]
    maps = [(heat, modality) for heat in heats for modality in heat.maps]
    width = _PANEL * (1 + len(maps)) + _BARS
    drawn = figures.drawing(
        path, title=title, synthetic=synthetic, width=width, height=_HEIGHT, columns=len(maps) + 2,
        shares=[*[_PANEL] * (len(maps) + 1), _BARS],
    )  # fmt: skip
    with drawn as axes:
        seen, *places, bars = axes[0]
        _draw_seen(seen, explained, face)
        for ax, (heat, modality) in zip(places, maps, strict=True):
            _draw_stage(ax, explained, face, heat, modality)
        _draw_bars(bars, explained.table[face], explained.taxonomy)
    return width


def _draw_seen(ax: Axes, explained: HeatMaps, face: int) -> None:
    pixels = colours(explained.pixels[face])
    ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    _bare(ax)
    side = explained.size[0]
    ax.set_title("what was seen", loc="center", fontsize=8)
    ax.set_xlabel(f"{side} x {side} pixels", fontsize=7.5, labelpad=3, color=figures.MUTED)


def _draw_stage(ax: Axes, explained: HeatMaps, face: int, heat: StageHeat, modality: str) -> None:
    at = heat.at(face)
    one = heat.maps[modality][at]
    overlay(ax, background(explained, face, modality), enlarged(one, explained.size))
    kind = "heat" if heat.stage == FLAT else "gate" if heat.stage == explained.taxonomy.gate else "specialist"
    where = "" if list(heat.maps) == [PICTURE] else f" on {modality}"
    ax.set_title(f"{kind}{where}" if kind == "heat" else f"{kind}: {heat.stage}{where}", loc="center", fontsize=8)
    says = f"{heat.says()[at]} {100 * heat.probabilities[at]:.0f} %"
    blank = is_blank(one[None])[0]
    ax.set_xlabel(f"{says}\nnothing speaks for it" if blank else says, fontsize=8, labelpad=3)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _draw_bars(ax: Axes, probabilities: np.ndarray, taxonomy: Taxonomy) -> None:
    """All emotions, those of a group together under the group's own share."""
    gate, _ = HierarchicalClassifier(taxonomy).imply(probabilities[None])
    place, ticks, names = 0.0, [], []
    for index, group in enumerate(taxonomy.group_names):
        ax.text(
            0, place, f"{group} {100 * gate[0, index]:.0f} %", fontsize=7.5, fontweight="bold", va="center",
            color=figures.MUTED,
        )  # fmt: skip
        for emotion in taxonomy.members(group):
            place += 1
            share = probabilities[taxonomy.emotions.index(emotion)]
            ax.barh(place, share, height=0.72, color=figures.emotion_colour(emotion))
            ax.text(share + 0.02, place, f"{100 * share:.0f} %", fontsize=7.5, va="center")
            ticks.append(place)
            names.append(emotion)
        place += 1.25
    ax.set_yticks(ticks, names)
    ax.set_ylim(place - 0.6, -0.7)
    ax.set_xlim(0, 1.12)
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    ax.set_xticks([0, 0.5, 1])
    ax.tick_params(labelsize=7.5, length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.grid(axis="x")
    ax.set_title("all answers", loc="center", fontsize=8)
