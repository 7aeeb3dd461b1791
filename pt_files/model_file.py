"""A .pt file: the weights of a model, and what it takes to build the model again; code is never read from one."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.pt_files.registry import create_model

_KEYS = {"spec": str, "input_shape": tuple, "num_classes": int, "state_dict": dict}


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A model, and the arguments of `create_model` that it was made with.

    Attributes:
        spec: `NAME` or `NAME:key=value:...`.
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        model: float32 pixels in [0, 255] of shape (batch, channels, height, width) in, logits out.
    """

    spec: str
    input_shape: tuple[int, int, int]
    num_classes: int
    model: nn.Module


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write what `torch.save` takes; the file appears at once.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    content = io.BytesIO()  # torch would report a full disk as an error of its own
    torch.save(record, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


def write_model(saved: SavedModel, path: Path) -> None:
    """Write a .pt file; it appears at once.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    record = {
        "spec": saved.spec,
        "input_shape": tuple(saved.input_shape),
        "num_classes": saved.num_classes,
        "state_dict": dict(saved.model.state_dict()),
    }
    write_record(record, path)


def read_model(path: Path) -> SavedModel:
    """Build the model of a .pt file, in evaluation mode on the CPU.

    Raises:
        UserError: The file is missing, damaged, or of another program.
    """
    record = _read_record(path)
    try:
        settings = {"input_shape": record["input_shape"], "num_classes": record["num_classes"]}
        model = create_model(record["spec"], **settings)
        model.load_state_dict(record["state_dict"])
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: its weights do not fit model {record['spec']!r} of this program: {reason}") from error
    return SavedModel(spec=record["spec"], **settings, model=model.eval())


def _read_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing; expected a .pt file that pt_files wrote")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is damaged: it is no complete .pt file; restore it, or train or convert again")
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything; a file with code in it, an error of another module
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or holds more than weights ({reason}); it was not loaded") from error
    if not isinstance(record, dict) or any(not isinstance(record.get(key), kind) for key, kind in _KEYS.items()):
        raise UserError(f"{path} is no .pt file of this program: it must hold {', '.join(_KEYS)}")
    return record
