"""What an exported model carries with it: its metadata as JSON and its labels as text, inside the file or folder.

A .tflite carries them as a zip archive behind its flatbuffer, as TensorFlow Lite Metadata packs associated files: any
zip program lists them. An .onnx carries them as its metadata, a SavedModel among its extra assets.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import BAD_ZIP, UserError
from fer_hierarchy.hierarchy.json_text import parse_json
from fer_hierarchy.inference.model import Metadata

FACTS = "fer.json"
LABELS = "labels.txt"  # an emotion a line, in the order of the probabilities
EXTRA = "assets.extra"  # the folder of a SavedModel that TensorFlow leaves alone

_CHECKSUM = "crc32"  # of the flatbuffer: a runtime that reads a damaged one may crash


def entries(facts: Metadata) -> dict[str, str]:
    """Name -> text of everything that an export carries."""
    return {FACTS: json.dumps(facts.to_dict(), indent=1), LABELS: "\n".join(facts.taxonomy.emotions) + "\n"}


def add_to_tflite(path: Path, facts: Metadata) -> None:
    """Add the metadata behind the flatbuffer that `path` holds."""
    checksum = zlib.crc32(path.read_bytes())
    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.comment = f"{_CHECKSUM} {checksum:08x}".encode()
        for name, text in entries(facts).items():
            archive.writestr(name, text)


def read_from_tflite(path: Path) -> Metadata:
    """Metadata of a .tflite file.

    Raises:
        UserError: It has none, because it is not ours, or it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text, comment = archive.read(FACTS), archive.comment.decode(errors="replace")
            start = min(entry.header_offset for entry in archive.infolist())
    except BAD_ZIP as error:
        raise _without(path) from error
    with path.open("rb") as file:
        checksum = zlib.crc32(file.read(start))
    if comment != f"{_CHECKSUM} {checksum:08x}":
        raise UserError(f"model {path} is damaged: its checksum is not what was written; export the run again")
    return _parsed(text, path)


def read_from_onnx(metadata: Mapping[str, str], path: Path) -> Metadata:
    """Metadata of a run among those of an .onnx file.

    Raises:
        UserError: There are none.
    """
    if FACTS not in metadata:
        raise _without(path)
    return _parsed(metadata[FACTS], path)


def add_to_saved_model(folder: Path, facts: Metadata) -> None:
    """Add the metadata to a SavedModel's folder."""
    (folder / EXTRA).mkdir(exist_ok=True)
    for name, text in entries(facts).items():
        (folder / EXTRA / name).write_text(text, encoding="utf-8")


def read_from_saved_model(folder: Path) -> Metadata:
    """Metadata of a SavedModel.

    Raises:
        UserError: It has none.
    """
    path = folder / EXTRA / FACTS
    try:
        return _parsed(path.read_bytes(), folder)
    except OSError as error:
        raise _without(folder) from error


def _without(path: Path) -> UserError:
    return UserError(
        f"model {path} does not tell what its outputs mean: it has no {FACTS} inside, or it is cut off; "
        "expected what --mode export wrote"
    )


def _parsed(text: str | bytes, path: Path) -> Metadata:
    try:
        record: Any = parse_json(text)
    except ValueError as error:  # of which bytes that are no UTF-8 are one
        raise UserError(f"model {path}: the {FACTS} inside is no JSON ({error}); export the run again") from error
    return Metadata.from_dict(record, source=f"model {path}")
