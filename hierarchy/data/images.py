"""From a manifest to pixels: every image decoded and checked once, then memory-mapped from the cache."""

import hashlib
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from fer_hierarchy.hierarchy.data.alignment import leveled
from fer_hierarchy.hierarchy.data.decoding import (
    BadImageError,
    Decoded,
    finish,
    parse_pixels,
    read_stored,
    without_false_colour,
)
from fer_hierarchy.hierarchy.data.depth.pairs import read_pair, stacked
from fer_hierarchy.hierarchy.data.image_cache import CacheEntry, read_entry, write_entry
from fer_hierarchy.hierarchy.data.sources import expected_size, source_module
from fer_hierarchy.hierarchy.data.sources._pixel_csv import read_chunks
from fer_hierarchy.hierarchy.errors import UserError

_FORMAT = 3  # part of the cache key: raise it when decoding changes
_CHUNK = 256  # images decoded between two writes
_THREADED_PIXELS = 128 * 128  # native size above which decoding is spread over threads
_SHOWN = 10  # bad images named in a message
_log = logging.getLogger("fer_hierarchy")


@dataclass(frozen=True)
class ImageSet:
    """Usable images and what is known of each.

    Attributes:
        pixels: (n, size, size, channels) uint8, or uint16 with the depth plane behind the colours; read-only memory
            map; row i belongs to manifest row i.
        manifest: The columns it was loaded from, plus `pixel_hash` (32 hex digits over native shape and pixels),
            `height` and `width` (native); RangeIndex.
        bad: Columns id, path, reason: the images left out.
        fingerprint: 16 hex digits over all (pixel_hash, emotion, split); the same faces give the same, csv or folder.
        measures: (n, len(MEASURES)) float32 of `hierarchy.data.audit.pixels.measures`, taken at native size.
    """

    pixels: np.ndarray
    manifest: pd.DataFrame
    bad: pd.DataFrame
    fingerprint: str
    measures: np.ndarray


class Want(NamedTuple):
    """What decoding is to give, see `load_images`."""

    size: int
    channels: int
    depth: bool
    align: bool


def load_images(
    manifest: pd.DataFrame, *, size: int, channels: int, skip_bad: bool, depth: bool = False, align: bool = False
) -> ImageSet:
    """Decode the images of a manifest, or take them from the cache where they were decoded before.

    Args:
        manifest: As a data source gives it.
        size: Side of the square result in pixels.
        channels: 1 (grey) or 3 (RGB).
        skip_bad: Leave unusable images out with a warning, instead of stopping.
        depth: Read each face's depth too; a face without one is unusable.
        align: Turn faces that stand in files until their eyes are level.

    Raises:
        UserError: An image is unusable (and `skip_bad` is not set), none is usable, or the cache cannot be written.
    """
    if channels not in (1, 3):
        raise UserError(f"channels {channels}: images are decoded to 1 (grey) or 3 (RGB)")
    if size < 1:
        raise UserError(f"image size {size}: at least 1 pixel is needed")
    if depth and not (manifest["depth_path"] != "").any():
        named = "+".join(sorted(set(manifest["source"])))
        raise UserError(f"{named} has no depth, which an RGB-D model needs; choose a --model that reads colour alone")
    want = Want(size, channels, depth, align)
    key = _cache_key(manifest, want)
    entry = read_entry(key)
    if entry is None:
        entry = _build(key, manifest, want, skip_bad)
    bad = _bad_table(manifest, entry.bad)
    _report_bad(bad, len(manifest), skip_bad)
    usable = _usable_rows(manifest, entry)
    return ImageSet(entry.pixels, usable, bad, fingerprint(usable), entry.measures)


def fingerprint(manifest: pd.DataFrame) -> str:
    """16 hex digits over the faces, emotions and splits of a manifest with `pixel_hash`, whatever their order."""
    lines = sorted(map(" ".join, zip(manifest["pixel_hash"], manifest["emotion"], manifest["split"], strict=True)))
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def describe_bad(bad: pd.DataFrame) -> str:
    """One line: how many images are bad, and the first ten with their reasons."""
    shown = [f"{row.id} ({row.path}): {row.reason}" for row in bad.head(_SHOWN).itertuples()]
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return f"{len(bad)} bad image{'s' if len(bad) != 1 else ''}: {'; '.join(shown)}{more}"


def _report_bad(bad: pd.DataFrame, total: int, skip_bad: bool) -> None:
    if bad.empty:
        return
    if not skip_bad:
        raise UserError(f"{describe_bad(bad)}. Mend them, or leave them out with --skip-bad")
    if len(bad) == total:
        raise UserError(f"no usable image among {total}: {describe_bad(bad)}")
    _log.warning("left out of %d images %s", total, describe_bad(bad))


def _build(key: str, manifest: pd.DataFrame, want: Want, skip_bad: bool) -> CacheEntry:
    def check(found: Sequence[tuple[int, str]]) -> None:
        if len(found) == len(manifest) or not skip_bad:
            _report_bad(_bad_table(manifest, found), len(manifest), skip_bad)

    write_entry(
        key,
        _with_progress(_decode_all(manifest, want), len(manifest)),
        most=len(manifest),
        shape=(want.size, want.size, want.channels + want.depth),
        dtype=np.uint16 if want.depth else np.uint8,
        check=check,
    )
    entry = read_entry(key)
    if entry is None:
        raise UserError(f"image cache entry {key}: damaged while it was written; try again")
    return entry


def _usable_rows(manifest: pd.DataFrame, entry: CacheEntry) -> pd.DataFrame:
    rows = manifest.iloc[entry.positions].reset_index(drop=True)
    digits = entry.digests.tobytes().hex()
    hashes = [digits[i : i + 32] for i in range(0, len(digits), 32)]
    return rows.assign(pixel_hash=hashes, height=entry.sizes[:, 0], width=entry.sizes[:, 1])


