import csv
import sys
import time

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference import webcam
from fer_hierarchy.inference.frames import frame_columns
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.output.rows import RowLog
from fer_hierarchy.inference.output.window import Window
from fer_hierarchy.inference.settings import WebcamConfig
from fer_hierarchy.inference.sources.video import Frame, VideoReader
from fer_hierarchy.inference.webcam import run_webcam
from tests.inference.stand_ins import BarModel
from tests.inference.walking_face import ANGRY, FPS, FRAMES, HAPPY, SIDE, SIZE, film, predictor, scene


class ScriptedWindow:
    """Presses keys by a script: frame -> key; the key "close" closes the window."""

    def __init__(self, keys=()):
        self.keys = dict(keys)
        self.shown = []
        self.waits = 0
        self.closed = False
        self.left = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.left = True

    def show(self, picture):
        self.shown.append(picture)

    def key(self, milliseconds):
        assert milliseconds >= 1
        self.waits += 1
        key = self.keys.get(self.waits)
        if key == "close":
            self.closed = True
            return None
        if isinstance(key, type):
            raise key
        return key


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "walk.avi")


def run(source, *, model=None, window=None, record=None, csv=None, open_reader=VideoReader, **settings):
    config = WebcamConfig(source=str(source), window=window is not None, **settings)
    places = {"record": record, "csv": csv, "open_reader": open_reader}
    run_webcam(predictor(model), config, open_window=lambda _title: window, **places)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def frames_in(path):
    with VideoReader(path) as reader:
        return list(reader)


def test_a_film_without_a_window_gives_rows_and_a_marked_film(tmp_path, walk, capsys):
    run(walk, record=tmp_path / "a.avi", csv=tmp_path / "a.csv", every=4, half_life=0)
    rows = read(tmp_path / "a.csv")
    assert list(rows[0]) == frame_columns(predictor())
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    assert [float(row["time"]) for row in rows] == pytest.approx([n / FPS for n in range(FRAMES)], abs=1e-3)
    assert {row["track"] for row in rows} == {"1"}
    assert {(row["emotion"], row["valence"]) for row in rows} == {("happy", "positive")}
    for number, row in enumerate(rows):
        left, top, width, height = (int(row[side]) for side in ("left", "top", "width", "height"))
        assert abs(left - 10 - 3 * number) <= 3
        assert abs(top - 40) <= 3
        assert max(abs(width - SIDE), abs(height - SIDE)) <= 6
        assert (row["score"] != "") == (number % 4 == 0)  # found there, followed in between
        assert sum(float(value) for name, value in row.items() if name.startswith("p_")) == pytest.approx(1, abs=1e-5)
    marked = frames_in(tmp_path / "a.avi")
    assert len(marked) == FRAMES
    assert np.abs(marked[5].picture.astype(int) - scene(5).repeat(2, 0).repeat(2, 1)).max() > 100
    assert "24 frames, 24 samples of 1 track; video:" in capsys.readouterr().out


def test_a_film_is_answered_in_batches_and_a_window_frame_by_frame(walk):
    batches, live = BarModel(), BarModel()
    run(walk, model=batches)
    run(walk, model=live, window=ScriptedWindow())
    assert batches.batches == [8, 8, 8]
    assert live.batches == [1] * FRAMES


def test_smoothing_smooths(tmp_path):
    changing = film(tmp_path / "a.avi", [HAPPY, ANGRY] * 12)
    run(changing, csv=tmp_path / "raw.csv", every=1, half_life=0)
    run(changing, csv=tmp_path / "smooth.csv", every=1, half_life=0.5)
    raw, smooth = (
        np.array([float(row["p_happy"]) for row in read(tmp_path / name)]) for name in ("raw.csv", "smooth.csv")
    )
    assert np.abs(np.diff(raw)).min() > 0.8
    assert np.abs(np.diff(smooth[4:])).max() < 0.2
    gate = [float(row["gate_positive"]) - float(row["p_happy"]) for row in read(tmp_path / "smooth.csv")]
    assert max(gate) < 0.05  # the gate is smoothed as the emotions are


