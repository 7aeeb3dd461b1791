"""One list of image suffixes and one walk of folders, for training, audit and prediction alike."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.printing import printable

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".avif", ".avifs"),
)
# What Windows, macOS, Linux, Android and network drives put among a user's files; more begin with "." or "$".
_SYSTEM_FOLDERS = {
    *("__macosx", "system volume information", "recycler", "lost+found", "lost.dir", "thumbnails"),
    *("@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "network trash folder", "temporary items"),
}
_SYSTEM_FILES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", ".nomedia", ".picasa.ini"}


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden or belongs to the operating system, and not to the data."""
    return name.startswith((".", "$")) or name.lower() in _SYSTEM_FOLDERS


def is_system_file(name: str) -> bool:
    """Whether a file is one that an operating system writes into every folder."""
    return name.startswith("._") or name.lower() in _SYSTEM_FILES


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def require_text(name: str | Path) -> None:
    """Refuse a name that is not UTF-8, which no table of a run could hold.

    Raises:
        UserError: With the name.
    """
    text = os.fspath(name)
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = printable(text)
        raise UserError(
            f"{shown}: the name is not UTF-8; rename it (convmv -f latin1 -t utf8 --notest does it)"
        ) from None


class FolderWalk:
    """Goes through folders, each real one once however links lead.

    Args:
        apart: Folders that are gone through by themselves: no link in another leads into them.

    Attributes:
        links: Those that were not followed, because they lead to where the walk has been or comes from.
        system: Hidden folders and those of the operating system.
    """

    def __init__(self, apart: Iterable[Path] = ()) -> None:
        self.links: list[str] = []
        self.system: list[str] = []
        self._been: set[tuple[int, int]] = set()
        self._apart = {_identity(folder) for folder in apart}

    def files(self, folder: Path) -> Iterator[str]:
        """Paths of all files below a folder but the system's, those of a folder before those of its folders.

        Raises:
            OSError: A folder cannot be read.
        """
        around = self._apart | {_identity(parent) for parent in folder.resolve().parents}
        waiting = [os.fspath(folder)]
        while waiting:
            place = waiting.pop()
            identity = _identity(place)
            if identity in self._been or (identity in around and place != os.fspath(folder)):
                self.links += [place] if os.path.islink(place) else []  # noqa: PTH114 - as below
                continue
            self._been.add(identity)
            with os.scandir(place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            inside = [entry for entry in listed if entry.is_dir()]
            self.system += [entry.path for entry in inside if is_system_folder(entry.name)]
            yield from (entry.path for entry in listed if not entry.is_dir() and not is_system_file(entry.name))
            waiting += [entry.path for entry in reversed(inside) if not is_system_folder(entry.name)]

    def left_out(self) -> list[str]:
        """One line for each kind of folder that was not gone through."""
        kinds = {
            "Links to folders that are read anyway": self.links,
            "Hidden folders and folders of the operating system": self.system,
        }
        return [f"{kind} were left out ({len(found)}): {found[0]}." for kind, found in kinds.items() if found]


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - folders of a walk are text, for speed
    return status.st_dev, status.st_ino
