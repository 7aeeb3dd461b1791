"""Frames of a video file, a camera or a stream as RGB pictures."""

import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import cv2
import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.printing import printable, without_password
from fer_hierarchy.inference.sources.kinds import TEXT, kind_of

# FFmpeg reads once how loud it is, when a process opens its first video, be it to write one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_FILE_FPS, _LIVE_FPS = 25.0, 30.0  # where the container or the driver names none
_MOST_FPS = 480.0  # more is the clock of a container that has no frame rate
_WHOLE = 0.95  # share of the promised frames; some containers only estimate their count
ROUNDING = 0.001  # seconds by which a time stamp may fall short: many containers count in milliseconds
_ATTEMPTS, _PAUSE = 5, 0.1  # failed reads after which a camera counts as unplugged; seconds between them
_TIMEOUT_MS = 10_000  # a stream that sends nothing for longer has ended
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_NO_CAMERA = 10_000  # a number that OpenCV takes and no camera has
_TEXT_ART = "ansi"  # FFmpeg draws text files as if they were videos


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        index: Position in the source from 0, skipped frames counted.
        time: Seconds since the start.
        picture: (height, width, 3) uint8 RGB.
    """

    index: int
    time: float
    picture: np.ndarray


class VideoReader:
    """Frames of a video file, a camera or a stream, one after the other; a context manager.

    Args:
        source: A path, the number of a camera ("0") or a URL.

    Attributes:
        source: As given, as text.
        fps: Frames in a second by the source; a usual number where it names none.
        frames: How many the file promises; None where nobody knows, as with cameras.
        live: Whether frames come when they come, from a camera or an endless stream.
        position: Frames taken so far, skipped ones counted.
        ended_early: (frames taken, frames promised) once a file has ended well before its end, else None.
        vanished: Whether a camera or a stream has stopped sending.

    Raises:
        UserError: The source is missing, no video, or a camera that cannot be opened.
    """

    def __init__(self, source: str | int | Path) -> None:
        self.source = str(source)
        self.position = 0
        self.ended_early: tuple[int, int] | None = None
        self.vanished = self._over = False
        self._time = 0.0  # of the last frame
        self._start = 0.0
        self._pixels: np.ndarray | None = None  # of the frame that `_reach` has read already
        camera, url = self.source.isdecimal(), bool(_URL.match(self.source))
        if not camera and not url:
            _check_file(Path(self.source))
        silence_opencv()
        self._capture = open_capture(self.source)
        # Only a frame proves that there is a video.
        self.live = True
        if self._capture.isOpened():
            self._reach(_ATTEMPTS if camera else 1)
        if self._pixels is None or (not camera and _codec(self._capture) == _TEXT_ART):
            self._capture.release()
            raise UserError(_why_not(self.name, camera=camera, url=url))
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = math.isfinite(fps) and 0 < fps <= _MOST_FPS
        self.frames: int | None = round(count) if known and not camera and math.isfinite(count) and count >= 1 else None
        self.live = camera or (url and self.frames is None)
        self.fps: float = fps if known else _LIVE_FPS if self.live else _FILE_FPS
        self._start = time.monotonic()

    @property
    def name(self) -> str:
        """What messages call the source."""
        return f"camera {self.source}" if self.source.isdecimal() else without_password(self.source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def read(self, due: float = 0.0) -> Frame | None:
        """The next frame that stands at `due` seconds or later; None at the end.

        Frames before that are passed over by their own time stamps, without being made pictures.
        """
        while self._pixels is not None or self._reach(_ATTEMPTS if self.live else 1):
            pixels, self._pixels = self._pixels, None
            self._time = self._clock()
            self.position += 1
            if self._time + ROUNDING < due:
                continue
            if pixels is None:
                _, pixels = self._capture.retrieve()
            if pixels is None:
                break
            return Frame(index=self.position - 1, time=self._time, picture=cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        self._end()
        return None

    @property
    def seconds(self) -> float:
        """How long the frames last that were taken so far."""
        return self._time + 1 / self.fps if self.position else 0.0

    def _reach(self, attempts: int) -> bool:
        """Go to the next frame; a camera that was just switched on, or that stutters, needs several attempts."""
        for attempt in range(0 if self._over else attempts):
            if attempt:
                time.sleep(_PAUSE)
            if self.live:
                _, self._pixels = self._capture.read()
            if self._pixels is not None or (not self.live and self._capture.grab()):
                return True
        return False

    def _end(self) -> None:
        """Note how it ended."""
        promised = _WHOLE * (self.frames or 0)
        # Frames are an estimate where a container knows only how long it is and the frame rate varies.
        if not self._over and self.frames and self.position < promised and self.seconds < promised / self.fps:
            self.ended_early = self.position, self.frames
        self._over, self.vanished = True, self.live

    def _clock(self) -> float:
        """Seconds of the frame that was just reached; a file's own stamps tell it even where its frame rate varies."""
        if self.live:
            return time.monotonic() - self._start
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.position == 0 or stamp > self._time:
            return max(stamp, 0.0)
        return self._time + 1 / self.fps


def silence_opencv() -> None:
    """Keep OpenCV, like FFmpeg above, from writing to stderr: our own messages tell what fails."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _check_file(path: Path) -> None:
    if not path.is_file():
        wrong = "is no file" if path.exists() else "does not exist"
        raise UserError(f"video {path} {wrong}; expected a video file, the number of a camera or a URL")
    if kind_of(path) == TEXT:  # FFmpeg would draw it, or open the files and addresses that a list of films names
        raise UserError(f"video {path} cannot be read: it is no video but text")


def open_capture(source: str) -> cv2.VideoCapture:
    """OpenCV's reader of a file, of a camera by its number, or of an address; it may turn out not to be opened."""
    if source.isdecimal():
        capture = cv2.VideoCapture(min(int(source), _NO_CAMERA))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # what waits in the driver is the past; not every driver obeys
        return capture
    if not _URL.match(source):
        # Absolute, because FFmpeg takes what stands before a colon for the name of a protocol.
        with text_name(os.path.abspath(source)) as name:  # noqa: PTH100 - a link keeps its name
            return cv2.VideoCapture(name)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
    return cv2.VideoCapture(source.encode(errors="replace").decode(), cv2.CAP_FFMPEG, limits)


@contextmanager
def text_name(path: str) -> Iterator[str]:
    """The path, or a link to the file where its name is no text, with which OpenCV would end the process."""
    if path == path.encode(errors="replace").decode():
        yield path
        return
    with TemporaryDirectory(prefix="fer-") as folder:
        link = Path(folder, f"video{printable(Path(path).suffix)}")
        link.symlink_to(path)
        yield str(link)


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return code.to_bytes(4, "little", signed=True).decode(errors="replace")


def _why_not(source: str, *, camera: bool, url: bool) -> str:
    if camera:
        return (
            f"{source} cannot be opened; is it there, free, and may this user read it? "
            "Right is another number, a video file or a URL"
        )
    if url:
        return f"{source} gives no video; is the address right, and does it respond?"
    return f"video {source} cannot be read: it is no video, damaged or cut off, or its codec is unknown"
