"""A run as one file for the whole hierarchy: TensorFlow's SavedModel, ONNX, TFLite and TFLite in 8-bit integers."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.native_output import hushed
from fer_hierarchy.hierarchy.paths import atomic_write, is_temporary
from fer_hierarchy.hierarchy.progress import step
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.export import metadata
from fer_hierarchy.inference.export.backends import (
    OUTPUT,
    SIGNATURE,
    Exported,
    LiteModel,
    OnnxModel,
    SavedModel,
    reason,
)
from fer_hierarchy.inference.export.calibration_faces import calibration_faces
from fer_hierarchy.inference.export.graph import COMPOSING, FIRST_LAYER, one_function
from fer_hierarchy.inference.export.run_model import RunModel
from fer_hierarchy.inference.model import Metadata

FOLDER = "export"  # in the run's own

_ENDINGS = {"saved_model": "_saved_model", "onnx": ".onnx", "tflite": ".tflite", "tflite-int8": "-int8.tflite"}
_OPSET = 17  # of ONNX; runtimes since 2022 read it
_CALIBRATED_AT_ONCE = 25  # faces; one by one takes half as long again
_TOLERANCE = 1e-3  # of a probability, on noise; `inference.export.verify` is stricter, on faces

Function: TypeAlias = tf.types.experimental.PolymorphicFunction


def export_run(
    run: str | None, formats: Sequence[str], *, data: DataConfig, out: Path | None, results: Path
) -> dict[str, Path]:
    """Write a finished run as one file for each format; what was exported before is replaced when the new is whole.

    Args:
        run: Name or folder; None takes the published weights, or the newest run.
        formats: Among "saved_model", "onnx", "tflite" and "tflite-int8".
        data: Faces that calibrate tflite-int8 where the run's own are gone; may name none.
        out: Folder for the files; None for `FOLDER` in the run's own.
        results: Folder of all runs.

    Returns:
        Format -> file; a folder for "saved_model".

    Raises:
        UserError: No finished run, no faces to calibrate by, a model that a format cannot hold, or no room.
    """
    opened = Run(default_model(results) if run is None else run, results=results)
    model = RunModel(opened)
    faces = (
        calibration_faces(opened.config, data)
        if "tflite-int8" in formats
        else np.zeros((0, *model.facts.shape), np.uint8)
    )
    place = _made(out or opened.folder / FOLDER)
    function = one_function(model.stages, model.facts)
    written = {}
    for name in formats:
        path = place / f"{model.facts.run}{_ENDINGS[name]}"
        with step(name), _as_user_error(name, model):
            _write(name, function, model.facts, path, faces)
        written[name] = path
    for path in place.glob(f".{model.facts.run}*"):
        if is_temporary(path):  # of an export that was killed
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return written


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot export into {folder}: {error.strerror}; choose another folder with --out") from error
    return folder


@contextmanager
def _as_user_error(name: str, model: RunModel) -> Iterator[None]:
    """A converter's refusal as one line that names the format and the model; its chatter goes nowhere."""
    logged = logging.root.manager.disable
    try:
        with hushed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converters' own insides
            logging.disable(logging.WARNING)
            yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # each converter has kinds of its own
        networks = ", ".join(sorted({stage.record["model"] for stage in model.stages.values()}))
        why = reason(error)[:200]
        raise UserError(f"run {model.facts.run} cannot be exported as {name}: {networks}: {why}") from error
    finally:
        logging.disable(logged)


def _write(name: str, function: Function, facts: Metadata, path: Path, faces: np.ndarray) -> None:
    """Write one format; what was there stays until the new file has been checked."""
    if name == "saved_model":
        _write_saved_model(function, facts, path)
        return
    with atomic_write(path) as temporary:
        if name == "onnx":
            _write_onnx(function, facts, temporary)
            _check(OnnxModel, temporary, function)
        else:
            content = _converter(function).convert() if name == "tflite" else _quantised(function, faces)
            temporary.write_bytes(content)
            metadata.add_to_tflite(temporary, facts)
            _check(LiteModel, temporary, function, tolerance=_TOLERANCE if name == "tflite" else 1.0)


def _write_saved_model(function: Function, facts: Metadata, path: Path) -> None:
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        tf.saved_model.save(tf.Module(), str(fresh), signatures={SIGNATURE: function})
        metadata.add_to_saved_model(fresh, facts)
        _check(SavedModel, fresh, function)
        fresh.chmod(0o755)
        _take_place(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _take_place(fresh: Path, path: Path) -> None:
    """Move a folder to where another may be, which is there until then."""
    old = path.with_name(f".{path.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    try:
        fresh.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_onnx(function: Function, facts: Metadata, path: Path) -> None:
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise UserError(f"onnx needs {error.name}: python -m pip install tf2onnx onnx onnxruntime") from error
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_write_erfc, [])},
    )
    onnx.helper.set_model_props(model, metadata.entries(facts))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _write_erfc(graph: Any, node: Any, name: str, _arguments: Sequence) -> None:
    """1 - Erf(x) in place of Erfc, which ONNX has not and tf2onnx does not know; an exact GELU is made of it."""
    one = graph.make_const(f"{name}_one", np.ones((), np.float32))
    error = graph.make_node("Erf", node.input)
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], error.output[0]], name=name, outputs=node.output)


def _check(kind: type[Exported], path: Path, function: Function, *, tolerance: float = _TOLERANCE) -> None:
    """Refuse what a converter wrote without complaint, and what cannot be run or does not predict as the run does."""
    try:
        model = kind(path)
    except UserError as error:
        raise ValueError(f"what was written cannot be run: {error.__cause__ or error}") from error
    faces = np.random.default_rng(0).integers(0, 256, (2, *model.facts.shape)).astype(np.uint8)
    difference = np.abs(model.emotions(faces) - function(tf.constant(faces))[OUTPUT].numpy()).max()
    if not difference <= tolerance:  # written so that NaN is refused too
        raise ValueError(f"what was written differs from the run by {difference:.2g} in a probability")


def _converter(function: Function) -> tf.lite.TFLiteConverter:
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())


def _quantised(function: Function, faces: np.ndarray) -> bytes:
    """The flatbuffer with 8-bit weights and maps, from uint8 faces to float32 probabilities.

    Args:
        function: The whole run.
        faces: (n, size, size, channels) uint8 that show how far each map's values reach.
    """
    in_float = _kept_in_float(_converter(function).convert())
    converter = _converter(function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    starts = range(0, len(faces), _CALIBRATED_AT_ONCE)
    converter.representative_dataset = lambda: ([faces[start : start + _CALIBRATED_AT_ONCE]] for start in starts)
    # The converter itself has no way to name operations that are to stay in float; the debugger has.
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=converter.representative_dataset,
        debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=in_float),
    )
    return debugger.get_nondebug_quantized_model()


def _kept_in_float(content: bytes) -> list[str]:
    """Names of the tensors of a float flatbuffer that must not be rounded: what standardises, what composes, the end.

    A tensor of several fused operations has all their names, joined by semicolons, of which one may be empty.
    """
    interpreter = Interpreter(model_content=content)
    names = [detail["name"] for detail in interpreter.get_tensor_details()]
    spoiled = [name for name in names if name and all(map(_is_spoiled, filter(None, name.split(";"))))]
    return sorted({*spoiled, interpreter.get_output_details()[0]["name"]})


def _is_spoiled(operation: str) -> bool:
    return operation.startswith(COMPOSING) or FIRST_LAYER in operation
