"""What every test shares: no GPU, a cache of its own, tiny faces on disk, and the program run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ["FER_CACHE"] = tempfile.mkdtemp(prefix="fer-cache-")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import hierarchy  # noqa: F401 - sets TensorFlow's environment before any test imports it

CHECKOUT = Path(__file__).resolve().parent.parent
FER_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# The smallest model and faces that the program takes, so that a whole run takes seconds.
QUICK = ("--image-size", "16", "--batch-size", "16", "--resamples", "100", "--ema", "0.1")


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


@pytest.fixture(scope="session")
def fer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FER-2013 with its three official splits."""
    counts = {"Training": 16, "PublicTest": 6, "PrivateTest": 6}
    return write_fer_folder(tmp_path_factory.mktemp("fer"), per_split=counts)


@pytest.fixture(scope="session")
def program() -> Callable[..., list[tuple[int, str]]]:
    """Runs command lines one after the other in one fresh process; gives the exit code and output of each."""
    return run_program


def run_program(*commands: Sequence[str]) -> list[tuple[int, str]]:
    """Exit code and everything printed of each command line."""
    script = (
        "import contextlib, io, json, sys\n"
        "from tf_model import main\n"
        "for argv in json.loads(sys.argv[1]):\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):\n"
        "        code = main(argv)\n"
        "    print(json.dumps(['result', code, out.getvalue()]), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([[str(word) for word in argv] for argv in commands])],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["result"')]
    assert len(lines) == len(commands), done.stderr[-3000:]
    return [(code, text) for _, code, text in lines]


def kill_when(command: Sequence[str], file: Path) -> None:
    """Start the program and kill it (SIGKILL) the moment `file` appears."""
    child = subprocess.Popen(
        [sys.executable, "tf_model.py", *command], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not file.exists():
        assert child.poll() is None, "the program ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


@pytest.fixture
def caught_logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The project's log records, whatever handlers the program has set."""
    with caplog.at_level("INFO", logger="hierarchy"):
        yield caplog
