"""The live window: frames of a camera, a stream or a film with their answers, shown, recorded and written down."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.inference.frames import FrameResult, analysed_frames, frame_records, record_columns
from fer_hierarchy.inference.model import Metadata
from fer_hierarchy.inference.output.drawing import FaceAnswer, annotated, save_picture
from fer_hierarchy.inference.output.row_log import RowLog
from fer_hierarchy.inference.output.window import Window, check_screen
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.sources.video import VideoReader, VideoWriter, check_folder, check_recording

QUIT, SAVE, PAUSE = ("q", "\x1b"), "s", "p"  # keys in the window; the second of QUIT is Esc

_BATCH = 8  # frames that are answered together where nobody waits for them
_CALM = 0.5  # seconds of the half-life of the frame rate that is shown
_BLINK_MS = 50  # how often a paused window looks for a key
_TITLE = "q quits, s saves the picture, p pauses"

log = logging.getLogger("hierarchy")


@dataclass
class _Session:
    """One call: where the frames go, and what has come of it so far.

    Attributes:
        reader: Where frames come from.
        facts: Of the model.
        abstain: Probability below which the answer is "uncertain".
        window: Shows the frames; None without one.
        writer: Records them.
        rows: Takes a row a face.
        progress: Of a file without a window.
        frames: How many were looked at.
        faces: Numbers of all faces that were seen.
        interval: Smoothed seconds from frame to frame.
        shown: When the last frame was.
        began: When the film began, by what it has reached and by the pauses.
    """

    reader: VideoReader
    facts: Metadata
    abstain: float
    window: Window | None = None
    writer: VideoWriter | None = None
    rows: RowLog | None = None
    progress: Progress | None = None
    frames: int = 0
    faces: set[int] = field(default_factory=set)
    interval: float | None = None
    shown: float | None = None
    began: float = -math.inf

    def open_files(self, stack: ExitStack, record: Path | None, csv: Path | None, limit: int | None) -> None:
        """Begin what is written; `stack` ends it."""
        if record:
            self.writer = stack.enter_context(VideoWriter(record, fps=self.reader.fps))
        if csv:
            self.rows = stack.enter_context(RowLog(csv, record_columns(self.facts)))
        if not self.window and self.reader.frames:
            self.progress = Progress(min(self.reader.frames, limit or self.reader.frames))

    def take(self, result: FrameResult) -> bool:
        """Deliver one frame everywhere; gives whether to go on."""
        records = frame_records(result, self.facts, abstain=self.abstain)
        answers = [FaceAnswer.from_record(record) for record in records]
        self.frames += 1
        self.faces |= {record["track"] for record in records}
        if self.rows:
            self.rows.write(records)
        if self.writer:
            self.writer.write(self._drawn(result, answers), result.frame.time)
        if self.progress:
            self.progress.advance(1, f"frames, {_count(len(self.faces), 'face')}")
        return self._show(result, answers) if self.window else True

    def _drawn(self, result: FrameResult, answers: Sequence[FaceAnswer], headline: str | None = None) -> np.ndarray:
        return annotated(result.frame.picture, answers, synthetic=self.facts.synthetic, headline=headline)

    def _show(self, result: FrameResult, answers: Sequence[FaceAnswer]) -> bool:
        """Show a frame and obey the keys; gives whether to go on."""
        self._measure(time.monotonic())
        self.window.show(self._drawn(result, answers, self._headline()))
        key = self.window.key(self._wait_ms(result.frame.time, time.monotonic()))
        if key in QUIT or self.window.closed:
            return False
        if key == SAVE:
            self._save(self._drawn(result, answers))
        return self._pause(result, answers) if key == PAUSE else True

    def _pause(self, result: FrameResult, answers: Sequence[FaceAnswer]) -> bool:
        """Stand still until a key; gives whether to go on."""
        start = time.monotonic()
        self.window.show(self._drawn(result, answers, f"{self._headline()}   paused"))
        while (key := self.window.key(_BLINK_MS)) != PAUSE:
            if key in QUIT or self.window.closed:
                return False
            if key == SAVE:
                self._save(self._drawn(result, answers))
        paused = time.monotonic() - start
        self.shown += paused
        self.began += paused
        return True

    def _measure(self, now: float) -> None:
        """Take the time since the last frame into the frame rate."""
        if self.shown is not None:
            passed = now - self.shown
            old = 0.5 ** (passed / _CALM) if self.interval else 0.0
            self.interval = old * (self.interval or 0.0) + (1 - old) * passed
        self.shown = now

    def _headline(self) -> str:
        rate = f"{1 / self.interval:.0f} FPS" if self.interval else "- FPS"
        return f"{rate}   recording" if self.writer else rate

    def _wait_ms(self, reached: float, now: float) -> int:
        """Milliseconds until the next frame is due: a film plays as fast as it was taken, and never hurries."""
        if self.reader.live:
            return 1
        self.began = max(self.began, now - reached)
        return max(1, round(1000 * (self.began + reached - now)))

    def _save(self, picture: np.ndarray) -> None:
        """Save what is seen into the current folder, and say so in one line."""
        path = Path(f"webcam-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3] + ".png")
        try:
            save_picture(path, picture)
        except UserError as error:  # no reason to end what is being recorded
            log.warning("%s", error)
        else:
            print(f"saved {path}", flush=True)

    def outcome(self) -> str:
        """What was done, in a line."""
        parts = [_count(self.frames, "frame"), _count(len(self.faces), "face")]
        told = ", ".join(parts)
        told += f"; video: {self.writer.path}" if self.writer and self.writer.written else ""
        return told + (f"; rows: {self.rows.path}" if self.rows else "")


def run_webcam(
    predictor: Predictor,
    *,
    source: str = "0",
    window: bool = True,
    record: Path | None = None,
    csv: Path | None = None,
    every: int = 5,
    half_life: float = 0.3,
    abstain: float = 0.0,
    limit: int | None = None,
    open_reader: Callable[[str], VideoReader] = VideoReader,
    open_window: Callable[[str], Window] = Window,
) -> None:
    """Watch a camera, a stream or a film until it ends or the user ends it.

    Args:
        predictor: The model and the detector.
        source: Number of a camera, a file or a URL.
        window: Whether to show it; without, a file is gone through as fast as can be.
        record: .mp4 or .avi for the marked frames; appears when all is over.
        csv: File for a row a face and frame, written as they come.
        every: Looks for faces in every so many frames and follows them in between.
        half_life: Seconds after which an earlier answer weighs half in the smoothed one; 0 smooths nothing.
        abstain: Probability below which the answer is "uncertain".
        limit: The most frames to look at.
        open_reader: Opens the source.
        open_window: Opens the window, by its title.

    Raises:
        UserError: No such source, no screen, a file that cannot be written, or a camera that vanished; the files hold
            what it had sent.
        KeyboardInterrupt: With what was done; the files are finished.
    """
    check_places(source, window=False, record=record, csv=csv)
    with ExitStack() as stack:
        shown = stack.enter_context(open_window(_TITLE)) if window else None
        reader = stack.enter_context(open_reader(source))
        session = _Session(reader=reader, facts=predictor.facts, abstain=abstain, window=shown)
        session.open_files(stack, record, csv, limit)
        batch = 1 if window or reader.live else _BATCH
        results = analysed_frames(reader, [predictor], detect_every=every, half_life=half_life, batch_frames=batch)
        interrupted = _watch(session, islice(results, limit))
    _conclude(session, interrupted=interrupted)


def _watch(session: _Session, results: Iterator[FrameResult]) -> bool:
    """Deliver frames until they or the user end it; gives whether the user did so by Ctrl-C."""
    if session.reader.live and not session.window:
        print(f"watching {session.reader.name}; Ctrl-C ends it", flush=True)
    try:
        for result in results:
            if not session.take(result):
                break
    except KeyboardInterrupt:
        return True
    return False


def _conclude(session: _Session, *, interrupted: bool) -> None:
    """Say how it ended."""
    reader, outcome = session.reader, session.outcome()
    if session.progress and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if interrupted:
        raise KeyboardInterrupt(outcome)
    if reader.vanished:
        raise UserError(f"{reader.name} sends no more pictures; until then: {outcome}")
    if reader.ended_early:
        log.warning("%s ends after %d of the %d frames that it promises.", reader.name, *reader.ended_early)
    print(outcome)


def check_places(source: str, *, window: bool, record: Path | None, csv: Path | None) -> None:
    """Refuse files that cannot be written, or a window without a screen, before a model is loaded.

    Raises:
        UserError: So it is.
    """
    if record:
        check_recording(record)
    if csv:
        check_folder(csv)
    for path in filter(None, (record, csv)):
        if path.resolve() == Path(source).resolve():
            raise UserError(f"{path} is the video that is watched; name another file")
    if window:
        check_screen()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
