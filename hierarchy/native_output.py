"""What native libraries write to the screen by themselves, kept off it; failures arrive as exceptions all the same."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

_CHATTY = "tensorflow"  # 2.21 tells of oneDNN and of missing GPUs, whatever TF_CPP_MIN_LOG_LEVEL says


@contextmanager
def hushed() -> Iterator[None]:
    """Send everything that is written to stderr nowhere while the block runs, Python's own words included."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
