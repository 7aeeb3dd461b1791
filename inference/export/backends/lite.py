"""A whole run as a .tflite file, answered by LiteRT: needs neither TensorFlow nor Keras."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.native_output import hushed
from fer_hierarchy.inference.export.metadata import read_from_tflite
from fer_hierarchy.inference.model import Metadata, Model

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

_BATCH = 32  # faces; the maps of more leave the processor's cache and take longer


class LiteModel(Model):
    """An exported run; see `Model`."""

    def __init__(self, path: Path, facts: Metadata, interpreter: "Interpreter") -> None:
        self.facts = facts
        self.source = str(path)
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._size = 0  # faces that the tensors have room for

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float32."""
        starts = range(0, len(faces), _BATCH)
        return np.concatenate([self._answer(faces[start : start + _BATCH]) for start in starts])

    def _answer(self, faces: np.ndarray) -> np.ndarray:
        if len(faces) != self._size:
            self._interpreter.resize_tensor_input(self._input, faces.shape)
            self._interpreter.allocate_tensors()
            self._size = len(faces)
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(faces))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def open_file(path: Path) -> LiteModel:
    """Open a .tflite file.

    Raises:
        UserError: It is damaged or not ours, or LiteRT is not installed.
    """
    facts = read_from_tflite(path)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(f"model {path} needs LiteRT: python -m pip install ai-edge-litert") from error
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        with hushed():
            interpreter = Interpreter(model_path=str(path), num_threads=cores)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"model {path} cannot be run by this LiteRT ({reason}); export the run again") from error
    _check_tensors(path, facts, interpreter)
    return LiteModel(path, facts, interpreter)


def _check_tensors(path: Path, facts: Metadata, interpreter: "Interpreter") -> None:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    found = [(tuple(int(n) for n in d["shape"][1:]), np.dtype(d["dtype"]).name) for d in (*inputs, *outputs)]
    wanted = [(facts.shape, "uint8"), ((len(facts.taxonomy.emotions),), "float32")]
    if found != wanted:
        raise UserError(f"model {path}: its tensors are {found}, its facts promise {wanted}; export the run again")
