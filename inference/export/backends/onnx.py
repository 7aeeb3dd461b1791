"""A whole run as an .onnx file, answered by ONNX Runtime."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.native_output import hushed
from fer_hierarchy.inference.export.metadata import read_from_onnx
from fer_hierarchy.inference.model import Metadata, Model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_BATCH = 64  # faces
_FATAL = 4  # ONNX Runtime's level of messages: what fails arrives as an exception


class OnnxModel(Model):
    """An exported run; see `Model`."""

    def __init__(self, path: Path, facts: Metadata, session: "InferenceSession") -> None:
        self.facts = facts
        self.source = str(path)
        self._session = session
        self._input = session.get_inputs()[0].name

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float32."""
        starts = range(0, len(faces), _BATCH)
        parts = [self._session.run(None, {self._input: faces[start : start + _BATCH]})[0] for start in starts]
        return np.concatenate(parts)


def open_file(path: Path) -> OnnxModel:
    """Open an .onnx file.

    Raises:
        UserError: It is damaged or not ours, or ONNX Runtime is not installed.
    """
    try:
        with hushed():
            import onnxruntime
    except ImportError as error:
        raise UserError(f"model {path} needs ONNX Runtime: python -m pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    if hasattr(os, "sched_getaffinity"):
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own kinds share no other ancestor
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"model {path} is damaged or no ONNX model ({reason}); export the run again") from error
    return OnnxModel(path, read_from_onnx(session.get_modelmeta().custom_metadata_map, path), session)
