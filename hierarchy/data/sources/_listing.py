"""Folders of class folders: which images they hold, found without asking for a single file's status."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.folders import (
    IMAGE_SUFFIXES,
    FolderWalk,
    is_image,
    is_system_folder,
    require_text,
)
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.own_classes import meaning
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS, canonical_emotion, is_emotion

SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "publictest": "validation",  # as FER-2013's csv calls them
    "privatetest": "test",
}
log = logging.getLogger("fer_hierarchy")

EMOTION_WORDS = f"{', '.join(EMOTIONS)} (or anger, happiness, sadness and the like); --classes takes your own words"


def subfolders(folder: Path) -> list[str]:
    """Names of the visible folders in `folder`, sorted; none if it is not a folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not is_system_folder(entry.name) and entry.is_dir())


def images_below(folder: Path, walk: FolderWalk | None = None) -> list[str]:
    """Paths of all images below `folder`, relative to it, with forward slashes, sorted.

    Args:
        folder: Where they are.
        walk: One that has been in other folders, whose files are not found again; None for a new one.
    """
    return _sorted_out(folder, walk or FolderWalk())[0]


def _sorted_out(folder: Path, walk: FolderWalk) -> tuple[list[str], list[str]]:
    """Relative paths of the images below a folder, and of the other files."""
    images: list[str] = []
    others: list[str] = []
    for file in _below(folder, walk):
        (images if is_image(file.rpartition("/")[2]) else others).append(file)
    for image in images:
        if not image.isascii():
            require_text(folder / image)
    return sorted(images), others


def _below(folder: Path, walk: FolderWalk) -> list[str]:
    """Paths of all files below a folder, relative to it, with forward slashes."""
    start = len(os.path.join(folder, ""))  # noqa: PTH118 (with the closing separator)
    return [path[start:].replace(os.sep, "/") for path in walk.files(folder)]


def files_in(root: Path, folders: Iterable[str]) -> list[str]:
    """All files below some folders of `root`, relative to it; what is left out there is noted."""
    folders = list(folders)
    walk = FolderWalk(apart=[root / folder for folder in folders])
    files = [f"{folder}/{file}" for folder in folders for file in _below(root / folder, walk)]
    for file in files:
        if not file.isascii():
            require_text(root / file)
    for line in walk.left_out():
        log.warning("%s", line)
    return files


def note_unlisted(root: Path, folder: str, listed: Iterable[str]) -> None:
    """Warn of images below a folder of `root` that a table of labels does not name; `listed` is relative to `root`."""
    unlisted = {f"{folder}/{file}" for file in images_below(root / folder)}.difference(listed)
    if unlisted:
        log.warning(
            "%s holds %d images that the table of labels does not name; they are left out (first: %s).",
            *(root / folder, len(unlisted), min(unlisted)),
        )


def any_image(folder: Path, fits: Callable[[str], object] = bool) -> bool:
    """Whether the file name of at least one image directly in `folder` fits; the order on disk does not matter."""
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) and fits(entry.name) for entry in entries)


def emotion_word(word: str) -> str | None:
    """The class that a class folder's name stands for, "" if the user leaves it out, None if it names none."""
    return meaning(word, canonical_emotion(word) if is_emotion(word) else None)


def class_folders(root: Path, split_folders: Mapping[str, str] = SPLIT_FOLDERS) -> list[tuple[str, str, str]]:
    """The class folders of `root`, or of its split folders if it has any.

    Args:
        root: `<root>/<class>` or `<root>/<split folder>/<class>`.
        split_folders: Split by lower-case folder name.

    Returns:
        (split, class word, path relative to root) of each class folder. A folder beside split folders comes with
        the split "", so that it is not overlooked.
    """
    found = []
    names = subfolders(root)
    for name in names:
        split = split_folders.get(name.lower())
        if split is None:
            found.append(("", name, name))
        else:
            found += [(split, word, f"{name}/{word}") for word in subfolders(root / name)]
    return found


