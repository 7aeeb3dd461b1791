"""Data sources: one module for each family of data sets; its name is the data set's name, its file is its registration.

A module's name has "_" where the data set's has "-".

A source module has `detect(path) -> bool`, cheap and from the content; `read(path) -> manifest`; `IMAGE_SIZE`, the
(height, width) that every image has, or None; and `LAYOUT`, what it looks like on disk. `fits(path) -> bool` may be
added where a user's word suffices to read what `detect` alone would not dare to name, `READS_CSV = True` where a path
may be a csv. A source with depth has `DEPTH`, a `DepthScale`, and `read_depth(path, picture)`; with `CACHED = True`
what that returns is kept on disk. `problem(path, depth_path) -> str | None` may refuse a single face.
"""

import importlib
import logging
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fer_hierarchy.hierarchy.data.folders import is_image, require_text
from fer_hierarchy.hierarchy.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("fer_hierarchy")

_GENERAL = "folder"
EMBEDDED = ("synthetic", "synthetic-rgbd")  # need no path
_WITH_FERPLUS = "fer2013"
_DEPTH, _MOST_FOLDERS = 6, 1000  # levels of folders that a data set is searched in, and folders of one


def source_names() -> tuple[str, ...]:
    """Names of all data sources in the order of detection: the specific ones first."""
    modules = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    names = [name.replace("_", "-") for name in modules]
    return tuple(sorted(names, key=lambda name: (name == _GENERAL, name)))


def expected_size(name: str) -> tuple[int, int] | None:
    """The (height, width) in pixels that every image of a source has; None where sizes vary."""
    return source_module(name).IMAGE_SIZE


def read_source(path: Path | None, *, dataset: str | None = None, ferplus: Path | None = None) -> "pd.DataFrame":
    """Read the manifest of a data set, whatever its layout.

    Args:
        path: A folder (or one of up to five folders around it), a csv or a zip; None for one of `EMBEDDED`.
        dataset: The source's name, where the user gives it; None to recognise it from the content.
        ferplus: Votes of FER+ to take labels from: fer2013new.csv with a csv of FER-2013, a table by file name with
            Kaggle's folder copy.

    Returns:
        The manifest; see `hierarchy.data.manifest`.

    Raises:
        UserError: Nothing there, nothing known, or content that breaks the rules of its kind.
    """
    if dataset is not None:
        source_module(dataset)
    if path is None:
        return _read_embedded(dataset, ferplus)
    try:
        name, root = _locate(_unpacked(path), dataset, path)
        return _read(name, root, ferplus)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error


