"""One video of `--mode predict`: rows of its frames, an annotated copy, and its emotions over time."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress, current
from fer_hierarchy.inference.blurring import Blurring
from fer_hierarchy.inference.film_copies import Sample, copy_film
from fer_hierarchy.inference.frames import predicted_frames
from fer_hierarchy.inference.output.records import Row, rows_of_file
from fer_hierarchy.inference.predict import Outputs
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import PredictConfig
from fer_hierarchy.inference.sources.inputs import Item, place_of_copy
from fer_hierarchy.inference.sources.video import VideoReader

_BATCH = 8  # frames that are searched and predicted together


def video_rows(
    item: Item,
    predictors: Sequence[Predictor],
    settings: PredictConfig,
    outputs: Outputs,
    blurring: Blurring | None = None,
) -> list[Row]:
    """All faces of all frames that were predicted; a row a model where there is none, or where something went wrong.

    A video that ends before its time keeps its rows; the last one has the error.

    Args:
        item: The video.
        predictors: One a model; the first one's predictions are drawn.
        settings: Which frames are predicted, how sure a prediction must be.
        outputs: Where the annotated copy and the figure of its emotions over time go.
        blurring: Where its blurred copy goes.

    Raises:
        UserError: The copy cannot be written.
    """
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(VideoReader(item.path))
            if resting := predictors[0].resting:
                resting.check_length(item.name, (reader.frames or 0) / reader.fps)
        except UserError as error:
            return rows_of_file(item.name, [], predictors, error=str(error))
        # The frames that are predicted, those searched for faces to blur, and those copied.
        passes = 1 + bool(blurring) + bool(blurring or outputs.annotate)
        stack.enter_context(Progress(passes * reader.frames if reader.frames else math.inf))
        rows, samples = _read(reader, predictors, settings)
        if blurring or outputs.annotate:
            drawn = outputs.annotate and place_of_copy(item, outputs.annotate, "--annotate")
            with predictors[0].timings.part("writing"):
                copy_film(item, samples, drawn=drawn, blurring=blurring, synthetic=predictors[0].facts.synthetic)
    if outputs.plots:
        _plot(item, rows, predictors, outputs.plots, frames=len(samples), seconds=reader.seconds)
    error = None
    if reader.ended_early:
        error = "the video ends after {} of the {} frames that it promises".format(*reader.ended_early)
    return rows_of_file(item.name, rows, predictors, error=error)


def _read(
    reader: VideoReader, predictors: Sequence[Predictor], settings: PredictConfig
) -> tuple[list[Row], list[Sample]]:
    """Rows of all frames that are predicted, and those of the first model by frame."""
    rows: list[Row] = []
    samples = []
    interval = 1 / settings.video_fps if settings.video_fps else 0.0
    results = predicted_frames(reader, predictors, interval=interval, abstain=settings.abstain, batch_frames=_BATCH)
    for result in results:
        rows += result.rows
        first = [row for row in result.rows if row["run"] == predictors[0].name]
        samples.append(Sample(time=result.frame.time, rows=first))
        progress = current()
        progress.advance(result.frame.index + 1 - progress.done, f"frames of {Path(reader.source).name}")
    return rows, samples


def _plot(
    item: Item, rows: Sequence[Row], predictors: Sequence[Predictor], folder: Path, *, frames: int, seconds: float
) -> None:
    from fer_hierarchy.inference.output.timeline import draw_timeline

    folder.mkdir(parents=True, exist_ok=True)
    for predictor in predictors:
        stem = Path(item.below).stem + (f"-{predictor.name}" if len(predictors) > 1 else "")
        draw_timeline(
            folder / f"{stem}-emotions.png",
            [row for row in rows if row["run"] == predictor.name],
            predictor.facts.taxonomy,
            name=item.path.name,
            frames=frames,
            seconds=seconds,
            synthetic=predictor.facts.synthetic,
        )