def test_an_unsure_answer_is_called_uncertain(tmp_path, walk):
    run(walk, csv=tmp_path / "a.csv", abstain=0.95)
    assert {row["emotion"] for row in read(tmp_path / "a.csv")} == {"uncertain"}


@pytest.mark.parametrize("key", ["q", "\x1b", "close"])
def test_the_user_ends_it(tmp_path, walk, key):
    window = ScriptedWindow({6: key})
    run(walk, window=window, record=tmp_path / "a.avi", csv=tmp_path / "a.csv")
    assert len(window.shown) == 6
    assert window.left
    assert len(read(tmp_path / "a.csv")) == len(frames_in(tmp_path / "a.avi")) == 6


def test_a_key_saves_what_is_seen(tmp_path, walk, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(walk, window=ScriptedWindow({2: "s", 5: "q"}))
    (saved,) = tmp_path.iterdir()
    assert saved.name.startswith("webcam-")
    assert saved.suffix == ".png"
    assert f"saved {saved.name}\n" in capsys.readouterr().out
    assert cv2.imread(str(saved)).max() > 0


def test_a_folder_that_cannot_be_written_does_not_end_it(tmp_path, walk, monkeypatch, caught_logs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fer_hierarchy.inference.sources.video.os.access", lambda *_: False)
    window = ScriptedWindow({2: "s"})
    run(walk, window=window)
    assert len(window.shown) == FRAMES
    assert "not a writable folder" in caught_logs.text


def test_a_pause_holds_the_picture_until_it_ends(tmp_path, walk):
    window = ScriptedWindow({3: "p", 9: "p", 12: "q"})
    run(walk, window=window, csv=tmp_path / "a.csv")
    # Frames 1 to 3, the third once more as paused, then 4 to 6: the keys 4 to 9 are read in the pause.
    assert len(window.shown) == 7
    assert len(read(tmp_path / "a.csv")) == 6
    assert (window.shown[2] != window.shown[3]).any()


@pytest.mark.parametrize("key", ["q", "close"])
def test_a_paused_window_can_be_left(walk, key):
    window = ScriptedWindow({3: "p", 5: key})
    run(walk, window=window)
    assert len(window.shown) == 4


def test_a_film_plays_as_fast_as_it_was_taken_and_the_window_tells_how_fast(tmp_path, walk, monkeypatch):
    clock, told = [0.0], []

    class Waiting(ScriptedWindow):
        def key(self, milliseconds):
            clock[0] += milliseconds / 1000
            return super().key(milliseconds)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        webcam, "annotated", lambda picture, _faces, **more: (told.append(more["headline"]), picture)[1]
    )
    run(walk, window=Waiting({13: "q"}), record=tmp_path / "a.avi")
    assert clock[0] == pytest.approx(1, abs=0.01)  # twelve frames a second
    shown = [line for line in told if line]
    assert all(line.endswith("   recording") for line in shown)
    assert 11 < float(shown[-1].split()[0]) < 30
    assert None in told  # what is recorded has no such line


def test_a_film_that_was_cut_off_is_told(tmp_path, walk, caught_logs):
    content = walk.read_bytes()
    path = tmp_path / "half.avi"
    path.write_bytes(content[: len(content) // 2])
    run(path, csv=tmp_path / "a.csv")
    assert 0 < len(read(tmp_path / "a.csv")) < FRAMES
    assert "of the 24 frames that it promises" in caught_logs.text


def test_a_camera_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="camera 99 cannot be opened"):
        run(99, record=tmp_path / "a.mp4", csv=tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


class Vanishing(VideoReader):
    """A camera that sends ten frames."""

    def __init__(self, source):
        self.source, self.live, self.fps, self.frames = source, True, FPS, None
        self.position, self.vanished = 0, False

    def __exit__(self, *_):
        pass

    def read(self, due=0.0):
        if self.position == 10:
            self.vanished = True
            return None
        self.position += 1
        return Frame(index=self.position - 1, time=self.position / FPS, picture=scene(self.position))


def test_a_camera_that_vanishes_leaves_finished_files_and_one_line(tmp_path, capsys):
    with pytest.raises(
        UserError, match="camera 0 sends no more pictures; until then: 10 frames, 10 samples of 1 track"
    ) as raised:
        run(0, record=tmp_path / "a.avi", csv=tmp_path / "a.csv", open_reader=Vanishing)
    assert "a.avi" in str(raised.value)
    assert capsys.readouterr().out == "watching camera 0; Ctrl-C ends it\n"
    assert len(frames_in(tmp_path / "a.avi")) == len(read(tmp_path / "a.csv")) == 10


def test_an_interruption_leaves_finished_files(tmp_path, walk):
    window = ScriptedWindow({5: KeyboardInterrupt})
    with pytest.raises(KeyboardInterrupt, match="5 frames, 5 samples of 1 track; video:"):
        run(walk, window=window, record=tmp_path / "a.avi", csv=tmp_path / "a.csv")
    assert len(frames_in(tmp_path / "a.avi")) == len(read(tmp_path / "a.csv")) == 5
    assert window.left


def test_rows_can_be_read_while_they_come_and_the_record_appears_at_the_end(tmp_path, walk):
    seen = []

    class Looking(ScriptedWindow):
        def show(self, picture):
            super().show(picture)
            seen.append(((tmp_path / "a.csv").read_text(), (tmp_path / "a.mp4").exists()))

    run(walk, window=Looking(), record=tmp_path / "a.mp4", csv=tmp_path / "a.csv")
    assert [text.count("\n") for text, _ in seen] == list(range(2, FRAMES + 2))
    assert all(text.endswith("\n") for text, _ in seen)
    assert not any(there for _, there in seen)
    assert (tmp_path / "a.mp4").is_file()


def test_an_error_leaves_no_half_recording(tmp_path, walk):
    with pytest.raises(ZeroDivisionError):
        run(walk, window=ScriptedWindow({5: ZeroDivisionError}), record=tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_a_record_of_another_kind_is_refused_before_a_frame_is_read(tmp_path, walk):
    with pytest.raises(UserError, match=r"\.mp4 or \.avi"):
        run(walk, record=tmp_path / "a.mkv")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a screen")
@pytest.mark.parametrize("display", [None, ":987"])
def test_without_a_screen_the_way_out_is_named(monkeypatch, walk, display):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(UserError, match="--no-window"):
        run_webcam(predictor(), WebcamConfig(source=str(walk)))


def test_a_film_without_faces_has_no_rows(tmp_path):
    path = tmp_path / "dark.avi"
    with VideoWriter(path, fps=FPS) as writer:
        for _ in range(5):
            writer.write(np.zeros((*SIZE, 3), np.uint8))
    run(path, csv=tmp_path / "a.csv", record=tmp_path / "a.avi", every=2)
    assert read(tmp_path / "a.csv") == []
    assert (tmp_path / "a.csv").read_text() == ",".join(frame_columns(predictor())) + "\n"
    assert len(frames_in(tmp_path / "a.avi")) == 5


def test_rows_that_do_not_fit_on_the_disk_leave_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    with RowLog(path, ["a", "b"]) as rows:
        rows.write([{"a": 1, "b": 2}])
        real = rows._file
        rows._file = HalfFull(real)
        with pytest.raises(UserError, match="disk is full"):
            rows.write([{"a": 33, "b": 44}])
        rows._file = real
    assert path.read_text() == "a,b\n1,2\n"


class HalfFull:
    """A file that takes three bytes more."""

    def __init__(self, file):
        self.file = file

    def write(self, content):
        return self.file.write(content[:3])

    def tell(self):
        return self.file.tell()

    def truncate(self, size):
        return self.file.truncate(size)


def test_the_window_of_opencv_has_what_the_loop_asks_for():
    window = Window("title")
    assert not window.closed  # before it has been opened
    assert {"show", "key", "closed"} <= set(dir(window))
