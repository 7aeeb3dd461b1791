"""Where a saved model may live, one file a kind; each reads its own files and answers through its own runtime."""

from importlib import import_module
from pathlib import Path

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run_folder import find_run
from fer_hierarchy.inference.model import Model

# What a path ends in -> the module that opens it. Modules are loaded when they are needed: the light ones must not
# pay for TensorFlow.
_FILES = {".tflite": "lite", ".onnx": "onnx"}
_SAVED_MODEL = "saved_model.pb"  # inside the folder that TensorFlow's SavedModel is


def open_model(run: str, results: Path) -> Model:
    """Open a run by its name or folder, or an exported model by its path.

    Args:
        run: Name of a run below `results`, its folder, or a .tflite, .onnx or SavedModel export.
        results: Folder of all runs.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    path = Path(run)
    if kind := _FILES.get(path.suffix.lower()):
        if not path.is_file():
            raise UserError(f"model {run} is no file; expected what --mode export wrote")
        return import_module(f"fer_hierarchy.inference.export.backends.{kind}").open_file(path)
    if (path / _SAVED_MODEL).is_file():
        return import_module("fer_hierarchy.inference.export.backends.saved_model").open_file(path)
    folder = find_run(run, results)
    return import_module("fer_hierarchy.inference.export.backends.run_folder").open_run(folder)
