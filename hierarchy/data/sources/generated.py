"""Faces that a generative network drew (`pt_files.gan`), with the record of the faces that it was trained on."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.data.sources._listing import list_faces, listed_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import parse_file

IMAGE_SIZE = None
LAYOUT = "what pt_files.gan writes: <emotion>/generated_<number>.png, generated.json and seen.csv"
RECORD = "generated.json"
SEEN = "seen.csv"
FORMAT = 1

_NAME = "generated"


def detect(path: Path) -> bool:
    """Whether `path` holds the record that the generator leaves."""
    return (path / RECORD).is_file()


def read(path: Path) -> pd.DataFrame:
    """Read the manifest: train rows only.

    Args:
        path: A folder that `pt_files.gan` wrote. Faces may have been taken out of it by hand.

    Raises:
        UserError: The record is damaged, a face is of another emotion than in the record, or no face is left.
    """
    emotion = _read_record(path)["emotion"]
    faces = list_faces(path)
    if others := sorted(set(faces["emotion"]) - {emotion}):
        raise UserError(f"{path}: {RECORD} is of {emotion}, but there are faces of {', '.join(others)} too")
    return listed_manifest(path, faces.assign(split="train"), _NAME, ids=f"{_NAME}/" + faces["file"])


def read_seen(path: Path) -> frozenset[str]:
    """Pixel hashes of the faces that the generator was trained on.

    Raises:
        UserError: They are missing, or not those that the record was written about.
    """
    try:
        hashes = frozenset(pd.read_csv(path / SEEN, dtype=str, keep_default_na=False)["pixel_hash"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path / SEEN} is missing or damaged; which faces it was made from is unknown") from error
    if seen_fingerprint(hashes) != _read_record(path)["seen"]:
        raise UserError(f"{path / SEEN} does not belong to {RECORD}; which faces it was made from is unknown")
    return hashes


def seen_fingerprint(hashes: Iterable[str]) -> str:
    """16 hex digits over different pixel hashes, whatever their order."""
    return hashlib.blake2b("\n".join(sorted(set(hashes))).encode(), digest_size=8).hexdigest()


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = parse_file(path / RECORD)
        if record["format"] != FORMAT:
            raise UserError(f"{path / RECORD}: format {record['format']!r} is not the {FORMAT} that this version reads")
        return {"emotion": str(record["emotion"]), "seen": record["seen"]["fingerprint"]}
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / RECORD} is missing or damaged; make the faces anew with pt_files.gan") from error
