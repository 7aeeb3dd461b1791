"""H.264 with a film's sound, by PyAV: frames keep their own times."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from fer_hierarchy.hierarchy.printing import printable
from fer_hierarchy.inference.sources.video import text_name

# A difference that is hard to see, in a third of the time of "medium"; B-frames would let an MP4 end before its last
# frame where the frame rate varies.
_OPTIONS = {"crf": "20", "preset": "veryfast", "bf": "0"}
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers of the colours and the range of today's films
# Sound that common players play in an MP4; FFmpeg writes more of it.
_KEPT = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}
_TICKS = 90_000  # in a second, as in MPEG streams
_BEFORE = 0.1  # seconds of sound before the first frame that are kept: decoders need them
_LEAST_GAP = 1 / 1000  # seconds between two frames; many containers count in milliseconds

log = logging.getLogger("fer_hierarchy")


@contextmanager
def _failing_as_files_do() -> Iterator[None]:
    """One kind of error for all that FFmpeg cannot write."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


class H264Encoder:
    """An MP4 file of frames at their own times.

    Args:
        name: The file.
        fps: Frames in a second, about.
        size: (width, height) of all pictures.
        original: A film whose sound and shape of pixels are taken along; None for none.
        start: Seconds of that film at which the video begins.

    Raises:
        OSError: The file cannot be written.
    """

    @_failing_as_files_do()
    def __init__(self, name: str, fps: float, size: tuple[int, int], *, original: Path | None, start: float) -> None:
        av.logging.set_level(av.logging.PANIC)
        self._stack = ExitStack()
        self._container = self._stack.enter_context(av.open(name, "w", format="mp4", options={"movflags": "faststart"}))
        rate = Fraction(fps).limit_denominator(1001) or Fraction(1, 1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options=_OPTIONS)
        self._odd = size[1] % 2, size[0] % 2  # colours have half as many rows and columns
        self._stream.width, self._stream.height = size[0] + self._odd[1], size[1] + self._odd[0]
        self._stream.pix_fmt = "yuv420p"
        coder = self._stream.codec_context
        coder.time_base = Fraction(1, _TICKS)
        coder.colorspace = coder.color_primaries = coder.color_trc = _BT709
        coder.color_range = _LIMITED
        self._last = -math.inf
        self._sound: _Sound | None = None
        if original:
            self._take_along(original, start, size)

    def _take_along(self, original: Path, start: float, size: tuple[int, int]) -> None:
        """Add a film's sound and shape of pixels."""
        name = printable(original.name)
        try:
            film = self._stack.enter_context(_opened(original))
        except av.FFmpegError as error:
            log.warning("The copy of %s has no sound: PyAV cannot read the film (%s).", name, error.strerror)
            return
        video = film.streams.best("video")
        if isinstance(video, VideoStream):
            self._stream.codec_context.sample_aspect_ratio = _aspect(video, size)
            start += float((video.start_time or 0) * (video.time_base or 0))
        self._sound = _Sound(film, self._container, start=start, name=name)

    @_failing_as_files_do()
    def write(self, picture: np.ndarray, moment: float) -> int:
        """Add a picture at its moment; gives how many frames that are: 0 where it is not after the last one's.

        Raises:
            OSError: The file cannot be written.
        """
        if moment < self._last + _LEAST_GAP:
            return 0
        self._last = moment
        if any(self._odd):
            picture = cv2.copyMakeBorder(picture, 0, self._odd[0], 0, self._odd[1], cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = round(moment * _TICKS), Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))
        if self._sound:
            self._sound.write(until=moment)
        return 1

    @_failing_as_files_do()
    def close(self) -> None:
        """End the file, with all of the sound.

        Raises:
            OSError: The file cannot be written.
        """
        with self._stack:
            self._container.mux(self._stream.encode())
            if self._sound:
                self._sound.write(until=math.inf)


def _opened(path: Path) -> InputContainer:
    # Absolute, because FFmpeg takes what stands before a colon for the name of a protocol.
    with text_name(os.path.abspath(path)) as name:  # noqa: PTH100 - a link keeps its name
        return av.open(name, metadata_errors="replace")


def _aspect(film: VideoStream, size: tuple[int, int]) -> Fraction:
    """Width of the film's pixels by their height, in pictures of that size, which are upright."""
    aspect = film.codec_context.sample_aspect_ratio or Fraction(1)
    return 1 / aspect if (film.width > film.height) != (size[0] > size[1]) else aspect


class _Sound:
    """A film's sound, packet by packet: as it is where the other file can hold it, else as AAC.

    Args:
        film: Where it comes from.
        output: Where it goes to.
        start: Seconds by the film's clock at which the other one begins.
        name: What messages call the film.
    """

    def __init__(self, film: InputContainer, output: OutputContainer, *, start: float, name: str) -> None:
        self._film, self._output, self._name = film, output, name
        source = film.streams.best("audio")
        self._start = start
        self._packets: Iterator[av.Packet] = iter(())
        if isinstance(source, AudioStream):
            if source.codec_context.codec.canonical_name in _KEPT:
                self._packets = self._copied(source, output.add_stream_from_template(source))
            else:
                layout = "mono" if source.codec_context.channels == 1 else "stereo"
                self._packets = self._recoded(source, output.add_stream("aac", rate=source.rate, layout=layout))
        self._next: av.Packet | None = None

    def write(self, *, until: float) -> None:
        """Write what sounds up to a moment: film and sound have to lie side by side in the file."""
        while True:
            self._next = self._next or self._after()
            if self._next is None or float((self._next.pts or 0) * (self._next.time_base or 0)) > until:
                return
            self._output.mux(self._next)
            self._next = None

    def _after(self) -> av.Packet | None:
        try:
            return next(self._packets, None)
        except av.FFmpegError as error:
            log.warning("The sound of %s is damaged (%s): the copy has it up to there.", self._name, error.strerror)
            return None

    def _copied(self, source: AudioStream, stream: AudioStream) -> Iterator[av.Packet]:
        for packet in self._film.demux(source):
            if packet.dts is None or packet.pts is None or not packet.time_base:
                continue  # the mark of the end
            shift = round(self._start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts * packet.time_base >= -_BEFORE:
                packet.stream = stream
                yield packet

    def _recoded(self, source: AudioStream, stream: AudioStream) -> Iterator[av.Packet]:
        for frame in self._film.decode(source):
            if isinstance(frame, av.AudioFrame) and frame.pts is not None and frame.time_base:
                frame.pts -= round(self._start / frame.time_base)
                if frame.pts * frame.time_base >= -_BEFORE:
                    yield from stream.encode(frame)
        yield from stream.encode(None)
