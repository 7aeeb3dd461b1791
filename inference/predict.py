"""`--mode predict`: every face of pictures and videos through every model, to the screen and to files."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.errors import IncompleteError
from fer_hierarchy.hierarchy.printing import show, table_lines
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.wording import percent
from fer_hierarchy.inference.output import console
from fer_hierarchy.inference.output.records import Row, columns_of, rows_of_faces, rows_of_file
from fer_hierarchy.inference.output.rows import NESTED, RowFile, only_writer
from fer_hierarchy.inference.predictor import EstimatingPredictor, Predictor, predict_together
from fer_hierarchy.inference.settings import PredictConfig
from fer_hierarchy.inference.sources.inputs import Item, check_copies, place_of_copy
from fer_hierarchy.inference.sources.pictures import SearchedPicture, searched_pictures
from fer_hierarchy.inference.timings import time_line


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where predictions go besides the screen.

    Attributes:
        out: .csv, .json or .parquet; None for the screen alone.
        annotate: Folder of annotated copies; their faces are blurred as well, where there are blurred copies.
        blur: Folder of copies with blurred faces.
        explain: Folder of heat maps, one figure a face.
        plots: Folder of figures of videos' emotions over time.
    """

    out: Path | None = None
    annotate: Path | None = None
    blur: Path | None = None
    explain: Path | None = None
    plots: Path | None = None


