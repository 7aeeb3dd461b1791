"""Tables to matplotlib axes: each plot draws on the `ax` it is given; `drawing` opens and saves a file.

The record of a report extends `Drawings`: `record.draw(...)` draws one plot and returns the block of the page,
`record.drawing(...)` yields a grid of axes, `record.figure(name)` is the path of the file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter
from PIL import Image as Picture
from sklearn.preprocessing import normalize

from fer_hierarchy.hierarchy import wording
from fer_hierarchy.hierarchy.palette import class_colour, class_place
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.printing import printable
from fer_hierarchy.hierarchy.reports import paper
from fer_hierarchy.hierarchy.reports.page import Face, Gallery, Image

DPI = 150

_MARKERS = "osD^vPX*"
_SHEET = 8.4  # inches, width of a sheet of pictures
_SHEET_ROW = {4: 0.98, 6: 1.32}  # inches of its rows by the number of columns, without captions

INK = "#1f2933"
MUTED = "#66727f"
HAIRLINE = "#d9dee3"
ACCENT = "#0072b2"
SECOND = "#d55e00"
THIRD = "#009e73"
PALE = "#9fb3c4"
_RUN_COLOURS = (ACCENT, SECOND, THIRD, "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#4a4f55")

_STYLES = {"top1": (ACCENT, "o"), "balanced_accuracy": (SECOND, "s"), "macro_f1": (THIRD, "D")}
MEASURES = {key: (wording.MEASURES[key], *style) for key, style in _STYLES.items()}  # name, colour and marker

_STYLE: dict[Any, Any] = {
    "font.size": 8,  # of everything that is written
    "text.parse_math": False,  # a name may hold two dollars
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
    "legend.fontsize": "medium",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "figure",  # and a figure stays the same file
    "pdf.fonttype": 42,
}


@contextmanager
def drawing(
    path: Path,
    *,
    title: str,
    synthetic: bool,
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    sharex: bool = False,
    shares: Sequence[float] | None = None,
) -> Iterator[np.ndarray]:
    """Yield a grid of axes to draw on; save it as PNG, and for a paper, when the block ends without an error.

    Axes on which nothing was drawn are hidden.

    Args:
        path: The PNG file, written whole or not at all; its folder is made.
        title: Of the file; readers see the caption of the page.
        synthetic: Whether the faces behind the numbers were drawn by the program, which stands in the picture.
        width: Inches.
        height: Inches.
        rows: Rows of axes.
        columns: Columns of axes.
        sharex: Whether all axes have one x range.
        shares: Relative width of each column of axes; alike by default.

    Yields:
        Array of axes, shape (rows, columns).
    """
    # The settings must hold while drawing and while saving: some texts are laid out only then.
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, width_ratios=shares)
        yield axes
        for ax in axes.flat:
            if not ax.has_data():
                ax.axis("off")
        if synthetic:  # the title stands in the caption, this in the picture: a file may be seen alone
            mark = {"color": SECOND, "fontweight": "bold", "fontsize": "medium"}
            figure.suptitle("synthetic faces", x=0.99, ha="right", **mark)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={"Title": printable(title)})
        if place := paper.place_of(path.parent.parent):
            paper.save_figure(figure, place, path.stem)


@dataclass(frozen=True)
class Drawings:
    """The figures of one report.

    Attributes:
        folder: The report's; figures lie in `figures` below it.
        synthetic: Whether the program drew the faces.
    """

    folder: Path
    synthetic: bool

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    def drawing(
        self, name: str, title: str, width: float, height: float, **grid: Any
    ) -> AbstractContextManager[np.ndarray]:
        """`drawing` of a grid of axes into a figure of this report."""
        path = self.figure(name)
        return drawing(path, title=title, synthetic=self.synthetic, width=width, height=height, **grid)

    def draw(
        self, name: str, plot: Callable[[Axes], object], *, title: str, width: float, height: float, alt: str = ""
    ) -> Image:
        """Draw a figure of one plot.

        Args:
            name: Of the file, without suffix.
            plot: Draws on the axes that it is given.
            title: What it is called.
            width: Inches.
            height: Inches.
            alt: What the figure shows, for those who cannot see it, where this is more than the title.
        """
        with self.drawing(name, title, width, height) as axes:
            plot(axes[0, 0])
        return Image(self.figure(name), alt or title, width)


def confusion_matrix(ax: Axes, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Shares of each true class by predicted class, with the counts below.

    Args:
        ax: Where to draw.
        confusion: Counts, shape (classes, classes), rows = true.
        classes: Names in the order of the rows.
    """
    counts = np.asarray(confusion, dtype=float)
    shares = normalize(counts, "l1")
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    ticks = range(len(classes))
    if len(classes) > 4:
        ax.set_xticks(ticks, classes, rotation=40, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(ticks, classes)
    ax.set_yticks(ticks, classes)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted", labelpad=5)
    ax.set_ylabel("true", labelpad=5)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else INK
        text = f"{100 * share:.0f} %" if counts[row].any() else "-"
        ax.text(column, row - 0.12, text, ha="center", va="center", color=colour)
        ax.text(column, row + 0.24, f"{counts[row, column]:,.0f}", ha="center", va="center", color=colour)


def reliability(ax: Axes, bins: Sequence[Mapping[str, float]], *, ece: float) -> None:
    """Accuracy against stated confidence; a dot's area follows the number of faces in the bin.

    Args:
        ax: Where to draw.
        bins: `lower`, `upper`, `count`, `confidence`, `accuracy` of each bin; empty bins are left out.
        ece: Expected calibration error, 0 to 1.
    """
    filled = [b for b in bins if b["count"]]
    confidence = np.array([b["confidence"] for b in filled])
    accuracy = np.array([b["accuracy"] for b in filled])
    counts = np.array([b["count"] for b in filled], dtype=float)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    ax.vlines(confidence, np.minimum(confidence, accuracy), np.maximum(confidence, accuracy), color=PALE, linewidth=2)
    ax.plot(confidence, accuracy, color=ACCENT, linewidth=1, zorder=2)
    area = 14 + 110 * counts / counts.max() if len(filled) else counts
    ax.scatter(confidence, accuracy, s=area, color=ACCENT, edgecolor="white", linewidth=0.8, zorder=3)
    ax.text(0.03, 0.97, f"ECE {ece:.3f}", transform=ax.transAxes, va="top", fontweight="bold")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="stated confidence", ylabel="share that was right", aspect="equal")
    ax.xaxis.set_major_formatter(percent_axis())
    ax.yaxis.set_major_formatter(percent_axis())
    ax.grid(True)


