"""What the user names, files, folders, patterns, a list on stdin, as one list of pictures and videos."""

import glob
import hashlib
import logging
import os
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, Self

from fer_hierarchy.hierarchy.data.folders import IMAGE_SUFFIXES, FolderWalk, is_image
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.printing import without_password
from fer_hierarchy.inference.output.rows import FORMULA
from fer_hierarchy.inference.sources.kinds import PICTURE, SOUNDS, VIDEO, kind_of, kind_of_content

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts")
COPIED = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # kinds of pictures that are copied as such; all others as .png
STDIN = "-"
_ADDRESS = re.compile(r"https?://|data:[^,]{0,100};base64,", re.IGNORECASE)
_NO_PICTURE = "a video, which is predicted from a file: --mode predict FILE; --mode webcam --source takes streams"
_LONGEST = 100  # letters of a copy's name
_MARKS = {BOM_UTF8: "utf-8-sig", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}  # what a list may begin with

if TYPE_CHECKING:  # a word that names nothing is refused without waiting for it
    import numpy as np

log = logging.getLogger("fer_hierarchy")


@dataclass(frozen=True)
class Item:
    """One picture or video.

    Attributes:
        name: The path as the user gave it or as it was found, or the address without secrets; what rows call it.
        below: Where its annotated copy goes below the folder of those.
        address: Of a picture that is in no file: http(s) or a data URI.
        allow_private: Whether the address may be one of a private network.
    """

    name: str
    below: str
    address: str | None = None
    allow_private: bool = False

    @classmethod
    def at(cls, address: str, *, allow_private: bool = False) -> Self:
        """The picture at an address."""
        name = shown_address(address)
        last = "" if name.startswith("data:") else re.split(r"[?#]", name)[0].rpartition("/")[2]
        below = re.sub(r"[^\w.-]", "_", last).strip(".")[-_LONGEST:]
        return cls(name, below or "picture", address, allow_private)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name)

    @cached_property
    def is_video(self) -> bool:
        """Whether it is a video by its content, or by its name where the content is neither film nor picture."""
        if self.address is not None:
            return False
        kind = kind_of(self.path)
        return kind == VIDEO or (kind != PICTURE and self.name.lower().endswith(VIDEOS))

    def pixels(self) -> "np.ndarray":
        """The picture, uint8 (h, w) grey or (h, w, 3) RGB.

        Raises:
            BadImageError: It cannot be read.
        """
        from fer_hierarchy.hierarchy.data.decoding import BadImageError, decode_image, read_image

        if self.address is None:
            if self.is_video:
                raise BadImageError(_NO_PICTURE)
            return read_image(self.path)
        from fer_hierarchy.inference.sources.addresses import fetch

        content = fetch(self.address, allow_private=self.allow_private)
        if kind_of_content(content) == VIDEO:
            raise BadImageError(_NO_PICTURE)
        return decode_image(content)


def is_address(word: str) -> bool:
    """Whether a word is the address of a picture and no path: http(s), or a data URI, which holds the picture."""
    return bool(_ADDRESS.match(word))


def shown_address(address: str) -> str:
    """An address as rows and messages have it: without user, password and other secrets, a data URI by its digest."""
    scheme, _, rest = address.partition(":")
    if scheme.lower() == "data":
        digest = hashlib.blake2b(rest.encode(errors="surrogateescape"), digest_size=6).hexdigest()
        return f"data:{rest.partition(',')[0]},{digest}"
    before, slashes, place = address.partition("//")
    machine, slash, path = place.partition("/")
    return without_password(before + slashes + machine.rpartition("@")[2] + slash + path)


def find_items(
    words: Sequence[str], stdin: BinaryIO, made: Collection[Path] = (), *, allow_private: bool = False
) -> list[Item]:
    """Every picture and video that the words name, each once.

    Args:
        words: Files, folders (searched with all folders in them), patterns with `*`, `?` or `[]`, addresses of
            pictures, or `-` for a list of paths and addresses on stdin, one a line or, as `find -print0` writes them,
            each with a NUL behind it; a file that is listed there need not exist.
        stdin: Where the list is read from.
        made: Files and folders that such a call makes: pictures are not searched for there.
        allow_private: Whether addresses may be those of a private network.

    Raises:
        UserError: A word names nothing, a folder cannot be read, or there is nothing to predict.
    """
    found: dict[str, Item] = {}
    walk = FolderWalk(apart=[path for path in made if path.is_dir()])
    own = {os.path.realpath(path) for path in made}
    targets: set[str] = set()
    for word in words:
        for given, below in _expanded(word, stdin, walk, own):
            if is_address(given):
                item = Item.at(given, allow_private=allow_private)
                if given not in found:
                    found[given] = replace(item, below=_free(item.below, targets))
                continue
            name = os.path.join(os.curdir, given) if given.startswith(FORMULA) else given  # noqa: PTH118 - as below
            key = os.path.abspath(name)  # noqa: PTH100 - resolve() reads the disk for each of 100,000 files
            if key not in found:
                found[key] = Item(name, _free(below, targets))
    for line in walk.left_out():
        log.warning("%s", line)
    if not found:
        known = " ".join(sorted(IMAGE_SUFFIXES + VIDEOS))
        raise UserError(f"{' '.join(words)}: no picture and no video there; known: {known}")
    return list(found.values())


