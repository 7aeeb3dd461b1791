"""Models from Keras to PyTorch and back: the functions, and the command line.

python -m fer_hierarchy.pt_files.convert results/<run>/stages/flat flat.pt
python -m fer_hierarchy.pt_files.convert flat.pt flat.keras
python -m fer_hierarchy.pt_files.convert results/<run> results/<run>-keras
"""

import dataclasses
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fer_hierarchy.hierarchy.cli.console import OneLineParser, run_program
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import CONFIG, METRICS, MODEL, STAGES, atomic_folder, atomic_write
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run_folder import read_json, write_json
from fer_hierarchy.pt_files.model_file import SavedModel, read_model, write_model
from fer_hierarchy.pt_files.registry import create_model
from fer_hierarchy.pt_files.twins import pair_layers

if TYPE_CHECKING:  # the command line refuses bad arguments before it loads a second framework
    import keras

KERAS, TORCH = ".keras", ".pt"
# float32 sums in another order stay far below this share of the largest logit.
_TOLERANCE = 1e-4
_PROGRAM = "pt_files.convert"
_MODULE = f"fer_hierarchy.{_PROGRAM}"


def to_torch(keras_model: "keras.Model", torch_model: nn.Module) -> None:
    """Give a twin the weights of its Keras model.

    Raises:
        UserError: The two are no twins; the line names the first difference.
    """
    torch_model.load_state_dict(state_dict_from_keras(keras_model, torch_model))


def state_dict_from_keras(source: "Path | keras.Model", torch_model: nn.Module) -> dict[str, Tensor]:
    """Lay the weights of a Keras model out as its twin's `state_dict`.

    Args:
        source: The model, or a .keras file.
        torch_model: The twin; only the names and shapes of its weights are used.

    Raises:
        UserError: The two are no twins, or the file cannot be read.
    """
    keras_model = read_keras(source) if isinstance(source, Path) else source
    state: dict[str, Tensor] = {}
    for pair in pair_layers(keras_model, torch_model):
        for variable in pair.layer.weights:
            state[pair.key(variable)] = torch.tensor(pair.to_torch(variable, variable.numpy()))
    return state


def to_keras(torch_model: nn.Module, keras_model: "keras.Model") -> None:
    """Give a Keras model the weights of its twin.

    Raises:
        UserError: The two are no twins; the line names the first difference.
    """
    state = torch_model.state_dict()
    for pair in pair_layers(keras_model, torch_model):
        for variable in pair.layer.weights:
            variable.assign(pair.to_keras(variable, state[pair.key(variable)].cpu().numpy()))


def largest_difference(keras_model: "keras.Model", torch_model: nn.Module, faces: np.ndarray) -> float:
    """Largest distance between the logits of two models, as a share of the largest logit (of 1, if that is less).

    Args:
        keras_model: Takes the faces as they are.
        torch_model: Takes them with the channels first; is in evaluation mode afterwards.
        faces: (batch, height, width, channels) pixels in [0, 255].
    """
    faces = np.asarray(faces, np.float32)
    expected = np.asarray(keras_model(faces, training=False))
    with torch.no_grad():
        predicted = torch_model.eval()(torch.from_numpy(faces).permute(0, 3, 1, 2)).numpy()
    return float(abs(predicted - expected).max() / max(1.0, abs(expected).max()))