def learning_curve(ax: Axes, history: pd.DataFrame, *, measure: str, best_epoch: int | None, ylabel: str) -> None:
    """One measure by epoch for train and validation; the epoch that was kept is marked.

    Args:
        ax: Where to draw.
        history: Columns `epoch` (from 1), `measure` and `val_<measure>`; a missing column is left out.
        measure: `loss` or `accuracy`.
        best_epoch: The epoch whose weights were kept, or None.
        ylabel: What the measure is called.
    """
    marker = "o" if len(history) <= 12 else None
    for column, name, colour in ((measure, "train", PALE), (f"val_{measure}", "validation", ACCENT)):
        if column in history:
            ax.plot(history["epoch"], history[column], color=colour, label=name, linewidth=1.8, marker=marker, ms=3.5)
    if best_epoch is not None:
        ax.axvline(best_epoch, color=SECOND, linewidth=1, linestyle=(0, (4, 3)), label=f"kept: epoch {best_epoch}")
        row = history[history["epoch"] == best_epoch]
        if f"val_{measure}" in history and len(row):
            ax.plot(row["epoch"], row[f"val_{measure}"], "o", color=SECOND, ms=5.5, zorder=4)
    ax.set_ylabel(ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if measure != "loss":
        ax.yaxis.set_major_formatter(percent_axis())
    ax.grid(True, axis="y")


def class_counts(ax: Axes, counts: Mapping[str, int], *, split: str) -> None:
    """Faces of each emotion in one split, a bar each, with the count and the share written beside it."""
    values = np.array(list(counts.values()), dtype=float)
    bars = ax.barh(list(counts), values, color=[class_colour(name) for name in counts], height=0.72)
    texts = [f" {value:,.0f}  ({100 * value / max(values.sum(), 1):.1f} %)" for value in values]
    ax.bar_label(bars, texts, color=INK)
    ax.invert_yaxis()
    ax.set_xlim(0, max(values.max(initial=0), 1) * 1.34)
    ax.set_title(f"{split}: {values.sum():,.0f} faces")
    ax.xaxis.set_visible(False)
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def class_scores(ax: Axes, per_class: Sequence[Mapping[str, Any]]) -> None:
    """Precision (hollow) and recall (filled) of each class, joined by a line, in the class's colour."""
    for position, row in enumerate(per_class):
        colour = class_colour(row["class"])
        precision, recall = _number(row["precision"]), _number(row["recall"])
        ax.plot([precision, recall], [position, position], color=colour, linewidth=2, alpha=0.55, zorder=2)
        ax.plot(precision, position, "o", color=colour, mfc="white", mew=1.6, ms=7, zorder=3)
        ax.plot(recall, position, "o", color=colour, ms=7, zorder=3)
    ax.plot([], [], "o", color=MUTED, mfc="white", mew=1.6, ms=7, label="precision")
    ax.plot([], [], "o", color=MUTED, ms=7, label="recall")
    _name_rows(ax, _with_support(per_class))
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(percent_axis())
    ax.grid(True)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, borderpad=0)


