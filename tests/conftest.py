"""What every test shares: no GPU, a cache of its own, tiny faces and finished runs, and the program as users run it.

A test that needs a finished run, whatever it has learned, takes one of `stored_runs` instead of training one: flat,
hierarchical, shared, grid (two flat cells) and half (killed in its last stage) stand there, on faces of 16 pixels.

Figures are set up as ever and saved as a white dot, which takes a tenth of the time; a test about the picture itself
takes the fixture `rendered`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

os.environ["FER_CACHE"] = tempfile.mkdtemp(prefix="fer-cache-")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import fer_hierarchy.hierarchy  # noqa: F401 - sets TensorFlow's environment before any test imports it

CHECKOUT = Path(__file__).resolve().parent.parent
FER_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# Tracing takes nearly all the time of a tiny training, and grows with the number of weights: few layers, no moments.
TINY = "compact_resnet:stem_width=8:widths=16:blocks=1:strides=2:squeeze_from=none"
# The smallest model and faces that the program takes, so that a whole run takes seconds; flags after these win.
QUICK = ("--image-size", "16", "--batch-size", "16", "--resamples", "100", "--ema", "0.1")
QUICK += ("--model", TINY, "--optimizer", "sgd")


def draw_face(emotion: int, rng: np.random.Generator) -> np.ndarray:
    """A 48x48 grey picture whose bright bar tells the emotion, so that a model can learn it."""
    face = rng.integers(60, 120, (48, 48)).astype(np.uint8)
    face[4 + 6 * emotion : 9 + 6 * emotion, 6:42] = 230
    return face


def write_fer_folder(root: Path, *, per_split: dict[str, int], seed: int = 0) -> Path:
    """Kaggle's folder copy of FER-2013 with `per_split` faces of each emotion and file prefix."""
    rng = np.random.default_rng(seed)
    for prefix, count in per_split.items():
        for index, emotion in enumerate(FER_EMOTIONS):
            folder = root / ("train" if prefix == "Training" else "test") / emotion
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(draw_face(index, rng)).save(folder / f"{prefix}_{index}{number:03d}.png")
    return root


