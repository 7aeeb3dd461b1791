"""An audit to files: audit.json, duplicates.csv, bad.csv, figures, report.md and one self-contained report.html."""

import json
from collections.abc import Sequence
from pathlib import Path

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
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    write_page,
)

_LISTED = 12  # rows of a table of the report; the csv files hold all


def write_audit(folder: Path, audit: dict, image_set: ImageSet) -> None:
    """Write everything that an audit has to show.

    Args:
        folder: Where to; made if it is not there.
        audit: What `hierarchy.data.audit.audit.audit` returns for `image_set`.
        image_set: The images, for the galleries.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "audit.json") as temporary:
        temporary.write_text(json.dumps(audit, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_table(folder / "duplicates.csv", _duplicate_rows(audit))
    if audit["bad"]["images"]:
        _write_table(folder / "bad.csv", image_set.bad)
    write_page(_page(folder, audit, image_set), folder)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False)


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
    names = ", ".join(audit["sources"])
    sections = [
        _summary(audit),
        _counts(folder, audit),
        pixel_section(folder, audit, image_set),
        _exact(folder, audit, image_set),
        _near(folder, audit, image_set),
        _damage(audit),
        _sizes_and_subjects(audit),
        _depth(audit),
    ]
    return Page(
        title=f"Audit of {names}" + (" (synthetic faces)" if audit["synthetic"] else ""),
        subtitle=f"{audit['images']:,} usable images, fingerprint {audit['fingerprint']}",
        banner="SYNTHETIC faces drawn by this program: nothing here is about people" if audit["synthetic"] else "",
        sections=[section for section in sections if section.blocks],
    )


def _summary(audit: dict) -> Section:
    exact, near, blank, bad = audit["exact"], audit["near"], audit["blank"], audit["bad"]
    subjects = audit["subjects"]
    tiles = (
        Tile("Images", f"{audit['images']:,}", "usable"),
        Tile("Largest : smallest class", _ratio(_worst_imbalance(audit)), "in the most uneven split"),
        Tile("Exact copies", f"{exact['groups']:,}", f"groups of {exact['images']:,} images"),
        Tile("Copies across splits", f"{exact['across_splits']:,}", "exact groups"),
        Tile("Conflicting labels", f"{exact['conflicting']:,}", "exact groups"),
        Tile("Near copies", f"{near['groups']:,}", f"groups, {near['across_splits']:,} across splits"),
        Tile("Blank", f"{blank['images']:,}", "images without content"),
        Tile("Bad", f"{bad['images']:,}", "images that cannot be used"),
    )
    pixels = audit["pixels"]
    known = [(Warn if pixels["altered"] else Text)(f"{line[0].upper()}{line[1:]}.") for line in pixels["known"]]
    advice = _advice(exact, near, bad, subjects)
    return Section("Summary", "", [Tiles(tiles), *known, *(Warn(text) for text in advice)])


def _advice(exact: dict, near: dict, bad: dict, subjects: dict) -> list[str]:
    """What a user should know before training, most harmful first."""
    advice = []
    if subjects["in_several_splits"]:
        what = _number(subjects["in_several_splits"], "subject stands", "subjects stand")
        advice.append(f"{what} in more than one split: scores will flatter.")
    if exact["across_splits"]:
        what = _number(exact["across_splits"], "group of exact copies stands", "groups of exact copies stand")
        advice.append(
            f"{what} in more than one split: a model is evaluated on what it was trained on. "
            f"--drop-duplicates leaves them out of training."
        )
    if near["across_splits"]:
        what = _number(near["across_splits"], "group of near copies stands", "groups of near copies stand")
        advice.append(f"{what} in more than one split; near copies are left in training.")
    if exact["conflicting"]:
        what = _number(exact["conflicting"], "group of equal images carries", "groups of equal images carry")
        advice.append(f"{what} different labels: no model can be right on all of them.")
    if bad["images"]:
        what = _number(bad["images"], "image", "images")
        advice.append(f"{what} cannot be used: training stops there unless --skip-bad is given.")
    return advice


def _number(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}"


def _counts(folder: Path, audit: dict) -> Section:
    counts = audit["counts"]
    emotions = list(next(iter(counts.values())))
    rows = [
        (split, *(f"{classes[e]:,}" for e in emotions), f"{sum(classes.values()):,}", _ratio(audit["imbalance"][split]))
        for split, classes in counts.items()
    ]
    path = folder / "figures" / "counts.png"
    width, height = 3.7 * len(counts), 0.75 + 0.32 * len(emotions)
    with figures.drawing(
        path,
        title="Images of each emotion",
        synthetic=audit["synthetic"],
        width=width,
        height=height,
        columns=len(counts),
    ) as axes:
        for ax, (split, classes) in zip(axes.flat, counts.items(), strict=True):
            figures.class_counts(ax, classes, split=split)
    return Section(
        "Counts",
        "how many images each emotion has; the last column divides the largest class by the smallest. "
        "Above about 3, accuracy alone misleads: balanced accuracy and macro F1 show more.",
        [
            Images([Image(path, "Bar chart of the images of each emotion by split", width)]),
            Table(("split", *emotions, "all", "largest : smallest"), rows),
        ],
    )


def _exact(folder: Path, audit: dict, image_set: ImageSet) -> Section:
    exact = audit["exact"]
    blocks: list[Block] = [_group_table(exact)]
    conflicting = [group for group in exact["listed"] if group["conflicting"]]
    if conflicting:
        blocks += group_gallery(
            folder / "figures" / "duplicates.png", "One image, several labels", conflicting, audit, image_set
        )
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


def _near(folder: Path, audit: dict, image_set: ImageSet) -> Section:
    near = audit["near"]
    blocks: list[Block] = [_group_table(near)]
    conflicting = [group for group in near["listed"] if group["conflicting"]]
    across = [group for group in near["listed"] if group["across_splits"] and not group["conflicting"]]
    if conflicting or across:
        picture = folder / "figures" / "near_duplicates.png"
        title = "Nearly the same image, with another label or in another split"
        blocks += group_gallery(picture, title, conflicting + across, audit, image_set)
    return Section(
        "Near copies",
        f"images that differ, but whose grey values correlate with {near['threshold']:g} or more: the same picture "
        "saved again, cropped by a pixel, with a watermark, or the next frame of a film. Groups are joined pair by "
        "pair and count exact copies of their members.",
        blocks,
    )


def _damage(audit: dict) -> Section:
    blank, bad = audit["blank"], audit["bad"]
    blocks: list[Block] = []
    if blank["images"]:
        more = ", ..." if blank["images"] > _LISTED else ""
        blocks.append(Text(f"{blank['images']:,} blank images: {', '.join(blank['ids'][:_LISTED])}{more}"))
    else:
        blocks.append(Text("No blank images."))
    if bad["images"]:
        rows = [(row["id"], row["reason"], row["path"]) for row in bad["listed"][:_LISTED]]
        caption = f"{len(rows)} of {bad['images']:,} bad images; bad.csv lists them all"
        blocks.append(Table(("id", "reason", "file"), rows, caption=caption, words=(0, 1, 2)))
    else:
        blocks.append(Text("No bad images: every file could be read."))
    hint = f"blank: grey values deviate by less than {blank['threshold']:g} from their mean. Bad: cannot be decoded."
    return Section("Blank and bad images", hint, blocks)


def _sizes_and_subjects(audit: dict) -> Section:
    sizes, subjects = audit["sizes"], audit["subjects"]
    rows = [(f"{s['height']} x {s['width']}", f"{s['images']:,}") for s in sizes[:_LISTED]]
    caption = f"the {_LISTED} most frequent of {len(sizes):,} sizes" if len(sizes) > _LISTED else ""
    blocks: list[Block] = [Table(("height x width", "images"), rows, caption=caption)]
    if not subjects["known"]:
        blocks.append(Text("This source names no subjects: whether one person stands in two splits is unknown."))
    else:
        blocks.append(
            Text(f"{subjects['known']:,} subjects, {subjects['in_several_splits']:,} in more than one split.")
        )
    if subjects["listed"]:
        rows = [(entry["subject"], ", ".join(entry["splits"])) for entry in subjects["listed"][:_LISTED]]
        blocks.append(Table(("subject", "splits"), rows, words=(0, 1)))
    return Section("Sizes and subjects", "sizes before anything is resized.", blocks)


def _depth(audit: dict) -> Section:
    tables = audit.get("depth", [])
    rows = [
        (
            found["source"],
            f"{found['kind']}, {found['mm_per_unit']:g} mm a unit",
            f"{found['images']:,}",
            f"{found['without']:,}",
            f"{len(found['bad']):,}",
            "-" if found["holes"] is None else f"{100 * found['holes']:.0f} %",
        )
        for found in tables
    ]
    if not rows:
        return Section("Depth", "", [])
    headings = ("source", "scale", "usable with depth", "without depth", "bad depth", "not measured")
    blocks: list[Block] = [Table(headings, rows, words=(0, 1))]
    bad = [(row["id"], row["reason"]) for found in tables for row in found["bad"]]
    if bad:
        caption = f"{min(len(bad), _LISTED)} of {len(bad):,} faces whose depth cannot be used"
        blocks.append(Table(("id", "reason"), bad[:_LISTED], caption=caption, words=(0, 1)))
    hint = (
        "an RGB-D model needs faces with usable depth; --skip-bad leaves the others out. Not measured: mean share of "
        "the square around a face, its background included."
    )
    return Section("Depth", hint, blocks)


def _group_table(duplicates: dict) -> Block:
    if not duplicates["groups"]:
        return Text("None found.")
    rows = [
        ("all", f"{duplicates['groups']:,}"),
        ("across splits", f"{duplicates['across_splits']:,}"),
        ("with conflicting labels", f"{duplicates['conflicting']:,}"),
        ("both", f"{duplicates['conflicting_across_splits']:,}"),
    ]
    return Table(("groups", "number"), rows, caption=f"{duplicates['images']:,} images stand in these groups")


def _group_list(what: str, groups: Sequence[dict]) -> Table:
    rows = [(few(group["ids"]), few(label_counts(group))) for group in groups[:_LISTED]]
    return Table(("ids", "labels"), rows, caption=f"groups {what}: {len(rows)} of {len(groups):,}", words=(0, 1))


def _worst_imbalance(audit: dict) -> float | None:
    return max((ratio for ratio in audit["imbalance"].values() if ratio), default=None)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} : 1"