def intervals(ax: Axes, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Top-1, balanced accuracy and macro F1 as dots with their 95 % intervals, one line of names each.

    Args:
        ax: Where to draw.
        rows: (name, scores): `top1`, `balanced_accuracy`, `macro_f1` and `intervals` of each.
    """
    for position, (_, scores) in enumerate(rows):
        for shift, (measure, (label, colour, marker)) in zip((-0.24, 0, 0.24), MEASURES.items(), strict=True):
            value = _number(scores.get(measure))
            bounds = (scores.get("intervals") or {}).get(measure)
            if bounds is not None:
                low, high = (_number(bound) for bound in bounds)
                ax.plot([low, high], [position + shift] * 2, color=colour, linewidth=2.4, alpha=0.45)
            ax.plot(value, position + shift, marker, color=colour, ms=5.5, label=label if position == 0 else None)
        if position:
            ax.axhline(position - 0.5, color=HAIRLINE, linewidth=0.8)
    _name_rows(ax, [name for name, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(percent_axis())
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, borderpad=0, handletextpad=0.2, columnspacing=1)


def recall_deltas(ax: Axes, per_class: Sequence[Mapping[str, Any]], *, a: str, b: str) -> None:
    """Recall of run `b` minus recall of run `a` for each class, in percentage points, as bars around zero."""
    deltas = np.array([100 * _number(row["recall_delta"]) for row in per_class])
    ax.barh(range(len(deltas)), deltas, color=[class_colour(row["class"]) for row in per_class], height=0.68)
    ax.axvline(0, color=INK, linewidth=0.9)
    reach = max(np.nanmax(np.abs(deltas), initial=0), 1) * 1.35
    for position, delta in enumerate(deltas):
        side = "right" if delta < 0 else "left"
        ax.text(delta, position, f" {delta:+z.1f} ", va="center", ha=side)
    ax.set_xlim(-reach, reach)
    _name_rows(ax, _with_support(per_class))
    ax.set_xlabel(f"recall of {b}\nminus recall of {a}, percentage points")


def _with_support(per_class: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{row['class']}  (n = {row['support']:,})" for row in per_class]


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    """A name beside each row, the first on top, and lines up and down."""
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def accuracy_against_cost(ax: Axes, rows: Sequence[Mapping[str, Any]], *, cost: str, xlabel: str) -> None:
    """Top-1 accuracy with its interval against a cost on a logarithmic axis; each run has a colour and a marker.

    Runs of nearly the same cost stand side by side.

    Args:
        ax: Where to draw.
        rows: `name`, `top1`, `intervals` and the cost of each run, and its `place` among all runs of a report, which
            decides how it is drawn; by default that among these.
        cost: Key of the cost in a row, a positive number.
        xlabel: What the cost is, with its unit.
    """
    values = np.array([float(row[cost]) for row in rows])
    for number, (row, value) in enumerate(zip(rows, _apart(values), strict=True)):
        style = run_style(row.get("place", number))
        low, high = (row.get("intervals") or {}).get("top1", (row["top1"], row["top1"]))
        ax.plot([value, value], [low, high], color=style["color"], linewidth=2.4, alpha=0.4)
        ax.plot(value, row["top1"], linestyle="", label=str(row["name"]), zorder=3, **style)
    ax.set_xscale("log")
    ax.set_xlim(values.min() / 1.6, values.max() * 1.6)
    ax.xaxis.set_major_locator(_log_ticks(values))
    ax.xaxis.set_major_formatter(FuncFormatter(_large))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(percent_axis())
    ax.set(xlabel=xlabel, ylabel="top-1 accuracy")
    ax.grid(True)
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2 if len(rows) > 3 else 1, handletextpad=0.2)


def _apart(values: np.ndarray) -> np.ndarray:
    """The values with those moved up, by a part of a logarithmic axis, that would hide another one."""
    least = max(values.max() / values.min(), 2.0) ** (1 / 35)
    order, moved = np.argsort(values, kind="stable"), values.copy()
    for before, place in pairwise(order):
        moved[place] = max(moved[place], moved[before] * least)
    return moved


def run_style(place: int) -> dict[str, Any]:
    """The colour and the marker of a run by its place in a report; filled, then hollow, then in other pairs."""
    lap, at = divmod(place, len(_MARKERS))
    marker, colour = _MARKERS[at], _RUN_COLOURS[(at + max(lap - 1, 0)) % len(_RUN_COLOURS)]
    inside, edge = ("white", colour) if lap == 1 else (colour, "white")
    size = 11.0 if marker == "*" else 6.5
    return {"marker": marker, "color": colour, "ms": size, "mfc": inside, "mec": edge, "mew": 1.2 if lap == 1 else 0.8}


def feature_map(ax: Axes, points: pd.DataFrame, *, note: str) -> None:
    """Faces where t-SNE puts them, each emotion with a colour and a marker of its own, rare emotions on top.

    Args:
        ax: Where to draw.
        points: Columns `emotion`, `x`, `y`.
        note: Stands below, in small letters.
    """
    counts = points["emotion"].value_counts()
    size = float(np.clip(9000 / max(len(points), 1), 9, 40))  # square points; smaller where there are many
    for name in sorted(counts.index, key=class_place):
        order = 2 + counts.index.get_loc(name)
        _scatter(ax, points, name, s=size, linewidth=0.25, zorder=order, label=f"{name}  (n = {counts[name]:,})")
    ax.set_xlabel(note, color=MUTED, loc="left", labelpad=5)
    ax.set_aspect("equal", adjustable="datalim")
    larger = float(np.sqrt(40 / size))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=larger, handletextpad=0.2)


def feature_maps(ax: Axes, maps: Mapping[str, pd.DataFrame]) -> None:
    """Small feature maps side by side, three in a row, with one legend for all.

    Args:
        ax: The place that they share; it is hidden.
        maps: Title -> columns `emotion`, `x`, `y`.
    """
    ax.set_axis_off()
    rows = -(-len(maps) // 3)
    shown = sorted({name for points in maps.values() for name in points["emotion"]}, key=class_place)
    for number, (title, points) in enumerate(maps.items()):
        row, column = divmod(number, 3)
        inner = ax.inset_axes((column / 3 + 0.005, 1 - (row + 1) / rows + 0.06, 0.31, 1 / rows - 0.12))
        for name in shown:
            _scatter(inner, points, name, s=12, linewidth=0.2, label=name)
        inner.set_title(title)
    handles, labels = inner.get_legend_handles_labels()
    ax.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=len(labels), markerscale=1.6)


def _scatter(ax: Axes, points: pd.DataFrame, name: str, **style: Any) -> None:
    """The faces of one emotion in its colour and with its marker; the axes become a frame without numbers."""
    own = points[points["emotion"] == name]
    marker = _MARKERS[class_place(name) % len(_MARKERS)]
    ax.scatter(own["x"], own["y"], color=class_colour(name), marker=marker, alpha=0.8, edgecolor="white", **style)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(visible=True, color=HAIRLINE)


def face(ax: Axes, pixels: np.ndarray, caption: str) -> None:
    """One face with its caption below.

    Args:
        ax: Where to draw.
        pixels: (height, width, channels) uint8; one channel is grey, of more the first three are colour.
        caption: One or two short lines.
    """
    ax.imshow(displayable(pixels), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_xlabel(caption, labelpad=3)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def picture_gallery(
    drawings: Drawings,
    name: str,
    title: str,
    pictures: Sequence[np.ndarray],
    captions: Sequence[tuple[str, str, str]],
    columns: int = 6,
) -> Gallery:
    """Pictures with captions, and a sheet of all.

    Args:
        drawings: The figures of the report.
        name: Of the sheet.
        title: Of the sheet.
        pictures: uint8 (height, width, channels) each.
        captions: Of each picture: its text on the sheet, and its title and detail on the page.
        columns: Pictures in a row of the sheet.
    """
    rows, lines = -(-len(pictures) // columns), max(label.count("\n") + 1 for label, *_ in captions)
    height = 0.3 + rows * (_SHEET_ROW[columns] + 0.15 * lines)
    with drawings.drawing(name, title, _SHEET, height, rows=rows, columns=columns) as axes:
        for ax, picture, (label, *_) in zip(axes.flat, pictures, captions, strict=False):
            face(ax, picture, label)
            ax.set_anchor("N")
    faces = [
        Face(png(picture, 144 * max(1, round(picture.shape[1] / picture.shape[0]))), *words)
        for picture, (_, *words) in zip(pictures, captions, strict=True)
    ]
    return Gallery(faces, Image(drawings.figure(name), title, _SHEET))


def displayable(pixels: np.ndarray) -> np.ndarray:
    """What a viewer shows of (height, width, channels) uint8 pixels: (height, width) grey or (height, width, 3)."""
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]


def png(pixels: np.ndarray, side: int = 144) -> bytes:
    """(height, width, channels) uint8 pixels as a PNG, enlarged smoothly to at most `side` pixels.

    So that no browser enlarges small faces in its own way.
    """
    picture = Picture.fromarray(np.ascontiguousarray(displayable(pixels)))
    scale = max(1, side // max(picture.size))
    picture = picture.resize((picture.width * scale, picture.height * scale), Picture.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _number(value: float | None) -> float:
    """A number to plot; what is undefined (null in JSON) becomes NaN, which matplotlib leaves out."""
    return float("nan") if value is None else float(value)


def percent_axis() -> FuncFormatter:
    """Shares written as percents."""
    return FuncFormatter(lambda share, _: f"{100 * share:.4g} %")  # neighbours half a percent apart differ


def _large(value: float, _: int) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _log_ticks(values: np.ndarray) -> Locator:
    # Powers of ten alone leave a narrow range without any tick.
    return LogLocator(subs=(1, 2, 5)) if values.max() > 4 * values.min() else MaxNLocator(nbins=4, steps=[1, 2, 5, 10])
