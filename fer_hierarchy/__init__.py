"""Facial emotion recognition by a hierarchy of classifiers.

In a checkout the packages stand beside this folder, and this package's path holds the folder above it; in an installed
copy they lie below it. Either way each has one name: `fer_hierarchy.hierarchy`, `fer_hierarchy.models` and so on.

What a program of one's own needs is here, and loaded when it is first used:

    from fer_hierarchy import DataConfig, RunConfig, StageConfig, train

    run = train(RunConfig(mode="flat", data=DataConfig(data="data/fer2013"), stage=StageConfig(epochs=12)))
    print(run.metrics["answers"]["flat"]["top1"])
"""

import importlib
import logging
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_ABOVE = Path(__file__).resolve().parent.parent
if (_ABOVE / "tf_model.py").is_file():
    __path__.append(str(_ABOVE))

# Public name -> the module that has it.
_PUBLIC = {
    "DataConfig": "hierarchy.config",
    "EvaluationConfig": "hierarchy.config",
    "RunConfig": "hierarchy.config",
    "StageConfig": "hierarchy.config",
    "SearchConfig": "tuning.settings",
    "Taxonomy": "hierarchy.taxonomy",
    "UserError": "hierarchy.errors",
    "WorkerConfig": "hierarchy.training.workers",
    "Predictor": "inference.predictor",
    "Audit": "opened",
    "Comparison": "opened",
    "Run": "opened",
    "Study": "opened",
    "audit": "actions",
    "compare": "actions",
    "ensemble": "actions",
    "evaluate": "actions",
    "export": "actions",
    "resume": "actions",
    "train": "actions",
    "train_with_baseline": "actions",
    "tune": "actions",
}
__all__ = [*_PUBLIC]

logging.getLogger("fer_hierarchy").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """A public name, from its module: importing this package imports no framework."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
