"""Copies of films: all frames, boxes that move on between samples, no face that is left unblurred."""

import numpy as np
import pytest

from fer_hierarchy.inference.film_copies import Sample, _Shown, copy_film
from fer_hierarchy.inference.sources.video import VideoReader
from tests.inference.films import on_its_side, sounding_film, stamps
from tests.inference.output.test_drawing import row


def sample(time, **lefts):
    rows = [{**row((left, 40, 30, 30)), "track": int(track[1:])} for track, left in lefts.items()]
    return Sample(time=time, rows=rows)


def lefts(rows):
    return {f"t{row['track']}": row["left"] for row in rows}


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
    copy_film(original, [sample(0.0, t1=10)], drawn=copy)
    assert stamps(copy) == pytest.approx(times, abs=2e-3)


def test_a_film_on_its_side_is_copied_upright(tmp_path):
    picture = np.full((48, 64, 3), 30, np.uint8)
    picture[:20, :20] = 230  # top left in the file, top right when it is shown
    original = on_its_side(sounding_film(tmp_path / "film.mp4", pictures=[picture] * 30))
    copy_film(original, [], blur=tmp_path / "copy.mp4")
    with VideoReader(tmp_path / "copy.mp4") as reader:
        frame = reader.read().picture
    assert frame.shape == (64, 48, 3)
    assert frame[5, 40].min() > 200
    assert frame[5, 5].max() < 60
