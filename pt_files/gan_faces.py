"""What a trained generator leaves: images, a contact sheet, and how close its faces come to those it learnt from."""

from pathlib import Path

import numpy as np
from PIL import Image

from fer_hierarchy.hierarchy.data.duplicates import NEAR_CORRELATION

_SHEET = 8  # faces on a side of the contact sheet
SHEET_FACES = _SHEET**2
_AT_ONCE = 1024  # faces compared in one product


def write_images(folder: Path, faces: np.ndarray) -> None:
    """Write (n, size, size, channels) uint8 as generated_00001.png and so on, into a new folder."""
    folder.mkdir(parents=True)
    for number, face in enumerate(faces, start=1):
        _image(face).save(folder / f"generated_{number:05d}.png")


def write_sheet(path: Path, faces: np.ndarray) -> None:
    """Write the first 64 of (n, size, size, channels) uint8 as one picture at twice their size."""
    size, channels = faces.shape[2:]
    sheet = np.zeros((SHEET_FACES, size, size, channels), np.uint8)
    shown = faces[:SHEET_FACES]
    sheet[: len(shown)] = shown
    rows = sheet.reshape(_SHEET, _SHEET, size, size, channels).transpose(0, 2, 1, 3, 4)
    picture = _image(rows.reshape(_SHEET * size, _SHEET * size, channels))
    picture.resize((2 * _SHEET * size, 2 * _SHEET * size), Image.Resampling.NEAREST).save(path)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def likeness(made: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Whether the generator copied or repeats itself.

    Args:
        made: Generated faces, (n, size, size, channels) uint8.
        seen: The faces that it learnt from, (m, size, size, channels) uint8, m > 1.

    Returns:
        `nearest_seen`: median over generated faces of the correlation with the most similar seen one, mirrored or not;
        `nearest_seen_of_seen`: the same of each seen face with another, for comparison;
        `copies`: generated faces that show the same picture as a seen one;
        `spread`: deviation of the generated faces from their mean face, as a share of the seen ones'; far below 1
        means that they are all alike.
    """
    own, known = _unit_vectors(made), _unit_vectors(np.concatenate([seen, seen[:, :, ::-1]]))
    nearest = np.concatenate([(own[i : i + _AT_ONCE] @ known.T).max(axis=1) for i in range(0, len(own), _AT_ONCE)])
    among = known[: len(seen)] @ known.T
    people = np.arange(len(seen))
    among[people, people] = among[people, people + len(seen)] = -1  # not with itself, nor with its mirror image
    return {
        "nearest_seen": round(float(np.median(nearest)), 4),
        "nearest_seen_of_seen": round(float(np.median(among.max(axis=1))), 4),
        "copies": int((nearest >= NEAR_CORRELATION).sum()),
        "spread": round(_deviation(made) / max(_deviation(seen), 1e-6), 4),
    }


def _unit_vectors(faces: np.ndarray) -> np.ndarray:
    """(n, d) float32 of mean 0 and length 1."""
    vectors = faces.reshape(len(faces), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _deviation(faces: np.ndarray) -> float:
    return float(faces.std(axis=0, dtype=np.float64).mean())
