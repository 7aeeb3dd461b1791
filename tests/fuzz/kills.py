"""Kill the program at random moments and give its command again: `python tests/fuzz/kills.py --kills 100 --seed 0`.

Each kind of work is done once without a kill. Then it is killed (SIGKILL, the whole process group) after a random part
of the time that it took, given again, and compared: the same results, and nothing left behind.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TINY = "compact_resnet:stem_width=8:widths=16:blocks=1:strides=2:squeeze_from=none"
QUICK = f"--dataset synthetic --limit 60 --image-size 16 --batch-size 16 --resamples 100 --model {TINY}".split()
PICTURES, FRAMES = 60, 60
_LEFT_BEHIND = re.compile(r"\..+-[a-z0-9_]{8}(\.\w+)?|.*\.(part|lock|unfinished)|\.unfinished")
# What holds times alone, or counts how often a trial was begun.
_OTHERWISE = ("history.csv", "environment.json", "table.csv", "attempts.json")
_TIMES = re.compile(r"seconds|latency|wall|command|bytes|started|ended|tried_so_far", re.IGNORECASE)


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        words: The command, after the places.
        made: What it makes.
        resume: The command that goes on with it, once `made` holds `begun`; empty for the same command again.
        begun: A file.
    """

    words: Sequence[str]
    made: str
    resume: Sequence[str] = ()
    begun: str = "config.json"


def _trained(mode: str, *more: str) -> Work:
    words = ["--mode", mode, *QUICK, "--epochs", "2", "--name", "run", *more]
    begun = "grid.json" if mode in ("grid", "crossval") else "config.json"
    return Work(words, "results/synthetic-run", ["--mode", mode, "--resume", "synthetic-run"], begun)


TUNE = ["--mode", "tune", "--tuner", "random", "--max-trials", "2", "--stage", "flat", "--name", "study"]
WORKS = {
    "flat": _trained("flat"),
    "hierarchical": _trained("hierarchical"),
    "grid": _trained("grid", "--axis", "augment=on,off"),
    "crossval": _trained("crossval", "--folds", "2"),
    "tune": Work(
        [*TUNE, *(word for word in QUICK if word not in ("--resamples", "100")), "--epochs", "1"],
        "logs/tuning/synthetic-study",
        ["--mode", "tune", "--resume", "synthetic-study"],
        "study.json",
    ),
    "predict csv": Work(["--mode", "predict", "pictures", "--out", "rows.csv"], "rows.csv"),
    "predict json": Work(["--mode", "predict", "pictures", "--out", "rows.json"], "rows.json"),
    "predict film": Work(["--mode", "predict", "film.mp4", "--video-fps", "0", "--out", "film.csv"], "film.csv"),
    "export": Work(["--mode", "export", "finished", "--format", "tflite"], "results/finished/export"),
    "publish": Work(["--mode", "publish", "finished", "--out", "published"], "published"),
}


def program(words: Sequence[str], place: Path) -> list[str]:
    """The command line of a call."""
    logs = "--study-dir" if "tune" in words else "--logs"
    places = [] if "predict" in words else ["--results", "results"]
    if not {"predict", "export", "publish"} & set(words):
        places += [logs, "logs/tuning" if "tune" in words else "logs"]
    return [sys.executable, str(ROOT / "tf_model.py"), *words, *places]


