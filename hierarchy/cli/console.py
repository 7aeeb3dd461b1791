"""What all command lines share: errors as one line and exit code 2, notes on the screen, settings as flags."""

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from fer_hierarchy.hierarchy.config import StageConfig, fields_of, kinds_of
from fer_hierarchy.hierarchy.errors import IncompleteError, UserError
from fer_hierarchy.hierarchy.json_text import parse_file
from fer_hierarchy.hierarchy.native_output import keep_stderr_for_python
from fer_hierarchy.hierarchy.printing import PrintableFormatter, erase_line, prepare_streams, printable
from fer_hierarchy.hierarchy.progress import ANNOUNCED

# What Keras asserts of its settings when it is imported.
_KERAS: dict[str, Callable[[Any], bool]] = {
    "floatx": lambda value: value in ("float16", "float32", "float64"),
    "epsilon": lambda value: isinstance(value, float),
    "image_data_format": lambda value: value in ("channels_last", "channels_first"),
}
# What a user can mend about a disk, a folder or a file.
_MENDABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


class OneLineParser(argparse.ArgumentParser):
    """argparse without its two-line errors."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        message = re.sub(r"^unrecognized arguments: .*", r"\g<0>; --help lists all flags", message)
        message = re.sub(r"ignored explicit argument (.*)", r"takes no value, got \1", message)
        raise UserError(re.sub(r"^argument (--[\w-]+).*?:", r"\1:", message))


def flag(name: str) -> str:
    """A setting's name as it is typed."""
    return "--" + name.replace("_", "-")


def add_setting(group: Any, part: type, name: str, *, text: str | None = None) -> None:
    """Give a parser the flag of a setting; its value arrives as text, a switch that is no stage's as a boolean.

    Args:
        group: argparse's parser or group.
        part: The section of the configuration that holds the setting.
        name: Of the setting.
        text: Help in place of the setting's own; argparse.SUPPRESS hides the flag.
    """
    spec = fields_of(part)[name]
    if text != argparse.SUPPRESS:
        text = (text or spec.metadata["help"]) + _default_text(spec.default)
    if isinstance(spec.default, bool) and part is not StageConfig:
        group.add_argument(flag(name), action=argparse.BooleanOptionalAction, help=text)
        return
    kinds = kinds_of(part, name)
    words = ("on", "off") if bool in kinds else spec.metadata["choices"]
    plain = name.upper() if str in kinds else "N" if int in kinds else "X"
    metavar = spec.metadata["metavar"] or "|".join(words) or plain
    group.add_argument(flag(name), metavar=metavar, help=text, action="append" if list in kinds else "store")


def _default_text(default: Any) -> str:
    if default is None or default == ():
        return ""
    return f" (default: {('off', 'on')[default] if isinstance(default, bool) else default})"


def run_program(name: str, call: Callable[[], None]) -> int:
    """Make one call for a command line.

    Args:
        name: What errors call the program.
        call: What it does.

    Returns:
        Exit code: 0 done, 1 done but for some of many files, 2 bad input, 130 interrupted.
    """
    prepare_streams()
    keep_stderr_for_python()
    try:
        _check_keras_json()
        call()
    except UserError as error:
        return _fail(name, str(error))
    except IncompleteError as error:
        _print(f"{name}: {error}")
        return 1
    except MemoryError:
        return _fail(name, "out of memory; try a smaller --batch-size, --image-size or --limit")
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        return _fail(name, f"{error.filename or 'a file'}: {error.strerror}")
    except KeyboardInterrupt as error:
        _print(f"interrupted; {str(error) or 'nothing was left behind'}")
        return 130
    return 0


def _check_keras_json() -> None:
    """Refuse a keras.json that Keras refuses; what a sound one says, the program sets as it needs.

    Raises:
        UserError: With the file.
    """
    place = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        settings = parse_file(place)
    except (OSError, ValueError):
        return  # as Keras does
    if not isinstance(settings, dict):
        raise UserError(f"{place}: expected a JSON object of Keras's settings; mend or remove it")
    for key, sound in _KERAS.items():
        if key in settings and not sound(settings[key]):
            raise UserError(f"{place}: Keras refuses {key} {settings[key]!r}; mend or remove it")


def _fail(name: str, message: str) -> int:
    _print(f"{name}: error: {' '.join(message.split())}")
    return 2


def _print(line: str) -> None:
    """Write the last line, over a line of progress that may stand there unfinished."""
    erase_line()
    print(printable(line), file=sys.stderr)


@contextmanager
def notes_on_screen() -> Iterator[None]:
    """Show every warning of ours on stderr, once, and what is announced on stdout; run.log gets the rest as well."""
    log, screen = logging.getLogger("fer_hierarchy"), _OverProgress()
    screen.setLevel(logging.WARNING)
    screen.setFormatter(PrintableFormatter("note: %(message)s"))
    screen.addFilter(_Once())
    results = _OverProgress(sys.stdout)
    results.setFormatter(PrintableFormatter("%(message)s"))
    results.addFilter(lambda record: getattr(record, ANNOUNCED, False))
    before = log.level, log.propagate
    log.addHandler(screen)
    log.addHandler(results)
    log.setLevel(logging.INFO)
    log.propagate = False  # TensorFlow gives the root logger a handler of its own, which would print all of it twice
    try:
        yield
    finally:
        log.removeHandler(screen)
        log.removeHandler(results)
        log.setLevel(before[0])
        log.propagate = before[1]


class _OverProgress(logging.StreamHandler):
    """Writes over the line of progress that may stand there unfinished."""

    def emit(self, record: logging.LogRecord) -> None:
        erase_line()
        super().emit(record)


class _Once(logging.Filter):
    """Lets each text pass once: the runs of a grid repeat what concerns their data."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        fresh = text not in self.seen
        self.seen.add(text)
        return fresh
