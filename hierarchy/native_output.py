"""What native libraries write to the screen by themselves, kept off it; failures arrive as exceptions all the same."""

import faulthandler
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

_STDERR = 2
_CHATTY = "tensorflow"  # 2.21 tells of oneDNN and of missing GPUs, whatever TF_CPP_MIN_LOG_LEVEL says


@contextmanager
def hushed() -> Iterator[None]:
    """Send nowhere what is written to file descriptor 2 while the block runs: Python's own lines too, in a library."""
    kept = os.dup(_STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
        os.close(nowhere)


def keep_stderr_for_python() -> None:
    """From now on keep off the screen what native libraries write to stderr, and the warnings of Python packages.

    For a process that is the program alone. Python's own lines, tracebacks and the trace of a crash still arrive. Does
    nothing where stderr is another stream already, as in a notebook, and shows warnings that `-W` requests.
    """
    stream = sys.stderr
    if stream is not sys.__stderr__ or stream is None or stream.fileno() != _STDERR:
        return
    stream.flush()
    kept = os.dup(_STDERR)
    sys.stderr = open(kept, "w", encoding=stream.encoding, errors=stream.errors, buffering=1)  # noqa: SIM115, PTH123
    faulthandler.enable(sys.stderr)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if logging.lastResort:  # which shows warnings of loggers that nobody has set up
        logging.lastResort.setLevel(logging.CRITICAL + 1)
    logging.getLogger("absl").setLevel(logging.CRITICAL)


class _QuietLoader(SourceFileLoader):
    """Hushes a module while it is loaded."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        with hushed():
            super().exec_module(module)


class _QuietImport:
    """Finds TensorFlow as Python does, and hushes it while it is loaded; for the first import only."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """What `importlib` asks of everything in `sys.meta_path`."""
        if name != _CHATTY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _QuietLoader(name, spec.loader.path)
        return spec


def quiet_tensorflow() -> None:
    """From now on let TensorFlow start without a word, once it is imported."""
    if _CHATTY not in sys.modules and not any(isinstance(finder, _QuietImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietImport())
