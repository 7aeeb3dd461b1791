"""Photographs made of labelled faces and of the sample pictures that Python packages ship.

FER-2013's faces are enlarged (Lanczos), changed as one of `KINDS`, and pasted with soft edges into crops of pictures
that show no face. What is written is what `bench_photographs.py` reads: pictures, the faces as they were, and a table.
"""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.decoding import read_image
from fer_hierarchy.hierarchy.errors import UserError

KINDS = ("upright", "turned", "tilted", "lit", "covered")
_CELL = 480  # pixels of the square around each face
_SIDES = (56, 240)  # pixels of a pasted face, drawn evenly in their logarithm
_GRIDS = ((1, 1), (1, 2), (2, 2))  # rows and columns of faces
_QUALITY = 92  # of the JPEG files
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
# Without a face of a person; chelsea is a cat.
_NAMES = (
    *("brick.png", "chelsea.png", "china.jpg", "clock_motion.png", "coffee.png", "coins.png", "color.png"),
    *("flower.jpg", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "motorcycle_right.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
)


def backgrounds(further: Sequence[Path], half: int) -> list[np.ndarray]:
    """Every second of the pictures without a face, uint8 (h, w) grey.

    Args:
        further: Folders to search beside those of the installed packages.
        half: 0 or 1, so that what is chosen on one half is measured on the other.
    """
    folders = [*further, *(_package(name) / below for name, below in _FOLDERS.items() if _package(name).is_dir())]
    files = {path.name: path for folder in folders for path in folder.glob("*") if path.name in _NAMES}
    if len(files) < 4:
        raise UserError(f"{len(files)} of the pictures without a face were found; pip install scikit-image")
    chosen = [files[name] for name in sorted(files)][half::2]
    pictures = [read_image(path) for path in chosen]
    return [one if one.ndim == 2 else cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in pictures]


def _package(name: str) -> Path:
    """Where a package lies, which is not imported; a place without a folder where it is not installed."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else Path(f"/no {name}")


def without_faces(pictures: Sequence[np.ndarray], count: int, seed: int) -> list[np.ndarray]:
    """Crops of pictures, enlarged or shrunk, a third of them on their side."""
    rng = np.random.default_rng([seed, 1])
    made = []
    for number in range(count):
        one = _crop(pictures[number % len(pictures)], (480, 640), rng)
        made.append(np.ascontiguousarray(np.rot90(one)) if rng.random() < 1 / 3 else one)
    return made


def make_photographs(
    folder: Path, faces: Sequence[Path], emotions: Sequence[str], pictures: Sequence[np.ndarray], seed: int
) -> Path:
    """Write photographs of faces, one of `KINDS` in each, and the table of what they show.

    Args:
        folder: Where to write; made.
        faces: Pictures of one face each, that fill it.
        emotions: Of each.
        pictures: Backgrounds.
        seed: Of all randomness.

    Returns:
        The table, labels.csv: file, emotion, left, top, width, height, kind, and face, the file of the face as it was.
    """
    rng = np.random.default_rng(seed)
    (folder / "faces").mkdir(parents=True, exist_ok=True)
    left, rows = list(rng.permutation(len(faces))), []
    number = 0
    while left:
        kind = KINDS[number % len(KINDS)]
        grid = _GRIDS[rng.integers(len(_GRIDS))]
        scene = _crop(pictures[rng.integers(len(pictures))], (_CELL * grid[0], _CELL * grid[1]), rng)
        for cell in range(min(math.prod(grid), len(left))):
            row = left.pop()
            face = read_image(faces[row])
            corner = np.array([cell % grid[1], cell // grid[1]]) * _CELL
            scene, box = _paste(scene, face, corner, kind, rng)
            name = f"faces/{faces[row].stem}.png"
            cv2.imwrite(str(folder / name), face)
            place = dict(zip(("left", "top", "width", "height"), box, strict=True))
            file = f"{number:05d}.jpg"
            rows.append({"file": file, "emotion": emotions[row], **place, "kind": kind, "face": name})
        cv2.imwrite(str(folder / file), scene, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        number += 1
    table = folder / "labels.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def _crop(picture: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part of a picture, in a size (height, width)."""
    share = rng.uniform(0.4, 1)
    height, width = picture.shape
    scale = share * min(height / size[0], width / size[1])
    tall, wide = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return cv2.resize(picture[top : top + tall, left : left + wide], size[::-1], interpolation=how)


def _paste(
    scene: np.ndarray, face: np.ndarray, corner: np.ndarray, kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[int]]:
    """A scene with a face in a cell, and the box around its square: left, top, width, height."""
    side = round(math.exp(rng.uniform(*np.log(_SIDES))))
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_LANCZOS4)
    large = {"lit": _lit, "covered": _covered}.get(kind, lambda picture, _: picture)(large, rng)
    border = side // 4
    patch = cv2.copyMakeBorder(large, *[border] * 4, cv2.BORDER_REPLICATE)
    soft = np.zeros(patch.shape, np.float32)
    soft[border // 3 : -border // 3, border // 3 : -border // 3] = 1
    soft = cv2.GaussianBlur(soft, (0, 0), border / 6)
    slack = (_CELL - 1.5 * side) / 4
    middle = corner + _CELL / 2 + rng.uniform(-slack, slack, 2)
    matrix = _placed(patch.shape[0], middle, kind, rng)
    size = scene.shape[::-1]
    weight = cv2.warpPerspective(soft, matrix, size)
    moved = cv2.warpPerspective(patch, matrix, size, flags=cv2.INTER_CUBIC)
    ends = np.array([[border, border], [side + border, border], [side + border] * 2, [border, side + border]], float)
    box = cv2.boundingRect(cv2.perspectiveTransform(ends[None], matrix)[0].astype(np.float32))
    return np.rint(scene * (1 - weight) + moved * weight).clip(0, 255).astype(np.uint8), list(box)


def _placed(side: int, middle: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(3, 3) from a square patch to its place: in the plane, and out of it as a card before a camera."""
    degrees = rng.uniform(10, 45) * rng.choice([-1, 1]) if kind == "turned" else rng.uniform(-5, 5)
    yaw, pitch = np.radians(rng.uniform(-35, 35, 2) * [1, 0.6]) if kind == "tilted" else (0.0, 0.0)
    roll = math.radians(degrees)
    half, away = (side - 1) / 2, 2.0 * side
    corners = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    about_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    about_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    about_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    space = corners @ (about_z @ about_y @ about_x).T
    seen = space[:, :2] * away / (away + space[:, 2:]) + middle
    flat = corners[:, :2] + half
    return cv2.getPerspectiveTransform(flat.astype(np.float32), seen.astype(np.float32))


def _lit(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, and darker or brighter as a whole."""
    side = len(face)
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.indices(face.shape) / side - 0.5
    gain = 1 + rng.uniform(0.4, 1.2) * (columns * math.cos(angle) + rows * math.sin(angle))
    light = np.clip(face / 255 * gain, 0, 1) ** math.exp(rng.uniform(-0.7, 0.7))
    return np.rint(255 * light).astype(np.uint8)


def _covered(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey bar over a tenth to a quarter of the face, from one of its edges."""
    covered, side = face.copy(), len(face)
    depth = round(side * rng.uniform(0.1, 0.25))
    np.rot90(covered, rng.integers(4))[:depth] = rng.integers(30, 220)
    return covered
