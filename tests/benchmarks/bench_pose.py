"""Head pose against the truth: rendered heads of range files, turned by known angles, from a picture to the angles.

`python tests/benchmarks/bench_pose.py --data BosphorusDB`, a folder as the Bosphorus database has it. Heads that were
recorded look straight at the camera only about: what is compared with the truth is the change against their own
straight view, and the mean of those views is printed beside it. Rendered heads show a skin without hair and depth.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import griddata

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fer_hierarchy.hierarchy.data.decoding import read_image
from fer_hierarchy.hierarchy.data.depth.bnt import read_bnt
from fer_hierarchy.hierarchy.data.depth.rasterise import render
from fer_hierarchy.inference.faces.detectors import make_detector
from fer_hierarchy.inference.faces.landmarks import FaceMesh
from fer_hierarchy.inference.faces.pose import MEASURES, measures
from fer_hierarchy.inference.settings import FaceConfig

SIDE, PIXELS_PER_MM, METRES_AWAY = 320, 1.5, 0.7
BEHIND = 90  # millimetres from the tip of the nose to the axis about which a head turns
ANGLES = (-60, -45, -30, -15, 15, 30, 45, 60)
VIEWS = [(0, 0, 0), *((yaw, 0, 0) for yaw in ANGLES), *((0, pitch, 0) for pitch in (-30, -15, 15, 30))]
VIEWS += [(0, 0, roll) for roll in ANGLES] + [(30, 15, 20), (-30, -15, -20)]


def main() -> None:
    """Print the errors at each angle, and over all views, with an interval over the subjects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="BosphorusDB, with its bs000 and so on")
    parser.add_argument("--expressions", nargs="+", default=["N_N", "E_SURPRISE"])
    given = parser.parse_args()
    files = [path for name in given.expressions for path in sorted(given.data.glob(f"bs*/*_{name}_0.bnt"))]
    found = np.array([list(measured(path)) for path in files])  # (files, views, measures), NaN where nothing was found
    subjects = np.array([path.parent.name for path in files])
    errors = found[:, 1:, :3] - found[:, :1, :3] - np.array(VIEWS[1:])
    print(f"{len(files)} heads of {len(set(subjects))} subjects, straight: {means(found[:, 0, :3])}")
    print("yaw pitch roll   found   error of yaw, pitch, roll (mean, largest)   right eye, left eye, mouth")
    for at, view in enumerate(VIEWS):
        seen = np.isfinite(found[:, at, 0]).mean()
        error = np.zeros((1, 3)) if at == 0 else errors[:, at - 1]
        columns = means(error), means(np.abs(error), np.nanmax), means(found[:, at, 3:], digits=2)
        print(f"{view!s:16} {100 * seen:4.0f} %  {'  '.join(columns)}")
    near = [at for at, view in enumerate(VIEWS[1:]) if max(map(abs, view[:2])) <= 30 and abs(view[2]) <= 45]
    for name, some in (("yaw and pitch up to 30, roll up to 45", near), ("all views", range(len(VIEWS) - 1))):
        print(f"mean absolute error, {name}: {with_interval(np.abs(errors[:, list(some)]), subjects)}")


def means(values: np.ndarray, mean: object = np.nanmean, digits: int = 1) -> str:
    """The mean, or another number, of each of the columns."""
    return "  ".join(f"{mean(column):5.{digits}f}" for column in values.T)


def with_interval(errors: np.ndarray, subjects: np.ndarray, *, draws: int = 2000) -> str:
    """Means of (files, views, 3) errors with 95 % intervals; subjects are drawn, not files."""
    names, rng = sorted(set(subjects)), np.random.default_rng(0)
    by_subject = np.array([np.nanmean(errors[subjects == name], axis=(0, 1)) for name in names])
    drawn = by_subject[rng.integers(0, len(names), (draws, len(names)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    columns = zip(MEASURES[:3], np.nanmean(errors, axis=(0, 1)), low, high, strict=True)
    return ", ".join(f"{name} {value:.1f} ({least:.1f} to {most:.1f})" for name, value, least, most in columns)


def measured(path: Path) -> Iterator[list[float]]:
    """What is measured of each of the views of a head."""
    detector, mesh = make_detector(FaceConfig(faces="largest")), FaceMesh()
    for picture in views(path):
        faces = detector.find([picture])[0]
        points = mesh.trace(picture, faces[0]) if faces else None
        yield [np.nan] * len(MEASURES) if points is None else list(measures(points).values())


def views(path: Path) -> Iterator[np.ndarray]:
    """(SIDE, SIDE, 3) RGB of a head, turned to each of the `VIEWS`, before black."""
    picture, (places, texture, triangles) = read_image(path.with_suffix(".png")), surface(path)
    for yaw, pitch, roll in VIEWS:
        turn = rotation(yaw, pitch, roll)
        turned = places @ turn.T
        scale = PIXELS_PER_MM * 1000 * METRES_AWAY / (1000 * METRES_AWAY + turned[:, 2:])
        depth = render(turned[:, :2] * scale + SIDE / 2, turned[:, 2], triangles, (SIDE, SIDE))
        rows, columns = np.indices(depth.shape)
        away = (1000 * METRES_AWAY + depth) / (1000 * METRES_AWAY) / PIXELS_PER_MM
        seen = (
            np.stack([(columns - SIDE / 2) * away, (rows - SIDE / 2) * away, depth], axis=-1) @ turn
        )  # straight again
        at = np.nan_to_num(np.insert(seen[..., :2], 2, 1, axis=-1) @ texture, nan=-1) * picture.shape[1::-1] - 0.5
        shown = cv2.remap(picture, at.astype(np.float32), None, cv2.INTER_LINEAR)
        yield np.where(np.isfinite(depth)[..., None], shown, 0)


def surface(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head without holes.

    Returns:
        (n, 3) millimetres right, down, away; (3, 2) that takes right, down and 1 to u and v; (m, 3) triangles.
    """
    grid = read_bnt(path)
    known = np.argwhere(np.isfinite(grid.z))
    every = np.moveaxis(np.indices(grid.z.shape), 0, -1).reshape(-1, 2)
    planes = np.stack([grid.x, -grid.y, -grid.z, grid.u, grid.v], axis=-1)
    filled = griddata(known, planes[tuple(known.T)], every)
    places = filled[:, :3] - np.nanmedian(filled[:, :3], axis=0) * [1, 1, 0]
    places[:, 2] -= np.nanmin(places[:, 2]) + BEHIND
    whole = np.isfinite(places).all(axis=1)
    known_places = np.insert(places[whole, :2], 2, 1, axis=1)
    texture = np.linalg.lstsq(known_places, filled[whole, 3:], rcond=None)[0]
    corners = np.arange(len(every)).reshape(grid.z.shape)
    first, right, below, last = corners[:-1, :-1], corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:]
    triangles = np.concatenate(
        [np.stack(three, axis=-1).reshape(-1, 3) for three in ((first, right, below), (right, last, below))]
    )
    return places, texture, triangles[whole[triangles].all(axis=1)]


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) of a head that looks right, then up, then is turned clockwise, in degrees."""
    turns = [
        cv2.Rodrigues(np.radians(angle) * np.eye(3)[axis])[0] for angle, axis in ((roll, 2), (-yaw, 1), (-pitch, 0))
    ]
    return turns[0] @ turns[1] @ turns[2]


if __name__ == "__main__":
    main()
