"""Models opened with their own runtimes: a run's folder, or a file that `--mode export` wrote.

Runtimes are imported only when they are needed: a .tflite file must not wait for TensorFlow.
"""

import os
import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.native_output import hushed
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.inference.export import metadata
from fer_hierarchy.inference.model import Model

INPUT, OUTPUT, SIGNATURE = "faces", "probabilities", "serving_default"  # of a SavedModel

_FATAL = 4  # ONNX Runtime's level of messages: what fails arrives as an exception
# The key of a tensor's place in another file, as a protobuf holds it: 8 bytes long, however that number is written.
_OUTSIDE = re.compile(rb"(\x08|\x88\x80*\x00)location")


class Exported(Model):
    """A whole run in one file, predicted a batch at a time.

    Args:
        path: The file or, for a SavedModel, the folder.

    Raises:
        UserError: It is damaged or no export of ours, or its runtime is not installed.
    """

    batch: ClassVar[int]  # faces

    def __init__(self, path: Path) -> None:
        self.source = str(path)

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float32."""
        return np.concatenate(
            [self.run(faces[start : start + self.batch]) for start in range(0, len(faces), self.batch)]
        )

    @abstractmethod
    def run(self, faces: np.ndarray) -> np.ndarray:
        """The same for one batch."""

    def _try(self) -> None:
        """Refuse a model that does not give a blank face the probabilities that its metadata promise."""
        shape, count = self.facts.shape, len(self.facts.taxonomy.emotions)
        try:
            given = self.run(np.zeros((1, *shape), np.uint8))
        except Exception as error:  # each runtime has kinds of its own
            raise UserError(
                f"model {self.source} takes no faces of {shape}, as its metadata promise ({reason(error)}); "
                "export the run again"
            ) from error
        if given.shape != (1, count) or given.dtype != np.float32:
            raise UserError(
                f"model {self.source} predicts {given.dtype} {given.shape[1:]}, its metadata promise float32 "
                f"({count},); export the run again"
            )


class LiteModel(Exported):
    """A .tflite file in LiteRT, which needs neither TensorFlow nor Keras; see `Exported`."""

    batch = 32  # the maps of more leave the processor's cache and take longer

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.facts = metadata.read_from_tflite(path)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UserError(f"model {path} needs LiteRT: python -m pip install ai-edge-litert") from error
        try:
            with hushed():
                self._interpreter = Interpreter(model_path=str(path), num_threads=_cores())
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"model {path} cannot be run by this LiteRT ({reason(error)}); export the run again"
            ) from error
        self._check_tensors(path)
        self._size = 0  # faces that the tensors have room for

    def _check_tensors(self, path: Path) -> None:
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        found = [(tuple(int(n) for n in d["shape"][1:]), np.dtype(d["dtype"]).name) for d in (*inputs, *outputs)]
        wanted = [(self.facts.shape, "uint8"), ((len(self.facts.taxonomy.emotions),), "float32")]
        if found != wanted:
            raise UserError(
                f"model {path}: its tensors are {found}, its metadata promise {wanted}; export the run again"
            )

    def run(self, faces: np.ndarray) -> np.ndarray:
        """See `Exported`."""
        if len(faces) != self._size:
            self._interpreter.resize_tensor_input(self._input, faces.shape)
            self._interpreter.allocate_tensors()
            self._size = len(faces)
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(faces))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


class OnnxModel(Exported):
    """An .onnx file in ONNX Runtime; see `Exported`."""

    batch = 64

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with hushed():
                import onnxruntime
        except ImportError as error:
            raise UserError(f"model {path} needs ONNX Runtime: python -m pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.load_model_format", "ONNX")  # its own format is not checked
        options.intra_op_num_threads = _cores()
        content = path.read_bytes()
        if _OUTSIDE.search(content):
            raise UserError(f"model {path} keeps weights in another file, which exports do not; export the run again")
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own kinds share no other ancestor
            raise UserError(
                f"model {path} is damaged or no ONNX model ({reason(error)}); export the run again"
            ) from error
        self.facts = metadata.read_from_onnx(session.get_modelmeta().custom_metadata_map, path)
        self._session, self._inputs = session, [tensor.name for tensor in session.get_inputs()]
        self._try()

    def run(self, faces: np.ndarray) -> np.ndarray:
        """See `Exported`."""
        return self._session.run(None, dict.fromkeys(self._inputs, faces))[0]


class SavedModel(Exported):
    """TensorFlow's SavedModel, a folder that TensorFlow Serving loads without our code; see `Exported`.

    Only its arithmetic is loaded: a SavedModel is a program, which TensorFlow's loader would execute.
    """

    batch = 256  # more at once take memory and no less time

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.facts = metadata.read_from_saved_model(path)
        import tensorflow as tf

        from fer_hierarchy.inference.export.pure_graph import pure_function

        try:
            self._call = pure_function(path, SIGNATURE, INPUT, OUTPUT)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
            raise UserError(f"model {path} is damaged or not ours ({reason(error)}); export the run again") from error
        self._try()

    def run(self, faces: np.ndarray) -> np.ndarray:
        """See `Exported`."""
        import tensorflow as tf

        return self._call(tf.constant(faces))[0].numpy()


def open_model(run: str, results: Path) -> Model:
    """Open a run by its name or folder, or an exported model by its path.

    Args:
        run: Name of a run below `results`, its folder, or a .tflite, .onnx or SavedModel export.
        results: Folder of all runs.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    path = Path(run)
    if kind := {".tflite": LiteModel, ".onnx": OnnxModel}.get(path.suffix.lower()):
        if not path.is_file():
            raise UserError(f"model {run} is no file; expected what --mode export wrote")
        return kind(path)
    if (path / "saved_model.pb").is_file():
        return SavedModel(path)
    folder = Run(run, results=results)
    from fer_hierarchy.inference.export.run_model import RunModel

    return RunModel(folder)


def reason(error: Exception) -> str:
    """The first line of a library's error; its kind where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
