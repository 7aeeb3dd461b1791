import os
from typing import ClassVar

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.frames import _every
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.sources.video import VideoReader
from fer_hierarchy.inference.timings import Timings
from tests.inference.films import sounding_film

RED, BLUE = (220, 30, 30), (30, 30, 220)


def plain(colour, size=(48, 64)):
    return np.full((*size, 3), colour, np.uint8)


def write_all(path, pictures):
    with VideoWriter(path, fps=10) as writer:
        for picture in pictures:
            writer.write(picture)


def film(path, *, frames=20, fps=10.0):
    """Frames that grow brighter, from blue to red in the middle."""
    with VideoWriter(path, fps=fps) as writer:
        for number in range(frames):
            writer.write(plain(RED if number >= frames // 2 else BLUE))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_film_whose_name_is_no_text_is_written_and_read(tmp_path, suffix):
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    path = film(folder / os.fsdecode(b"film \xe9" + suffix.encode()))
    with VideoReader(path) as reader:
        assert len(list(reader)) == 20
    assert list(folder.iterdir()) == [path]


def test_an_address_that_is_no_text_gives_no_video():
    with pytest.raises(UserError, match="gives no video"):
        VideoReader("http://127.0.0.1:9/\udcff")


class Camera:
    """Stands in for cv2.VideoCapture: `frames` pictures, then nothing, with settings as bad drivers give them."""

    frames = 3
    facts: ClassVar = {cv2.CAP_PROP_FPS: float("nan"), cv2.CAP_PROP_FRAME_COUNT: -9.2e18}

    def __init__(self, *_):
        self.left = self.frames
        self.failed = 0

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def read(self):
        self.left -= 1
        self.failed += self.left < 0
        return (True, plain(BLUE)) if self.left >= 0 else (False, None)

    def grab(self):
        return self.read()[0]

    def retrieve(self):
        return True, plain(BLUE)

    def get(self, what):
        return self.facts.get(what, 0.0)

    def set(self, *_):
        return False

    def release(self):
        self.released = True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("fer_hierarchy.inference.sources.video._PAUSE", 0.0)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_is_written_is_read_back_in_its_colours(tmp_path, suffix):
    path = film(tmp_path / f"a{suffix}")
    with VideoReader(path) as reader:
        assert (reader.fps, reader.frames, reader.live) == (10, 20, False)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(20)])
    assert frames[0].picture.shape == (48, 64, 3)
    assert frames[0].picture.dtype == np.uint8
    assert np.abs(frames[0].picture.mean(axis=(0, 1)) - BLUE).max() < 12
    assert np.abs(frames[-1].picture.mean(axis=(0, 1)) - RED).max() < 12
    assert reader.ended_early is None
    assert not reader.vanished


def test_frames_before_their_time_count_and_are_passed_over(tmp_path):
    with VideoReader(film(tmp_path / "a.avi")) as reader:
        assert reader.read(0.1).index == 1
        frame = reader.read(1.15)
        assert (frame.index, frame.time) == (12, pytest.approx(1.2))
        assert frame.picture[0, 0, 0] > 150
        assert reader.read(9.0) is None
        assert (reader.position, reader.seconds) == (20, pytest.approx(2.0))


def test_a_film_is_sampled_by_its_own_stamps(monkeypatch, tmp_path):
    """A second at 60 frames a second, then 3 s at 5: the average rate would take 4 of the second's 60 and skip on."""
    stamps = [number / 60 for number in range(60)] + [1 + number / 5 for number in range(15)]

    class Varies(Camera):
        frames = len(stamps)

        def get(self, what):
            position = len(stamps) - 1 - max(self.left, 0)
            facts = {cv2.CAP_PROP_FPS: 18.75, cv2.CAP_PROP_FRAME_COUNT: float(len(stamps))}
            return 1000 * stamps[position] if what == cv2.CAP_PROP_POS_MSEC else facts.get(what, 0.0)

    monkeypatch.setattr(cv2, "VideoCapture", Varies)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with VideoReader(tmp_path / "a.mp4") as reader:
        times = [frame.time for frame in _every(reader, 0.2, Timings())]
    assert times == pytest.approx([number / 5 for number in range(20)])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.mp4", None, "does not exist"),
        ("text.mp4", b"no video " * 100, "is no video"),
        ("notes.txt", b"no video either\n" * 100, "is no video"),  # FFmpeg would draw it
        ("empty.avi", b"", "is no video"),
    ],
)
def test_what_is_no_video_is_one_line_and_nothing_else(tmp_path, capfd, name, content, told):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as raised, VideoReader(path):
        pass
    assert name in str(raised.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["http:a.mp4", "concat:a|b.mp4", "file:a.mp4", "pipe:0", "subfile,,start,0,end,9,,:a.mp4"]
)
def test_a_name_is_no_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "a.avi").rename(tmp_path / name)
    with VideoReader(name) as reader:
        assert len(list(reader)) == 20