def list_faces(
    root: Path,
    *,
    emotion_of: Callable[[str], str | None] = emotion_word,
    known: str = EMOTION_WORDS,
    split_folders: Mapping[str, str] = SPLIT_FOLDERS,
) -> pd.DataFrame:
    """List the images of all class folders.

    Args:
        root: `<root>/<class>/...` or `<root>/<split folder>/<class>/...`.
        emotion_of: Maps a class folder's name to its label, None for an unknown name.
        known: The names that `emotion_of` knows, for the error message.
        split_folders: Split by lower-case folder name.

    Returns:
        Columns `file` (relative to root, forward slashes), `emotion`, `split`; sorted by folder, then by name.

    Raises:
        UserError: No folder or not every folder has a known name, or a class folder holds no image.
    """
    classes = class_folders(root, split_folders)
    unknown = sorted({word for _, word, _ in classes if emotion_of(word) is None})
    if len(unknown) == len({word for _, word, _ in classes}):
        received = f"found {quoted(unknown)}" if unknown else "it holds no folder with images"
        raise UserError(f"{root}: no folder names an emotion ({received}); known: {known}")
    if unknown:
        raise UserError(f"{root}: class folder {quoted(unknown)} names no emotion; known: {known}")
    if len({bool(split) for split, _, _ in classes}) > 1:
        stray = sorted(word for split, word, _ in classes if not split)
        raise UserError(f"{root}: class folder {quoted(stray)} lies beside split folders; move it into one of them")
    unwanted = {folder for _, word, folder in classes if emotion_of(word) == ""}
    classes = [found for found in classes if found[2] not in unwanted]
    _refuse_twins(root, [folder for *_, folder in classes])
    walk = FolderWalk(apart=[root / folder for *_, folder in classes])
    found = [_sorted_out(root / folder, walk) for *_, folder in classes]
    if not any(images for images, _ in found):
        raise UserError(f"{root}: no image in its class folders; looked for {', '.join(IMAGE_SUFFIXES)}")
    for (*_, folder), (images, others) in zip(classes, found, strict=True):
        if not images:
            raise UserError(f"{root}: class folder {folder!r} holds no image{_none_of(others)}; fill it or remove it")
    if unwanted:
        log.warning("%s: class folders left out by --classes: %s.", root, quoted(sorted(unwanted)))
    _note_left_out(
        root,
        unwanted.union(folder for *_, folder in classes),
        [other for _, others in found for other in others],
        walk,
    )
    parts = [
        (split, emotion_of(word), folder, images)
        for (split, word, folder), (images, _) in zip(classes, found, strict=True)
    ]
    return pd.DataFrame(
        {
            "file": [f"{folder}/{name}" for _, _, folder, images in parts for name in images],
            "emotion": [emotion for _, emotion, _, images in parts for _ in images],
            "split": [split for split, _, _, images in parts for _ in images],
        }
    )


def _refuse_twins(root: Path, folders: Sequence[str]) -> None:
    """Refuse two class folders that links make one: its images would have two labels, or stand in two splits."""
    real: dict[Path, str] = {}
    for folder in folders:
        other = real.setdefault((root / folder).resolve(), folder)
        if other != folder:
            raise UserError(f"{root}: {other!r} and {folder!r} are one folder, by a link; remove one of them")


def _none_of(others: Sequence[str]) -> str:
    """What there is instead of images, in brackets; "" where there is nothing."""
    if not others:
        return ""
    kinds = Counter(Path(other).suffix.lower() or "without a suffix" for other in others)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f" ({listed}; images are {' '.join(IMAGE_SUFFIXES)})"


def _note_left_out(root: Path, folders: Collection[str], others: Sequence[str], walk: FolderWalk) -> None:
    """Warn of files that have no label or are no images, and of folders that the walk left out."""
    for place in [root, *(root / name for name in subfolders(root) if name not in folders)]:
        with os.scandir(place) as entries:
            listed = list(entries)
        stray = sum(is_image(entry.name) and not entry.is_dir() for entry in listed)
        walk.system += [entry.path for entry in listed if is_system_folder(entry.name) and entry.is_dir()]
        if stray:
            log.warning(
                "%s holds %d images outside of class folders; they have no label and are left out.", place, stray
            )
    if others:
        log.warning("%s: files that are no images by their names were left out%s.", root, _none_of(others))
    for line in walk.left_out():
        log.warning("%s", line)


def listed_manifest(root: Path, faces: pd.DataFrame, source: str, **columns: Any) -> pd.DataFrame:
    """The manifest of listed files.

    Args:
        root: Where the files are.
        faces: Columns `file` (relative to `root`), `emotion` and `split`.
        source: Name of the data source.
        columns: Others of `make_manifest`; a face's id is its file where `ids` are not among them.
    """
    given = {"ids": faces["file"], **({"splits": faces["split"]} if "split" in faces else {}), **columns}
    return make_manifest(paths=_absolute(root, faces["file"]), emotions=faces["emotion"], source=source, **given)


def paired_manifest(root: Path, faces: pd.DataFrame, source: str, kind: str, **columns: Any) -> pd.DataFrame:
    """The manifest of pictures with depth beside some of them; no splits.

    Args:
        root: Where the files are.
        faces: Columns `id`, `file` and `depth` (relative to `root`; "" where a picture has none), `emotion`, `subject`.
        source: Name of the data source.
        kind: Of its depth.
        columns: Others of `make_manifest`.
    """
    return listed_manifest(
        root,
        faces,
        source,
        ids=faces["id"],
        subjects=faces["subject"],
        depth_paths=_absolute(root, faces["depth"]),
        depth_kinds=np.where(faces["depth"] == "", "", kind),
        **columns,
    )


def _absolute(root: Path, files: pd.Series) -> list[str]:
    """Absolute paths of files that are given relative to `root`; "" stays."""
    prefix = os.path.join(root.resolve(), "")  # noqa: PTH118 (keeps the closing separator)
    return [file and prefix + file for file in files.tolist()]


def stems(files: pd.Series) -> list[str]:
    """File names without folder and suffix."""
    return [file.rpartition("/")[2].rpartition(".")[0] for file in files.tolist()]


def quoted(words: list[str]) -> str:
    """The first five of some names, in quotes, and how many more there are."""
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return ", ".join(repr(word) for word in words[:5]) + more
