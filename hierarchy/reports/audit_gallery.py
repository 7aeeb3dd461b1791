"""Groups of copies as pictures with their labels: the galleries of an audit's report."""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Block, Face, Gallery, Image, Images, Text

_GROUPS = 24  # shown at most
_SPLIT_ORDER = ("train", "validation", "test")


def group_gallery(path: Path, title: str, groups: Sequence[dict], audit: dict, image_set: ImageSet) -> list[Block]:
    """The first groups as pictures, also drawn to `path`; members that differ stand side by side.

    Args:
        path: The PNG file.
        title: Stands above the pictures.
        groups: As an audit lists them, at least one.
        audit: Names the faces synthetic or not.
        image_set: The images.
    """
    shown = groups[:_GROUPS]
    members = [_members(group, image_set) for group in shown]
    labels = [few(label_counts(group), 3, "\n") for group in shown]
    pairs = any(len(member) > 1 for member in members)
    pictures = [_side_by_side(member) for member in members]
    note = Text(f"{title}: {len(shown)} of {len(groups):,} groups.")
    synthetic = audit["synthetic"]
    if pairs:
        width = _draw_gallery(path, title, pictures, labels, pairs=True, synthetic=synthetic)
        return [note, Images([Image(path, f"{title}: {len(shown)} groups", width)])]
    titles = [few(label_counts(group)) for group in shown]
    details = [f"{len(group['ids'])} images" for group in shown]
    return [note, *picture_gallery(path, title, pictures, labels, titles, details, synthetic=synthetic)[1:]]


def picture_gallery(
    path: Path,
    title: str,
    pictures: Sequence[np.ndarray],
    labels: Sequence[str],
    titles: Sequence[str],
    details: Sequence[str],
    *,
    synthetic: bool,
) -> list[Block]:
    """Pictures with captions, also drawn to `path`.

    Args:
        path: The PNG file.
        title: Stands above the pictures.
        pictures: uint8 (height, width, channels) each.
        labels: Caption of each picture in the PNG file.
        titles: Caption of each picture on the page.
        details: Second line of that caption.
        synthetic: Whether a program drew the faces.
    """
    width = _draw_gallery(path, title, pictures, labels, pairs=False, synthetic=synthetic)
    faces = [Face(_png(picture), *words) for picture, *words in zip(pictures, titles, details, strict=True)]
    return [Text(f"{title}:"), Gallery(faces, Image(path, title, width))]


def label_counts(group: dict) -> list[str]:
    """`2 x sad in train`, `angry in test`: each label and split of a group, with how often it occurs.

    Args:
        group: As an audit lists it.
    """
    counts = Counter(zip(group["splits"], group["emotions"], strict=True))
    order = {split: place for place, split in enumerate(_SPLIT_ORDER)}
    parts = sorted(counts.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0][1]))
    return [(f"{n} x " if n > 1 else "") + f"{emotion} in {split}" for (split, emotion), n in parts]


def few(words: Sequence[str], most: int = 4, separator: str = ", ") -> str:
    """The words as one text; of more than `most`, the last ones become a number."""
    shown = list(words) if len(words) <= most else [*words[: most - 1], f"and {len(words) - most + 1} more"]
    return separator.join(shown)


def _draw_gallery(
    path: Path, title: str, pictures: Sequence[np.ndarray], labels: Sequence[str], *, pairs: bool, synthetic: bool
) -> float:
    """Draw pictures with their labels below; returns the figure's width in inches."""
    columns = 4 if pairs else 6
    rows = -(-len(pictures) // columns)
    lines = max(label.count("\n") + 1 for label in labels)
    width, height = 8.4, 0.3 + rows * ((0.98 if pairs else 1.32) + 0.15 * lines)
    with figures.drawing(
        path, title=title, synthetic=synthetic, width=width, height=height, rows=rows, columns=columns
    ) as axes:
        for ax, picture, label in zip(axes.flat, pictures, labels, strict=False):
            figures.face(ax, picture, label)
            ax.set_anchor("N")
        for ax in axes.flat[len(pictures) :]:
            ax.axis("off")
    return width


def _members(group: dict, image_set: ImageSet) -> list[np.ndarray]:
    """One picture of equal images; of near copies two, if possible of different labels, else of different splits."""
    # The group's own order is the manifest's, so that positions are found without a table of all ids.
    rows = np.flatnonzero(image_set.manifest["id"].isin(group["ids"]).to_numpy())
    hashes = image_set.manifest["pixel_hash"].to_numpy(dtype=object)[rows]
    others = [
        (group["emotions"][i] == group["emotions"][0], group["splits"][i] == group["splits"][0], i)
        for i in range(1, len(rows))
        if hashes[i] != hashes[0]
    ]
    return [image_set.pixels[rows[i]] for i in (0, *(i for _, _, i in sorted(others)[:1]))]


def _side_by_side(members: list[np.ndarray]) -> np.ndarray:
    """(h, w, c) uint8 of one member or of two with a white gap."""
    if len(members) == 1:
        return members[0]
    height, width, channels = members[0].shape
    gap = np.full((height, max(1, width // 16), channels), 255, np.uint8)
    return np.concatenate([members[0], gap, members[1]], axis=1)


def _png(pixels: np.ndarray) -> bytes:
    # Small faces are enlarged smoothly here, once, instead of by each browser in its own way.
    picture = Picture.fromarray(np.ascontiguousarray(figures.displayable(pixels)))
    scale = max(1, 144 // picture.height)
    picture = picture.resize((picture.width * scale, picture.height * scale), Picture.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
