"""Damaged files of every kind that the program reads: an exit code and at most one line of error, never a traceback.

`FER_FUZZ_SECONDS=3600 python -m pytest -n 0 -m slow tests/fuzz` searches for an hour; without it, each kind gets a few
seconds. `FER_FUZZ_SEED` begins elsewhere. A file that breaks the program is kept; its path is part of the failure.
"""

import csv
import io
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.cli import main
from tests.conftest import CHECKOUT, FER_EMOTIONS, draw_face, run_program
from tests.fuzz.damage import damaged

SECONDS = float(os.environ.get("FER_FUZZ_SECONDS", "0"))  # of all kinds together; 0 for one batch of each
SEED = int(os.environ.get("FER_FUZZ_SEED", "0"))
BATCH = 8  # files of one process
PUBLISHED = CHECKOUT / "results" / "fer2013" / "flat"
EXPORTED = CHECKOUT / "results" / "fer2013" / "shared" / "export" / "shared.tflite"


@dataclass(frozen=True)
class Kind:
    """A kind of file, and the command that reads it.

    Attributes:
        suffix: Of the file.
        make: Writes a sound file.
        command: The program's arguments that read it, beside those for results and logs.
    """

    suffix: str
    make: Callable[[Path], None]
    command: Callable[[Path], list[str]]


def picture(**options) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        pixels = np.stack([draw_face(3, np.random.default_rng(0))] * 3, axis=-1)
        Image.fromarray(pixels).save(path, **options)

    return make


def video(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 64))
    for number in range(6):
        writer.write(np.full((64, 64, 3), 40 * number, np.uint8))
    writer.release()


def fer_csv() -> str:
    rng, text = np.random.default_rng(0), io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("emotion", "pixels", "Usage"))
    for number, usage in enumerate(("Training", "PublicTest", "PrivateTest") * 5):
        rows.writerow((number % 7, " ".join(map(str, draw_face(number % 7, rng).ravel())), usage))
    return text.getvalue()


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("fer2013.csv", fer_csv())
        for emotion in FER_EMOTIONS:
            file.writestr(f"faces/{emotion}/", "")


def published(name: str) -> Callable[[Path], None]:
    return lambda path: shutil.copy(PUBLISHED / name, path)


def predict(path: Path) -> list[str]:
    return ["--mode", "predict", str(path), "--cropped"]


def audit(path: Path) -> list[str]:
    return ["--mode", "audit", "--data", str(path)]


def with_model(path: Path) -> list[str]:
    return ["--mode", "predict", str(CHECKOUT / "results" / "fer2013" / "answers.png"), "--run", str(path)]


def exported(name: str) -> Callable[[Path], None]:
    """Writes the published weights as a file, or as the graph of a SavedModel."""

    def make(path: Path) -> None:
        from fer_hierarchy.hierarchy.config import DataConfig
        from fer_hierarchy.inference.export.writer import export_run

        with tempfile.TemporaryDirectory() as place:
            made = export_run(str(PUBLISHED), [name], data=DataConfig(), out=Path(place), results=Path(place))[name]
            shutil.copy(made / "saved_model.pb" if made.is_dir() else made, path)

    return make


def in_graph(path: Path) -> list[str]:
    """A SavedModel with this graph."""
    from fer_hierarchy.inference.export import metadata

    folder = path.with_name(f"model-{path.stem}")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "saved_model.pb")
    metadata.add_to_saved_model(folder, metadata.read_from_tflite(EXPORTED))
    return with_model(folder)


def in_run(name: str) -> Callable[[Path], list[str]]:
    """A run in whose folder the file stands as `name`."""

    def command(path: Path) -> list[str]:
        folder = path.with_name(f"run-{path.stem}")
        if not folder.exists():
            shutil.copytree(PUBLISHED, folder, ignore=shutil.ignore_patterns("figures", "export", "report.*"))
            shutil.copy(path, folder / name)
        return with_model(folder)

    return command


def as_json(value) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(value, indent=1), encoding="utf-8")


