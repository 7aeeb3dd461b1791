"""Whether exports predict as their run does, how large they are and how fast: a row a format, on real faces."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import class_indices
from fer_hierarchy.hierarchy.paths import STAGES
from fer_hierarchy.hierarchy.printing import show
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.evaluated_faces import as_trained, evaluated_faces
from fer_hierarchy.hierarchy.runs.run import Run, check_same_faces
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.export.run_model import RunModel
from fer_hierarchy.inference.model import Model

TOLERANCE = 1e-4  # of a probability, for formats that compute in float32
KERAS = "keras"  # the run itself

_ROUNDED = ("tflite-int8",)  # formats that cannot be that close: they may lose a face in a hundred
_WARM_UP = 8  # calls; the run itself is traced after some
_ROUNDS = 5
_CALLS = 20  # of one face, in each round
_BATCH = 64  # faces
_TASKS = Path("/proc/self/task")  # the threads of this process, on Linux


def verify(run: str | None, exports: Mapping[str, Path], *, data: DataConfig, results: Path) -> list[str]:
    """Compare exports with their run, print a table and write it beside them as verify.csv and verify.json.

    Args:
        run: Name or folder; None takes the published weights, or the newest run.
        exports: Format -> file, as `inference.export.writer.export_run` gives them.
        data: Whose test faces are predicted, without those that the run was trained on; the run's own where it names
            none.
        results: Folder of all runs.

    Returns:
        What does not hold, a line a format; empty where all exports predict as the run does.

    Raises:
        UserError: No finished run, faces that cannot be read, or an export of another run.
    """
    opened = Run(default_model(results) if run is None else run, results=results)
    table = compare(RunModel(opened), exports, _test_faces(opened, data))
    show(*_as_text(table).split("\n"))
    for place in {path.parent for path in exports.values()}:
        _write(place, opened.name, table)
    return table.loc[~table["ok"], "complaint"].tolist()


def compare(reference: RunModel, exports: Mapping[str, Path], faces: Faces) -> pd.DataFrame:
    """Compare exports with their run on the test faces.

    Returns:
        A row for the run itself, whose format is `KERAS`, and one for each export: format, faces (how many were
        predicted), largest_difference (of any probability of any face from the run's), agreement (share of faces for
        which format and run predict the same emotion), top1, megabytes (on disk, of all files), faces_per_second (one
        face a call, on one processor core), faces_per_second_64 (64 faces a call), complaint (what does not hold) and
        ok (whether there is none).

    Raises:
        UserError: An export cannot be opened, or is of another run.
    """
    rows = faces.split("test")
    pixels = faces.images.pixels[rows.index.to_numpy()]
    labels = class_indices(rows["emotion"].to_numpy(str), reference.facts.taxonomy.emotions)
    expected = reference.predict(pixels)
    size = _megabytes(Path(reference.source) / STAGES, "*.keras")
    table = [_row(KERAS, expected, expected, labels, size, _speeds(lambda: reference, pixels))]
    for name, path in exports.items():
        predicted = _of_same_run(open_model(str(path), path.parent), reference).predict(pixels)
        speeds = _speeds(partial(open_model, str(path), path.parent), pixels)
        table.append(_row(name, predicted, expected, labels, _megabytes(path), speeds))
    return pd.DataFrame(table)


def _test_faces(run: Run, data: DataConfig) -> Faces:
    """The faces to predict, all in the split "test"."""
    if data.data is None and data.dataset is None:
        faces = read_faces(run.config)
        check_same_faces(run.folder, faces)
        return faces
    return evaluated_faces(as_trained(data, run), run)


def _of_same_run(model: Model, reference: RunModel) -> Model:
    ours, theirs = reference.facts, model.facts
    if (theirs.taxonomy, theirs.shape) != (ours.taxonomy, ours.shape):
        raise UserError(f"model {model.source} is not of run {ours.run}, but of {theirs.run}; export the run again")
    return model


def _row(
    name: str, predicted: np.ndarray, expected: np.ndarray, labels: np.ndarray, size: float, speeds: tuple[float, float]
) -> dict[str, Any]:
    emotions, wanted = predicted.argmax(axis=1), expected.argmax(axis=1)
    difference = float(np.abs(predicted - expected).max())
    complaint = _complaint(name, difference, emotions == labels, wanted == labels)
    return {
        "format": name,
        "faces": len(labels),
        "largest_difference": difference,
        "agreement": (emotions == wanted).mean(),
        "top1": (emotions == labels).mean(),
        "megabytes": size,
        "faces_per_second": speeds[0],
        "faces_per_second_64": speeds[1],
        "complaint": complaint,
        "ok": not complaint,
    }


def _complaint(name: str, difference: float, right: np.ndarray, runs: np.ndarray) -> str:
    """What is wrong with a format that predicts these (n,) faces right, as its run does those."""
    if name in _ROUNDED:
        if runs.sum() - right.sum() > max(1, len(right) / 100):
            return f"{name} names {right.mean():.1%} of {len(right)} faces right, the run {runs.mean():.1%}"
    elif not difference <= TOLERANCE:  # written so that NaN is wrong too
        return f"{name} differs from the run by {difference:.2g}; at most {TOLERANCE} is right"
    return ""


def _megabytes(path: Path, pattern: str = "*") -> float:
    """Size of a file, or of all files in a folder that match."""
    files = [path] if path.is_file() else [file for file in path.rglob(pattern) if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _speeds(opened: Callable[[], Model], pixels: np.ndarray) -> tuple[float, float]:
    """Faces per second of one core's time: one a call, and `_BATCH` a call."""
    batch = pixels[np.arange(_BATCH) % len(pixels)]
    with _one_core():
        model = opened()
        return _rate(model, batch[:1], _CALLS), _rate(model, batch, 1)


