"""From a run's settings to a folder of generated faces: which faces train, a work folder to resume from, the record."""

import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces, resolve_data
from fer_hierarchy.hierarchy.data.images import fingerprint
from fer_hierarchy.hierarchy.data.leakage import evaluation_hashes
from fer_hierarchy.hierarchy.data.sources.generated import FORMAT, RECORD, SEEN, seen_fingerprint
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.pt_files.gan_config import STEPS, GanConfig
from fer_hierarchy.pt_files.gan_faces import SHEET_FACES, likeness, write_images, write_sheet
from fer_hierarchy.pt_files.gan_training import Adversaries, as_faces

CHECKPOINT = "checkpoint.pt"
SETTINGS = "settings.json"
SHEET = "samples.png"
_FEWEST = 8  # faces below which there is nothing to learn
_SAVED_EVERY = 60.0  # seconds between two checkpoints
_LINES = 10  # lines of progress that a file sees


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is learnt, and how.

    Attributes:
        emotion: The rare emotion.
        gan: How the faces are made, `epochs` given and `batch_size` no larger than the rows.
        config: The run that they are for, its data resolved.
        faces: All faces of that run.
        rows: Its train rows that are learnt from.
    """

    emotion: str
    gan: GanConfig
    config: RunConfig
    faces: Faces
    rows: pd.DataFrame

    @property
    def pixels(self) -> np.ndarray:
        """The faces to learn from, (n, size, size, channels) uint8."""
        return self.faces.images.pixels[self.rows.index.to_numpy()]

    def settings(self) -> dict[str, Any]:
        """What a resumed training has to share with its beginning."""
        size, channels = self.faces.images.pixels.shape[2:]
        trained = {name: value for name, value in asdict(self.gan).items() if name != "count"}
        return {
            "emotion": self.emotion,
            **trained,
            "size": size,
            "channels": channels,
            "seed": self.config.seed,
            "seen": seen_fingerprint(self.rows["pixel_hash"]),
        }


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
        KeyboardInterrupt: With the words that say how to go on.
    """
    work = out.with_name(f"{out.name}.work")
    _check_places(out, work, resume=resume)
    job = _read_job(emotion, gan, config)
    _start(work, job.settings(), resume=resume)
    with _resumable(command):
        adversaries = _train(job, work)
        _write(work / "finished", job, adversaries, command)
        (work / "finished").replace(out)
    shutil.rmtree(work)


def _check_places(out: Path, work: Path, *, resume: bool) -> None:
    if out.exists():
        raise UserError(f"--out {out}: it exists already; name a new folder")
    if work.exists() and not resume:
        raise UserError(f"{work}: an interrupted training lies there; go on with --resume, or delete it")
    if resume and not work.exists():
        raise UserError(f"--resume: there is no {work} to go on from; leave --resume out")


def _read_job(emotion: str, gan: GanConfig, config: RunConfig) -> _Job:
    config = replace(config, data=resolve_data(config.data))
    faces = read_faces(config)
    rows = _train_rows(faces, emotion)
    batch_size = min(gan.batch_size, len(rows))
    epochs = gan.epochs or max(1, round(STEPS / (len(rows) // batch_size)))
    gan = replace(gan, batch_size=batch_size, epochs=epochs)
    return _Job(emotion=emotion, gan=gan, config=config, faces=faces, rows=rows)


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


def _train(job: _Job, work: Path) -> Adversaries:
    """Train for the epochs that are left, with checkpoints and a contact sheet to look at meanwhile."""
    shape = job.faces.images.pixels.shape[2:]
    adversaries = Adversaries(size=shape[0], channels=shape[1], width=job.gan.width, seed=job.config.seed)
    done = adversaries.load(work / CHECKPOINT)["epochs"] if (work / CHECKPOINT).is_file() else 0
    faces, epochs = as_faces(job.pixels), job.gan.epochs
    progress = Progress(epochs, done=done)
    saved = time.monotonic()
    for epoch in range(done + 1, epochs + 1):
        losses = adversaries.epoch(faces, job.gan.batch_size)
        text = f"epoch {epoch}/{epochs}, discriminator {losses[0]:.3f}, generator {losses[1]:.3f}"
        progress.advance(1, text)
        if epoch * _LINES // epochs > (epoch - 1) * _LINES // epochs:
            progress.settle(text)
        if epoch == epochs or time.monotonic() - saved > _SAVED_EVERY:
            adversaries.save(work / CHECKPOINT, epochs=epoch)
            write_sheet(work / SHEET, adversaries.draw(SHEET_FACES, seed=job.config.seed))
            saved = time.monotonic()
    return adversaries


def _write(folder: Path, job: _Job, adversaries: Adversaries, command: str) -> None:
    """Everything that `out` will hold, into a new folder beside the checkpoint."""
    shutil.rmtree(folder, ignore_errors=True)  # what an interruption left half written
    faces = adversaries.draw(job.gan.count, seed=job.config.seed)
    write_images(folder / job.emotion, faces)
    write_sheet(folder / SHEET, faces)
    table = job.rows[["id", "pixel_hash"]].rename(columns={"id": "row"})
    run_folder.write_table(folder / SEEN, table)
    run_folder.write_json(folder / RECORD, _record(job, adversaries.steps, likeness(faces, job.pixels), command))


def _record(job: _Job, steps: int, measured: dict[str, float], command: str) -> dict[str, Any]:
    """What generated.json holds: which faces taught which network, and how close to them it stays."""
    settings = job.settings()
    return {
        "format": FORMAT,
        "emotion": job.emotion,
        "count": job.gan.count,
        "seen": {"rows": len(job.rows), "fingerprint": settings["seen"]},
        "likeness": measured,
        "steps": steps,
        "settings": settings,
        "run": {"seed": job.config.seed, "data": job.config.to_dict()["data"]},
        "data": {
            "dataset": "+".join(sorted(set(job.faces.manifest["source"]))),
            "fingerprint": job.faces.images.fingerprint,
            "splits_fingerprint": fingerprint(job.faces.manifest),
        },
        "torch": version("torch"),
        **run_folder.environment(command),
    }
