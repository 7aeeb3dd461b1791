"""One video of `--mode predict`: rows of its frames, a marked copy, and its emotions over time."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.inference.frames import FrameResult, analysed_frames, frame_records
from fer_hierarchy.inference.output.annotated_files import AnnotatedFiles
from fer_hierarchy.inference.output.drawing import FaceAnswer, annotated
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import PredictConfig
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.sources.video import CODECS, VideoReader, VideoWriter

_BATCH = 8  # frames that are searched and answered together
_FASTEST = 1000.0  # frames a second that mean every frame

Row = dict[str, Any]


class VideoJob:
    """What is made of a video besides its rows.

    Args:
        predictors: One a model; the first one's answers are drawn.
        settings: How often it is looked at, how sure an answer must be.
        pictures: Gives the marked copy its place; None for none.
        plots: Folder of the figures of emotions over time; None for none.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        settings: PredictConfig,
        *,
        pictures: AnnotatedFiles | None,
        plots: Path | None,
    ) -> None:
        self.predictors = predictors
        self.settings = settings
        self.pictures = pictures
        self.plots = plots

    def rows(self, item: Item, blank: Row) -> list[Row]:
        """All faces of all frames that were looked at; one row that says so where there is none, or what went wrong.

        A video that ends before its time keeps its rows; the last one has the error.
        """
        with ExitStack() as stack:
            try:
                reader = stack.enter_context(VideoReader(item.path))
            except UserError as error:
                return [{**blank, "faces": 0, "run": p.name, "error": str(error)} for p in self.predictors]
            return self._rows(item, reader, blank)

    def _rows(self, item: Item, reader: VideoReader, blank: Row) -> list[Row]:
        fps = self.settings.video_fps or _FASTEST
        step = reader.step(1 / fps)
        progress = Progress(-(-reader.frames // step)) if reader.frames and sys.stderr.isatty() else None
        rows, frames = [], 0
        with ExitStack() as stack:
            writer = self._writer(stack, item, reader.fps / step)
            for result in analysed_frames(reader, self.predictors, step=step, batch_frames=_BATCH):
                rows += self._frame_rows(result)
                frames += 1
                if writer:
                    self._draw(writer, result)
                if progress:
                    progress.advance(1, f"frames of {item.path.name}")
        error = None
        if reader.ended_early:
            error = "the video ends after {} of the {} frames that it promises".format(*reader.ended_early)
        if self.plots:
            self._plot(item, rows, frames, reader)
        return self._finished(rows, blank, error)

    def _frame_rows(self, result: FrameResult) -> list[Row]:
        """The rows of one frame, face by face and model by model."""
        by_model = [
            [{"face": at + 1, "run": p.name, **row} for at, row in enumerate(self._records(result, number, p))]
            for number, p in enumerate(self.predictors)
        ]
        return [row for rows in zip(*by_model, strict=True) for row in rows]

    def _records(self, result: FrameResult, number: int, predictor: Predictor) -> list[Row]:
        return frame_records(result, predictor.facts, abstain=self.settings.abstain, model=number)

    def _writer(self, stack: ExitStack, item: Item, fps: float) -> VideoWriter | None:
        if not self.pictures:
            return None
        path = self.pictures.place(item, tuple(CODECS), ".mp4")
        return stack.enter_context(VideoWriter(path, fps=fps))

    def _draw(self, writer: VideoWriter, result: FrameResult) -> None:
        facts = self.predictors[0].facts
        answers = [FaceAnswer.from_record(row) for row in self._records(result, 0, self.predictors[0])]
        writer.write(annotated(result.frame.picture, answers, synthetic=facts.synthetic))

    def _plot(self, item: Item, rows: Sequence[Row], frames: int, reader: VideoReader) -> None:
        from fer_hierarchy.inference.output.timeline import draw_timeline

        self.plots.mkdir(parents=True, exist_ok=True)
        for predictor in self.predictors:
            stem = Path(item.below).stem + (f"-{predictor.name}" if len(self.predictors) > 1 else "")
            draw_timeline(
                self.plots / f"{stem}-emotions.png",
                [row for row in rows if row["run"] == predictor.name],
                predictor.facts.taxonomy,
                name=item.path.name,
                frames=frames,
                seconds=reader.position / reader.fps,
                synthetic=predictor.facts.synthetic,
            )

    def _finished(self, rows: Sequence[Row], blank: Row, error: str | None) -> list[Row]:
        """The rows with the file's own columns; `faces` counts those of the whole video."""
        if not rows:
            return [{**blank, "faces": 0, "run": p.name, "error": error} for p in self.predictors]
        count = len(rows) // len(self.predictors)
        finished = [{**blank, **row, "faces": count} for row in rows]
        finished[-1]["error"] = error
        return finished
