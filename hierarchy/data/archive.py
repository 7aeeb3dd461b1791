"""Zip archives as downloaded: checked before anything is written, unpacked once into the cache."""

import logging
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from hashlib import blake2b
from pathlib import Path, PurePosixPath, PureWindowsPath

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_folder, cache_dir

LOG = logging.getLogger("fer_hierarchy")

# The largest set that we read (AffectNet) unpacks to about 120 GB; pixels written as text shrink about fourfold.
MAX_BYTES = 256 * 2**30
MAX_ENTRIES = 4_000_000
MAX_RATIO = 100
# Small archives may shrink as much as they like: a few blank test images are no attack.
RATIO_MATTERS_FROM = 64 * 2**20
SPARE_BYTES = 64 * 2**20

_CHUNK = 2**20
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


def extract(zip_path: Path) -> Path:
    """Unpack a zip into the cache, once; later calls find the folder of the first.

    The folder appears only when everything in it is complete: an interrupted or failed call leaves nothing behind.

    Args:
        zip_path: The archive.

    Returns:
        The folder `<cache>/archives/<name>-<key>`; the key changes with the archive's place, size and time.

    Raises:
        UserError: The archive is damaged, encrypted, unsafe or too large, or the cache cannot hold it.
    """
    target = _target(zip_path)
    if target.is_dir():
        return target
    try:
        with zipfile.ZipFile(zip_path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.startswith("__MACOSX/")]
            total = _check(zip_path, entries)
            _unpack(archive, entries, target, total)
    except UserError:
        raise  # its words are right already; it is a ValueError too
    except _DAMAGE as error:
        raise UserError(f"{zip_path}: not a complete zip archive ({error}); download it again") from error
    except NotImplementedError as error:
        raise UserError(f"{zip_path}: packed in a way that Python cannot read ({error}); unpack it by hand") from error
    except OSError as error:
        place = f"{zip_path}: cannot be unpacked into {target.parent}"
        raise UserError(f"{place}: {error.strerror or error}; FER_CACHE names another folder") from error
    except (ValueError, LookupError, struct.error) as error:  # what zipfile raises where a directory is damaged
        raise UserError(f"{zip_path}: not a complete zip archive ({error}); download it again") from error
    return target


def _target(zip_path: Path) -> Path:
    """Where the archive's content belongs."""
    try:
        facts = zip_path.stat()
    except OSError as error:
        raise UserError(f"{zip_path}: cannot be read ({error.strerror})") from error
    identity = f"{zip_path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"
    key = blake2b(identity.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return cache_dir().resolve() / "archives" / f"{zip_path.stem}-{key}"


def _check(zip_path: Path, entries: list[zipfile.ZipInfo]) -> int:
    """Refuse unsafe archives from their directory alone; returns the bytes that the content will take."""
    if len(entries) > MAX_ENTRIES:
        raise UserError(f"{zip_path}: holds {len(entries)} files; at most {MAX_ENTRIES} are unpacked")
    for entry in entries:
        _check_entry(zip_path, entry)
    names = {entry.filename for entry in entries}
    if len(names) < len(entries):
        raise UserError(f"{zip_path}: holds two files of the same name; unpack it by hand and choose")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BYTES:
        raise UserError(f"{zip_path}: would unpack to {total / 2**30:.1f} GB; at most {MAX_BYTES / 2**30:.0f} GB")
    # Measured against the whole file, because the entries of a crafted archive may share the same packed bytes.
    if total > RATIO_MATTERS_FROM and total > MAX_RATIO * zip_path.stat().st_size:
        raise UserError(
            f"{zip_path}: would unpack to more than {MAX_RATIO} times its size ({total / 2**30:.1f} GB), "
            f"which no set of images does; it is refused as a decompression bomb"
        )
    return total


def _check_entry(zip_path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.drive or windows.root or ".." in windows.parts:
        raise UserError(f"{zip_path}: the entry {name!r} points outside of the archive; it is refused as unsafe")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise UserError(f"{zip_path}: the entry {name!r} is a symbolic link; it is refused as unsafe")
    if entry.flag_bits & 0x1:
        raise UserError(f"{zip_path}: is encrypted; unpack it by hand and give the folder")


def _unpack(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], target: Path, total: int) -> None:
    """Make `target` of the entries, if there is room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if total + SPARE_BYTES > free:
        raise UserError(
            f"{archive.filename}: needs {total / 2**20:.0f} MB in {target.parent}, which has {free / 2**20:.0f} MB "
            f"free; make room or set FER_CACHE to another folder"
        )
    LOG.info("unpacking %s (%d files, %.0f MB)", archive.filename, len(entries), total / 2**20)
    with atomic_folder(target, keep=target.is_dir) as temporary:
        _write_entries(archive, entries, temporary, total)


def _write_entries(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], folder: Path, total: int) -> None:
    """Write every entry below `folder`; more than the `total` bytes that the directory promises is damage."""
    written = 0
    made: set[PurePosixPath] = set()
    for entry in entries:
        inside = PurePosixPath(entry.filename.replace("\\", "/"))
        parent = inside if entry.is_dir() else inside.parent
        if parent not in made:
            (folder / parent).mkdir(parents=True, exist_ok=True)
            made.add(parent)
        if entry.is_dir():
            continue
        with archive.open(entry) as packed, (folder / inside).open("xb") as file:
            while chunk := packed.read(_CHUNK):
                written += len(chunk)
                if written > total:
                    raise zipfile.BadZipFile("holds more than its directory promises")
                file.write(chunk)
