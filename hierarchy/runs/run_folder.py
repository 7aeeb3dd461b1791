"""The run folder: a free name, config, environment, splits, notes and logging."""

import csv
import errno
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fer_hierarchy.hierarchy.config import SYNTHETIC, RunConfig
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.json_text import parse_file
from fer_hierarchy.hierarchy.paths import CHECKOUT, atomic_write, is_temporary, require_file
from fer_hierarchy.hierarchy.printing import PrintableFormatter

if TYPE_CHECKING:  # the command line imports this module before the arguments are valid
    import pandas as pd

FULL_OR_LOCKED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)

_PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "scikit-learn",
    "imbalanced-learn",
    "opencv-python",
    "matplotlib",
    "torch",
)

_UNFINISHED = ".unfinished"  # in a folder whose making was begun
_LOCK = ".unfinished.lock"  # held by the process that makes it
_LONGEST_NAME = 200  # bytes; file systems take 255, and the program may set words before and behind

log = logging.getLogger("fer_hierarchy")


class _Notes(logging.Handler):
    """Keeps the text of each warning, once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.lines:
            self.lines.append(text)


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Collect what the reader of a report must know: every warning of our logger while the block runs."""
    handler = _Notes()
    log.addHandler(handler)
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)


class _LogFile(logging.FileHandler):
    """Ends the run like any other failed write, where logging would print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's signature
        error = sys.exception()
        if isinstance(error, OSError):
            error.filename = self.baseFilename
        raise


@contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Append our log, with times, to `folder`/run.log while the block runs."""
    _make_folder(folder)
    handler = _LogFile(folder / "run.log", encoding="utf-8")
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s", keep="\n"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # what could not be written has been reported already
            handler.close()


def default_name(config: RunConfig, dataset: str, results: Path) -> str:
    """A free name made of data set, mode, model and seed; `-2`, `-3`, ... where it is taken."""
    models = dict.fromkeys([config.stage.model, *(s["model"] for s in config.stages.values() if "model" in s)])
    seen = [config.stage.modality] if config.stage.modality else []
    fold = [f"fold{config.data.fold}of{config.data.folds}"] if config.data.folds else []
    model = re.sub(r"[^\w.+-]+", "-", "+".join(models))
    trunk = ["shared"] if config.shares_trunk else []
    parts = [dataset, config.mode, *trunk, model, *seen, *fold, f"seed{config.seed}"]
    if config.data.exclude:
        parts.insert(2, "no-" + "-".join(config.data.exclude))
    if config.data.emotions:
        parts.insert(2, "-".join(config.data.emotions))
    if config.framework != "keras":
        parts.insert(2, config.framework)
    return free_name("-".join(parts)[:_LONGEST_NAME], results)


def free_name(stem: str, results: Path) -> str:
    """`stem`, or with the first number behind it that names no folder in `results`."""
    name, number = stem, 1
    while is_taken(results / name):
        number += 1
        name = f"{stem}-{number}"
    return name


def marked(name: str, *, synthetic: bool) -> str:
    """`name`, with *synthetic* in it where the faces are."""
    return f"{SYNTHETIC}-{name}" if synthetic and SYNTHETIC not in name else name


def check_name(name: str | None, results: Path, option: str = "--name") -> None:
    """Refuse the name in `option` where it is taken or would leave the results folder.

    Raises:
        UserError: With a way out.
    """
    if name is None:
        return
    if not re.fullmatch(r"\w[\w.+-]*", name) or len(name.encode()) > _LONGEST_NAME:
        raise UserError(
            f"{option} {name!r}: use up to {_LONGEST_NAME} letters, digits, '_', '-', '+' and '.', "
            f"not starting with '-', '+' or '.'"
        )
    if is_taken(results / name):
        raise UserError(f"{option} {name!r}: {results / name} exists already; choose another name or --resume {name}")


def is_taken(folder: Path) -> bool:
    """Whether a folder has content that is not only what a killed process has left of a making that it had begun.

    An empty folder is free: the run is made in it.
    """
    if not folder.exists():
        return False
    from filelock import FileLock, Timeout  # here: the command line imports this module before the arguments are valid

    try:
        if not (folder / _UNFINISHED).exists():
            return not folder.is_dir() or bool(_others(folder))
        with FileLock(folder / _LOCK, timeout=0):
            finished = not (folder / _UNFINISHED).exists()  # just now, by the process that made it
            if finished:
                (folder / _LOCK).unlink()
            return finished
    except Timeout:
        return True
    except FileNotFoundError:  # another process has failed and removed it
        return False


