"""Decoded images on disk: one folder per set of files, written whole or not at all, read back as a memory map."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fer_hierarchy.hierarchy.data.audit.pixels.measures import MEASURES, Meter
from fer_hierarchy.hierarchy.data.decoding import Decoded
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_folder, cache_dir

_PIXELS = "pixels.npy"
_ROWS = "rows.npz"
_BAD = "bad.json"
_KINDS = (np.uint8, np.uint16)


class CacheEntry(NamedTuple):
    """What decoding a manifest gave."""

    # (n, size, size, channels) uint8, or uint16 where the last plane is depth; read-only memory map in manifest order
    pixels: np.ndarray
    positions: np.ndarray  # (n,) int64, manifest position of each usable image, ascending
    digests: np.ndarray  # (n, 16) uint8, see `Decoded.digest`
    sizes: np.ndarray  # (n, 2) int32, native height and width
    measures: np.ndarray  # (n, len(MEASURES)) float32, see `hierarchy.data.audit.pixels.measures`
    bad: tuple[tuple[int, str], ...]  # (manifest position, reason) of each image that is not usable


def read_entry(key: str) -> CacheEntry | None:
    """The entry of that key, or None where there is none or it is damaged."""
    folder = _folder(key)
    try:
        pixels = np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False)
        with np.load(folder / _ROWS, allow_pickle=False) as rows:
            positions, digests, sizes, measures = (rows[name] for name in ("positions", "digests", "sizes", "measures"))
        bad = tuple((int(at), str(reason)) for at, reason in json.loads((folder / _BAD).read_text(encoding="utf-8")))
    except Exception:  # whatever is wrong with it, the entry is built again from the images
        return None
    whole = len(pixels) == len(positions) == len(digests) == len(sizes) and pixels.dtype in _KINDS
    whole = whole and measures.shape == (len(pixels), len(MEASURES))
    return CacheEntry(pixels, positions, digests, sizes, measures, bad) if whole else None


def write_entry(
    key: str,
    images: Iterable[tuple[int, Decoded | str]],
    *,
    most: int,
    shape: tuple[int, int, int],
    dtype: type,
    check: Callable[[Sequence[tuple[int, str]]], None],
) -> None:
    """Write decoded images as the entry of a key; the memory used does not grow with them.

    Args:
        key: Of the entry.
        images: (manifest position, image or reason) in manifest order.
        most: How many images there are, the bad ones included.
        shape: (size, size, channels) of each image.
        dtype: uint8, or uint16 for faces with depth.
        check: Takes the (manifest position, reason) of all bad images; its error leaves no entry behind.

    Raises:
        UserError: The cache folder cannot be written, or its disk has no room. Nothing is left behind.
    """
    try:
        # A damaged entry makes way. Whoever built the same key meanwhile has written the same bytes.
        with atomic_folder(_folder(key)) as folder:
            _check_room(folder, most, most * math.prod(shape) * np.dtype(dtype).itemsize)
            bad = _write(folder, images, shape, np.dtype(dtype))
            check(bad)
            (folder / _BAD).write_text(json.dumps(bad), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"image cache {cache_dir()}: cannot write ({error.strerror or error}); "
            f"make room there or set FER_CACHE to another folder"
        ) from error


def _check_room(folder: Path, count: int, needed: int) -> None:
    """Refuse images that do not fit on the disk before the first is decoded."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"image cache {cache_dir()}: {count} decoded images take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "are free; make room there, set FER_CACHE to another folder, or choose a smaller --image-size"
        )


def _write(
    folder: Path, images: Iterable[tuple[int, Decoded | str]], shape: tuple[int, int, int], dtype: np.dtype
) -> list[tuple[int, str]]:
    """Write the pixels and what is known of each image; returns the bad ones."""
    bad: list[tuple[int, str]] = []
    positions: list[int] = []
    digests: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    meter = Meter()
    # Plain writes, not a memory map: a full disk is then an error that can be reported, not a SIGBUS.
    with (folder / _PIXELS).open("wb") as file:
        _write_header(file, 0, shape, dtype)
        for position, image in images:
            if isinstance(image, str):
                bad.append((position, image))
                continue
            file.write(image.pixels.data)
            positions.append(position)
            digests.append(image.digest)
            sizes.append(image.size)
            meter.add(image.sample)
        file.seek(0)
        _write_header(file, len(positions), shape, dtype)
        file.flush()
        os.fsync(file.fileno())
    np.savez(
        folder / _ROWS,
        positions=np.asarray(positions, np.int64),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
        sizes=np.asarray(sizes, np.int32).reshape(-1, 2),
        measures=meter.result(),
    )
    return bad


def _write_header(file: BinaryIO, count: int, shape: tuple[int, int, int], dtype: np.dtype) -> None:
    """The .npy header; numpy pads it so that its length does not depend on the number of images."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _folder(key: str) -> Path:
    return cache_dir() / "images" / key
