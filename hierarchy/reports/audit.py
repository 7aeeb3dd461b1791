"""An audit to files: audit.json, duplicates.csv, bad.csv, figures, report.md and one self-contained report.html."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.audit_gallery import few, group_gallery, label_counts
from fer_hierarchy.hierarchy.reports.audit_pixels import pixel_section
from fer_hierarchy.hierarchy.reports.page import (
    Block,
    Image,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    report,
    write_page,
)
from fer_hierarchy.hierarchy.runs.run_folder import write_table
from fer_hierarchy.hierarchy.wording import whole

_LISTED = 12  # rows of a table of the report; the csv files hold all


def write_audit(folder: Path, audit: dict, image_set: ImageSet) -> None:
    """Write everything that an audit has to show.

    Args:
        folder: Where to; made if it is not there.
        audit: What `hierarchy.data.audit.audit.audit` returns for `image_set`.
        image_set: The images, for the galleries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "audit.json") as temporary:
        temporary.write_text(json.dumps(audit, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_table(folder / "duplicates.csv", _duplicate_rows(audit))
    if audit["bad"]["images"]:
        write_table(folder / "bad.csv", image_set.bad)
    write_page(_page(folder, audit, image_set), folder)


def _duplicate_rows(audit: dict) -> pd.DataFrame:
    """One row an image of every group: kind, group, id, split, emotion, across_splits, conflicting."""
    rows = [
        (kind, number, *image, group["across_splits"], group["conflicting"])
        for kind in ("exact", "near")
        for number, group in enumerate(audit[kind]["listed"], start=1)
        for image in zip(group["ids"], group["splits"], group["emotions"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["kind", "group", "id", "split", "emotion", "across_splits", "conflicting"])


def _page(folder: Path, audit: dict, image_set: ImageSet) -> Page:
    drawings = figures.Drawings(folder, audit["synthetic"])
    sections = [
        _summary(audit),
        _counts(drawings, audit),
        pixel_section(drawings, audit, image_set),
        _exact(drawings, audit["exact"], image_set),
        _near(drawings, audit["near"], image_set),
        _damage(audit["blank"], audit["bad"]),
        _sizes_and_subjects(audit["sizes"], audit["subjects"]),
        _depth(audit.get("depth", [])),
    ]
    subtitle = f"{audit['images']:,} usable images, fingerprint {audit['fingerprint']}"
    return report(f"Audit of {', '.join(audit['sources'])}", subtitle, sections, synthetic=audit["synthetic"])


def _summary(audit: dict) -> Section:
    exact, near, blank, bad = audit["exact"], audit["near"], audit["blank"], audit["bad"]
    worst = max((ratio for ratio in audit["imbalance"].values() if ratio), default=None)
    tiles = (
        Tile("Images", f"{audit['images']:,}", "usable"),
        Tile("Largest : smallest class", _ratio(worst), "in the most uneven split"),
        Tile("Exact copies", f"{exact['groups']:,}", f"groups of {exact['images']:,} images"),
        Tile("Copies across splits", f"{exact['across_splits']:,}", "exact groups"),
        Tile("Conflicting labels", f"{exact['conflicting']:,}", "exact groups"),
        Tile("Near copies", f"{near['groups']:,}", f"groups, {near['across_splits']:,} across splits"),
        Tile("Blank", f"{blank['images']:,}", "images without content"),
        Tile("Bad", f"{bad['images']:,}", "images that cannot be used"),
    )
    pixels = audit["pixels"]
    known = [(Warn if pixels["altered"] else Text)(f"{line[0].upper()}{line[1:]}.") for line in pixels["known"]]
    notes: list[Block] = [Text("Notes of the audit:"), Items(tuple(audit["notes"]))] if audit.get("notes") else []
    return Section("Summary", "", [Tiles(tiles), *known, *map(Warn, advice(audit)), *notes])


def advice(audit: dict) -> list[str]:
    """What a user should know before training, most harmful first."""
    split = "in more than one split"
    exact, across = audit["exact"], f"{split}: a model is evaluated on what it was trained on"
    advice = (
        (audit["subjects"]["in_several_splits"], "subject stands", "subjects stand", f"{split}: scores will flatter."),
        (
            exact["across_splits"],
            "group of exact copies stands",
            "groups of exact copies stand",
            f"{across}. --drop-duplicates leaves them out of training.",
        ),
        (
            audit["near"]["across_splits"],
            "group of near copies stands",
            "groups of near copies stand",
            f"{split}; near copies are left in training.",
        ),
        (
            exact["conflicting"],
            "group of equal images carries",
            "groups of equal images carry",
            "different labels: no model can be right on all of them.",
        ),
        (
            audit["bad"]["images"],
            "image",
            "images",
            "cannot be used: training stops there unless --skip-bad is given.",
        ),
    )
    return [f"{n:,} {one if n == 1 else several} {what}" for n, one, several, what in advice if n]


def audit_rows(audit: dict) -> list[tuple[str, ...]]:
    """Images by split and emotion as rows of words, the headings first."""
    counts = audit["counts"]
    emotions = list(next(iter(counts.values())))
    rows = [(split, *map(whole, classes.values()), whole(sum(classes.values()))) for split, classes in counts.items()]
    return [("split", *emotions, "all"), *rows]


def _counts(drawings: figures.Drawings, audit: dict) -> Section:
    counts = audit["counts"]
    heading, *rows = audit_rows(audit)
    width, height = 3.7 * len(counts), 0.75 + 0.32 * (len(heading) - 2)
    with drawings.drawing("counts", "Images of each emotion", width, height, columns=len(counts)) as axes:
        for ax, (split, classes) in zip(axes.flat, counts.items(), strict=True):
            figures.class_counts(ax, classes, split=split)
    return Section(
        "Counts",
        "how many images each emotion has; the last column divides the largest class by the smallest. "
        "Above about 3, accuracy alone misleads: balanced accuracy and macro F1 show more.",
        [
            Images([Image(drawings.figure("counts"), "Bar chart of the images of each emotion by split", width)]),
            Table(
                (*heading, "largest : smallest"),
                [(*row, _ratio(audit["imbalance"][row[0]])) for row in rows],
                "Images of each emotion in each split",
            ),
        ],
    )


def _exact(drawings: figures.Drawings, exact: dict, image_set: ImageSet) -> Section:
    blocks: list[Block] = [_group_table(exact)]
    conflicting = [group for group in exact["listed"] if group["conflicting"]]
    if conflicting:
        blocks += group_gallery(drawings, "duplicates", "One image, several labels", conflicting, image_set)
        blocks.append(_group_list("with conflicting labels", conflicting))
    across = [group for group in exact["listed"] if group["across_splits"]]
    if across:
        blocks.append(_group_list("across splits", across))
    return Section(
        "Exact copies",
        "images whose pixels are all equal. Copies across splits leak train faces into the test; conflicting labels "
        "put a ceiling on accuracy. duplicates.csv lists every image.",
        blocks,
    )


def _near(drawings: figures.Drawings, near: dict, image_set: ImageSet) -> Section:
    blocks: list[Block] = [_group_table(near)]
    conflicting = [group for group in near["listed"] if group["conflicting"]]
    across = [group for group in near["listed"] if group["across_splits"] and not group["conflicting"]]
    if conflicting or across:
        title = "Nearly the same image, with another label or in another split"
        blocks += group_gallery(drawings, "near_duplicates", title, conflicting + across, image_set)
    return Section(
        "Near copies",
        f"images that differ, but whose grey values correlate with {near['threshold']:g} or more: the same picture "
        "saved again, cropped by a pixel, with a watermark, or the next frame of a film. Groups are joined pair by "
        "pair and count exact copies of their members.",
        blocks,
    )


def _group_table(duplicates: dict) -> Block:
    if not duplicates["groups"]:
        return Text("None found.")
    kinds = {
        "all": "groups",
        "across splits": "across_splits",
        "with conflicting labels": "conflicting",
        "both": "conflicting_across_splits",
    }
    rows = [(name, f"{duplicates[key]:,}") for name, key in kinds.items()]
    return Table(("groups", "number"), rows, caption=f"{duplicates['images']:,} images stand in these groups")


def _group_list(what: str, groups: Sequence[dict]) -> Table:
    columns = {"ids": ("ids", few), "labels": lambda group: few(label_counts(group))}
    return _listed(groups, columns, f"groups {what}: {{}} of {len(groups):,}")


def _damage(blank: dict, bad: dict) -> Section:
    blocks: list[Block] = [Text("No blank images.")]
    if blank["images"]:
        more = ", ..." if blank["images"] > _LISTED else ""
        blocks = [Text(f"{blank['images']:,} blank images: {', '.join(blank['ids'][:_LISTED])}{more}")]
    if bad["images"]:
        columns = {"id": ("id", str), "reason": ("reason", str), "file": ("path", str)}
        caption = f"{{}} of {bad['images']:,} bad images; bad.csv lists them all"
        blocks.append(_listed(bad["listed"], columns, caption))
    else:
        blocks.append(Text("No bad images: every file could be read."))
    hint = f"blank: grey values deviate by less than {blank['threshold']:g} from their mean. Bad: cannot be decoded."
    return Section("Blank and bad images", hint, blocks)


def _sizes_and_subjects(sizes: list[dict], subjects: dict) -> Section:
    columns = {
        "height x width": lambda size: f"{size['height']} x {size['width']}",
        "images": ("images", "{:,}".format),
    }
    caption = f"the {_LISTED} most frequent of {len(sizes):,} sizes" if len(sizes) > _LISTED else ""
    blocks: list[Block] = [Table.of(sizes[:_LISTED], columns, caption=caption)]
    if subjects["known"]:
        several = subjects["in_several_splits"]
        blocks.append(Text(f"{subjects['known']:,} subjects, {several:,} in more than one split."))
    else:
        blocks.append(Text("This source names no subjects: whether one person stands in two splits is unknown."))
    if subjects["listed"]:
        blocks.append(_listed(subjects["listed"], {"subject": ("subject", str), "splits": ("splits", ", ".join)}))
    return Section("Sizes and subjects", "sizes before anything is resized.", blocks)


def _depth(tables: list[dict]) -> Section:
    columns = {
        "source": ("source", str),
        "scale": lambda found: f"{found['kind']}, {found['mm_per_unit']:g} mm a unit",
        "usable with depth": ("images", "{:,}".format),
        "without depth": ("without", "{:,}".format),
        "bad depth": ("bad", lambda bad: f"{len(bad):,}"),
        "not measured": ("holes", lambda share: "-" if share is None else f"{100 * share:.0f} %"),
    }
    blocks: list[Block] = [Table.of(tables, columns, caption="Depth of each source", words=(0, 1))] if tables else []
    if bad := [row for found in tables for row in found["bad"]]:
        caption = f"{{}} of {len(bad):,} faces whose depth cannot be used"
        blocks.append(_listed(bad, {"id": ("id", str), "reason": ("reason", str)}, caption))
    hint = (
        "an RGB-D model needs faces with usable depth; --skip-bad leaves the others out. Not measured: mean share of "
        "the square around a face, its background included."
    )
    return Section("Depth", hint, blocks)


def _listed(records: Sequence[dict], columns: Mapping[str, Any], caption: str = "") -> Table:
    """A table of words with the first records; the caption's {} becomes their number."""
    shown = records[:_LISTED]
    return Table.of(shown, columns, caption=caption.format(len(shown)), words=range(len(columns)))


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} : 1"