def _bad_table(manifest: pd.DataFrame, bad: Sequence[tuple[int, str]]) -> pd.DataFrame:
    rows = manifest.iloc[[position for position, _ in bad]][["id", "path"]].reset_index(drop=True)
    return rows.assign(reason=np.array([reason for _, reason in bad], dtype=str))


def _cache_key(manifest: pd.DataFrame, want: Want) -> str:
    """Hash of everything that the pixels depend on: the files as they are now, their order, and the working size.

    Emotions and splits are not part of it: relabelled faces share their pixels.
    """
    stamps: dict[str, str] = {}
    digest = hashlib.blake2b(f"{_FORMAT} {want.size} {want.channels}".encode(), digest_size=12)
    if want.align:
        digest.update(b"aligned")
    if want.depth:
        for path in manifest["depth_path"]:
            digest.update(f"depth {path} {_stamp(path)}\n".encode(errors="surrogateescape"))
    columns = (manifest[name].tolist() for name in ("id", "path", "row", "source"))
    for name, path, row, source in zip(*columns, strict=True):
        stamp = stamps.get(path)
        if stamp is None:
            stamp = stamps[path] = _stamp(path)
        digest.update(f"{name}\0{path}\0{row}\0{source}\0{stamp}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of many thousand files would double the time
    except OSError as error:
        return f"error {error.errno}"
    # The mode too: a file that becomes readable does not change its time of modification.
    return f"{status.st_size} {status.st_mtime_ns} {status.st_mode}"


def _decode_all(manifest: pd.DataFrame, want: Want) -> Iterator[tuple[int, Decoded | str]]:
    """Yield (manifest position, image or reason) for every row in manifest order."""
    plain = manifest.reset_index(drop=True)
    csv = plain["path"].where(plain["row"] >= 0, "")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for _, part in plain.groupby((csv != csv.shift()).cumsum()):
            path = csv[part.index[0]]
            yield from _decode_csv(path, part, want) if path else _decode_files(part, want)


def _decode_files(files: pd.DataFrame, want: Want) -> Iterator[tuple[int, Decoded | str]]:
    def decode(task: tuple[str, str, str]) -> Decoded | str:
        try:
            return _decode_file(*task, want)
        except BadImageError as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), _CHUNK):
            chunk = files.iloc[start : start + _CHUNK]
            tasks = list(zip(chunk["path"], chunk["depth_path"], chunk["source"], strict=True))
            first = decode(tasks[0])
            # Threads gain on large images only: small ones spend their time inside the interpreter, one at a time.
            large = isinstance(first, Decoded) and math.prod(first.size) > _THREADED_PIXELS
            rest = (pool.map if large else map)(decode, tasks[1:])
            yield from zip(chunk.index, chain([first], rest), strict=True)


def _decode_file(path: str, depth_path: str, source: str, want: Want) -> Decoded:
    """One face from its file or its two files.

    Raises:
        BadImageError: It cannot be used.
    """
    module = source_module(source)
    if reason := getattr(module, "problem", lambda *_: None)(path, depth_path):
        raise BadImageError(reason)
    if want.depth:
        return stacked(*read_pair(path, depth_path, source, align=want.align), want.size, want.channels)
    stored = read_stored(path, module.IMAGE_SIZE)
    native = without_false_colour(stored)
    if want.align:
        native, _ = leveled(path, native, None)
    return finish(native, want.size, want.channels, stored)


def _decode_csv(path: str, rows: pd.DataFrame, want: Want) -> Iterator[tuple[int, Decoded | str]]:
    """The rows of one csv, which is read once from its beginning to its end."""
    if not rows["row"].is_monotonic_increasing:
        yield from sorted(_decode_csv(path, rows.sort_values("row"), want), key=itemgetter(0))
        return
    promised = {source: expected_size(source) for source in rows["source"].unique()}

    def decode(text: str, row: int, source: str) -> Decoded | str:
        try:
            return finish(parse_pixels(text, promised[source]), want.size, want.channels)
        except BadImageError as error:
            return f"data row {row}: {error}"

    start = done = 0
    for chunk in read_chunks(Path(path), lambda name: name.strip().lower() == "pixels"):
        if chunk.shape[1] != 1:
            raise UserError(f"{path}: got {chunk.shape[1]} columns named pixels; exactly one is needed")
        wanted = rows.iloc[done : done + int(np.searchsorted(rows["row"].to_numpy()[done:], start + len(chunk)))]
        chosen = chunk.iloc[:, 0].to_numpy(dtype=object)[wanted["row"].to_numpy() - start]
        yield from zip(wanted.index, map(decode, chosen, wanted["row"], wanted["source"]), strict=True)
        start, done = start + len(chunk), done + len(wanted)
    absent = rows.iloc[done:]
    yield from ((at, f"data row {row}: not in the file") for at, row in zip(absent.index, absent["row"], strict=True))


def _with_progress(images: Iterable, total: int) -> Iterator:
    """Pass `images` on; after three seconds show on stderr how far it is, in one line and only on a terminal."""
    began = shown = time.monotonic()
    visible = False
    for done, image in enumerate(images, start=1):
        yield image
        if done % 64 == 0 and (now := time.monotonic()) - began > 3 and now - shown > 0.5 and sys.stderr.isatty():
            shown, visible = now, True
            left = (now - began) * (total - done) / done
            print(f"\rreading images {done}/{total}, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
    if visible:
        print(f"\r{' ' * 60}\r", end="", file=sys.stderr, flush=True)
