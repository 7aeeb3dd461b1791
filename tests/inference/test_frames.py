import numpy as np
import pytest

from fer_hierarchy.inference.frames import analysed_frames, frame_records
from fer_hierarchy.inference.model import summed
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources.video import VideoReader
from tests.inference.stand_ins import BarModel, facts
from tests.inference.walking_face import ANGRY, FRAMES, HAPPY, BrightDetector, film, predictor


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
        counts = [len(result.tracks) for result in analysed_frames(reader, [watching])]
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
        results = analysed_frames(reader, [watching], step=8)  # two thirds of a second
        assert [len(result.tracks) for result in results] == [1, 0, 0]


def test_frames_can_be_left_out_and_several_models_asked(walk):
    second = BarModel("second")
    with VideoReader(walk) as reader:
        results = list(analysed_frames(reader, [predictor(), predictor(second)], step=5, batch_frames=3))
    assert [result.frame.index for result in results] == [0, 5, 10, 15, 20]
    assert second.batches == [3, 2]
    first, other = (frame_records(results[1], facts(), model=model)[0] for model in (0, 1))
    assert first == other
    assert (first["frame"], first["time"], first["track"], first["emotion"]) == (5, 0.417, 1, "happy")


@pytest.mark.parametrize("batch", [1, 5])
def test_a_face_is_found_in_some_frames_and_followed_in_the_others(walk, batch):
    watching = predictor()
    with VideoReader(walk) as reader:
        results = list(analysed_frames(reader, [watching], detect_every=4, batch_frames=batch))
    assert sum(watching.detector.searched) == FRAMES / 4
    for number, result in enumerate(results):
        (track,) = result.tracks
        assert track.number == 1
        assert abs(track.face.box[0] - 10 - 3 * number) <= 3
        assert (track.face.score is None) == (number % 4 > 0)


def test_batches_change_no_answer(tmp_path):
    changing = film(tmp_path / "a.avi", [HAPPY, HAPPY, ANGRY] * 8)
    tables = []
    for batch in (1, 7):
        with VideoReader(changing) as reader:
            results = analysed_frames(reader, [predictor()], detect_every=3, half_life=0.2, batch_frames=batch)
            said = [result.said[0] for result in results]
        tables.append(np.concatenate([answers.probabilities for answers in said]))
        for answers in said:
            np.testing.assert_allclose(answers.gate, summed(answers.probabilities, facts().taxonomy))
    np.testing.assert_allclose(tables[0], tables[1])
    assert tables[0].shape == (FRAMES, 7)
    np.testing.assert_allclose(tables[0].sum(axis=1), 1)
    assert 0.01 < np.abs(np.diff(tables[0][:, HAPPY])).max() < 0.4  # smoothed: the answers themselves change by 0.88


def test_a_frame_without_a_face_has_no_answers(walk):
    class Blind(BrightDetector):
        def find(self, pictures):
            return [[] for _ in pictures]

    with VideoReader(walk) as reader:
        result = next(analysed_frames(reader, [Predictor(BarModel(), faces=FaceConfig(), detector=Blind())]))
    assert result.tracks == []
    assert result.said[0].probabilities.shape == (0, 7)
    assert frame_records(result, facts()) == []