def read_keras(path: Path) -> "keras.Model":
    """Read a .keras file in safe mode: nothing in it is executed.

    Raises:
        UserError: The file is missing, damaged or no Keras model.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; expected a .keras file")
    if not zipfile.is_zipfile(path):  # of which Keras reports that it is missing
        raise UserError(f"{path} is damaged: it is no complete .keras file")
    import keras

    from fer_hierarchy.models import layers as _registered_layers  # noqa: F401 - registers our layers, so that saved models load

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged or no Keras model ({str(error).splitlines()[0]})") from error


def convert(source: Path, target: Path, *, spec: str | None = None) -> float:
    """Write the model of a file as a new file of the other framework, once both predict made-up faces alike.

    Args:
        source: A .keras file, a .pt file, or the folder of a run's stage.
        target: The .pt file, or the .keras file, to write.
        spec: What the Keras model was built from; None to read it in the stage.json beside it.

    Returns:
        What `largest_difference` found.

    Raises:
        UserError: A file that cannot be read or written, or models that are no twins.
    """
    source = _checked_source(source, target, spec)
    if target.suffix == TORCH:
        keras_model = read_keras(source)
        saved = _fresh_twin(keras_model, spec or _recorded_spec(source))
        to_torch(keras_model, saved.model)
    else:
        saved = read_model(source)
        keras_model = _fresh_keras(saved)
        to_keras(saved.model, keras_model)
    faces = np.random.default_rng(0).integers(0, 256, (4, *saved.input_shape))
    difference = largest_difference(keras_model, saved.model, faces)
    if not difference < _TOLERANCE:
        raise UserError(f"{source}: the converted model predicts differently, by {difference:.2g}; nothing was written")
    _write(keras_model, saved, target)
    return difference


def convert_run(source: Path, target: Path) -> float:
    """Write a finished run of PyTorch as a new run of Keras, once the networks of each stage predict alike.

    Predictions, scores and report stay those of the run that was trained. The folder appears when it is complete.

    Args:
        source: The folder of the run.
        target: The folder to make.

    Returns:
        The largest of what `largest_difference` found in the stages.

    Raises:
        UserError: The run is not finished or not of PyTorch, `target` exists, or a model has no twin.
    """
    check_run_target(target)
    run = Run(source)
    if run.config.framework != "pytorch":
        raise UserError(f"SOURCE {source}: a run of {run.config.framework}; expected a run of pt_files.train")
    record = run.metrics | {"run": target.name}  # refuses a run that is not finished
    try:
        with atomic_folder(target) as folder:
            left_out = shutil.ignore_patterns(f"*{TORCH}", f"*{KERAS}", ".*")
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=left_out)
            write_json(folder / CONFIG, dataclasses.replace(run.config, framework="keras", name=target.name).to_dict())
            write_json(folder / METRICS, record)
            return max(convert(run.folder / STAGES / name, folder / STAGES / name / MODEL) for name in run.stages)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def check_run_target(target: Path) -> None:
    """Refuse a folder that a converted run cannot take.

    Raises:
        UserError: It exists already.
    """
    if target.exists():
        raise UserError(f"TARGET {target} exists already; delete it or choose another name")


def _checked_source(source: Path, target: Path, spec: str | None) -> Path:
    """The file to read, after every check that needs no framework."""
    if target.suffix not in (KERAS, TORCH):
        raise UserError(f"TARGET {target}: its name must end in {TORCH} or {KERAS}")
    wanted = KERAS if target.suffix == TORCH else TORCH
    if source.is_dir():
        source = source / f"model{wanted}"
    if not source.is_file():
        raise UserError(f"SOURCE {source} is missing; expected a {wanted} file, or a run's stage folder with one")
    if source.suffix != wanted:
        raise UserError(f"SOURCE {source}: a {target.suffix} file is made of a {wanted} file")
    if spec is not None and wanted == TORCH:
        raise UserError("--model goes with a Keras SOURCE only; a .pt file names its own model")
    if target.exists():
        raise UserError(f"TARGET {target} exists already; delete it or choose another name")
    if not target.parent.is_dir():
        raise UserError(f"TARGET {target}: there is no folder {target.parent}")
    return source


def _recorded_spec(source: Path) -> str:
    """The spec in the stage record beside a Keras model."""
    from fer_hierarchy.hierarchy.paths import STAGE_RECORD

    path = source.parent / STAGE_RECORD
    if not path.is_file():
        raise UserError(
            f"{source} does not hold the spec it was built from, and no {STAGE_RECORD} is beside it; give --model"
        )
    record = read_json(path).get("record")
    spec = record.get("model") if isinstance(record, dict) else None
    if not isinstance(spec, str):
        raise UserError(f"{path} does not hold the spec of {source.name}; give --model")
    return spec


def _fresh_twin(keras_model: "keras.Model", spec: str) -> SavedModel:
    settings = {"input_shape": keras_model.input_shape[1:], "num_classes": keras_model.output_shape[-1]}
    try:
        return SavedModel(spec=spec, **settings, model=create_model(spec, **settings))
    except ValueError as error:
        raise UserError(f"model {spec!r}: {error}") from error


def _fresh_keras(saved: SavedModel) -> "keras.Model":
    from fer_hierarchy.models.registry import create_model as create_keras_model

    try:
        return create_keras_model(saved.spec, input_shape=saved.input_shape, num_classes=saved.num_classes)
    except ValueError as error:
        raise UserError(f"model {saved.spec!r} has no Keras twin: {error}") from error


def _write(keras_model: "keras.Model", saved: SavedModel, target: Path) -> None:
    try:
        if target.suffix == TORCH:
            write_model(saved, target)
        else:
            with atomic_write(target) as temporary:
                keras_model.save(temporary)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 2 for bad input."""
    return run_program(_PROGRAM, lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> None:
    parser = OneLineParser(prog=f"python -m {_MODULE}", description=__doc__.partition(":")[0], allow_abbrev=False)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="a .keras file, a .pt file, a run's stage folder, or the folder of a run of PyTorch",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        type=Path,
        help="the .pt file, or the .keras file, to write; of a run, the new folder",
    )
    parser.add_argument(
        "--model", metavar="SPEC", help="what a .keras file was built from (default: read in the stage.json beside it)"
    )
    given = parser.parse_args(arguments)
    if (given.source / CONFIG).is_file():
        if given.model is not None:
            raise UserError("--model goes with a Keras SOURCE only; a run names its own models")
        difference = convert_run(given.source, given.target)
    else:
        difference = convert(given.source, given.target, spec=given.model)
    print(f"{given.target}: its logits differ by {difference:.1e} at most on made-up faces")


if __name__ == "__main__":
    sys.exit(main())
