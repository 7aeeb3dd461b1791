"""`--mode predict`, `webcam` and `export`: from the flags that a user gave to one call; light until they are valid."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_hierarchy.hierarchy.cli.console import flag
from fer_hierarchy.hierarchy.cli.flags import Given, check_data, section
from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.errors import IncompleteError, UserError
from fer_hierarchy.hierarchy.printing import show, table_lines
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.output.rows import KINDS
from fer_hierarchy.inference.settings import FORMATS, ExportConfig, FaceConfig, PredictConfig, WebcamConfig

if TYPE_CHECKING:  # the command line imports this module before the arguments are valid
    from fer_hierarchy.hierarchy.evaluation.conformal import Promise
    from fer_hierarchy.inference.resting import Resting

log = logging.getLogger("fer_hierarchy")


def predict(given: Given, _command: str) -> None:
    """Predict every face of the pictures and videos that are named."""
    began = time.perf_counter()
    faces, settings = section(FaceConfig, given), section(PredictConfig, given)
    out = _table(given.get("out"))
    annotate, blur, explain = (_folder(given, name) for name in ("annotate", "blur", "explain"))
    if blur:
        _check_blur(blur, annotate, explain, faces)
    from fer_hierarchy.inference.sources.inputs import find_items

    plots = (out.parent if out else annotate or Path()) if settings.plot else None
    figures = plots.glob("*-emotions.png") if plots else ()
    made = [path for path in (annotate, blur, explain, *figures) if path]
    items = find_items(given["inputs"], sys.stdin.buffer, made, allow_private=settings.allow_private_addresses)
    if settings.plot and not any(item.is_video for item in items):
        raise UserError("--plot: there is no video among the inputs; a picture has no course over time")
    if explain and all(item.is_video for item in items):
        raise UserError("--explain: there is no picture among the inputs; frames of videos are not explained")
    if (annotate or blur) and any(item.is_video for item in items):
        from fer_hierarchy.inference.output.film import NO_H264, has_h264

        if not has_h264():
            log.warning(NO_H264)
    if changed := next((flag for flag in ("prior", "resting") if explain and getattr(settings, flag)), None):
        raise UserError(f"--{changed} does not go with --explain, whose maps show what the networks themselves predict")
    resting = _resting(settings)
    if resting and resting.seconds and not any(item.is_video for item in items):
        raise UserError("--resting: there is no video among the inputs; name a picture of the person at rest")
    from fer_hierarchy.inference import predict as predicting

    predictors = _predictors(given.get("run"), faces, given["results"], settings, quick=not explain)
    predictors[0].timings.seconds["loading"] = time.perf_counter() - began
    outputs = predicting.Outputs(out=out, annotate=annotate, blur=blur, explain=explain, plots=plots)
    predicting.predict_files(items, predictors, settings=settings, outputs=outputs)


def _check_blur(blur: Path, annotate: Path | None, explain: Path | None, faces: FaceConfig) -> None:
    """Refuse what blurred copies do not go with."""
    if explain:
        raise UserError("--blur does not go with --explain, whose figures show the faces; leave one of them out")
    if faces.cropped:
        raise UserError("--blur does not go with --cropped: nothing of such a picture would be left")
    if annotate and annotate.resolve() == blur.resolve():
        raise UserError(f"--blur and --annotate both name {blur}; name two folders, one for each kind of copy")


def _resting(settings: PredictConfig | WebcamConfig) -> "Resting | None":
    from fer_hierarchy.inference.resting import Resting

    return Resting.of(settings.resting) if settings.resting is not None else None


def _promise(settings: PredictConfig | WebcamConfig) -> "Promise | None":
    from fer_hierarchy.hierarchy.evaluation.conformal import Promise

    sets = settings.coverage_sets if isinstance(settings, PredictConfig) else "lac"
    if settings.coverage is not None:
        return Promise(coverage=settings.coverage, each=settings.coverage_each, sets=sets)
    if settings.coverage_each or sets != "lac":
        raise UserError("--coverage-each and --coverage-sets are of guaranteed predictions; add --coverage SHARE")
    return None


def _predictors(
    named: Sequence[str] | None,
    faces: FaceConfig,
    results: Path,
    settings: PredictConfig | WebcamConfig,
    *,
    quick: bool,
) -> list:
    """One for each model that is named; they share a detector.

    With `quick`, the published weights, where none is named, may be their export.
    """
    from fer_hierarchy.inference.export.backends import open_model
    from fer_hierarchy.inference.faces.detectors import make_detector
    from fer_hierarchy.inference.predictor import EstimatingPredictor, Predictor
    from fer_hierarchy.inference.priors import AUTO, Prior

    prior, resting = None if settings.prior is None else Prior.of(settings.prior), _resting(settings)
    promise = _promise(settings)
    kind = EstimatingPredictor if settings.prior == AUTO else Predictor
    detector = make_detector(faces)
    runs = named or [default_model(results, quick=quick)]
    predictors = [
        kind(open_model(run, results), faces=faces, detector=detector, prior=prior, resting=resting, promise=promise)
        for run in runs
    ]
    names = [predictor.name for predictor in predictors]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--run {twice[0]} is named twice, or two models come from runs of that name; name each once")
    return predictors


def webcam(given: Given, _command: str) -> None:
    """Show what the faces before a camera, or in a video, express."""
    faces, settings = section(FaceConfig, given), section(WebcamConfig, given)
    if faces.cropped:
        raise UserError("--cropped does not go with --mode webcam: faces are searched for in every frame")
    if len(given.get("run", [])) > 1:
        raise UserError("--run is given twice; the live window shows one model, --mode predict takes several")
    if settings.prior == "auto":
        raise UserError(
            "--prior auto needs all faces before it shows the first; use --mode predict, or name a file of shares"
        )
    for name in ("record", "csv"):
        if name in given and Path(given[name]).exists():
            raise UserError(f"--{name}: {given[name]} exists already; name another file")
    record, rows = (Path(given[name]) if name in given else None for name in ("record", "csv"))
    from fer_hierarchy.inference.output.film import check_folder, check_recording
    from fer_hierarchy.inference.output.window import check_screen
    from fer_hierarchy.inference.webcam import run_webcam

    if record:
        check_recording(record)
    if rows:
        check_folder(rows)
    if settings.window:
        check_screen()
    (predictor,) = _predictors(given.get("run"), faces, given["results"], settings, quick=True)
    run_webcam(predictor, settings, record=record, csv=rows)


_VERIFYING = "comparing with the run"


def export(given: Given, _command: str) -> None:
    """Write a run as one file of another runtime, and check what was written.

    Raises:
        IncompleteError: An export does not predict as the run does.
    """
    formats = _formats(section(ExportConfig, given).format)
    data = section(DataConfig, given)
    check_data(data)
    verified = given.get("verify")
    if verified and not Path(verified).exists():
        raise UserError(f"--verify: {verified} does not exist; expected a folder, csv or zip of faces")
    out = _folder(given, "out")
    run, results = next(iter(given["runs"]), None), given["results"]
    if run is not None:
        Run(run, results=results)
    from fer_hierarchy.inference.export import writer as exporting

    with Progress(steps=dict.fromkeys(formats, 20.0) | ({_VERIFYING: 60.0} if verified else {})) as progress:
        made = exporting.export_run(run, formats, data=data, out=out, results=results)
        sizes = [(name, f"{_bytes(path) / 1e6:.2f} MB", str(path)) for name, path in made.items()]
        show(*table_lines([("format", "size", "path"), *sizes]))
        if verified:
            from fer_hierarchy.inference.export.verify import verify

            with progress.step(_VERIFYING):
                wrong = verify(run, made, data=DataConfig(data=verified), results=results)
            if wrong:
                raise IncompleteError("; ".join(wrong))


def _bytes(path: Path) -> int:
    """Of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _formats(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if words == ("all",):
        return FORMATS
    wrong = next((word for word in words if word not in FORMATS), None)
    if wrong or not words:
        raise UserError(f"--format: expected {', '.join(FORMATS)} or all, got {wrong or text!r}")
    return words


def _table(text: str | None) -> Path | None:
    """A file of rows, of a kind that we write and in a folder that is there."""
    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() not in KINDS:
        raise UserError(f"--out: {text} is none of {', '.join(KINDS)} by its name")
    if not path.parent.is_dir():
        raise UserError(f"--out: folder {path.parent} does not exist")
    for place in (path, path.with_name(f"{path.name}.part")):
        if place.exists() and not place.is_file():
            kind = "a folder" if place.is_dir() else "a pipe or a device"
            raise UserError(f"--out: {place} is {kind}; name a file")
    return path


def _folder(given: Given, name: str) -> Path | None:
    """A folder for what is made, there or to be made by what writes into it."""
    if name not in given:
        return None
    path = Path(given[name])
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(f"{flag(name)}: {place} is not a writable folder; name another place")
    return path
