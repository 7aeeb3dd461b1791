"""Copies of films: all frames, boxes that move on between samples, no face that is left unblurred."""

import cv2
import numpy as np
import pytest

from fer_hierarchy.inference import film_copies
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.film_copies import Sample, _Shown, boxes_of_every_frame, copy_film
from fer_hierarchy.inference.output import film
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.sources.video import VideoReader
from tests.inference.films import on_its_side, sounding_film, stamps
from tests.inference.output.test_drawing import row


def sample(time, **lefts):
    rows = [{**row((left, 40, 30, 30)), "track": int(track[1:])} for track, left in lefts.items()]
    return Sample(time=time, rows=rows)


def lefts(rows):
    return {f"t{row['track']}": row["left"] for row in rows}


def item(path):
    return Item(str(path), path.name)


class Hiding:
    """Stands in for `Blurring`: finds what is bright, but not in the frames that it is told to miss."""

    def __init__(self, folder, missed=()):
        self.folder, self.missed, self.finder = folder, missed, self
        self.searched, self.counts = 0, {}

    def find(self, pictures):
        return [self._bright(picture) for picture in pictures]

    def _bright(self, picture):
        self.searched += 1
        rows, columns = np.nonzero(picture[..., 0] > 150)
        if not len(rows) or self.searched - 1 in self.missed:
            return []
        corner = int(columns.min()), int(rows.min())
        return [Face(box=(*corner, int(columns.max()) - corner[0] + 1, int(rows.max()) - corner[1] + 1), score=0.9)]

    def is_sure(self, face):
        return face.score > 0.5

    def place(self, item):
        return self.folder / "hidden.mp4"

    def count_film(self, **counts):
        self.counts = counts


def walk(path, *, frames=30, cut=None):
    """A chequered square that walks to the right; after the cut the ground is another and nobody is there."""
    pictures = []
    for number in range(frames):
        picture = np.tile(np.linspace(0, 90, 160, dtype=np.uint8), (96, 1))
        if cut is not None and number >= cut:
            picture = np.ascontiguousarray(picture[:, ::-1])
        else:
            picture[30:62, 10 + 3 * number : 42 + 3 * number] = 160 + 90 * (np.indices((32, 32)).sum(axis=0) % 2)
        pictures.append(np.stack([picture] * 3, axis=-1))
    return sounding_film(path, pictures=pictures, times=[number / 15 for number in range(frames)])


def detail(path):
    """How much each frame of a film changes from pixel to pixel."""
    with VideoReader(path) as reader:
        return [float(np.abs(np.diff(frame.picture[..., 1].astype(int), axis=1)).max()) for frame in reader]


def test_every_frame_is_blurred_also_those_in_which_a_face_is_missed(tmp_path):
    original = walk(tmp_path / "film.mp4")
    assert min(detail(original)) > 60
    hiding = Hiding(tmp_path, missed=(0, 1, 2, 9, 10, 11, 12, 28, 29))
    copy_film(item(original), [], blurring=hiding)
    assert hiding.searched == 30
    assert hiding.counts == {"frames": 30, "blurred": 30}
    assert max(detail(tmp_path / "hidden.mp4")) < 30
    assert len(stamps(tmp_path / "hidden.mp4")) == 30


def test_blur_ends_at_a_cut(tmp_path):
    original = walk(tmp_path / "film.mp4", cut=15)
    hiding = Hiding(tmp_path)
    boxes = boxes_of_every_frame(original, hiding)
    assert [len(own) for own in boxes] == [1] * 15 + [0] * 15


def test_what_is_taken_for_a_face_once_is_blurred_once(tmp_path):
    hiding = Hiding(tmp_path, missed=[number for number in range(30) if number != 12])
    assert [len(own) for own in boxes_of_every_frame(walk(tmp_path / "film.mp4"), hiding)] == [0] * 12 + [1] + [0] * 17


def test_faces_that_are_predicted_are_blurred_whatever_else_is_found(tmp_path):
    original = walk(tmp_path / "film.mp4", frames=6)
    rows = [{**row((10, 30, 50, 32)), "track": 1}]
    copy_film(item(original), [Sample(time=0.0, rows=rows)], blurring=Hiding(tmp_path, missed=range(6)))
    assert max(detail(tmp_path / "hidden.mp4")) < 30


def test_an_annotated_copy_is_drawn_on_the_blurred_one(tmp_path):
    original = walk(tmp_path / "film.mp4")
    copy_film(item(original), [], drawn=tmp_path / "drawn.mp4", blurring=Hiding(tmp_path))
    with VideoReader(tmp_path / "drawn.mp4") as drawn, VideoReader(tmp_path / "hidden.mp4") as hidden:
        frames = drawn.read().picture, hidden.read().picture
    small = cv2.resize(frames[0], frames[1].shape[1::-1], interpolation=cv2.INTER_AREA)  # enlarged for its letters
    assert np.abs(small.astype(int) - frames[1]).mean() < 3


def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch):
    original = walk(tmp_path / "film.mp4")
    calls = []

    def tired(picture, boxes):
        calls.append(boxes)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return picture

    monkeypatch.setattr(film_copies, "blurred", tired)
    with pytest.raises(KeyboardInterrupt):
        copy_film(item(original), [], drawn=tmp_path / "drawn.mp4", blurring=Hiding(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_without_pyav_a_copy_has_all_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "has_h264", lambda: False)
    copy_film(item(walk(tmp_path / "film.mp4")), [], blurring=Hiding(tmp_path))
    assert len(detail(tmp_path / "hidden.mp4")) == 30
    assert max(detail(tmp_path / "hidden.mp4")) < 40


def test_a_box_goes_from_sample_to_sample():
    shown = _Shown([sample(0.0, t1=10, t2=90), sample(0.4, t1=30), sample(0.8, t1=30, t3=5)])
    assert lefts(shown.at(0.0, 0.0)) == {"t1": 10, "t2": 90}
    assert lefts(shown.at(0.1, 0.0)) == {"t1": 15, "t2": 90}
    assert lefts(shown.at(0.4, 0.0)) == {"t1": 30}
    assert lefts(shown.at(0.9, 0.0)) == {"t1": 30, "t3": 5}
    assert lefts(shown.at(1.5, 0.0)) == {}  # for so long nobody knows


def test_what_was_predicted_before_a_cut_is_not_drawn_after_it():
    shown = _Shown([sample(0.0, t1=10), sample(0.4, t2=90)])
    assert lefts(shown.at(0.2, 0.2)) == {}
    assert lefts(shown.at(0.4, 0.2)) == {"t2": 90}


def test_an_annotated_copy_has_all_frames_and_their_times(tmp_path):
    times = [number / 30 for number in range(20)] + [1 + number / 5 for number in range(10)]
    original, copy = sounding_film(tmp_path / "film.mkv", times=times), tmp_path / "copy.mp4"
    copy_film(item(original), [sample(0.0, t1=10)], drawn=copy)
    assert stamps(copy) == pytest.approx(times, abs=2e-3)


def test_a_film_on_its_side_is_copied_upright(tmp_path):
    picture = np.full((48, 64, 3), 30, np.uint8)
    picture[:20, :20] = 230  # top left in the file, top right when it is shown
    original = on_its_side(sounding_film(tmp_path / "film.mp4", pictures=[picture] * 30))
    copy_film(item(original), [], drawn=tmp_path / "copy.mp4")
    with VideoReader(tmp_path / "copy.mp4") as reader:
        frame = reader.read().picture
    assert frame.shape == (5 * 64, 5 * 48, 3)  # enlarged for its letters
    assert frame[25, 200].min() > 200
    assert frame[25, 25].max() < 60
