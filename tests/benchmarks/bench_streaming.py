"""Training on more decoded faces than memory should hold; run by hand, with room on the disk for them.

    python tests/benchmarks/bench_streaming.py --faces 287651 --size 224 --channels 1

Writes that many faces of noise (SYNTHETIC: speed and memory are measured, not accuracy) as the image cache keeps them,
and trains a small network on them and on a set in memory, in turn in one process. Before each round the system forgets
the file where it can, so that the disk is read. Memory is what the process holds, pages of the file included, but not
the system's own cache of files.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fer_hierarchy.hierarchy  # noqa: F401 - sets TensorFlow's environment before it is imported

IN_MEMORY = 2048  # faces


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faces", type=int, default=287_651, help="AffectNet's train faces by default")
    parser.add_argument("--size", type=int, default=224, help="side in pixels")
    parser.add_argument("--channels", type=int, default=1, help="1 (grey) or 3 (RGB)")
    parser.add_argument("--steps", type=int, default=20, help="steps of 64 faces in each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each of the two")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "pixels.npy"
        _write(path, (args.faces, args.size, args.size, args.channels))
        _measure(path, args.steps, args.rounds)


def _write(path: Path, shape: tuple[int, int, int, int]) -> None:
    """Faces of noise, a thousand at a time."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, *shape[1:]), dtype=np.uint8)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], len(noise)):
            file.write(noise[: shape[0] - start].data)
        file.flush()
        os.fsync(file.fileno())


def _measure(path: Path, steps: int, rounds: int) -> None:
    import keras

    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    memory = _batches(pixels[:IN_MEMORY].copy())
    network = keras.Sequential(
        [
            keras.Input(pixels.shape[1:]),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 5, strides=4, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(8),
        ]
    )
    network.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))

    def speed(batches) -> float:
        start = time.perf_counter()
        network.fit(batches.dataset(0, steps), steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
        return steps * batches.faces_per_step / (time.perf_counter() - start)

    speed(memory)  # compiles the training step
    ratios = []
    for number in range(rounds):
        _forget(path)
        streamed = _batches(pixels, seed=number)  # other faces in each round
        ratios.append((disk := speed(streamed)) / (near := speed(memory)))
        print(f"round {number + 1}: from disk {disk:.0f} images/s, from memory {near:.0f} images/s, {ratios[-1]:.1%}")
    print(f"disk / memory: median {statistics.median(ratios):.1%}, {min(ratios):.1%} to {max(ratios):.1%}")
    start = time.perf_counter()
    for step in range(len(streamed.rows) // 640):  # a tenth of an epoch, without the network
        streamed.batch(step)
    print(f"a tenth of an epoch, batches alone: {len(streamed.rows) / 10 / (time.perf_counter() - start):.0f} images/s")
    print(f"{len(pixels)} faces, {pixels.nbytes / 1e9:.1f} GB; peak memory of this process: {_peak():.2f} GB")


def _batches(pixels: np.ndarray, seed: int = 0):
    from fer_hierarchy.hierarchy.data.augment import Augmentation
    from fer_hierarchy.hierarchy.data.batches import TrainBatches

    rows = np.arange(len(pixels))
    targets = np.eye(8, dtype=np.float32)[rows % 8]
    return TrainBatches(
        pixels=pixels, rows=rows, targets=targets, batch_size=64, seed=seed, augmentation=Augmentation()
    )


def _forget(path: Path) -> None:
    """Drop the file from the system's cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _peak() -> float:
    """Gigabytes; Linux counts pages of mapped files in."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