TAXONOMY = {"name": "mine", "gate": "approach", "groups": {"toward": ["happy", "angry"], "away": ["fear", "sad"]}}


def repeat(path: Path) -> list[str]:
    return ["--config", str(path), "--data", "nowhere", "--epochs", "1"]


def grouped(path: Path) -> list[str]:
    return ["--mode", "flat", "--taxonomy", str(path), "--data", "nowhere"]


KINDS = {
    "jpeg": Kind(".jpg", picture(quality=90), predict),
    "png": Kind(".png", picture(), predict),
    "gif": Kind(".gif", picture(), predict),
    "bmp": Kind(".bmp", picture(), predict),
    "webp": Kind(".webp", picture(), predict),
    "tiff": Kind(".tif", picture(), predict),
    "mp4": Kind(".mp4", video, predict),
    "csv": Kind(".csv", lambda path: path.write_text(fer_csv()), audit),
    "zip": Kind(".zip", archive, audit),
    "tflite": Kind(".tflite", lambda path: shutil.copy(EXPORTED, path), with_model),
    "onnx": Kind(".onnx", exported("onnx"), with_model),
    "saved_model": Kind(".pb", exported("saved_model"), in_graph),
    "keras": Kind(".keras", published("stages/flat/model.keras"), in_run("stages/flat/model.keras")),
    "stage": Kind(".json", published("stages/flat/stage.json"), in_run("stages/flat/stage.json")),
    "metrics": Kind(".json", published("metrics.json"), in_run("metrics.json")),
    "settings": Kind(".json", published("config.json"), in_run("config.json")),
    "taxonomy": Kind(".json", as_json(TAXONOMY), grouped),
    "config": Kind(".json", published("config.json"), repeat),
}


def check(kind: Kind, seed: int, place: Path) -> None:
    """Read a batch of damaged files in one process; each result must be an exit code with at most one line of error."""
    rng = np.random.default_rng(seed)
    sound = place / f"sound{kind.suffix}"
    kind.make(sound)
    files = [place / f"damaged-{seed}-{number}{kind.suffix}" for number in range(BATCH)]
    for file in files:
        file.write_bytes(damaged(sound.read_bytes(), rng))
    places = ["--results", str(place / "results")]
    commands = [[*kind.command(file), *(places if "predict" not in kind.command(file) else [])] for file in files]
    for file, command, (code, text) in zip(files, commands, run_program(*commands), strict=True):
        assert code in (0, 1, 2), (file, command, text)
        assert "Traceback" not in text, (file, command, text)
        errors = [line for line in text.splitlines() if "error:" in line]
        assert code != 2 or len(errors) == 1, (file, command, text)
        file.unlink()
    for folder in place.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_never_ends_in_a_traceback(name):
    place = Path(tempfile.mkdtemp(prefix=f"fer-fuzz-{name}-"))
    end, seed = time.monotonic() + SECONDS / len(KINDS), SEED
    check(KINDS[name], seed, place)
    while time.monotonic() < end:
        seed += 1
        check(KINDS[name], seed, place)
    shutil.rmtree(place)  # kept where a file has failed


DEEP = '{"a":' * 100_000


@pytest.mark.parametrize(
    "command",
    [
        ["--config", "deep.json"],
        ["--mode", "flat", "--taxonomy", "deep.json", "--data", "."],
        ["--mode", "predict", "photo.png", "--run", "run"],
        ["--mode", "compare", "run", "other"],
        ["--mode", "export", "run"],
        ["--mode", "evaluate", "run", "--data", "."],
        ["--mode", "tune", "--stage", "flat", "--space", "deep.json", "--data", "."],
    ],
)
def test_json_that_is_nested_too_deeply_is_refused_in_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("deep.json").write_text(DEEP)
    picture()(Path("photo.png"))
    for run in ("run", "other"):
        shutil.copytree(PUBLISHED, run, ignore=shutil.ignore_patterns("figures", "stages", "export"))
        Path(run, "metrics.json").write_text(DEEP)
    assert main(command) == 2
    assert "nested too deeply" in capsys.readouterr().err.splitlines()[-1]
