"""Speed of predictions on one core: classification, detection, cold start; beside the `fer` package if it is at hand.

    python tests/benchmarks/bench_inference.py --run RUN --tflite RUN.tflite --int8 RUN-int8.tflite --photo photo.jpg
    python tests/benchmarks/bench_inference.py ... --fer-python other/bin/python     # an environment with fer installed

Every figure is measured in a process of its own that may use one core alone, in rounds that visit all in turn, so that
a slow moment of the machine does not fall on one alone; medians are printed. The faces are grey noise of 48x48 pixels:
what a face shows does not change its cost. The photograph is brought to 640x480 for detection.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (1, 16, 64, 256)

# Each prints one JSON object; `sys.argv[1:]` are its arguments.
_CLASSIFY = """
import json, sys, time
import numpy as np
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.hierarchy.paths import RESULTS
model, batch, seconds = open_model(sys.argv[1], RESULTS), int(sys.argv[2]), float(sys.argv[3])
faces = np.random.default_rng(0).integers(0, 256, (batch, *model.facts.shape), dtype=np.uint8)
model.emotions(faces)
done, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    model.emotions(faces)
    done += batch
print(json.dumps({"rate": done / (time.perf_counter() - start)}))
"""
_DETECT = """
import json, sys, time
import cv2
from fer_hierarchy.inference.faces.detectors import make_detector
from fer_hierarchy.inference.settings import FaceConfig
cv2.setNumThreads(1)
picture = cv2.cvtColor(cv2.resize(cv2.imread(sys.argv[2]), (640, 480)), cv2.COLOR_BGR2RGB)
detector, seconds = make_detector(FaceConfig(detector=sys.argv[1], min_face=int(sys.argv[4]))), float(sys.argv[3])
found = detector.find([picture])[0]
done, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    detector.find([picture])
    done += 1
print(json.dumps({"rate": done / (time.perf_counter() - start), "faces": len(found)}))
"""
_FER_CLASSIFY = """
import json, sys, time
import numpy as np
from fer.fer import FER
detector, seconds = FER(use_tflite=sys.argv[1] == "tflite"), float(sys.argv[2])
face = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
detect = lambda: detector.detect_emotions(face, face_rectangles=[(0, 0, 48, 48)])
detect()
done, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    detect()
    done += 1
print(json.dumps({"rate": done / (time.perf_counter() - start)}))
"""
_FER_DETECT = """
import json, sys, time
import cv2
from fer.fer import FER
cv2.setNumThreads(1)
picture = cv2.resize(cv2.imread(sys.argv[1]), (640, 480))
detector, seconds = FER(), float(sys.argv[2])
found = detector.find_faces(picture)
done, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    detector.find_faces(picture)
    done += 1
print(json.dumps({"rate": done / (time.perf_counter() - start), "faces": len(found)}))
"""
_FER_COLD = """
import sys
import cv2
from fer.fer import FER
print(FER().detect_emotions(cv2.imread(sys.argv[1])))
"""


def main() -> None:
    """Measure everything in turn and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="a run: its networks predict through Keras")
    parser.add_argument("--tflite", required=True, metavar="FILE", help="its export in float")
    parser.add_argument("--int8", required=True, metavar="FILE", help="its export in int8")
    parser.add_argument("--photo", required=True, metavar="FILE", help="a photograph with a face")
    parser.add_argument("--video", metavar="FILE", help="a film, which predict goes through once on all cores")
    parser.add_argument("--fer-python", metavar="FILE", help="python of an environment with the package fer")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each figure in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures: dict[str, list[dict]] = {}
    for number in range(arguments.rounds):
        for name, figure in _round(arguments):
            figures.setdefault(name, []).append(figure)
            print(f"round {number + 1}, {name}: {figure}", file=sys.stderr)
    _print(figures, arguments.rounds)
    if arguments.video:
        _time_video(arguments.video, arguments.tflite)


def _time_video(video: str, model: str) -> None:
    """How long predict takes for a film, all processor cores at hand."""
    import cv2

    film = cv2.VideoCapture(video)
    length = film.get(cv2.CAP_PROP_FRAME_COUNT) / film.get(cv2.CAP_PROP_FPS)
    with tempfile.TemporaryDirectory() as folder:
        command = ["tf_model.py", "--mode", "predict", video, "--run", model, "--out", f"{folder}/rows.csv"]
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
        took = time.perf_counter() - start
    print(f"\na film of {length:.0f} s takes predict {took:.0f} s on {len(os.sched_getaffinity(0))} cores")


def _round(arguments: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    seconds, photo = str(arguments.seconds), str(Path(arguments.photo).resolve())
    kinds = {"Keras": arguments.run, "TFLite float": arguments.tflite, "TFLite int8": arguments.int8}
    for kind, model in kinds.items():
        for batch in BATCHES:
            yield f"classify | {kind} | batch {batch}", _child(sys.executable, _CLASSIFY, model, str(batch), seconds)
    for smallest in ("32", "50"):
        for detector in ("blazeface", "haar"):
            figure = _child(sys.executable, _DETECT, detector, photo, seconds, smallest)
            yield f"detect | {detector}, faces from {smallest} pixels | 640x480", figure
    yield (
        "cold start | import keras | CPU-seconds",
        _cold([sys.executable, "-c", "import fer_hierarchy.hierarchy, keras"]),
    )
    for kind, model in kinds.items():
        command = [sys.executable, "tf_model.py", "--mode", "predict", photo, "--run", model]
        yield f"cold start | predict, {kind} | CPU-seconds", _cold(command)
    if arguments.fer_python:
        yield from _fer_round(arguments.fer_python, photo, seconds)


def _fer_round(python: str, photo: str, seconds: str) -> Iterator[tuple[str, dict]]:
    for kind in ("keras", "tflite"):
        yield f"classify | fer, {kind} | one at a time", _child(python, _FER_CLASSIFY, kind, seconds)
    yield "detect | fer's Haar, faces from 50 pixels | 640x480", _child(python, _FER_DETECT, photo, seconds)
    yield "cold start | fer | CPU-seconds", _cold([python, "-c", _FER_COLD, photo])


def _one_core() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _child(python: str, script: str, *words: str) -> dict:
    """What a script prints as its last line."""
    done = subprocess.run(
        [python, "-c", script, *words], capture_output=True, text=True, cwd=ROOT, preexec_fn=_one_core, check=False
    )
    if done.returncode:
        sys.exit(f"{words}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _cold(command: Sequence[str]) -> dict:
    """Processor time of a fresh process, its children's included."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=_one_core)
    error = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: {error[-2000:].decode()}")
    return {"cpu": usage.ru_utime + usage.ru_stime}


def _print(figures: dict[str, list[dict]], rounds: int) -> None:
    print(f"one core; medians of {rounds} rounds, in brackets the smallest and the largest\n")
    print("| what | by | how | figure |\n|---|---|---|---|")
    for name, measured in figures.items():
        key = "rate" if "rate" in measured[0] else "cpu"
        values = [figure[key] for figure in measured]
        unit = {"classify": "faces/s", "detect": "pictures/s", "cold start": "s"}[name.partition(" |")[0]]
        digits = 2 if key == "cpu" else 1 if min(values) < 100 else 0
        text = (
            f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f}) {unit}"
        )
        found = f", {measured[0]['faces']} found" if "faces" in measured[0] else ""
        print(f"| {name} | {text}{found} |")


if __name__ == "__main__":
    main()
