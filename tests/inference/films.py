"""Films with sound that tests make, and what can be read from films."""

import struct
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="the extra video is not installed")

FRAMES, RATE = 30, 15
SECONDS = FRAMES / RATE
_HERTZ, _TICKS = 48_000, 90_000
_SILENT = 0.5  # seconds before the tone


def sounding_film(path, *, sound="aac", times=None, pictures=None, aspect=None):
    """Grey frames (or `pictures`) at `times`, with a tone that begins after half a second."""
    times = [number / RATE for number in range(FRAMES)] if times is None else times
    pictures = pictures or [np.full((48, 64, 3), 100 + number, np.uint8) for number in range(len(times))]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"bf": "0"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, _TICKS)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        audio = container.add_stream(sound, rate=_HERTZ, layout="stereo")
        audio.bit_rate = 96_000
        container.metadata["comment"] = "at home"
        for time, picture in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for frame in _tone(times[-1] + 1 / RATE):
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def _tone(seconds):
    wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * _HERTZ)) / _HERTZ) / 3
    wave[: round(_SILENT * _HERTZ)] = 0
    for start in range(0, len(wave), 1024):
        part = np.stack([wave[start : start + 1024]] * 2).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _HERTZ, start, Fraction(1, _HERTZ)
        yield frame


def stamps(path):
    """Seconds at which the frames of a film are shown."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def tone_of(path):
    """Seconds at which the tone begins, and the sound ends."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp")
        sound = container.decode(audio=0) if container.streams.audio else ()
        frames = [one for frame in sound for one in resampler.resample(frame)]
    begins = next(frame.time for frame in frames if np.abs(frame.to_ndarray()).max() > 0.1)
    return begins, frames[-1].time + frames[-1].samples / frames[-1].sample_rate


def on_its_side(path):
    """The same film, as a telephone writes it: its frames are to be turned by 90 degrees when they are shown."""
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 44
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:matrix] + turned + content[matrix + len(turned) :])
    return path
