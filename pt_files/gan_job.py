"""From a run's settings to a folder of generated faces: which faces train, a work folder to resume from, the record."""

import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.duplicates import NEAR_CORRELATION
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces, resolve_data
from fer_hierarchy.hierarchy.data.images import fingerprint
from fer_hierarchy.hierarchy.data.leakage import evaluation_hashes
from fer_hierarchy.hierarchy.data.sources.generated import FORMAT, RECORD, SEEN, seen_fingerprint
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.pt_files.dcgan import Adversaries, as_faces
from fer_hierarchy.pt_files.gan_config import STEPS, GanConfig

CHECKPOINT = "checkpoint.pt"
SETTINGS = "settings.json"
SHEET = "samples.png"
_SHEET = 8  # faces on a side of the contact sheet
SHEET_FACES = _SHEET**2
_AT_ONCE = 1024  # faces compared in one product
_FEWEST = 8  # faces below which nothing is trained
_SAVED_EVERY = 60.0  # seconds between two checkpoints
_LINES = 10  # lines of progress in a file


def make_faces(emotion: str, gan: GanConfig, config: RunConfig, *, out: Path, resume: bool, command: str) -> None:
    """Train a generator on one emotion's train faces and write its faces to the new folder `out`.

    Args:
        emotion: Canonical name.
        gan: How; `epochs` may be left open.
        config: Data, seed and split settings of the run that the faces are for.
        out: Appears when complete. What an interrupted training leaves is in a folder with `.work` behind its name.
        resume: Go on from there.
        command: The command line, for the record.

    Raises:
        UserError: Bad data or settings, or a place that is taken.
        KeyboardInterrupt: With the command that goes on.
    """
    work = out.with_name(f"{out.name}.work")
    _check_places(out, work, resume=resume)
    config = replace(config, data=resolve_data(config.data))
    faces = read_faces(config)
    rows = _train_rows(faces, emotion)
    pixels = faces.images.pixels[rows.index.to_numpy()]  # (n, size, size, channels) uint8
    settings = _settings(emotion, gan, config.seed, rows, pixels)
    _start(work, settings, resume=resume)
    with _resumable(command):
        adversaries = _train(pixels, settings, work)
        drawn = adversaries.draw(gan.count, seed=config.seed)
        record = {
            "format": FORMAT,
            "emotion": emotion,
            "count": gan.count,
            "seen": {"rows": len(rows), "fingerprint": settings["seen"]},
            "likeness": likeness(drawn, pixels),
            "steps": adversaries.steps,
            "settings": settings,
            "run": {"seed": config.seed, "data": config.to_dict()["data"]},
            "data": _data_record(faces),
            "torch": version("torch"),
            **run_folder.environment(command),
        }
        _write(work / "finished", emotion, drawn, rows, record)
        (work / "finished").replace(out)
    shutil.rmtree(work)


def _check_places(out: Path, work: Path, *, resume: bool) -> None:
    if out.exists():
        raise UserError(f"--out {out}: it exists already; name a new folder")
    if work.exists() and not resume:
        raise UserError(f"{work}: an interrupted training lies there; go on with --resume, or delete it")
    if resume and not work.exists():
        raise UserError(f"--resume: there is no {work} to go on from; leave --resume out")


def _train_rows(faces: Faces, emotion: str) -> pd.DataFrame:
    """Train rows of one emotion, without those whose very pixels stand in a later split, whatever the run does."""
    train = faces.split("train")
    rows = train[(train["emotion"] == emotion) & ~train["pixel_hash"].isin(evaluation_hashes(faces.manifest))]
    if len(rows) < _FEWEST:
        counts = ", ".join(f"{name} {count}" for name, count in train["emotion"].value_counts().items())
        raise UserError(
            f"--emotion {emotion}: {len(rows)} train faces, but {_FEWEST} at least are needed; train holds {counts}"
        )
    return rows


