"""Videos that we write: whole or not at all, at the right times, with the sound of the film they come from."""

import resource
import signal
from fractions import Fraction

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.output import film
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.sources.video import VideoReader
from tests.inference.films import SECONDS, sounding_film, stamps, tone_of

av = pytest.importorskip("av", reason="the extra video is not installed")

RED, BLUE = (220, 30, 30), (30, 30, 220)


def plain(colour, size=(48, 64)):
    return np.full((*size, 3), colour, np.uint8)


def write_all(path, pictures):
    with VideoWriter(path, fps=10) as writer:
        for picture in pictures:
            writer.write(picture)


def copied(original, copy):
    """A film frame by frame, with its sound."""
    with VideoReader(original) as reader, VideoWriter(copy, fps=reader.fps, original=original) as writer:
        for frame in reader:
            writer.write(frame.picture, frame.time)
    return copy


@pytest.fixture(params=["h264", "opencv"])
def codec(request, monkeypatch):
    """Each test with PyAV, and as if it was not installed."""
    if request.param == "opencv":
        monkeypatch.setattr(film, "has_h264", lambda: False)
    return request.param


def test_a_video_appears_when_it_is_whole(tmp_path, codec):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=10) as writer:
        for _ in range(5):
            writer.write(plain(RED))
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert writer.written == 5


def test_an_error_leaves_what_was_there_before(tmp_path, codec):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the old one")
    with pytest.raises((cv2.error, ValueError)):
        write_all(path, [plain(RED), np.zeros((48, 64, 3), complex)])
    assert path.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_no_frames_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.avi", fps=10):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mkv", "a", "gone/a.mp4", "folder.mp4"])
def test_a_video_that_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=name):
        VideoWriter(tmp_path / name, fps=10)


def test_a_writer_that_does_not_open_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "has_h264", lambda: False)
    monkeypatch.setattr(film, "CODECS", {".mp4": "zzzz"})
    with pytest.raises(UserError, match="cannot write zzzz"), VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        writer.write(plain(RED))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk():
    """No file may grow beyond 20,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_told(tmp_path, small_disk, codec):
    with pytest.raises(UserError, match=r"a\.mp4 (could not be finished; is the disk full|cannot be written)"):
        write_all(tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 255, (20, 240, 320, 3)).astype(np.uint8))
    assert not list(tmp_path.iterdir())


def test_frames_that_come_slowly_are_repeated_and_pauses_left_out(tmp_path):
    path = tmp_path / "a.avi"
    with VideoWriter(path, fps=10) as writer:
        for seconds in (7.0, 7.3, 7.31, 7.32, 7.9):  # a frame every 0.1 s is due
            writer.write(plain(RED), seconds)
        assert writer.written == 10
        writer.write(plain(RED), 60.0)
        writer.write(plain(RED), 60.2)
    with VideoReader(path) as reader:
        assert len(list(reader)) == 13


def test_a_picture_of_another_size_is_brought_to_the_first_ones(tmp_path):
    path = tmp_path / "a.avi"
    with VideoWriter(path, fps=10) as writer:
        writer.write(plain(RED))
        writer.write(plain(BLUE, size=(100, 100)))
    with VideoReader(path) as reader:
        assert [frame.picture.shape for frame in reader] == [(48, 64, 3)] * 2


def test_h264_keeps_the_times_of_frames_and_leaves_pauses_out(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=10) as writer:
        for seconds in (7.0, 7.3, 7.31, 7.31, 7.9, 60.0, 60.2):
            writer.write(plain(RED), seconds)
    assert writer.written == 6  # two at one time are one
    assert stamps(path) == pytest.approx([0, 0.3, 0.31, 0.9, 1.0, 1.2], abs=1e-4)


def test_h264_is_what_every_player_plays(tmp_path):
    path = tmp_path / "a.mp4"
    write_all(path, [plain(RED, size=(47, 63))] * 5)  # a row and a column too few for the colours
    with av.open(str(path)) as container:
        (stream,) = container.streams
        coder = stream.codec_context
        assert (coder.name, coder.pix_fmt, coder.width, coder.height) == ("h264", "yuv420p", 64, 48)
        assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")  # plays before all is loaded
    with VideoReader(path) as reader:
        frame = reader.read()
    assert np.abs(frame.picture[:47, :63].mean(axis=(0, 1)) - RED).max() < 6


@pytest.mark.parametrize(
    ("sound", "suffix", "kept"),
    [
        ("aac", ".mp4", "aac"),
        ("aac", ".ts", "aac"),  # a stream, whose clock does not begin at 0
        ("libopus", ".mkv", "opus"),
        ("pcm_u8", ".mkv", "aac"),
        ("pcm_f32le", ".mov", "aac"),
    ],
)
def test_the_sound_is_taken_along(tmp_path, sound, suffix, kept):
    original = sounding_film(tmp_path / f"film{suffix}", sound=sound)
    copy = copied(original, tmp_path / "copy.mp4")
    with av.open(str(copy)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", kept]
    began = stamps(original)[0]
    assert stamps(copy) == pytest.approx([time - began for time in stamps(original)], abs=2e-3)
    begins, lasts = tone_of(copy)
    assert begins == pytest.approx(tone_of(original)[0] - began, abs=0.06)  # of an encoder's delay
    assert lasts == pytest.approx(SECONDS, abs=0.1)


def test_a_film_that_pyav_cannot_read_is_copied_without_sound(tmp_path, monkeypatch, caplog):
    def refuses(path):
        raise av.error.InvalidDataError(1, "Invalid data")

    monkeypatch.setattr("fer_hierarchy.inference.output.h264._opened", refuses)
    copy = copied(sounding_film(tmp_path / "film.mp4"), tmp_path / "copy.mp4")
    assert len(stamps(copy)) == 30
    assert "The copy of film.mp4 has no sound" in caplog.text


def test_sound_that_is_copied_is_the_same_to_the_bit(tmp_path):
    original, copy = sounding_film(tmp_path / "film.mp4"), tmp_path / "copy.mp4"
    copied(original, copy)
    packets = []
    for path in (original, copy):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(container.streams.audio[0])])
    assert packets[0] == packets[1]


def test_a_copy_tells_nothing_of_its_film(tmp_path):
    original, copy = sounding_film(tmp_path / "film.mp4"), tmp_path / "copy.mp4"
    with av.open(str(original)) as container:
        assert container.metadata["comment"] == "at home"
    copied(original, copy)
    assert b"at home" not in copy.read_bytes()


def test_damaged_sound_ends_itself_and_not_the_copy(tmp_path, caplog, monkeypatch):
    original, copy = sounding_film(tmp_path / "film.mp4"), tmp_path / "copy.mp4"

    def damaged(*_):
        raise av.error.InvalidDataError(1, "Invalid data")

    monkeypatch.setattr("fer_hierarchy.inference.output.h264._Sound._copied", lambda *_: map(damaged, [0]))
    copied(original, copy)
    assert len(stamps(copy)) == len(stamps(original))
    assert "The sound of film.mp4 is damaged" in caplog.text


def test_pixels_that_are_not_square_stay_so(tmp_path):
    original, copy = sounding_film(tmp_path / "film.mp4", aspect=Fraction(16, 15)), tmp_path / "copy.mp4"
    with VideoReader(original) as reader, VideoWriter(copy, fps=reader.fps, original=original) as writer:
        writer.write(reader.read().picture, 0.0)
    with av.open(str(copy)) as container:
        assert container.streams.video[0].codec_context.sample_aspect_ratio == Fraction(16, 15)
