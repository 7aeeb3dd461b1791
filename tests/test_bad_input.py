"""Bad input through the command line: one clear line, exit code 2, nothing half-written, earlier runs untouched."""

import hashlib
import io
import json
import re
import shlex
import shutil
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import FER_EMOTIONS, QUICK, draw_face, run_program, write_fer_folder

ERROR = "tf_model.py: error: "
GAVE_UP = "never"

# A model that is built in a moment, so that a training costs seconds. Its model.keras takes 0.3 MB, its checkpoint 0.8.
_MODEL = """
from fer_hierarchy.models.registry import register_model

@register_model(smallest=8)
def plain(*, input_shape, num_classes):
    from keras import Input, Model, layers
    faces = Input(input_shape)
    small = layers.Flatten()(layers.Rescaling(1 / 255)(faces))
    features = layers.Dense(256, activation="relu")(small)
    return Model(faces, layers.Dense(num_classes, name="predictions")(features))
"""
MODEL_FITS_NOT = 200_000
CHECKPOINT_FITS_NOT = 600_000


def _run(place: Path, *steps: tuple[int | None, Sequence], **how: object) -> list[tuple[int | None, str]]:
    """Exit code and output of each (limit, command line), in one process whose cache and temporary files lie there."""
    (place / "tmp").mkdir(exist_ok=True)
    limits, commands = zip(*steps, strict=True)
    return run_program(*commands, setup=_MODEL, limits=limits, home=place, **how)


def _tree(folder: Path) -> dict[str, str]:
    """Digest of every file below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _temporary(place: Path) -> list[Path]:
    """What a failed write may have left: hidden files and folders, and files in the temporary folder."""
    ours = (path for path in (place / "tmp").rglob("*") if "__autograph" not in path.name)
    return [*place.rglob(".*"), *(path for path in ours if path.is_file())]


def _one_line(text: str) -> str:
    """The one line of ours in `text`, notes and progress left aside."""
    lines = [line for line in text.splitlines() if not re.match(r"note: | *\d+%  ", line)]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def tail(place: Path) -> tuple:
    """What every training here is told besides its data and its name."""
    at = ("--results", place / "results", "--logs", place / "logs")
    return (*QUICK, "--model", "plain", *at)


@pytest.fixture(scope="module")
def interrupted(place: Path, tail: tuple, fer_folder: Path) -> tuple[int, str]:
    """Exit code and output of the run "stopped", which gets Ctrl-C after its first epoch."""
    argv = ("--mode", "flat", "--data", fer_folder, "--epochs", 15, "--name", "stopped", *tail)
    checkpoint = place / "results" / "stopped" / "stages" / "flat" / "checkpoint.npz"
    (outcome,) = _run(place, (None, argv), stop=(checkpoint, signal.SIGINT))
    shutil.copytree(place / "results" / "stopped", place / "damaged" / "interrupted")
    return outcome


@pytest.fixture(scope="module")
def spoilt_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER-2013 with two images that cannot be read."""
    root = write_fer_folder(
        tmp_path_factory.mktemp("spoilt"), per_split={"Training": 8, "PublicTest": 3, "PrivateTest": 3}
    )
    (root / "train" / "happy" / "Training_3000.png").write_bytes(b"")
    (root / "test" / "sad" / "PrivateTest_4000.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def disk(interrupted: tuple, place: Path, tail: tuple, spoilt_faces: Path) -> dict[str, tuple[int, str]]:
    """The run "full", for whose files the disk is too small twice, and how it and the interrupted run are finished."""
    start = ("--mode", "hierarchical", "--data", spoilt_faces, "--skip-bad", "--epochs", 2, "--name", "full", *tail)
    resume = ("--mode", "hierarchical", "--resume", place / "results" / "full", "--logs", place / "logs")
    told = shlex.split(interrupted[1].strip().splitlines()[-1].partition("tf_model.py ")[2])
    steps = {
        "model": (MODEL_FITS_NOT, start),
        "checkpoint": (CHECKPOINT_FITS_NOT, resume),
        "finished": (None, resume),
        "went on": (None, told),
    }
    return dict(zip(steps, _run(place, *steps.values()), strict=True))


def _pixels(value: object = 7) -> str:
    return " ".join([str(value)] * 2304)


def _csv(path: Path, header: str = "emotion,pixels,Usage", **change: str) -> Path:
    """A fer2013.csv whose first data row has `change` in it."""
    rows = [
        {"emotion": str(emotion), "pixels": _pixels(emotion + 10 * number), "Usage": usage}
        for number, usage in enumerate(("Training", "Training", "Training", "PublicTest", "PrivateTest"))
        for emotion in range(7)
    ]
    rows[0] |= change
    path.write_text("\n".join([header, *(",".join(row.values()) for row in rows)]) + "\n")
    return path


def _votes(path: Path, file: str = "file") -> Path:
    """A table of FER+ votes for one picture that is nowhere."""
    choices = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    path.write_text(f"{file},image,{choices}\nTraining_1.jpg,fer0000000.png,10,0,0,0,0,0,0,0,0,0\n")
    return path


def _folder(root: Path, spoil: bytes | None = None, suffix: str = ".png", count: int = 1) -> Path:
    """Class folders of readable faces, `count` of which are replaced by the content `spoil`."""
    write_fer_folder(root, per_split={"Training": 3, "PublicTest": 1, "PrivateTest": 1})
    for number in range(count if spoil is not None else 0):
        (root / "train" / "happy" / f"Training_9{number:03d}{suffix}").write_bytes(spoil)
    return root


def _image(kind: str, size: int = 48) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.resize(draw_face(2, np.random.default_rng(1)), (size, size))).save(file, kind)
    return file.getvalue()


