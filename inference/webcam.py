"""The live window: frames of a camera, a stream or a video with their predictions, shown, recorded and written down."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.printing import show
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.inference.frames import FrameRows, frame_columns, predicted_frames
from fer_hierarchy.inference.output.console import counted
from fer_hierarchy.inference.output.drawing import annotated, save_picture
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.output.rows import RowLog
from fer_hierarchy.inference.output.window import Window
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import WebcamConfig
from fer_hierarchy.inference.sources.video import VideoReader

QUIT, SAVE, PAUSE = ("q", "\x1b"), "s", "p"  # keys in the window; the second of QUIT is Esc

_BATCH = 8  # frames that are predicted together where nobody waits for them
_CALM = 0.5  # seconds of the half-life of the frame rate that is shown
_BLINK_MS = 50  # how often a paused window waits for a key
_TITLE = "q quits, s saves the picture, p pauses"

log = logging.getLogger("fer_hierarchy")


@dataclass
class _Session:
    """One call: where the frames go, and what has come of it so far.

    Attributes:
        reader: Where frames come from.
        synthetic: Whether the model was trained on faces that a program drew.
        window: Shows the frames; None without one.
        writer: Records them.
        log: Takes a row a face.
        progress: Of a file without a window.
        frames: How many were predicted.
        samples: Faces in all frames.
        tracks: Their numbers; a face keeps its number from frame to frame.
        interval: Smoothed seconds from frame to frame.
        shown: When the last frame was.
        began: When the video began, by what it has reached and by the pauses.
    """

    reader: VideoReader
    synthetic: bool
    window: Window | None = None
    writer: VideoWriter | None = None
    log: RowLog | None = None
    progress: Progress | None = None
    frames: int = 0
    samples: int = 0
    tracks: set[int] = field(default_factory=set)
    interval: float | None = None
    shown: float = math.nan
    began: float = -math.inf

    def take(self, result: FrameRows) -> bool:
        """Deliver one frame everywhere; gives whether to go on."""
        self.frames += 1
        self.samples += len(result.rows)
        self.tracks |= {row["track"] for row in result.rows}
        if self.log:
            self.log.write(result.rows)
        if self.writer:
            self.writer.write(self._drawn(result), result.frame.time)
        if self.progress:
            self.progress.advance(1, f"frames, {counted(len(self.tracks), 'track')}")
        return self._show(self.window, result) if self.window else True

    def _drawn(self, result: FrameRows, headline: str | None = None) -> np.ndarray:
        return annotated(result.frame.picture, result.rows, synthetic=self.synthetic, headline=headline)

    def _show(self, window: Window, result: FrameRows) -> bool:
        """Show a frame and obey the keys; gives whether to go on."""
        self._measure(time.monotonic())
        window.show(self._drawn(result, self._headline()))
        key = window.key(self._wait_ms(result.frame.time, time.monotonic()))
        return self._pause(window, result) if key == PAUSE else self._obey(key, window, result)

    def _pause(self, window: Window, result: FrameRows) -> bool:
        """Show the same frame until a key; gives whether to go on."""
        start = time.monotonic()
        window.show(self._drawn(result, f"{self._headline()}   paused"))
        while (key := window.key(_BLINK_MS)) != PAUSE:
            if not self._obey(key, window, result):
                return False
        paused = time.monotonic() - start
        self.shown += paused
        self.began += paused
        return True

    def _obey(self, key: str | None, window: Window, result: FrameRows) -> bool:
        """Save the picture or end; gives whether to go on."""
        if key == SAVE:
            self._save(self._drawn(result))
        return key not in QUIT and not window.closed

    def _measure(self, now: float) -> None:
        """Take the time since the last frame into the frame rate."""
        passed = now - self.shown
        if not math.isnan(passed):
            old = 0.5 ** (passed / _CALM) if self.interval else 0.0
            self.interval = old * (self.interval or 0.0) + (1 - old) * passed
        self.shown = now

    def _headline(self) -> str:
        rate = f"{1 / self.interval:.0f} FPS" if self.interval else "- FPS"
        return f"{rate}   recording" if self.writer else rate

    def _wait_ms(self, reached: float, now: float) -> int:
        """Milliseconds until the next frame is due: a video plays as fast as it was taken, and never hurries."""
        if self.reader.live:
            return 1
        self.began = max(self.began, now - reached)
        return max(1, round(1000 * (self.began + reached - now)))

    def _save(self, picture: np.ndarray) -> None:
        """Save what is seen into the current folder, and print so in one line."""
        path = Path(f"webcam-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3] + ".png")
        try:
            save_picture(path, picture)
        except UserError as error:  # no reason to end what is being recorded
            log.warning("%s", error)
        else:
            show(f"saved {path}")

    def outcome(self) -> str:
        """What was done, in a line."""
        video = f"; video: {self.writer.path}" if self.writer and self.writer.written else ""
        rows = f"; rows: {self.log.path}" if self.log else ""
        samples = f"{counted(self.samples, 'sample')} of {counted(len(self.tracks), 'track')}"
        return f"{counted(self.frames, 'frame')}, {samples}{video}{rows}"


def run_webcam(
    predictor: Predictor,
    settings: WebcamConfig,
    *,
    record: Path | None = None,
    csv: Path | None = None,
    open_reader: Callable[[str], VideoReader] = VideoReader,
    open_window: Callable[[str], Window] = Window,
) -> None:
    """Watch a camera, a stream or a video until it ends or the user ends it.

    Args:
        predictor: The model and the detector.
        settings: What is watched, and how predictions are smoothed.
        record: .mp4 or .avi for the annotated frames; appears when all is over.
        csv: File for a row a face and frame, written as they come.
        open_reader: Opens the source.
        open_window: Opens the window, by its title.

    Raises:
        UserError: No such source, no screen, a file that cannot be written, or a camera that vanished; the files hold
            what it had sent.
        KeyboardInterrupt: With what was done; the files are finished.
    """
    with ExitStack() as stack:
        window = stack.enter_context(open_window(_TITLE)) if settings.window else None
        reader = stack.enter_context(open_reader(settings.source))
        if predictor.resting and not reader.live:
            predictor.resting.check_length(reader.name, (reader.frames or 0) / reader.fps)
        session = _Session(reader=reader, synthetic=predictor.facts.synthetic, window=window)
        if record:
            session.writer = stack.enter_context(VideoWriter(record, fps=reader.fps))
        if csv:
            session.log = stack.enter_context(RowLog(csv, frame_columns(predictor)))
        if not window and reader.frames:
            session.progress = Progress(reader.frames)
        results = predicted_frames(
            reader,
            [predictor],
            detect_every=settings.every,
            half_life=settings.half_life,
            abstain=settings.abstain,
            batch_frames=1 if window or reader.live else _BATCH,
        )
        interrupted = _watch(session, results)
    _conclude(session, interrupted=interrupted)


def _watch(session: _Session, results: Iterator[FrameRows]) -> bool:
    """Deliver frames until they or the user end it; gives whether the user did so by Ctrl-C."""
    if session.reader.live and not session.window:
        show(f"watching {session.reader.name}; Ctrl-C ends it")
    try:
        for result in results:
            if not session.take(result):
                break
    except KeyboardInterrupt:
        return True
    return False


def _conclude(session: _Session, *, interrupted: bool) -> None:
    """Print how it ended."""
    reader, outcome = session.reader, session.outcome()
    if interrupted:
        raise KeyboardInterrupt(outcome)
    if reader.vanished:
        raise UserError(f"{reader.name} sends no more pictures; until then: {outcome}")
    if reader.ended_early:
        log.warning("%s ends after %d of the %d frames that it promises.", reader.name, *reader.ended_early)
    show(outcome)