@contextmanager
def new_folder(results: Path, name: str) -> Iterator[Path]:
    """Yield the new folder `results`/`name` for what cannot be resumed; it goes away when the block fails.

    What a process leaves that is killed in the block counts for nothing: the next one with the same name begins anew.
    Of several processes that begin at once one goes on.

    Raises:
        UserError: It exists, or the results folder cannot be written.
    """
    check_name(name, results)
    folder = results / name
    _make_folder(folder)
    from filelock import FileLock, Timeout  # here for the same reason

    with ExitStack() as held:
        try:
            held.enter_context(FileLock(folder / _LOCK, timeout=0))
            _claim(folder)
        except (Timeout, FileNotFoundError, FileExistsError) as error:  # it makes the folder, or removes it
            raise UserError(f"another process makes {folder} right now; choose another name") from error
        try:
            yield folder
            (folder / _UNFINISHED).unlink()
            (folder / _LOCK).unlink()
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, OSError) or error.errno not in FULL_OR_LOCKED:
                raise
            raise unwritable(error, folder, "give the command again") from error


def _others(folder: Path) -> list[Path]:
    """What stands in a folder but its lock."""
    return [path for path in folder.iterdir() if path.name != _LOCK]


def _claim(folder: Path) -> None:
    """Take a folder whose lock is held: an empty one, or one whose making a killed process had begun.

    Whoever makes it removes the marker before he gives the lock back. So a marker is of a dead process, and content
    without a marker is finished.
    """
    others = _others(folder)
    if others and not (folder / _UNFINISHED).exists():
        (folder / _LOCK).unlink()
        raise UserError(f"{folder} exists already; choose another name")
    for path in others:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / _UNFINISHED).touch()


def unwritable(error: OSError, folder: Path, way: str) -> UserError:
    """The error of a disk that is full or of a folder that may not be written to; `way` is what to do."""
    return UserError(f"cannot write {error.filename or folder}: {error.strerror}; mend that, then {way}")


@contextmanager
def resumable(folder: Path, way: str) -> Iterator[None]:
    """Tell how to resume what the block does after Ctrl-C, a full disk or a lack of memory.

    What is done leaves no temporary file behind, also none of a process that was killed before.

    Args:
        folder: What the block writes to.
        way: The command that resumes it.

    Raises:
        UserError: Disk or memory are full.
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    try:
        yield
        for path in folder.rglob(".*"):
            if is_temporary(path) and path.is_file():
                path.unlink(missing_ok=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(way) from None
    except OSError as error:
        if error.errno not in FULL_OR_LOCKED:
            raise
        raise unwritable(error, folder, way) from error
    except NoRoomError as error:
        raise UserError(f"no room on the disk or in memory ({error}); make some, then {way}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not writable")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error}; choose a writable folder") from error


def check_writable(results: Path, what: str = "results") -> None:
    """Refuse a folder for results, or for `what`, that cannot be written, before any work.

    Raises:
        UserError: It cannot.
    """
    place = results
    try:
        while not place.exists():
            place = place.parent
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise UserError(f"cannot write {what} to {results}: {error.strerror}; use --{what} DIR") from error
    try:
        TemporaryDirectory(dir=place, prefix=".writable-").cleanup()  # permissions do not tell all, as those of /proc
    except OSError as error:
        raise UserError(
            f"cannot write {what} to {results}: {place} is not a writable folder; use --{what} DIR"
        ) from error


def write_json(path: Path, record: Any) -> None:
    """Write `record` as indented JSON; NaN is refused, since it is no JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: Missing or damaged.
    """
    try:
        record = parse_file(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} is damaged: expected a JSON object, got {type(record).__name__}")
    return record


def read_table(path: Path, *, text: Sequence[str] = (), remedy: str) -> "pd.DataFrame":
    """Read a csv.

    Args:
        path: The file.
        text: Columns of names and ids, which stay as they are written: "007" and "NA" too.
        remedy: What to do where the file is missing or damaged, for the error.

    Raises:
        UserError: It is.
    """
    import pandas as pd  # here: the command line imports this module before the arguments are valid

    try:
        require_file(path)
        return pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=not text)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({str(error).splitlines()[0]}); {remedy}") from error


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a csv without the index; names in it may hold any character, a carriage return too."""
    texts = table.select_dtypes(["str", "object", "category"])
    # Unquoted, it would end a line for those who read the table; Python's csv quotes line feeds only.
    returns = any(texts[column].astype(str).str.contains("\r", regex=False).any() for column in texts)
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL)


def environment(command: str) -> dict[str, Any]:
    """What a run was made with: versions, commit, processor, command."""
    return {
        "command": command,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(terse=True),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", ""),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Commit of the checkout, with `+changes` where files differ from it; "unknown" outside a checkout."""
    if CHECKOUT is None:
        return "unknown"

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    """The processor's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