def _enormous() -> bytes:
    """A PNG whose header says 60000x60000 pixels."""
    content = bytearray(_image("PNG"))
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def _zip(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def _cut(path: Path, keep: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def _json(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record))
    return path


def _truncated_zip(path: Path) -> Path:
    return _cut(_zip(path, **{f"train/happy/Training_{n}.png": _image("PNG") for n in range(5)}))


def _made(path: Path, *names: str) -> Path:
    for name in ("", *names):
        (path / name).mkdir(parents=True)
    return path


def _strangers(path: Path) -> Path:
    _made(path, "cats", "dogs")
    (path / "cats" / "a.png").write_bytes(_image("PNG"))
    return path


def _few(path: Path) -> Path:
    """Class folders without splits, with a single disgusted face."""
    for emotion in FER_EMOTIONS:
        folder = _made(path / emotion)
        for number in range(1 if emotion == "disgust" else 20):
            face = np.random.default_rng([number, len(emotion)]).integers(0, 255, (48, 48)).astype(np.uint8)
            Image.fromarray(face).save(folder / f"{number}.png")
    return path


# Name -> what makes the data below a path, and what the line must say.
BAD_DATA: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "missing path": (lambda p: p / "nowhere", ("nowhere does not exist", "expected a folder, csv or zip")),
    "empty folder": (_made, ("the folder is empty", "csv or a zip")),
    "no emotion names": (_strangers, ("no folder names an emotion", "'cats', 'dogs'", "known: angry")),
    "csv without a column": (
        lambda p: _csv(p.with_suffix(".csv"), header="emotion,pixels,use"),
        ("column 'Usage' is missing", "found 'emotion', 'pixels', 'use'"),
    ),
    "csv with a wrong pixel count": (
        lambda p: _csv(p.with_suffix(".csv"), pixels="1 2 3"),
        ("fer0000000", "data row 0", "3 pixel values, expected 2304 (48x48)", "--skip-bad"),
    ),
    "csv with words for pixels": (
        lambda p: _csv(p.with_suffix(".csv"), pixels=_pixels("grey")),
        ("data row 0", "'grey' is not a whole number of 0..255"),
    ),
    "csv with pixels out of range": (
        lambda p: _csv(p.with_suffix(".csv"), pixels=_pixels(256)),
        ("data row 0", "pixel value 256 is outside 0..255"),
    ),
    "csv with emotion 9": (
        lambda p: _csv(p.with_suffix(".csv"), emotion="9"),
        ("9", "in data row 0 (line 2)", "known: 0 angry"),
    ),
    "csv with an unknown Usage": (
        lambda p: _csv(p.with_suffix(".csv"), Usage="Testing"),
        ("unknown Usage 'Testing' in data row 0 (line 2)", "known: Training, PublicTest, PrivateTest"),
    ),
    "truncated png": (lambda p: _folder(p, _image("PNG")[:900]), ("1 bad image: ", "Training_9000", "truncated")),
    "truncated jpeg": (
        lambda p: _folder(p, _image("JPEG")[:700], ".jpg"),
        ("1 bad image: ", "Training_9000.jpg", "truncated"),
    ),
    "zero-byte image": (lambda p: _folder(p, b""), ("Training_9000.png", "empty file (0 bytes)", "--skip-bad")),
    "no image": (lambda p: _folder(p, b"just text"), ("Training_9000.png", "not an image", "PNG")),
    "enormous image": (lambda p: _folder(p, _enormous()), ("Training_9000.png", "megapixels", "refused")),
    "wrongly sized image": (
        lambda p: _folder(p, _image("PNG", 40)),
        ("Training_9000.png", "40x40 pixels, this data set's images are 48x48"),
    ),
    "many bad images": (
        lambda p: _folder(p, b"", count=12),
        ("12 bad images: ", "Training_9009.png", "and 2 more", "--skip-bad"),
    ),
    "truncated zip": (lambda p: _truncated_zip(p.with_suffix(".zip")), ("not a complete zip", "download it again")),
    "zip that climbs out": (
        lambda p: _zip(p.with_suffix(".zip"), **{"../../out.png": _image("PNG")}),
        ("'../../out.png' points outside", "refused"),
    ),
    "zip bomb": (
        lambda p: _zip(p.with_suffix(".zip"), **{"train/happy/Training_1.png": bytes(70 * 2**20)}),
        ("more than 100 times its size", "refused as a decompression bomb"),
    ),
    "too few rows": (_few, ("class 'disgust' has", "too few to", "--exclude disgust")),
}

