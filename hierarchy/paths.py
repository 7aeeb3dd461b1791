"""Where the program keeps things when the user names no place, and what the files of a run are called."""

import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp

_BEING_MADE = ".being-made"  # in a temporary folder; the process that makes it holds the file's lock
_ABOVE = Path(__file__).resolve().parent.parent
CHECKOUT = _ABOVE if (_ABOVE / "tf_model.py").is_file() else None  # None: this is an installed copy
ROOT = CHECKOUT or Path.cwd()
RESULTS = ROOT / "results"
LOGS = ROOT / "logs"
# The hierarchy that predicts where no run is named; a wheel brings it along.
PUBLISHED = RESULTS / "fer2013" / "shared" if CHECKOUT else _ABOVE / "weights" / "shared"
DEFAULT_DATA = ROOT / "data" / "fer2013"
_UMASK = os.umask(0o077)  # what new files are closed to; there is no way to read it but to set it
os.umask(_UMASK)
COMMAND = ("python", "tf_model.py") if CHECKOUT else ("fer-hierarchy",)  # how the program is called
CALL = " ".join(COMMAND)

# What stands in the folder of a run.
CONFIG = "config.json"
ENVIRONMENT = "environment.json"
SPLITS = "splits.csv"
BAD = "bad.csv"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"  # of the test faces
VALIDATION_PREDICTIONS = "predictions_validation.csv"
REPORT = "report.html"  # the last file that a run writes
STAGES = "stages"
# What stands in the folder of a stage.
STAGE_RECORD = "stage.json"
HISTORY = "history.csv"
MODEL = "model.keras"
FEATURES = "features.csv"


def cache_dir() -> Path:
    """Folder of decoded images, extracted archives and synthetic faces; the environment variable FER_CACHE moves it.

    By default `.cache` in a checkout, `fer-hierarchy` in the user's cache folder for an installed copy.
    """
    if given := os.environ.get("FER_CACHE"):
        return Path(given)
    return CHECKOUT / ".cache" if CHECKOUT else _users_caches() / "fer-hierarchy"


def _users_caches() -> Path:
    """Where the system keeps a user's caches."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def is_file(path: str | Path) -> bool:
    """Whether a file is there; False also for a name that no file can have, where `Path.is_file` raises."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def require_file(path: Path) -> None:
    """Refuse what is there and no file, before it is opened: a pipe would be waited for, a device read without end.

    Raises:
        OSError: It is a folder, a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file but a folder, a pipe or a device")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` only when the block ends without an error.

    Args:
        path: The final file. The temporary name keeps its suffix, because writers choose the format by it.
    """
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix, delete=False) as file:
        temporary = Path(file.name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # the files of tempfile are closed to others
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a failed write names no file, or the temporary one
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file or folder is one that a killed process has left, by the names that `tempfile` makes for us."""
    return bool(re.fullmatch(r"\..+-[a-z0-9_]{8}(\.\w+)?", path.name))


@contextmanager
def atomic_folder(path: Path, keep: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Yield a new folder beside `path`; it takes the place of `path` only when the block ends without an error.

    Args:
        path: The final folder.
        keep: Whether what stands at `path` by then, because another process made it, may stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock  # here: the command line imports this module before the arguments are valid

    _remove_stale(path)
    temporary = Path(mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        with FileLock(temporary / _BEING_MADE):
            yield temporary
            (temporary / _BEING_MADE).unlink()
        temporary.chmod(0o777 & ~_UMASK)  # the folders of mkdtemp are closed to others
        if not keep():
            shutil.rmtree(path, ignore_errors=True)
            _rename(temporary, path, keep)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(path: Path) -> None:
    """Remove what killed processes have left of the folder `path`; they hold no lock any more."""
    from filelock import FileLock, Timeout

    for left in path.parent.glob(f".{glob.escape(path.name)}-*"):
        if not (is_temporary(left) and (left / _BEING_MADE).is_file()):
            continue
        try:
            with FileLock(left / _BEING_MADE, timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        except Timeout:
            continue  # another process is making it


def _rename(temporary: Path, path: Path, keep: Callable[[], bool]) -> None:
    try:
        temporary.rename(path)
    except OSError:
        if not keep():
            raise
