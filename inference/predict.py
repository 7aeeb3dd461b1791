"""`--mode predict`: every face of pictures and videos through every model, to the screen and to files."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import IncompleteError, UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.inference.model import Answers
from fer_hierarchy.inference.output import console
from fer_hierarchy.inference.output.records import answer_columns, face_record
from fer_hierarchy.inference.output.rows import RowFile
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import PredictConfig
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.sources.pictures import SearchedPicture, searched_pictures

_PLACE = ("file", "frame", "time", "track", "faces", "face", "left", "top", "width", "height", "score", "run")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where answers go besides the screen.

    Attributes:
        out: .csv, .json or .parquet; None for the screen alone.
        annotate: Folder of annotated copies.
        explain: Folder of heat maps, one figure a face.
        plots: Folder of figures of videos' emotions over time.
    """

    out: Path | None = None
    annotate: Path | None = None
    explain: Path | None = None
    plots: Path | None = None


def predict_files(
    items: Sequence[Item], predictors: Sequence[Predictor], *, settings: PredictConfig, outputs: Outputs
) -> None:
    """Answer for every face of every file.

    Args:
        items: Pictures and videos.
        predictors: One a model; the first one's detector finds the faces for all.
        settings: How sure an answer must be, how videos are looked at.
        outputs: Where answers go.

    Raises:
        UserError: A place cannot be written, or holds something else.
        IncompleteError: Some files could not be read; all others are done.
        KeyboardInterrupt: With how to go on.
    """
    with ExitStack() as stack:
        job = _Job(items, predictors, settings, outputs, stack)
        try:
            for rows in job.answered():
                job.deliver(rows)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(job.resume_command()) from None
    job.conclude()


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
        self.predictors = predictors
        self.settings = settings
        self.out: RowFile | None = None
        if outputs.out:
            self.out = stack.enter_context(_row_file(outputs.out, predictors))
        done = self.out.done if self.out else set()
        self.left = [item for item in items if item.name not in done]
        self.skipped = len(items) - len(self.left)
        self.summary = console.Summary(failed=self.out.failed if self.out else 0)
        self.progress = Progress(max(len(self.left), 1)) if self.out else None
        self.plots = outputs.plots
        self.pictures = self.explained = None
        if outputs.annotate:
            from fer_hierarchy.inference.output.annotated_files import AnnotatedFiles

            self.pictures = AnnotatedFiles(outputs.annotate, synthetic=predictors[0].facts.synthetic)
        if outputs.explain:
            from fer_hierarchy.inference.explain.pictures import ExplanationFigures

            self.explained = ExplanationFigures(predictors, outputs.explain)
        if not self.out and len(predictors) == 1:
            print(console.header())

    def answered(self) -> Iterator[list[list[dict[str, Any]]]]:
        """Rows of some files after the other, each file's together."""
        pictures = [item for item in self.left if not item.is_video]
        keep = self.pictures is not None or self.explained is not None
        for looked in searched_pictures(pictures, self.predictors, keep=keep):
            said = [self._answer(looked, number) for number in range(len(self.predictors))]
            rows = [self._rows(one, answers) for one, answers in zip(looked, _by_picture(looked, said), strict=True)]
            self._draw(looked, rows)
            yield rows
        videos = [item for item in self.left if item.is_video]
        if videos:
            from fer_hierarchy.inference.predict_video import VideoJob

            job = VideoJob(self.predictors, self.settings, pictures=self.pictures, plots=self.plots)
            for item in videos:
                yield [job.rows(item, self._blank(item))]

    def _answer(self, looked: Sequence[SearchedPicture], number: int) -> Answers:
        """What one model says of all faces of a chunk."""
        return self.predictors[number].answer([crop for one in looked if one.crops for crop in one.crops[number]])

    def _rows(self, looked: SearchedPicture, said: Sequence[tuple[Answers, int]]) -> list[dict[str, Any]]:
        """A row a face and model; one that says why where there is no face."""
        if looked.error or not looked.faces:
            return [
                {**self._blank(looked.item), "faces": 0, "run": predictor.name, "error": looked.error or None}
                for predictor in self.predictors
            ]
        rows = []
        for number, face in enumerate(looked.faces):
            for predictor, (answers, start) in zip(self.predictors, said, strict=True):
                record = face_record(face, answers, start + number, predictor.facts, abstain=self.settings.abstain)
                count = {"faces": len(looked.faces), "face": number + 1, "run": predictor.name}
                rows.append({**self._blank(looked.item), **count, **record})
        return rows

    def _blank(self, item: Item) -> dict[str, Any]:
        return {**dict.fromkeys(columns_of(self.predictors)), "file": item.name}

    def _draw(self, looked: Sequence[SearchedPicture], rows: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        for one, own in zip(looked, rows, strict=True):
            if one.picture is None:
                continue
            if self.pictures:
                own = [row for row in own if row["run"] == self.predictors[0].name]
                self.pictures.write(one.item, one.picture, own)
            if self.explained:
                self.explained.write(one)

    def deliver(self, files: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Rows of some files to the file of rows, or to the screen."""
        if self.out:
            self.out.append([row for rows in files for row in rows])
        for rows in files:
            self.summary.count(rows)
            if not self.out:
                self._show(rows)
        if self.progress:
            self.progress.advance(len(files), "files")

    def _show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        facts = self.predictors[0].facts
        if len(self.predictors) == 1:
            lines = console.face_lines(rows, facts.taxonomy.gate, facts.taxonomy.group_names)
        else:
            count, emotions = len(self.predictors), emotions_of(self.predictors)
            faces = [rows[start : start + count] for start in range(0, len(rows), count)]
            lines = [line for face in faces for line in console.side_by_side(face, emotions)]
        print("\n".join(lines), flush=True)

    def resume_command(self) -> str:
        """What to do after an interruption."""
        if self.out:
            return f"what was answered stands in {self.out.journal}; give the same command again to go on"
        return "with --out FILE.csv the same command could go on"

    def conclude(self) -> None:
        """Say what was done.

        Raises:
            IncompleteError: Some files could not be read.
        """
        if self.progress and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        print(self.summary.line(self.skipped))
        if self.out:
            print(f"answers: {self.out.path}")
        if failed := self.summary.failed:
            where = f"; their rows in {self.out.path} say why" if self.out else ""
            raise IncompleteError(f"{failed} file{'s' * (failed > 1)} could not be read{where}; all others are done")


def _by_picture(looked: Sequence[SearchedPicture], said: Sequence[Answers]) -> Iterator[list[tuple[Answers, int]]]:
    """For each picture, each model's answers and the row of its first face there."""
    start = 0
    for one in looked:
        yield [(answers, start) for answers in said]
        start += len(one.faces)


def columns_of(predictors: Iterable[Predictor]) -> list[str]:
    """Columns of all rows: where a face is, what each model knows, and what went wrong."""
    answers = dict.fromkeys(name for predictor in predictors for name in answer_columns(predictor.facts))
    return [*_PLACE, *answers, "error"]


def emotions_of(predictors: Iterable[Predictor]) -> list[str]:
    """All emotions that any of the models knows."""
    return list(dict.fromkeys(name for predictor in predictors for name in predictor.facts.taxonomy.emotions))


def _row_file(path: Path, predictors: Sequence[Predictor]) -> RowFile:
    gates = {predictor.facts.taxonomy.gate for predictor in predictors}
    return RowFile(path, columns_of(predictors), words=gates, runs=[predictor.name for predictor in predictors])


def check_runs(predictors: Sequence[Predictor]) -> None:
    """Refuse models that rows could not tell apart.

    Raises:
        UserError: Two have one name.
    """
    names = [predictor.name for predictor in predictors]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"--run {twice} is named twice, or two models come from runs of that name; name each once")