_ALL = {"positive": ["happy", "surprise", "neutral"], "negative": ["angry", "disgust", "fear", "sad"]}

# Name -> flags on good data, and what the line must say.
BAD_FLAGS: dict[str, tuple[Callable[[Path], tuple], tuple[str, ...]]] = {
    "soft labels without votes": (
        lambda p: ("--soft-labels", "negative=on"),
        ("--soft-labels trains on FER+ votes, which this data lacks", "give --ferplus"),
    ),
    "votes for other pictures": (
        lambda p: ("--ferplus", _votes(p.with_suffix(".csv"))),
        ("has no votes for", "(first test/angry/PrivateTest_", "a row for every picture"),
    ),
    "votes of fer2013.csv with folders": (
        lambda p: ("--ferplus", _votes(p.with_suffix(".csv"), file="Image name")),
        ("goes by the row number of fer2013.csv", "columns file, image"),
    ),
    "unknown emotion": (lambda p: ("--exclude", "boredom"), ("--exclude", "unknown emotion 'boredom'", "known: angry")),
    "whole group excluded": (
        lambda p: ("--exclude", "happy,surprise,neutral"),
        ("leaves group 'positive'", "keep at least one"),
    ),
    "all but one excluded": (
        lambda p: ("--exclude", "happy,surprise,neutral,angry,disgust,fear,contempt"),
        ("fewer than two emotions", "keep at least two"),
    ),
    "emotion in two groups": (
        lambda p: ("--taxonomy", _json(p.with_suffix(".json"), {"groups": {**_ALL, "third": ["happy"]}})),
        ("'happy' stands in 'positive' and in 'third'; keep one",),
    ),
    "emotion in no group": (
        lambda p: ("--taxonomy", _json(p.with_suffix(".json"), {"groups": {**_ALL, "negative": ["sad", "angry"]}})),
        ("the data holds disgust, fear", "in no group", "--exclude disgust,fear"),
    ),
    "no epochs": (lambda p: ("--epochs", "0"), ("--epochs: expected at least 1 and at most 100000, got 0",)),
    "results below a file": (
        lambda p: ("--results", _json(p, 0) / "results"),
        ("cannot write results to", "is not a writable folder", "--results DIR"),
    ),
    "existing name": (lambda p: ("--name", "full"), ("--name 'full'", "exists already", "choose another name")),
    "loss not a number": (
        lambda p: ("--learning-rate", "1e30", "--name", GAVE_UP),
        ("valence: ", "in epoch 1", "--learning-rate", "1e+30", "--name"),
    ),
}


def _file(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: change(folder / name)


def _garble(path: Path) -> None:
    path.write_bytes(b"\x00garbage" * 50)


def _garble_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)