@pytest.mark.parametrize("end", ["", "\0"])
def test_a_list_of_films_is_not_followed(tmp_path, end):
    path = film(tmp_path / "a.avi")
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {path.name}\n{end}")
    with pytest.raises(UserError, match="no video but text"), VideoReader(tmp_path / "list.mp4"):
        pass


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(UserError, match="is no file"), VideoReader(tmp_path):
        pass


@pytest.mark.parametrize("number", ["99", 99, "99999999999999"])
def test_a_camera_that_is_not_there_is_one_line(capfd, number):
    with pytest.raises(UserError, match=f"camera {number} cannot be opened"), VideoReader(number):
        pass
    assert capfd.readouterr().err == ""


def test_an_address_that_does_not_answer_is_one_line(capfd):
    with pytest.raises(UserError, match="gives no video"), VideoReader("http://127.0.0.1:9/film.mp4"):
        pass
    assert capfd.readouterr().err == ""


def test_a_film_that_was_cut_off_tells_what_it_promised(tmp_path):
    path = film(tmp_path / "a.avi", frames=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with VideoReader(path) as reader:
        frames = list(reader)
    read, promised = reader.ended_early
    assert promised == 40
    assert 0 < read == len(frames) < 30


def test_a_film_that_the_caller_leaves_has_not_ended_early(tmp_path):
    with VideoReader(film(tmp_path / "a.avi")) as reader:
        reader.read()
    assert reader.ended_early is None


def test_a_camera_that_vanishes_ends_after_some_attempts(monkeypatch, quick):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with VideoReader("0") as reader:
        frames = list(reader)
        assert reader.read() is None
    assert len(frames) == 3
    assert reader.vanished
    assert reader.ended_early is None
    assert 1 < reader._capture.failed < 20
    assert reader._capture.released


def test_a_camera_that_misses_a_frame_goes_on(monkeypatch, quick):
    class Stutters(Camera):
        def read(self):
            answer = super().read()
            if self.left == 1 and not getattr(self, "stuttered", False):
                self.stuttered, self.left = True, 2
                return False, None
            return answer

    monkeypatch.setattr(cv2, "VideoCapture", Stutters)
    with VideoReader("0") as reader:
        assert len(list(reader)) == 3


def test_a_camera_that_wakes_slowly_is_waited_for(monkeypatch, quick):
    class Sleepy(Camera):
        asleep = 2

        def read(self):
            self.asleep -= 1
            return (False, None) if self.asleep >= 0 else super().read()

    monkeypatch.setattr(cv2, "VideoCapture", Sleepy)
    with VideoReader("0") as reader:
        assert len(list(reader)) == 3


def test_numbers_that_no_video_has_are_not_believed(monkeypatch, quick, tmp_path):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with VideoReader("0") as reader:
        assert (reader.fps, reader.frames, reader.live) == (30, None, True)
    path = tmp_path / "a.webm"
    path.write_bytes(b"x")
    monkeypatch.setattr(Camera, "facts", {cv2.CAP_PROP_FPS: 90_000.0, cv2.CAP_PROP_FRAME_COUNT: 1e7})
    with VideoReader(path) as reader:
        assert (reader.fps, reader.frames, reader.live) == (25, None, False)
        assert reader.read().time == 0
        assert reader.read(0.05).time == pytest.approx(0.08)  # the container has no stamps
    assert not reader.vanished


def test_a_film_whose_frames_are_only_estimated_has_not_ended_early(tmp_path):
    """Matroska knows how long a film is; at 15 frames a second, there would be more."""
    times = [number / 15 for number in range(30)] + [2 + number / 5 for number in range(30)]
    with VideoReader(sounding_film(tmp_path / "a.mkv", times=times)) as reader:
        assert len(list(reader)) == 60
        assert reader.frames > 60 / 0.95
    assert reader.ended_early is None
