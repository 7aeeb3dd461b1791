"""Pictures of an audit's report with their captions: groups of copies."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Block, Text

_GROUPS = 24  # shown at most
_SPLIT_ORDER = ("train", "validation", "test")


def group_gallery(
    drawings: figures.Drawings, name: str, title: str, groups: Sequence[dict], image_set: ImageSet
) -> list[Block]:
    """The first groups as pictures; members that differ stand side by side.

    Args:
        drawings: The figures of the report.
        name: Of the sheet with all pictures.
        title: Stands above the pictures.
        groups: As an audit lists them, at least one.
        image_set: The images.
    """
    shown = groups[:_GROUPS]
    members = [_members(group, image_set) for group in shown]
    captions = [
        (few(label_counts(group), 3, "\n"), few(label_counts(group)), f"{len(group['ids'])} images") for group in shown
    ]
    columns = 4 if any(len(member) > 1 for member in members) else 6
    gallery = figures.picture_gallery(drawings, name, title, list(map(_side_by_side, members)), captions, columns)
    return [Text(f"{title}: {len(shown)} of {len(groups):,} groups."), gallery]


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
    height, width, channels = members[0].shape
    gap = np.full((height, max(1, width // 16), channels), 255, np.uint8)
    return np.concatenate([members[0], *(part for other in members[1:] for part in (gap, other))], axis=1)
