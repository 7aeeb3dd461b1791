"""An audit's section on pixels: a table of every measure, its distribution by split, and the most unusual faces."""

import numpy as np

from fer_hierarchy.hierarchy.data.audit.audit import SPAN, SPLITS
from fer_hierarchy.hierarchy.data.audit.pixels.measures import COLUMN, MEASURES
from fer_hierarchy.hierarchy.data.audit.pixels.published import published
from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Block, Image, Images, Items, Section, Table, Text

_COLOURS = dict(zip(SPLITS, (figures.ACCENT, figures.SECOND, figures.THIRD, figures.ACCENT), strict=True))
_COLUMNS = 3  # of the figure of distributions
_BINS = 40
_TAIL = 0.5  # percent of the values on each side that the figure leaves out


def pixel_section(drawings: figures.Drawings, audit: dict, images: ImageSet) -> Section:
    """The section *Pixels* of an audit's report.

    Args:
        drawings: The figures of the report.
        audit: With what `audit_pixels` returns under "pixels".
        images: The pictures.
    """
    pixels = audit["pixels"]
    blocks: list[Block] = []
    if not pixels["known"]:
        blocks.append(Text("No published figures of this data set are known here, so it is compared with itself only."))
    remarks = (*pixels["signs"], *pixels["differences"])
    blocks.append(Items(remarks) if remarks else Text("Nothing unusual, and no difference between splits or classes."))
    blocks += [_table(pixels["table"]), *_distributions(drawings, images), *_unusual(drawings, pixels, images)]
    return Section(
        "Pixels",
        "what the pictures are like at their own size, whatever they show. A model that is trained on altered pixels "
        "is not comparable with others, and one that is evaluated on other pixels than it was trained on does worse.",
        blocks,
    )


def _table(table: list[dict]) -> Table:
    parts = [f"{row['source']} {row['split']}".strip() for row in table]
    sets = {known.title: known for row in table if (known := published(row["source"])) and known.quantiles}
    rows = [
        (
            name.replace("_", " "),
            MEASURES[name],
            *(_span(row["measures"][name]) for row in table),
            *(_span([known.quantile(name, share) for share in SPAN]) for known in sets.values()),
        )
        for name in MEASURES
    ]
    counts = ", ".join(f"{part} {row['images']:,}" for part, row in zip(parts, table, strict=True))
    return Table(
        ("Measure", "What it is", *parts, *(f"{title} as published" for title in sets)),
        rows,
        caption=f"median (5th to 95th percentile) over the pictures: {counts}",
        words=(0, 1),
    )


def _span(values: list[float]) -> str:
    low, middle, high = (f"{value:.3g}" for value in values)
    return middle if low == high else f"{middle} ({low} to {high})"


def _distributions(drawings: figures.Drawings, images: ImageSet) -> list[Block]:
    """How each measure is distributed in each split."""
    varying = [name for name, column in COLUMN.items() if np.ptp(images.measures[:, column]) > 0]
    if not varying:
        return []
    rows, width = -(-len(varying) // _COLUMNS), 8.4
    grid = {"rows": rows, "columns": _COLUMNS}
    with drawings.drawing("pixels", "Measures of the pixels by split", width, 0.6 + 1.55 * rows, **grid) as axes:
        for ax, name in zip(axes.flat, varying, strict=False):
            _draw(ax, name, images)
        axes.flat[0].legend(handlelength=1.2)
    alt = "Histogram of each measure of the pixels, a line for each split"
    return [Images([Image(drawings.figure("pixels"), alt, width)])]


def _draw(ax: figures.Axes, name: str, images: ImageSet) -> None:
    splits = images.manifest["split"].to_numpy(str)
    values = images.measures[:, COLUMN[name]]
    low, high = np.percentile(values, (_TAIL, 100 - _TAIL))
    edges = np.linspace(low, high if high > low else values.max(), _BINS + 1)
    for split in SPLITS:
        if (splits == split).any():
            counts, _ = np.histogram(values[splits == split], edges)
            shares = counts / (splits == split).sum()
            ax.stairs(shares, edges, color=_COLOURS[split], linewidth=1.2, label=split or "all pictures")
    ax.set_title(name.replace("_", " "))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _unusual(drawings: figures.Drawings, pixels: dict, images: ImageSet) -> list[Block]:
    """The most unusual faces, each with the measure in which it stands at an end."""
    shown = pixels["unusual"]
    if not shown:
        return []
    place = dict(zip(images.manifest["id"], range(len(images.manifest)), strict=True))
    titles = [f"{face['measure'].replace('_', ' ')} {face['value']:.3g}" for face in shown]
    captions = [
        (f"{title}\n{face['end']}", title, f"{face['end']}: {face['id']}")
        for title, face in zip(titles, shown, strict=True)
    ]
    pictures = [images.pixels[place[face["id"]]] for face in shown]
    heading = "The most unusual face of each measure"
    return [figures.picture_gallery(drawings, "unusual", heading, pictures, captions)]