# Name -> which run is damaged, how, what is asked of it, and what the line must say.
DAMAGE: dict[str, tuple[str, Callable[[Path], object], str, tuple[str, ...]]] = {
    "model cut, evaluate": (
        "finished",
        _file("stages/flat/model.keras", _cut),
        "evaluate",
        ("model.keras is damaged", "delete", "--resume"),
    ),
    "model cut, resume": (
        "finished",
        _file("stages/flat/model.keras", _cut),
        "resume",
        ("model.keras is damaged", "delete", "stages/flat", "--resume"),
    ),
    "model gone": (
        "finished",
        _file("stages/flat/model.keras", Path.unlink),
        "resume",
        ("model.keras is missing", "delete", "stages/flat", "--resume"),
    ),
    "model garbled": (
        "finished",
        _file("stages/flat/model.keras", _garble_inside),
        "resume",
        ("model.keras is damaged", "delete", "stages/flat", "--resume"),
    ),
    "config cut": ("finished", _file("config.json", _cut), "resume", ("config.json: not readable as JSON",)),
    "config cut, evaluate": ("finished", _file("config.json", _cut), "evaluate", ("config.json: not readable",)),
    "config of words": ("finished", _file("config.json", lambda p: _json(p, "x")), "resume", ("config.json", "object")),
    "stage record cut": (
        "finished",
        _file("stages/flat/stage.json", _cut),
        "resume",
        ("stage.json is missing or damaged", "delete", "--resume"),
    ),
    "stage record of words": (
        "finished",
        _file("stages/flat/stage.json", lambda p: _json(p, [1])),
        "evaluate",
        ("stage.json is missing or damaged", "delete"),
    ),
    "metrics cut": (
        "finished",
        _file("metrics.json", _cut),
        "evaluate",
        ("metrics.json is missing or damaged", "--resume"),
    ),
    "metrics of words": ("finished", _file("metrics.json", lambda p: _json(p, [1])), "evaluate", ("metrics.json",)),
    "metrics half there": ("finished", _file("metrics.json", lambda p: _json(p, {})), "evaluate", ("metrics.json",)),
    "splits cut, evaluate": (
        "finished",
        _file("splits.csv", _garble),
        "evaluate",
        ("splits.csv is missing or damaged", "start a new run"),
    ),
    "splits cut, resume": ("finished", _file("splits.csv", _garble), "resume", ("splits.csv", "start a new run")),
    "environment of words": ("finished", _file("environment.json", lambda p: _json(p, 3)), "resume", ("environment",)),
    "not finished": ("interrupted", lambda p: None, "evaluate", ("not finished", "--resume")),
    "checkpoint cut": (
        "interrupted",
        _file("stages/flat/checkpoint.npz", _cut),
        "resume",
        ("checkpoint.npz is damaged", "delete it"),
    ),
    "checkpoint garbled inside": (
        "interrupted",
        _file("stages/flat/checkpoint.npz", _garble_inside),
        "resume",
        ("checkpoint.npz is damaged", "delete it"),
    ),
    "checkpoint garbled": (
        "interrupted",
        _file("stages/flat/checkpoint.npz", _garble),
        "resume",
        ("checkpoint.npz is damaged", "delete it"),
    ),
}

OTHERS = {
    "resume with other flags": ("seed: 0 -> 3", "stage.epochs: 15 -> 4", "leave out what differs"),
    "resume what is no run": ("is not a run: it has no config.json", "name a folder that a run made"),
    "evaluate what is no run": ("is not a run: it has no config.json", "name a folder that a run made"),
    "compare what is no run": ("is not a run: it has no config.json", "name a folder that a run made"),
    "nothing to resume": ("no run 'nobody'", "runs there: full"),
}


def _other(name: str, place: Path, fer_folder: Path) -> tuple:
    results, stranger = place / "results", place / "stranger"
    return {
        "resume with other flags": ("--mode", "flat", "--resume", "stopped", "--seed", "3", "--epochs", "4"),
        "resume what is no run": ("--resume", stranger),
        "evaluate what is no run": ("--mode", "evaluate", stranger, "--data", fer_folder),
        "compare what is no run": ("--mode", "compare", "stopped", stranger),
        "nothing to resume": ("--resume", "nobody"),
    }[name] + ("--results", results)


def _damaged(name: str, place: Path, fer_folder: Path) -> tuple:
    """Copy a run, damage the copy, and give the command line that uses it."""
    original, damage, mode, _ = DAMAGE[name]
    folder = place / "damaged" / name.replace(" ", "-")
    shutil.copytree(place / "results" / "stopped" if original == "finished" else place / "damaged" / original, folder)
    damage(folder)
    at = ("--results", place / "results")
    if mode == "evaluate":
        return ("--mode", "evaluate", folder, "--data", fer_folder, "--name", "evaluated", *at)
    return ("--mode", "flat", "--resume", folder, "--logs", place / "logs", *at)