def predict_files(
    items: Sequence[Item], predictors: Sequence[Predictor], *, settings: PredictConfig, outputs: Outputs
) -> None:
    """Predict every face of every file.

    Args:
        items: Pictures and videos.
        predictors: One a model; the first one's detector finds the faces for all.
        settings: How sure a prediction must be, which frames of videos are predicted.
        outputs: Where predictions go.

    Raises:
        UserError: A place cannot be written, or holds something else.
        IncompleteError: Some files could not be read; all others are done.
        KeyboardInterrupt: With how to go on.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        if estimating := [predictor for predictor in predictors if isinstance(predictor, EstimatingPredictor)]:
            whole = stack.enter_context(Progress(2))
            with whole.part(1, "shares of the emotions: "):
                _estimate(items, predictors, estimating, settings)
            stack.enter_context(whole.part(1))
        job = _Job(items, predictors, settings, outputs, stack)
        job.begin()
        try:
            for rows in job.predicted():
                job.deliver(rows)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(job.resume_command()) from None
    job.conclude(time.perf_counter() - began)


def _estimate(
    items: Sequence[Item],
    predictors: Sequence[Predictor],
    estimating: Sequence[EstimatingPredictor],
    settings: PredictConfig,
) -> None:
    """See all faces once, then let the predictors predict for the shares that these have, and print those."""
    with ExitStack() as stack:
        for _ in _Job(items, predictors, settings, Outputs(), stack).predicted():
            pass
    for predictor in estimating:
        estimate = predictor.settle()
        before = predictor.facts.prior or ()
        rows = zip(predictor.facts.taxonomy.emotions, before, estimate.shares, strict=True)
        shares = [(emotion, *(percent(share) for share in both)) for emotion, *both in rows]
        kept = "" if estimate.shifted else "; they do not contradict the shares of training, which stay"
        show(*table_lines([("emotion", "trained", "estimated"), *shares]))
        show(f"shares estimated from {estimate.faces} faces by {predictor.name}{kept}", "")


class _Job:
    """One call's work: what is left to do, and where it goes."""

    def __init__(
        self,
        items: Sequence[Item],
        predictors: Sequence[Predictor],
        settings: PredictConfig,
        outputs: Outputs,
        stack: ExitStack,
    ) -> None:
        self.predictors, self.settings, self.outputs = predictors, settings, outputs
        self.timings = predictors[0].timings
        for folder, flag in ((outputs.annotate, "--annotate"), (outputs.blur, "--blur")):
            if folder:
                check_copies(items, folder, flag)
        self.out: RowFile | None = None
        if outputs.out:
            stack.enter_context(only_writer(outputs.out))
            gates, runs = {p.facts.taxonomy.gate for p in predictors}, [p.name for p in predictors]
            columns = columns_of(predictors, points=outputs.out.suffix.lower() in NESTED)
            self.out = stack.enter_context(
                RowFile(outputs.out, columns, words=gates, runs=runs, marks=predictors[0].marks)
            )
        done = self.out.done if self.out else set()
        self.left = [item for item in items if item.name not in done]
        self.skipped = len(items) - len(self.left)
        self.summary = console.Summary(failed=self.out.failed if self.out else 0)
        self.progress = stack.enter_context(Progress(len(self.left)))
        self.blurring = None
        if outputs.blur:
            from fer_hierarchy.inference.blurring import Blurring

            self.blurring = Blurring(outputs.blur, predictors[0].faces)
        self.explained = None
        if outputs.explain:
            from fer_hierarchy.inference.explain.pictures import ExplanationFigures

            self.explained = ExplanationFigures(predictors, outputs.explain)

    def begin(self) -> None:
        """Print the heading, where rows go to the screen."""
        if not self.out and len(self.predictors) == 1:
            show(console.header(guaranteed=self.predictors[0].promise is not None))

    def predicted(self) -> Iterator[list[list[Row]]]:
        """Rows of some files after the other, each file's together."""
        pictures = [item for item in self.left if not item.is_video]
        keep = bool(self.outputs.annotate or self.outputs.blur or self.outputs.explain)
        for chunk in searched_pictures(pictures, self.predictors, keep=keep):
            tables = predict_together(self.predictors, [searched.crops for searched in chunk])
            yield [self._picture(searched, own) for searched, own in zip(chunk, tables, strict=True)]
            if self.out:  # the screen shows the rows themselves
                self.progress.advance(len(chunk), "files")
            else:
                self.progress.done += len(chunk)
        for item in self.left:
            if item.is_video:
                from fer_hierarchy.inference.predict_video import video_rows

                with self.progress.part(1):
                    rows = video_rows(item, self.predictors, self.settings, self.outputs, self.blurring)
                yield [rows]

    def _picture(self, searched: SearchedPicture, tables: Sequence[np.ndarray]) -> list[Row]:
        """Rows of one picture, of which the copies and the heat maps are drawn as well."""
        by_face = rows_of_faces(searched.faces, tables, self.predictors, abstain=self.settings.abstain)
        with self.timings.part("writing"):
            self._write_copies(searched, [models[0] for models in by_face])
        rows = [row for models in by_face for row in models]
        return rows_of_file(searched.item.name, rows, self.predictors, error=searched.error or None)

    def _write_copies(self, searched: SearchedPicture, firsts: Sequence[Row]) -> None:
        """The copies of a picture and its heat maps; of each face the first model's row is drawn."""
        picture = searched.picture
        if picture is not None and self.blurring:
            picture = self.blurring.picture(searched.item, picture, searched.faces)
        if picture is not None and self.outputs.annotate:
            from fer_hierarchy.inference.output.drawing import annotated, save_picture

            path = place_of_copy(searched.item, self.outputs.annotate, "--annotate")
            save_picture(path, annotated(picture, firsts, synthetic=self.predictors[0].facts.synthetic))
        if searched.picture is not None and self.explained:
            self.explained.write(searched)

    def deliver(self, files: Sequence[Sequence[Row]]) -> None:
        """Rows of some files to the file of rows, or to the screen."""
        if self.out:
            with self.timings.part("writing"):
                self.out.append([row for rows in files for row in rows])
        for rows in files:
            self.summary.count(rows)
            if not self.out:
                show(*console.lines(rows, self.predictors))

    def resume_command(self) -> str:
        """What to do after an interruption."""
        if self.out:
            return f"what was predicted is in {self.out.journal}; give the same command again to go on"
        return "with --out FILE.csv the same command could go on"

    def conclude(self, seconds: float) -> None:
        """Print what was done, and where the time went.

        Args:
            seconds: That it took, without loading.

        Raises:
            IncompleteError: Some files could not be read.
        """
        show(self.summary.line(self.skipped))
        show(time_line(seconds, [predictor.timings for predictor in self.predictors]))
        if self.blurring:
            show(*self.blurring.lines(self.skipped))
        if self.out:
            show(f"predictions: {self.out.path}")
        if failed := self.summary.failed:
            where = f"; the reasons are in {self.out.path}" if self.out else ""
            raise IncompleteError(f"{console.counted(failed, 'file')} could not be read{where}; all others are done")