def _expanded(word: str, stdin: BinaryIO, walk: FolderWalk, own: set[str]) -> Iterator[tuple[str, str]]:
    """(name, place of its annotated copy) of all files that one word names."""
    if word == STDIN:
        yield from _listed(stdin)
    elif is_address(word):
        yield word, word
    elif os.path.isdir(word):  # noqa: PTH112 - no error for any text
        yield from _inside(Path(word), walk, own)
    elif os.path.exists(word):  # noqa: PTH110 - as above
        yield word, PurePath(word).name
    elif glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - the pattern may be an absolute path
        if not matches:
            raise UserError(f"{word}: the pattern matches no file")
        for match in matches:
            real = Path(match).resolve()
            if own.isdisjoint(map(str, (real, *real.parents))):
                yield from _inside(Path(match), walk, own) if real.is_dir() else [(match, PurePath(match).name)]
    else:
        known = "a picture, a video, a folder, a pattern, an http(s) address of a picture, or -"
        raise UserError(f"{word}: no such file or folder; expected {known}")


def _listed(stdin: BinaryIO) -> Iterator[tuple[str, str]]:
    try:
        text = _decoded(stdin.read())
    except UnicodeDecodeError as error:
        raise UserError(f"-: the list on stdin is no text ({error.reason}); expected a path on each line") from error
    names = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    yield from ((name, PurePath(name).name) for name in names if name.strip())


def _decoded(content: bytes) -> str:
    """A list of names in its mark's encoding, in UTF-16 where every other byte is 0, else in that of file names."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding)
    if b"\n" in content and not content[1::2].strip(b"\0"):
        return content.decode("utf-16-le")
    return os.fsdecode(content)


def _inside(folder: Path, walk: FolderWalk, own: set[str]) -> Iterator[tuple[str, str]]:
    """Pictures and videos of a folder and of all folders in it; hidden ones and files of other kinds are left out."""
    others = 0
    try:
        for path in walk.files(folder):
            if own and os.path.realpath(path) in own:
                continue
            name = os.path.basename(path)  # noqa: PTH119 - as above
            known = is_image(name) or (not name.startswith(".") and _is_film(path))
            others += not known
            if known:
                yield path, os.path.relpath(path, folder)
    except OSError as error:
        raise UserError(
            f"folder {error.filename} cannot be read: {error.strerror}; fix that or name its files"
        ) from error
    if others:
        log.warning("%s: files that are no pictures or videos by their names were left out (%d).", folder, others)


def _is_film(path: str) -> bool:
    """Whether a file in a folder is a video: by its name, or by its content where its name is no sound's."""
    return path.lower().endswith(VIDEOS) or (not path.lower().endswith(SOUNDS) and kind_of(Path(path)) == VIDEO)


def _free(below: str, targets: set[str]) -> str:
    """`below`, or with a number where a file of another folder has that place already."""
    path, number, place = PurePath(below), 1, below
    while place in targets:
        number += 1
        place = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    targets.add(place)
    return place


def place_of_copy(item: Item, folder: Path, flag: str) -> Path:
    """Where the copy of a file goes; its folder is made.

    Args:
        item: The file.
        folder: Of all copies, which lie in it as the originals do.
        flag: What messages call the folder.

    Raises:
        UserError: The folder cannot be made.
    """
    path = _copy(item, folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}: folder {path.parent} cannot be made ({error.strerror})") from error
    return path


def check_copies(items: Sequence[Item], folder: Path, flag: str) -> None:
    """Refuse a folder in which the copy of one file would replace one of the files.

    Raises:
        UserError: So it is.
    """
    taken = [(item, path) for item in items if (path := _copy(item, folder)).exists()]
    originals = {os.path.realpath(item.name): item.name for item in items} if taken else {}
    for item, path in taken:
        if other := originals.get(os.path.realpath(path)):
            replaced = "it" if other == item.name else other
            raise UserError(f"{flag} {folder}: the copy of {item.name} would replace {replaced}; name another folder")


def _copy(item: Item, folder: Path) -> Path:
    path = folder / item.below
    suffix = path.suffix.lower()
    if item.is_video:
        return path if suffix == ".mp4" else path.with_name(f"{path.name}.mp4")
    return path if suffix in COPIED else path.with_name(f"{path.name}.png")
