"""Pictures into a video file: H.264 with a film's sound where PyAV is installed, else by OpenCV and silent."""

import math
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.inference.sources.video import open_capture, silence_opencv, text_name

if TYPE_CHECKING:
    from fer_hierarchy.inference.output.h264 import H264Encoder

# Codecs that every build of opencv-python can write; H.264 is in none of them.
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
NO_H264 = "copies of films are MPEG-4 without sound; for H.264 with their sound: pip install av (extra `video`)"


def has_h264() -> bool:
    """Whether PyAV is installed, and writes H.264."""
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


class VideoWriter:
    """A video file that appears when the block ends without an error; a context manager.

    Where nothing was written, there is no file.

    Args:
        path: .mp4 (H.264 with PyAV, else MPEG-4) or .avi (Motion JPEG).
        fps: Frames in a second; H.264 keeps the frames' own times.
        pause: Seconds without a picture that are left out; shorter gaps last as long as they did.
        original: A film whose sound is taken along where the file is H.264; it has no pauses then.

    Attributes:
        path: The file.
        written: Frames in it so far.

    Raises:
        UserError: Another kind of file, or its folder does not exist.
    """

    def __init__(self, path: Path, *, fps: float, pause: float = 1.0, original: Path | None = None) -> None:
        check_recording(path)
        self.path = path
        self.written = 0
        h264 = path.suffix.lower() == ".mp4" and has_h264()
        self._fps, self._pause = fps, math.inf if h264 and original else pause
        self._original = original
        self._open = self._open_h264 if h264 else self._open_opencv
        self._encoder: _OpenCvEncoder | H264Encoder | None = None
        self._size = (0, 0)  # width, height
        self._last = self._ahead = 0.0  # seconds given last, and how far these run ahead of the video's own
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        silence_opencv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def write(self, picture: np.ndarray, seconds: float | None = None) -> None:
        """Add a picture.

        Args:
            picture: (height, width, 3) uint8 RGB; one of another size than the first is brought to that.
            seconds: When it was seen. H.264 keeps these times; the other codecs have a constant frame rate, and repeat
                or leave out frames that came late or early, so that the video plays as fast as things went.

        Raises:
            UserError: The file cannot be written.
        """
        seconds = self.written / self._fps if seconds is None else seconds
        try:
            if self._encoder is None:
                self._size = picture.shape[1], picture.shape[0]
                self._last = self._ahead = seconds
                self._encoder = self._begin(seconds)
            if (picture.shape[1], picture.shape[0]) != self._size:
                picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
            self.written += self._encoder.write(picture, self._moment(seconds))
        except OSError as error:
            raise UserError(f"video {self.path} cannot be written ({error.strerror})") from error

    def _moment(self, seconds: float) -> float:
        """The place in the video of a picture, without the pauses."""
        gap, self._last = seconds - self._last, seconds
        if gap > max(1 / self._fps, self._pause):
            self._ahead += gap - 1 / self._fps
        return seconds - self._ahead

    def _begin(self, seconds: float) -> "_OpenCvEncoder | H264Encoder":
        temporary = self._stack.enter_context(atomic_write(self.path))
        name = self._stack.enter_context(text_name(os.path.abspath(temporary)))  # noqa: PTH100 - a link keeps its name
        encoder = self._open(name, seconds)
        # Left before the file takes its place: what this finds wrong keeps it from doing so.
        self._stack.push(lambda kind, *_: self._finish(encoder, temporary, checked=kind is None))
        return encoder

    def _open_h264(self, name: str, seconds: float) -> "H264Encoder":
        from fer_hierarchy.inference.output.h264 import H264Encoder

        return H264Encoder(name, self._fps, self._size, original=self._original, start=seconds)

    def _open_opencv(self, name: str, _seconds: float) -> "_OpenCvEncoder":
        code = CODECS[self.path.suffix.lower()]
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*code), self._fps, self._size)
        if not writer.isOpened():
            width, height = self._size
            raise UserError(
                f"video {self.path}: this OpenCV cannot write {code} of {width}x{height} pixels and "
                f"{self._fps:g} frames a second; try {' or '.join(CODECS)}"
            )
        return _OpenCvEncoder(writer, self._fps)

    def _finish(self, encoder: "_OpenCvEncoder | H264Encoder", temporary: Path, *, checked: bool) -> None:
        try:
            encoder.close()
        except OSError:  # a full disk, which OpenCV does not report: the file then has no end and cannot be read
            whole = False
        else:
            whole = bool(temporary.stat().st_size) and open_capture(str(temporary)).isOpened()
        if checked and not whole:
            raise UserError(f"video {self.path} could not be finished; is the disk full?")


class _OpenCvEncoder:
    """A constant frame rate, without sound."""

    def __init__(self, writer: cv2.VideoWriter, fps: float) -> None:
        self._writer, self._fps = writer, fps
        self._written = 0

    def write(self, picture: np.ndarray, moment: float) -> int:
        """Add a picture as often as frames are due up to its moment; gives how often."""
        due = max(round(moment * self._fps) + 1 - self._written, 0)
        pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        for _ in range(due):
            self._writer.write(pixels)
        self._written += due
        return due

    def close(self) -> None:
        """End the file."""
        self._writer.release()


def check_recording(path: Path) -> None:
    """Refuse a video file that cannot be written, before any work.

    Raises:
        UserError: Another suffix than those of `CODECS`, or no such folder.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"video {path}: its name ends in {path.suffix or 'nothing'}; right is {' or '.join(CODECS)}")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a file whose folder does not exist or cannot be written.

    Raises:
        UserError: So it is.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written: {path.parent} is not a writable folder; make it or choose another")