@cache
def source_module(name: str) -> ModuleType:
    """The module of a data source.

    Raises:
        UserError: There is none of that name.
    """
    if name not in source_names():
        raise UserError(f"unknown data set {name!r}; known: {', '.join(source_names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def _read_embedded(dataset: str | None, ferplus: Path | None) -> "pd.DataFrame":
    name = dataset or EMBEDDED[0]
    if name not in EMBEDDED:
        raise UserError(f"--dataset {dataset} needs the place of the data: --data PATH")
    return _read(name, None, ferplus)


def _read(name: str, root: Path | None, ferplus: Path | None) -> "pd.DataFrame":
    if ferplus is None:
        return source_module(name).read(root)
    if name == "ferplus":
        raise UserError(f"{root} holds the votes of FER+ already, in label.csv; leave out --ferplus")
    if name != _WITH_FERPLUS:
        raise UserError(f"FER+ labels belong to {_WITH_FERPLUS}, but the data set is {name}; leave out --ferplus")
    if not ferplus.is_file():
        raise UserError(f"FER+ labels: {ferplus} is not a file; fer2013new.csv or a table by file name is needed")
    return source_module(name).read(root, ferplus=ferplus)


def _unpacked(path: Path) -> Path:
    """The folder or csv to search; a zip is unpacked to the cache."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a folder, a csv or a zip")
    path = path.resolve()
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: is a pipe or a device; give a folder, a csv or a zip")
    require_text(path)
    if path.is_file() and path.suffix.lower() == ".zip":
        from fer_hierarchy.hierarchy.data.archive import extract

        return extract(path)
    return path


def _locate(root: Path, dataset: str | None, given: Path) -> tuple[str, Path]:
    """Name of the source and where exactly it lies: `root`, or some folders further down."""
    if root.is_file() and (dataset is None or hasattr(source_module(dataset), "READS_CSV")):
        # Even where nothing fits: the reader of csv files explains best what is wrong with one.
        return dataset or _recognise(root) or _WITH_FERPLUS, root
    if root.is_dir() and not any(root.iterdir()):
        raise UserError(f"{given}: the folder is empty; give a folder with faces, a csv or a zip")
    name, place = _find_forced(root, dataset, given) if dataset else _find_any(root, given)
    _note_beside(root, place, given)
    return name, place


def _levels(root: Path) -> Iterator[list[Path]]:
    """The folder, the folders in it, the folders in these and so on: archives wrap data sets in some."""
    from fer_hierarchy.hierarchy.data.sources._listing import subfolders

    level = [root]
    for _ in range(_DEPTH):
        yield level
        level = [place / name for place in level[:_MOST_FOLDERS] for name in subfolders(place)]


def _recognise(place: Path) -> str | None:
    return next((name for name in source_names() if _fits(name, place)), None)


def _fits(name: str, place: Path, by: str = "detect") -> bool:
    """Whether a source finds its data set at a place; embedded ones find theirs nowhere."""
    module = source_module(name)
    return getattr(module, by, getattr(module, "detect", lambda _: False))(place)


def _find_any(root: Path, given: Path) -> tuple[str, Path]:
    found = _first_found(root)
    if found:
        return _only(found, root, given)
    from fer_hierarchy.hierarchy.data.sources._listing import subfolders

    zips = sorted(place for place in root.glob("*") if place.suffix.lower() == ".zip")
    if zips and not subfolders(root):
        raise UserError(f"{given}: holds no data set but an archive; give that: {zips[0]}")
    # The reader of any folder explains best what is missing: it names the folders that it found.
    return _GENERAL, root


def _find_forced(root: Path, dataset: str, given: Path) -> tuple[str, Path]:
    fitting = ([(dataset, place) for place in level if _fits(dataset, place, "fits")] for level in _levels(root))
    found = next(filter(None, fitting), None)
    if found:
        return _only(found, root, given)
    others = "".join(f"; {place} looks like {name}" for name, place in _first_found(root)[:1])
    raise UserError(f"{given} does not look like {dataset}, which is {source_module(dataset).LAYOUT}{others}")


def _first_found(root: Path) -> list[tuple[str, Path]]:
    """The data sets of the first level of folders that holds any, with their names."""
    levels = ([(name, place) for place in level if (name := _recognise(place))] for level in _levels(root))
    return next(filter(None, levels), [])


def _only(found: list[tuple[str, Path]], root: Path, given: Path) -> tuple[str, Path]:
    if len(found) > 1:
        listed = ", ".join(f"{place.relative_to(root)} ({name})" for name, place in found[:5])
        raise UserError(f"{given}: holds several data sets: {listed}; give the path of one, or a --data for each")
    return found[0]


def _note_beside(root: Path, place: Path, given: Path) -> None:
    """Warn of folders and images beside the folder that is read, where that lies further down."""
    from fer_hierarchy.hierarchy.data.sources._listing import quoted, subfolders

    way = [place, *place.parents]
    around = way[1 : way.index(root) + 1]
    folders = [other for folder in around for name in subfolders(folder) if (other := folder / name) not in way]
    beside = folders + [path for folder in around for path in sorted(folder.iterdir()) if is_image(path.name)]
    if beside:
        names = quoted([str(path.relative_to(root)) for path in beside])
        log.warning("%s: only %s is read; left out beside it: %s.", given, place.relative_to(root), names)