def _settings(emotion: str, gan: GanConfig, seed: int, rows: pd.DataFrame, pixels: np.ndarray) -> dict[str, Any]:
    """How the networks are trained; a resumed training has to share it with its beginning."""
    batch_size = min(gan.batch_size, len(rows))
    return {
        "emotion": emotion,
        "epochs": gan.epochs or max(1, round(STEPS / (len(rows) // batch_size))),
        "batch_size": batch_size,
        "width": gan.width,
        "size": pixels.shape[2],
        "channels": pixels.shape[3],
        "seed": seed,
        "seen": seen_fingerprint(rows["pixel_hash"]),
    }


def _start(work: Path, settings: dict[str, Any], *, resume: bool) -> None:
    """Make the work folder, or check that it is this training's."""
    if not resume:
        work.mkdir(parents=True)
        run_folder.write_json(work / SETTINGS, settings)
        return
    saved = run_folder.read_json(work / SETTINGS)
    changed = [f"{k}: {saved.get(k)!r} -> {settings.get(k)!r}" for k in settings if saved.get(k) != settings[k]]
    if changed:
        raise UserError(f"--resume: {work} was started with other settings or faces ({'; '.join(changed)})")


@contextmanager
def _resumable(command: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        words = shlex.split(command)
        again = shlex.join([*words, *(["--resume"] if "--resume" not in words else [])])
        raise KeyboardInterrupt(f"go on with: {again}") from None


def _train(pixels: np.ndarray, settings: dict[str, Any], work: Path) -> Adversaries:
    """Train for the epochs that are left, with checkpoints and a contact sheet to view meanwhile."""
    adversaries = Adversaries(**{name: settings[name] for name in ("size", "channels", "width", "seed")})
    done = adversaries.load(work / CHECKPOINT)["epochs"] if (work / CHECKPOINT).is_file() else 0
    faces, epochs = as_faces(pixels), settings["epochs"]
    progress = Progress(epochs, done=done)
    saved = time.monotonic()
    for epoch in range(done + 1, epochs + 1):
        losses = adversaries.epoch(faces, settings["batch_size"])
        text = f"epoch {epoch}/{epochs}, discriminator {losses[0]:.3f}, generator {losses[1]:.3f}"
        progress.advance(1, text)
        if epoch * _LINES // epochs > (epoch - 1) * _LINES // epochs:
            progress.settle(text)
        if epoch == epochs or time.monotonic() - saved > _SAVED_EVERY:
            adversaries.save(work / CHECKPOINT, epochs=epoch)
            write_sheet(work / SHEET, adversaries.draw(SHEET_FACES, seed=settings["seed"]))
            saved = time.monotonic()
    return adversaries


def _data_record(faces: Faces) -> dict[str, str]:
    return {
        "dataset": "+".join(sorted(set(faces.manifest["source"]))),
        "fingerprint": faces.images.fingerprint,
        "splits_fingerprint": fingerprint(faces.manifest),
    }


def _write(folder: Path, emotion: str, drawn: np.ndarray, rows: pd.DataFrame, record: dict[str, Any]) -> None:
    """Everything that `out` will hold, into a new folder beside the checkpoint."""
    shutil.rmtree(folder, ignore_errors=True)  # what an interruption left half written
    write_images(folder / emotion, drawn)
    write_sheet(folder / SHEET, drawn)
    run_folder.write_table(folder / SEEN, rows[["id", "pixel_hash"]].rename(columns={"id": "row"}))
    run_folder.write_json(folder / RECORD, record)


def write_images(folder: Path, faces: np.ndarray) -> None:
    """Write (n, size, size, channels) uint8 as generated_00001.png and so on, into a new folder."""
    folder.mkdir(parents=True)
    for number, face in enumerate(faces, start=1):
        _image(face).save(folder / f"generated_{number:05d}.png")


def write_sheet(path: Path, faces: np.ndarray) -> None:
    """Write the first 64 of (n, size, size, channels) uint8 as one picture at twice their size."""
    size, channels = faces.shape[2:]
    sheet = np.zeros((SHEET_FACES, size, size, channels), np.uint8)
    sheet[: len(faces)] = faces[:SHEET_FACES]
    rows = sheet.reshape(_SHEET, _SHEET, size, size, channels).swapaxes(1, 2)
    _image(rows.reshape(_SHEET * size, _SHEET * size, channels).repeat(2, axis=0).repeat(2, axis=1)).save(path)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def likeness(made: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Measure whether the generator copied or repeats itself.

    Args:
        made: Generated faces, (n, size, size, channels) uint8.
        seen: The faces that it was trained on, (m, size, size, channels) uint8, m > 1.

    Returns:
        `nearest_seen`: median over generated faces of the correlation with the nearest training face, mirrored or not;
        `nearest_seen_of_seen`: the same of each training face with another, for comparison;
        `copies`: generated faces that show the same picture as a training face;
        `spread`: deviation of the generated faces from their mean face, as a share of the training faces'; far below 1
        means that they are all alike.
    """
    own, known = _unit_vectors(made), _unit_vectors(np.concatenate([seen, seen[:, :, ::-1]]))
    nearest = np.concatenate([(own[i : i + _AT_ONCE] @ known.T).max(axis=1) for i in range(0, len(own), _AT_ONCE)])
    among = known[: len(seen)] @ known.T
    people = np.arange(len(seen))
    among[people, people] = among[people, people + len(seen)] = -1  # not with itself, nor with its mirror image
    return {
        "nearest_seen": round(float(np.median(nearest)), 4),
        "nearest_seen_of_seen": round(float(np.median(among.max(axis=1))), 4),
        "copies": int((nearest >= NEAR_CORRELATION).sum()),
        "spread": round(_deviation(made) / max(_deviation(seen), 1e-6), 4),
    }


def _unit_vectors(faces: np.ndarray) -> np.ndarray:
    """(n, d) float32 of mean 0 and length 1."""
    vectors = faces.reshape(len(faces), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _deviation(faces: np.ndarray) -> float:
    return float(faces.std(axis=0, dtype=np.float64).mean())
