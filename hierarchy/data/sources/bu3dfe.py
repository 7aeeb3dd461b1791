"""BU-3DFE (Yin et al., "A 3D facial expression database", FG 2006): a picture and a mesh of each expression."""

import logging
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.data.depth import wrl
from fer_hierarchy.hierarchy.data.depth.depth_planes import DepthScale, at_nominal
from fer_hierarchy.hierarchy.data.sources._listing import any_image, files_in, paired_manifest, subfolders
from fer_hierarchy.hierarchy.errors import UserError

LOG = logging.getLogger("fer_hierarchy")

IMAGE_SIZE = None
DEPTH = DepthScale(kind="relative", mm_per_unit=1.0)
CACHED = True  # reading and drawing a mesh takes longer than decoding its drawing
LAYOUT = "F0001/F0001_AN01WH_F2D.bmp beside F0001_AN01WH_F3D.wrl, named by subject, emotion, intensity and group"
EMOTION_CODES = {
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
WIDTH_MM = 112 / 0.52  # what a picture shows from left to right, the origin of the mesh in its centre

_NAME = "bu3dfe"
_FOLDER = re.compile(r"[FM]\d{4}", re.IGNORECASE)
_PICTURE = re.compile(r".+_F2D\.(bmp|png|jpe?g)", re.IGNORECASE)
_STEM = re.compile(rf"([FM]\d{{4}})_({'|'.join(EMOTION_CODES)})(\d\d)([A-Z]{{2}})", re.IGNORECASE)
_MESH = "_f3d.wrl"
_MOST_OUTSIDE = 0.5  # share of a mesh's corners that may lie beyond the picture
_LEAST_COVER = 0.02  # share of the picture that a face covers
_LEAST_BLACK = 0.05  # share of the picture from which on black is its background
_LEAST_SHARED = 0.8  # share of the drawn mesh that must lie on what the picture shows; rendered faces reach 0.98


def detect(path: Path) -> bool:
    """Whether `path` holds folders of subjects with pictures named as this data set names them."""
    return any(any_image(path / name, _is_named) for name in subfolders(path) if _FOLDER.fullmatch(name))


def _is_named(file: str) -> bool:
    return bool(_PICTURE.fullmatch(file) and _STEM.match(file))


def read(path: Path) -> pd.DataFrame:
    """Read the manifest; no splits, intensities 1 to 4 (0 for neutral), "" where a picture has no mesh.

    Args:
        path: The folder that holds the folders of the subjects.

    Raises:
        UserError: A picture's name lacks subject, emotion or intensity.
    """
    pictures, meshes = _listed(path)
    matches = {stem: match for stem in pictures if (match := _STEM.fullmatch(stem.rpartition("/")[2]))}
    if odd := [file for stem, file in pictures.items() if stem not in matches]:
        raise UserError(
            f"{path}: {len(odd)} pictures have no emotion in their names (first: {odd[0]}); names like "
            f"F0001_AN01WH_F2D.bmp with {', '.join(EMOTION_CODES)} and an intensity of two digits are needed"
        )
    _note_lonely(path, [file for stem, file in meshes.items() if stem not in pictures])
    rows = [
        (match[0], pictures[stem], meshes.get(stem, ""), EMOTION_CODES[match[2].upper()], match[1].upper())
        for stem, match in matches.items()
    ]
    table = pd.DataFrame(rows, columns=["id", "file", "depth", "emotion", "subject"])
    levels = pd.Series([int(match[3]) for match in matches.values()])
    return paired_manifest(path, table, _NAME, DEPTH.kind, intensities=levels.where(table["emotion"] != "neutral", 0))


def _listed(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Pictures and meshes below `path`, file by stem: `F0001/F0001_AN01WH`."""
    files = files_in(path, filter(_FOLDER.fullmatch, subfolders(path)))
    meshes = {file.rpartition("_")[0]: file for file in files if file.lower().endswith(_MESH)}
    shown = [file for file in files if _PICTURE.fullmatch(file)]
    pictures: dict[str, str] = {}
    for file in shown:
        pictures.setdefault(file.rpartition("_")[0], file)
    if twice := len(shown) - len(pictures):
        LOG.warning(f"{path}: {twice} pictures are there in several formats; the first by name of each is taken")
    return pictures, meshes


def _note_lonely(path: Path, meshes: list[str]) -> None:
    if meshes:
        LOG.warning(f"{path}: {len(meshes)} meshes without a picture are ignored (first: {meshes[0]})")


def problem(path: str, _depth_path: str) -> str | None:
    """Why a face cannot be what its name promises; None without a contradiction."""
    named, folder = Path(path).name[:5], Path(path).parent.name
    if named.upper() != folder.upper():
        return f"file name begins with {named!r}, the folder {folder}: whose face is it?"
    return None


def read_depth(path: str, picture: tuple[int, int]) -> np.ndarray:
    """Draw a mesh as its picture shows it.

    Texture coordinates place each vertex, where the mesh has them for this picture; else the picture is taken to be
    `WIDTH_MM` wide with the mesh's origin in its centre, which is then checked against the picture's background.

    Args:
        path: A .wrl file.
        picture: (height, width) of the picture.

    Returns:
        (height, width) float32 millimetres, the face at the nominal distance; NaN where the mesh has no surface.

    Raises:
        BadImageError: The mesh cannot be read, or does not fit the picture.
    """
    mesh, beside = wrl.read_mesh(path), _picture_of(Path(path))
    places = corner_places(mesh, beside, picture)
    _check_frame(mesh, places, picture)
    distance = wrl.front_view(mesh, places, picture)
    cover = float(np.isfinite(distance).mean())
    if cover < _LEAST_COVER:
        raise BadImageError(f"mesh covers {cover:.2%} of its picture ({_extent(mesh)})")
    if beside is not None:
        _check_coincides(distance, beside)
    return at_nominal(distance)


def _picture_of(mesh: Path) -> Path | None:
    """The picture beside a mesh."""
    start = f"{mesh.name[: -len(_MESH)]}_f2d.".lower()
    beside = (place for place in sorted(mesh.parent.iterdir()) if place.name.lower().startswith(start))
    return next(filter(lambda place: _PICTURE.fullmatch(place.name), beside), None)


def corner_places(mesh: wrl.Mesh, beside: Path | None, picture: tuple[int, int]) -> np.ndarray:
    """Where each triangle's corners lie in the picture: (m, 3, 2) column and row, pixel edges at whole numbers."""
    height, width = picture
    stems = {Path(name).stem.lower() for name in mesh.pictures}
    # A texture may be put together from other views; then its coordinates do not fit the frontal picture.
    if mesh.texture is not None and (not stems or (beside is not None and beside.stem.lower() in stems)):
        return mesh.texture * (width, -height) + (0, height)
    scale = width / WIDTH_MM
    return mesh.points[mesh.triangles, :2] * (scale, -scale) + (width / 2, height / 2)


def _check_frame(mesh: wrl.Mesh, places: np.ndarray, picture: tuple[int, int]) -> None:
    outside = float(((places < 0) | (places > picture[::-1])).any(axis=2).mean())
    if outside > _MOST_OUTSIDE:
        raise BadImageError(f"mesh is out of frame: {outside:.0%} of it lies outside of its picture ({_extent(mesh)})")


def _extent(mesh: wrl.Mesh) -> str:
    """Where the mesh lies, for messages."""
    low, high = mesh.points[mesh.triangles].min(axis=(0, 1)), mesh.points[mesh.triangles].max(axis=(0, 1))
    return (
        f"x {low[0]:.4g} to {high[0]:.4g}, y {low[1]:.4g} to {high[1]:.4g}; "
        f"millimetres around the middle of the head are needed"
    )


def _check_coincides(distance: np.ndarray, beside: Path) -> None:
    """Refuse a mesh that lies beside the pictured face, as far as a black background shows it."""
    try:
        colour = read_image(beside)
    except BadImageError:  # reported when the picture itself is read
        return
    shown = colour.reshape(*colour.shape[:2], -1).max(axis=2) > 0
    if colour.shape[:2] != distance.shape or 1 - shown.mean() < _LEAST_BLACK:
        _warn_unproven()
        return
    shared = float(shown[np.isfinite(distance)].mean())
    if shared < _LEAST_SHARED:
        raise BadImageError(
            f"mesh and picture do not coincide: {shared:.0%} of the mesh lies on what {beside.name} shows, "
            f"taken to be {WIDTH_MM:.1f} mm wide or placed by the mesh's texture coordinates"
        )


@cache
def _warn_unproven() -> None:
    LOG.warning(
        f"{_NAME}: the pictures have no black background, so nothing proves that meshes and pictures coincide; without "
        f"texture coordinates a picture is taken to be {WIDTH_MM:.1f} mm wide, the mesh's origin in its centre"
    )
