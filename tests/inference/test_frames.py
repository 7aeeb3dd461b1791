import cv2
import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector
from fer_hierarchy.inference.frames import predicted_frames
from fer_hierarchy.inference.model import gate_of
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources.video import VideoReader
from tests.conftest import draw_face
from tests.inference.stand_ins import BarModel, facts
from tests.inference.walking_face import ANGRY, FPS, FRAMES, HAPPY, SIDE, SIZE, BrightDetector, film, predictor


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "walk.avi")


def test_a_face_that_is_missed_for_a_moment_stays(walk):
    class Blinking(BrightDetector):
        def find(self, pictures):
            found = super().find(pictures)
            return found if len(self.searched) < 5 else [[] for _ in pictures]

    watching = Predictor(BarModel(), faces=FaceConfig(), detector=Blinking())
    with VideoReader(walk) as reader:
        counts = [len(result.rows) for result in predicted_frames(reader, [watching])]
    assert counts[:4] == [1] * 4  # found
    assert counts[4:6] == [1] * 2  # believed to be there
    assert counts[6:] == [0] * (FRAMES - 6)  # gone after three misses


def test_a_face_that_is_missed_for_long_is_not_believed_in(walk):
    class Once(BrightDetector):
        def find(self, pictures):
            found = super().find(pictures)
            return found if len(self.searched) == 1 else [[] for _ in pictures]

    watching = Predictor(BarModel(), faces=FaceConfig(), detector=Once())
    with VideoReader(walk) as reader:
        results = predicted_frames(reader, [watching], interval=8 / FPS)  # two thirds of a second
        assert [len(result.rows) for result in results] == [1, 0, 0]


def test_frames_can_be_left_out_and_several_models_used(walk):
    second = BarModel("second")
    with VideoReader(walk) as reader:
        results = list(predicted_frames(reader, [predictor(), predictor(second)], interval=5 / FPS, batch_frames=3))
    assert [result.frame.index for result in results] == [0, 5, 10, 15, 20]
    assert second.batches == [3, 2]
    first, other = results[1].rows
    assert (first["run"], other["run"]) == ("bars", "second")
    assert {**first, "run": "second"} == other
    assert (first["frame"], first["time"], first["track"], first["emotion"]) == (5, 0.417, 1, "happy")


@pytest.mark.parametrize("batch", [1, 5])
def test_a_face_is_found_in_some_frames_and_followed_in_the_others(walk, batch):
    watching = predictor()
    with VideoReader(walk) as reader:
        results = list(predicted_frames(reader, [watching], detect_every=4, batch_frames=batch))
    assert sum(watching.detector.searched) == FRAMES / 4
    for number, result in enumerate(results):
        (row,) = result.rows
        assert row["track"] == 1
        assert abs(row["left"] - 10 - 3 * number) <= 3
        assert (row["score"] is None) == (number % 4 > 0)


def portraits(count):
    """Frames of scenes that differ in ground and face, each face at the same place."""
    draw = np.random.default_rng(3)
    for number in range(count):
        ground = cv2.resize(draw.integers(0, 256, (6, 9), dtype=np.uint8), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        ground[40 : 40 + SIDE, 80 : 80 + SIDE] = cv2.resize(draw_face(number, draw), (SIDE, SIDE))
        yield cv2.cvtColor(ground, cv2.COLOR_GRAY2RGB)


class MiddleDetector(Detector):
    """Finds a face at one place in every frame."""

    def __init__(self):
        super().__init__(SIDE)

    def find(self, pictures):
        return [[Face(box=(80, 40, SIDE, SIDE), score=0.5)] for _ in pictures]


def tracks_of(path):
    middle = Predictor(BarModel(), faces=FaceConfig(), detector=MiddleDetector())
    with VideoReader(path) as reader:
        return [row["track"] for result in predicted_frames(reader, [middle]) for row in result.rows]


def test_a_cut_to_another_person_at_the_same_place_ends_a_track(tmp_path):
    with VideoWriter(tmp_path / "cuts.mp4", fps=FPS) as writer:
        for picture in portraits(5):
            for _ in range(4):
                writer.write(picture)
    assert tracks_of(tmp_path / "cuts.mp4") == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4


def test_who_walks_by_more_than_his_width_between_two_samples_keeps_his_track(walk):
    with VideoReader(walk) as reader:
        results = list(predicted_frames(reader, [predictor()], interval=22 / FPS))
    first, second = (result.rows[0] for result in results)
    assert second["left"] - first["left"] > SIDE
    assert first["track"] == second["track"] == 1


def test_a_camera_that_turns_ends_no_track(tmp_path):
    """And neither does the light."""
    wide = np.concatenate([*portraits(2)], axis=1)
    with VideoWriter(tmp_path / "pan.mp4", fps=FPS) as writer:
        for number in range(20):
            picture = wide[:, 3 * number : 3 * number + SIZE[1]]
            writer.write((picture * (1 - 0.02 * number)).astype(np.uint8))
    assert set(tracks_of(tmp_path / "pan.mp4")) == {1}


def test_batches_change_no_prediction(tmp_path):
    changing = film(tmp_path / "a.avi", [HAPPY, HAPPY, ANGRY] * 8)
    tables = []
    for batch in (1, 7):
        with VideoReader(changing) as reader:
            results = predicted_frames(reader, [predictor()], detect_every=3, half_life=0.2, batch_frames=batch)
            tables.append(pd.DataFrame([row for result in results for row in result.rows]))
    pd.testing.assert_frame_equal(*tables)
    emotions = tables[0].filter(like="p_").to_numpy()
    assert emotions.shape == (FRAMES, 7)
    np.testing.assert_allclose(emotions.sum(axis=1), 1, atol=1e-5)
    gate = tables[0][[f"gate_{group}" for group in facts().taxonomy.group_names]]
    np.testing.assert_allclose(gate, gate_of(emotions, facts().taxonomy), atol=1e-5)
    # Smoothed: the predictions themselves change by 0.88.
    assert 0.01 < np.abs(np.diff(emotions[:, HAPPY])).max() < 0.4


def test_a_frame_without_a_face_has_no_rows(walk):
    class Blind(BrightDetector):
        def find(self, pictures):
            return [[] for _ in pictures]

    with VideoReader(walk) as reader:
        result = next(predicted_frames(reader, [Predictor(BarModel(), faces=FaceConfig(), detector=Blind())]))
    assert result.rows == []