def _rate(model: Model, faces: np.ndarray, calls: int) -> float:
    """Faces per processor second, which other programs on the same core do not lengthen; the median of some rounds."""
    for _ in range(_WARM_UP if calls > 1 else 1):
        model.predict(faces)
    times = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(calls):
            model.predict(faces)
        times.append(time.process_time() - start)
    return calls * len(faces) / statistics.median(times)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep every thread of the process, and those that start meanwhile, on one core; where Linux is not, do nothing."""
    if not _TASKS.is_dir():
        yield
        return
    before = {int(task.name): os.sched_getaffinity(int(task.name)) for task in _TASKS.iterdir()}
    _pin({task: {max(cores)} for task, cores in before.items()})
    try:
        yield
    finally:
        usual = before[os.getpid()]
        _pin({int(task.name): before.get(int(task.name), usual) for task in _TASKS.iterdir()})


def _pin(places: Mapping[int, set[int]]) -> None:
    for task, cores in places.items():
        try:
            os.sched_setaffinity(task, cores)
        except ProcessLookupError:  # the thread has ended since it was listed
            continue


def _as_text(table: pd.DataFrame) -> str:
    """The table as it is printed."""
    lines = [
        f"{table['faces'][0]} faces; speed on one core, a face a call and {_BATCH} faces a call",
        f"{'format':<12}{'MB':>8}{'largest difference':>20}{'same emotion':>14}{'top-1':>9}"
        f"{'faces/s':>9}{f'faces/s ({_BATCH})':>14}",
    ]
    lines += [
        f"{row.format:<12}{row.megabytes:>8.2f}{row.largest_difference:>20.1e}{row.agreement:>14.2%}{row.top1:>9.2%}"
        f"{row.faces_per_second:>9.0f}{row.faces_per_second_64:>14.0f}  {'ok' if row.ok else 'NOT AS THE RUN'}"
        for row in table.itertuples()
    ]
    return "\n".join(lines)


def _write(folder: Path, run: str, table: pd.DataFrame) -> None:
    run_folder.write_table(folder / "verify.csv", table)
    machine = run_folder.environment(command="")
    machine.pop("command")
    record = {"run": run, "formats": table.to_dict("records"), "environment": machine}
    run_folder.write_json(folder / "verify.json", record)
