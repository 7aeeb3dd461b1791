"""What it costs to bring depth from a mesh or a range file into the picture; run by hand on an otherwise idle machine.

    python tests/benchmarks/bench_depth.py --data data/rgbd --limit 100

One line for each kind of file below the folder, and one for a made mesh of a scanned face's size: median and longest
time to read a file and to draw it. This is paid once: what is drawn is kept in the cache.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth import bnt, wrl
from fer_hierarchy.hierarchy.data.sources import bu3dfe

_FACE_MM = 180.0  # width and height of the made mesh


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with .wrl or .bnt files somewhere below")
    parser.add_argument("--limit", type=int, default=200, help="files of each kind")
    parser.add_argument("--faces", type=int, default=20_000, help="triangles of the made mesh")
    parser.add_argument("--picture", type=int, default=512, help="side of the picture that is drawn, in pixels")
    args = parser.parse_args()
    size = (args.picture, args.picture)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.wrl"
        made.write_text(_mesh_text(args.faces))
        _time(f"made mesh of {args.faces} faces", [made] * 10, wrl.read_mesh, _draw_mesh, size)
    if args.data is not None:
        meshes, grids = (sorted(args.data.rglob(pattern))[: args.limit] for pattern in ("*.wrl", "*.bnt"))
        _time(".wrl", meshes, wrl.read_mesh, _draw_mesh, size)
        _time(".bnt", grids, bnt.read_bnt, bnt.surface, size)


def _mesh_text(faces: int) -> str:
    """A bulge over a square grid of vertices, as VRML text with two decimals."""
    side = round((faces / 2) ** 0.5)
    y, x = np.mgrid[-1 : 1 : (side + 1) * 1j, -1 : 1 : (side + 1) * 1j]
    points = np.stack([x * _FACE_MM / 2, y * _FACE_MM / 2, 90 * np.exp(-(x**2) - y**2)], axis=-1).reshape(-1, 3)
    number = np.arange(len(points)).reshape(side + 1, side + 1)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    rows = "\n".join(f"{i}, {j}, {k}, -1," for i, j, k in [*zip(a, b, c, strict=True), *zip(a, c, d, strict=True)])
    vertices = "\n".join(f"{px:.2f} {py:.2f} {pz:.2f}," for px, py, pz in points)
    return (
        "#VRML V2.0 utf8\nShape { geometry IndexedFaceSet {\n"
        f"coord Coordinate {{ point [\n{vertices}\n] }}\ncoordIndex [\n{rows}\n] }} }}\n"
    )


def _draw_mesh(mesh: wrl.Mesh, size: tuple[int, int]) -> np.ndarray:
    return wrl.front_view(mesh, bu3dfe.corner_places(mesh, None, size), size)


def _time(label: str, paths: list[Path], read: Callable, draw: Callable, size: tuple[int, int]) -> None:
    """Read and draw each file, and print medians and maxima in milliseconds."""
    times, broken = [], 0
    for path in paths:
        try:
            start = time.perf_counter()
            content = read(path)
            parsed = time.perf_counter()
            draw(content, size)
            times.append((1e3 * (parsed - start), 1e3 * (time.perf_counter() - parsed)))
        except BadImageError:
            broken += 1
    if times:
        (read_ms, draw_ms) = zip(*times, strict=True)
        print(
            f"{label}: {len(times)} files, {broken} broken; read {statistics.median(read_ms):.1f} ms "
            f"(longest {max(read_ms):.1f}), draw at {size[0]}x{size[1]} {statistics.median(draw_ms):.1f} ms "
            f"(longest {max(draw_ms):.1f})"
        )


if __name__ == "__main__":
    main()