# Files that take minutes begin first, so that no worker is left alone with one in the end.
_LONG = (
    "test_rgbd_program",
    "test_program",
    "test_pipeline",
    "test_trunk",
    "test_rgbd",
    "test_dataset",
    "test_callbacks",
)
_LONG += ("test_finished_runs", "test_predict", "test_bad_input", "test_registry", "test_crossval", "test_writer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""
    items.sort(key=lambda item: _LONG.index(item.path.stem) if item.path.stem in _LONG else len(_LONG))


@pytest.fixture(scope="session")
def fer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FER-2013 with its three official splits."""
    counts = {"Training": 16, "PublicTest": 6, "PrivateTest": 6}
    return write_fer_folder(tmp_path_factory.mktemp("fer"), per_split=counts)


@pytest.fixture(scope="session")
def stored_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of the runs in tests/data/old_runs.zip, to be copied where a test changes them.

    The version of 30 November 2026 left them: flat, hierarchical (a network a stage), shared (one trunk), a grid of two
    flat runs, and `half`, which was killed in the first epochs of its last stage; `half-finished` has the figures that
    it came to when that version resumed it. Their faces stand in `faces` beside the results folder.
    """
    place = tmp_path_factory.mktemp("stored")
    faces = write_fer_folder(place / "faces", per_split={"Training": 6, "PublicTest": 3, "PrivateTest": 3})
    with zipfile.ZipFile(CHECKOUT / "tests" / "data" / "old_runs.zip") as archive:
        archive.extractall(place / "results")
    for path in (place / "results").rglob("*.json"):
        path.write_text(path.read_text().replace("FACES", str(faces)))
    return place / "results"


_save_figure = Figure.savefig


def _save_dot(_figure: Figure, path: str | Path, **_options: object) -> None:
    """In the place of `Figure.savefig`."""
    Image.new("L", (1, 1), 255).save(path, "PNG")


@pytest.fixture(scope="session", autouse=True)
def _dots() -> Iterator[None]:
    """Figures are saved as dots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _save_dot)
        yield


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are rendered."""
    monkeypatch.setattr(Figure, "savefig", _save_figure)


@pytest.fixture(scope="session")
def program() -> Callable[..., list[tuple[int, str]]]:
    """Runs command lines one after the other in one fresh process; gives the exit code and output of each."""
    return run_program


# Importing what a program imports takes longer than most of its work: it is done once, and each call is a fork of that.
_FORKED = """
import contextlib, io, json, os, resource, signal, sys, tempfile, traceback
import fer_hierarchy.hierarchy.training.pipeline, fer_hierarchy.hierarchy.training.keras_stage
from matplotlib.figure import Figure
from PIL import Image
from fer_hierarchy.hierarchy.cli import main

def stop_at(file, number):  # sends this process the signal once it has put the file in its place
    replace = os.replace
    def replacing(source, target):
        replace(source, target)
        if str(target) == file:
            os.kill(os.getpid(), number)
    os.replace = replacing

def run(commands, drawn, setup, limits, home, stop, answers):
    if not drawn:
        Figure.savefig = lambda figure, path, **options: Image.new("L", (1, 1), 255).save(path, "PNG")
    if home:
        os.environ["TMPDIR"], os.environ["FER_CACHE"], tempfile.tempdir = f"{home}/tmp", f"{home}/cache", None
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if stop:
        stop_at(*stop)
    exec(setup, {})
    with open(answers, "w") as file:
        for argv, limit in zip(commands, limits):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit or resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                try:
                    code = main(argv)
                except Exception:
                    code = traceback.print_exc(file=out)
            print(json.dumps([code, out.getvalue()]), file=file, flush=True)

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            run(**json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
_forking: list[subprocess.Popen] = []  # of this worker


def _fork() -> subprocess.Popen:
    """The process that every program of this worker is a fork of; it ends with the worker's end of the pipe."""
    if not _forking:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": CHECKOUT}
        _forking.append(subprocess.Popen([sys.executable, "-c", _FORKED], **pipes))
        while _forking[0].stdout.readline() not in ("ready\n", ""):
            pass
    return _forking[0]


def run_program(
    *commands: Sequence[str],
    drawn: bool = False,
    setup: str = "",
    limits: Sequence[int | None] = (),
    home: Path | None = None,
    stop: tuple[Path, int] | None = None,
) -> list[tuple[int | None, str]]:
    """Exit code and everything printed of each command line, one after the other in a fresh process.

    Args:
        commands: Arguments of each.
        drawn: Whether figures are drawn; else they are set up as ever and saved as a white dot, which is faster.
        setup: Code that the process runs first.
        limits: For each command the longest file in bytes that it can write: to it, a longer one is a full disk.
        home: Folder of the process's own cache and temporary files.
        stop: File and signal; the process gets the signal as soon as it has put the file in its place.

    Returns:
        For each command, None where it raised; of commands that the signal kept from their end nothing.
    """
    with tempfile.TemporaryDirectory() as place:
        answers = Path(place) / "answers"
        requested = {
            "commands": [list(map(str, argv)) for argv in commands],
            "drawn": drawn,
            "setup": setup,
            "limits": [*limits] or [None] * len(commands),
            "home": home and str(home),
            "stop": stop and (str(stop[0]), int(stop[1])),
            "answers": str(answers),
        }
        process = _fork()
        process.stdin.write(json.dumps(requested) + "\n")
        process.stdin.flush()
        status = _next_number(process)
        found = [json.loads(line) for line in answers.read_text().splitlines()]
    assert stop or len(found) == len(commands), f"the program died with {status} in command {len(found)}"
    return [(code, text) for code, text in found]


def _next_number(process: subprocess.Popen) -> int:
    while not (line := process.stdout.readline()).strip().isdigit():
        assert line, "the process that programs are forks of has died"
    return int(line)


def kill_when(command: Sequence[str], file: Path) -> None:
    """Start the program and kill it (SIGKILL) as soon as it has put `file` in its place."""
    run_program(command, stop=(file, signal.SIGKILL))


@pytest.fixture
def caught_logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The project's log records, whatever handlers the program has set."""
    with caplog.at_level("INFO", logger="fer_hierarchy"):
        yield caplog