@pytest.fixture(scope="module")
def refused(disk: dict, place: Path, tail: tuple, fer_folder: Path) -> dict[str, tuple[int, str]]:
    """Exit code and output of every command that is to be refused, in one process; and what they left behind."""
    (place / "stranger").mkdir()
    data = _made(place / "bad")
    commands = {
        name: ("--data", make(data / name.replace(" ", "-")), *tail, "--name", "refused")
        for name, (make, _) in BAD_DATA.items()
    }
    for name, (flags, _) in BAD_FLAGS.items():
        own = flags(data / name.replace(" ", "-"))
        commands[name] = ("--data", fer_folder, "--name", "refused", "--epochs", "1", *tail, *own)
    commands |= {name: _damaged(name, place, fer_folder) for name in DAMAGE}
    commands |= {name: _other(name, place, fer_folder) for name in OTHERS}
    before = _tree(place / "results") | _tree(place / "damaged")
    outcomes = dict(zip(commands, _run(place, *((None, argv) for argv in commands.values())), strict=True))
    after = _tree(place / "results") | _tree(place / "damaged")
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return {**outcomes, "changed": changed, "temporary": _temporary(place)}


PHRASES = {
    **{name: phrases for name, (_, phrases) in BAD_DATA.items()},
    **{name: phrases for name, (_, phrases) in BAD_FLAGS.items()},
    **{name: phrases for name, (*_, phrases) in DAMAGE.items()},
    **OTHERS,
}


@pytest.mark.parametrize("name", PHRASES)
def test_bad_input_is_one_clear_line(refused: dict, name: str) -> None:
    code, text = refused[name]
    line = _one_line(text)
    assert code == 2
    assert line.startswith(ERROR)
    assert [phrase for phrase in PHRASES[name] if phrase not in line] == [], line


def test_refused_commands_leave_nothing_and_touch_no_run(refused: dict, place: Path) -> None:
    assert [name for name in refused["changed"] if not name.startswith(f"{GAVE_UP}/")] == []
    assert refused["temporary"] == []
    assert {path.name for path in (place / "results").iterdir()} == {"stopped", "full", GAVE_UP}
    assert not (place / "logs" / "refused").exists()
    assert not list(place.rglob("out.png"))


def test_ctrl_c_ends_in_one_line_that_says_how_to_resume(interrupted: tuple) -> None:
    code, text = interrupted
    assert code == 130
    assert _one_line(text).startswith("interrupted; go on with: python tf_model.py --mode flat --logs ")


def test_the_line_after_ctrl_c_can_be_pasted(disk: dict, place: Path) -> None:
    code, text = disk["went on"]
    assert code == 0, text
    assert len(pd.read_csv(place / "results" / "stopped" / "stages" / "flat" / "history.csv")) == 15
    assert (place / "results" / "stopped" / "report.html").stat().st_size > 0


@pytest.mark.parametrize(("step", "file"), [("model", "model.keras"), ("checkpoint", "checkpoint")])
def test_a_full_disk_is_one_line_that_says_how_to_go_on(disk: dict, place: Path, step: str, file: str) -> None:
    code, text = disk[step]
    line = _one_line(text)
    assert code == 2
    assert line.startswith(ERROR)
    assert file in line
    assert "File too large" in line
    assert "go on with: python tf_model.py --mode hierarchical" in line
    assert line.endswith("--resume " + str(place / "results" / "full"))


def test_with_room_on_the_disk_the_run_is_finished(disk: dict, place: Path) -> None:
    code, text = disk["finished"]
    assert code == 0, text
    assert {p.name for p in (place / "results" / "full" / "stages" / "valence").iterdir()} == {
        "model.keras",
        "history.csv",
        "stage.json",
    }


def test_skipped_images_are_recorded_in_the_run(disk: dict, place: Path) -> None:
    run = place / "results" / "full"
    bad = pd.read_csv(run / "bad.csv")
    assert bad.columns.tolist() == ["id", "path", "reason"]
    assert dict(zip(bad["id"], bad["reason"], strict=True)) == {
        "Training_3000": "empty file (0 bytes)",
        "PrivateTest_4000": "not an image that can be read (JPEG, PNG, BMP, WEBP, TIFF, GIF, PPM, AVIF, HEIC)",
    }
    assert json.loads((run / "metrics.json").read_text())["data"]["bad"] == 2
    assert not {"Training_3000", "PrivateTest_4000"} & set(pd.read_csv(run / "splits.csv")["row"])
    assert not (place / "results" / "stopped" / "bad.csv").exists()
