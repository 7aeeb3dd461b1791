"""Decoded images on disk: one folder per set of files, written whole or not at all, read back as a memory map."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fer_hierarchy.hierarchy.data.audit.pixels.measures import MEASURES, Meter
from fer_hierarchy.hierarchy.data.decoding import Decoded
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_folder, cache_dir

_PIXELS = "pixels.npy"
_ROWS = "rows.npz"
_BAD = "bad.json"
_KINDS = (np.uint8, np.uint16)
_BLOCK = 1024  # images copied at once when the order is mended


@dataclass(frozen=True)
class CacheEntry:
    """What decoding a manifest gave.

    Attributes:
        pixels: (n, size, size, channels) uint8, or uint16 where the last plane is depth; read-only memory map, in
            manifest order.
        positions: (n,) int64, manifest position of each usable image, ascending.
        digests: (n, 16) uint8, see `Decoded.digest`.
        sizes: (n, 2) int32, native height and width.
        measures: (n, len(MEASURES)) float32, see `hierarchy.data.audit.pixels.measures`.
        bad: (manifest position, reason) of each image that is not usable.
    """

    pixels: np.ndarray
    positions: np.ndarray
    digests: np.ndarray
    sizes: np.ndarray
    measures: np.ndarray
    bad: tuple[tuple[int, str], ...]


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


class EntryWriter:
    """Collects decoded images, a block at a time, in a temporary folder; `images` and `reasons` may come in any order.

    Args:
        folder: An empty folder.
        shape: (size, size, channels) of each image.
        dtype: uint8, or uint16 for faces with depth.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: type = np.uint8) -> None:
        self.bad: list[tuple[int, str]] = []
        self._folder = folder
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._positions: list[int] = []
        self._digests: list[bytes] = []
        self._sizes: list[tuple[int, int]] = []
        self._meter = Meter()

    def write(self, images: Iterable[tuple[int, Decoded | str]]) -> None:
        """Write all of (manifest position, image or reason) to the folder; the memory used does not grow with them."""
        # Plain writes, not a memory map: a full disk is then an error that can be reported, not a SIGBUS.
        with (self._folder / _PIXELS).open("wb") as file:
            self._write_header(file)
            for position, image in images:
                if isinstance(image, str):
                    self.bad.append((position, image))
                else:
                    file.write(image.pixels.data)
                    self._positions.append(position)
                    self._digests.append(image.digest)
                    self._sizes.append(image.size)
                    self._meter.add(image.sample)
            file.seek(0)
            self._write_header(file)
            file.flush()
            os.fsync(file.fileno())
        self._finish()

    def _write_header(self, file: BinaryIO) -> None:
        """The .npy header; numpy pads it so that its length does not depend on the number of images."""
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (len(self._positions), *self._shape)}
        np.lib.format.write_array_header_1_0(file, header)

    def _finish(self) -> None:
        order = np.argsort(np.asarray(self._positions, np.int64), kind="stable")
        if (order[1:] < order[:-1]).any():
            self._reorder(order)
        np.savez(
            self._folder / _ROWS,
            positions=np.asarray(self._positions, np.int64)[order],
            digests=np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 16)[order],
            sizes=np.asarray(self._sizes, np.int32).reshape(-1, 2)[order],
            measures=self._meter.result()[order],
        )
        self.bad.sort()
        (self._folder / _BAD).write_text(json.dumps(self.bad), encoding="utf-8")

    def _reorder(self, order: np.ndarray) -> None:
        """Bring the images into manifest order: csv rows are read in the file's order, whatever the manifest's."""
        source, target = self._folder / _PIXELS, self._folder / "reordered.npy"
        pixels = np.load(source, mmap_mode="r", allow_pickle=False)
        with target.open("wb") as file:
            self._write_header(file)
            for start in range(0, len(order), _BLOCK):
                file.write(pixels[order[start : start + _BLOCK]].data)
            file.flush()
            os.fsync(file.fileno())
        target.replace(source)


@contextmanager
def new_entry(key: str, shape: tuple[int, int, int], dtype: type = np.uint8) -> Iterator[EntryWriter]:
    """Yield a writer whose images become the entry of `key` when the block ends without an error.

    Raises:
        UserError: The cache folder cannot be written or its disk is full. Nothing is left behind.
    """
    try:
        # A damaged entry makes way. Whoever built the same key meanwhile has written the same bytes.
        with atomic_folder(_folder(key)) as temporary:
            yield EntryWriter(temporary, shape, dtype)
    except OSError as error:
        raise UserError(
            f"image cache {cache_dir()}: cannot write ({error.strerror or error}); "
            f"make room there or set FER_CACHE to another folder"
        ) from error


def _folder(key: str) -> Path:
    return cache_dir() / "images" / key