def prepare(place: Path) -> None:
    """Pictures, a film and a finished run, for the works that need them."""
    rng = np.random.default_rng(0)
    portrait = cv2.imread(str(ROOT / "tests" / "published_faces.png"))
    (place / "pictures").mkdir()
    for number in range(PICTURES):
        noisy = np.clip(portrait + rng.normal(0, 8, portrait.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(place / "pictures" / f"{number:03}.jpg"), noisy)
    film = cv2.VideoWriter(
        str(place / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (portrait.shape[1], portrait.shape[0])
    )
    for _ in range(FRAMES):
        film.write(portrait)
    film.release()
    words = [*_trained("flat").words]
    call(words, place)
    (place / "results" / "synthetic-run").rename(place / "results" / "finished")
    shutil.rmtree(place / "logs", ignore_errors=True)


def call(words: Sequence[str], place: Path, *, seconds: float | None = None) -> tuple[int | None, str]:
    """Exit code and output of a call; None where it was killed after `seconds`."""
    with subprocess.Popen(
        program(words, place),
        cwd=place,
        env={**os.environ, "FER_CACHE": str(place / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as child:
        try:
            text = child.communicate(timeout=seconds)[0]
            return child.returncode, text
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            return None, child.communicate()[0]


def result(made: Path) -> str:
    """A digest of what does not depend on the clock."""
    files = sorted(path for path in made.rglob("*") if path.is_file()) if made.is_dir() else [made]
    digest = hashlib.sha256()
    for path in files:
        if path.suffix in _CONTENTS and path.name not in _OTHERWISE:
            digest.update(str(path.relative_to(made)).encode())
            digest.update(_CONTENTS[path.suffix](path))
    return digest.hexdigest()


def _is(made: Path, expected: str) -> bool:
    return made.exists() and result(made) == expected


def _rows(path: Path) -> bytes:
    lines = path.read_text().splitlines()
    columns = [number for number, name in enumerate(lines[0].split(",")) if not _TIMES.search(name)]
    cells = [line.split(",") for line in lines]
    rows = [[row[number] for number in columns if number < len(row)] for row in cells]
    return repr(rows).encode()


def _record(path: Path) -> bytes:
    return json.dumps(_timeless(json.loads(path.read_text())), sort_keys=True).encode()


def _network(path: Path) -> bytes:
    """A .keras or .tflite file: the members of its archive, which tells times, and what stands before it."""
    with zipfile.ZipFile(path) as archive:
        before = path.read_bytes()[: min(member.header_offset for member in archive.infolist())]
        members = [name for name in archive.namelist() if name != "metadata.json"]  # which holds the date
        return before + b"".join(map(archive.read, members))


_CONTENTS: dict[str, Callable[[Path], bytes]] = {
    ".csv": _rows,
    ".json": _record,
    ".keras": _network,
    ".tflite": _network,
}


def _timeless(record: object) -> object:
    if isinstance(record, dict):
        return {key: _timeless(value) for key, value in record.items() if not _TIMES.search(key)}
    return [_timeless(value) for value in record] if isinstance(record, list) else record


def left_behind(place: Path) -> list[str]:
    """Temporary files, locks and half-made folders."""
    return [str(path.relative_to(place)) for path in place.rglob("*") if _LEFT_BEHIND.fullmatch(path.name)]


def undone(place: Path, work: Work) -> None:
    """Remove what the work makes."""
    made = place / work.made
    shutil.rmtree(made, ignore_errors=True)
    made.unlink(missing_ok=True)
    if work.made.startswith("logs"):
        shutil.rmtree(place / "logs", ignore_errors=True)


def kill_once(place: Path, work: Work, seconds: float, expected: str) -> str:
    """Kill the work after so many seconds, give it again; what went wrong, or nothing."""
    undone(place, work)
    if call(work.words, place, seconds=seconds)[0] is not None:
        return "" if left_behind(place) == [] else "left behind without a kill"  # it had ended before
    begun = work.resume and (place / work.made / work.begun).is_file()
    code, text = call(work.resume if begun else work.words, place)
    if code != 0 and not _is(place / work.made, expected):  # what is complete already is refused
        return f"exit code {code} after {seconds:.2f} s: {text.splitlines()[-1:]}"
    if not _is(place / work.made, expected):
        return f"another result after {seconds:.2f} s"
    left = left_behind(place)
    for path in left:
        shutil.rmtree(place / path, ignore_errors=True)
        (place / path).unlink(missing_ok=True)
    return f"left behind after {seconds:.2f} s: {', '.join(left)}" if left else ""


def kill(place: Path, names: Sequence[str], kills: int, seed: int) -> Iterator[tuple[str, str, list[str]]]:
    """Kill works in turn, in an empty folder; yields a work's name, what was done, and what went wrong."""
    rng = np.random.default_rng(seed)
    prepare(place)
    for number, name in enumerate(names):
        work = WORKS[name]
        undone(place, work)
        began = time.monotonic()
        code, text = call(work.words, place)
        if code != 0:
            yield name, "no kill", [f"exit code {code} without a kill: {text.splitlines()[-3:]}"]
            continue
        took, expected = time.monotonic() - began, result(place / work.made)
        own = len(range(number, kills, len(names)))
        problems = [kill_once(place, work, rng.uniform(0, took), expected) for _ in range(own)]
        yield name, f"{own} kills within {took:.1f} s", [problem for problem in problems if problem]


def main() -> int:
    """Kill as often as requested and print what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(WORKS), default=list(WORKS))
    arguments, wrong = parser.parse_args(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name, done, problems in kill(Path(folder), arguments.only, arguments.kills, arguments.seed):
            print(f"{name}: {done}, {len(problems)} wrong", *problems, sep="\n  ", flush=True)
            wrong += len(problems)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
