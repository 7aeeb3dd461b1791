import cv2
import numpy as np
import pytest

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.tracking import Smoother, Tracker, overlaps


def face(left, top, side=40, points=None):
    return Face(box=(left, top, side, side), score=0.9, points=points)


def numbers(tracks):
    return [track.number for track in tracks]


def scene(matrix=((1, 0, 0), (0, 1, 0)), size=(240, 320), patch=(100, 80, 60), seed=0):
    """A textured square (left, top, side) on a plain ground, moved by an affine matrix."""
    rng = np.random.default_rng(seed)
    left, top, side = patch
    picture = np.full(size, 90, np.uint8)
    texture = cv2.resize(rng.integers(0, 255, (12, 12)).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    picture[top : top + side, left : left + side] = texture
    return cv2.warpAffine(picture, np.array(matrix, float), size[::-1], borderMode=cv2.BORDER_REPLICATE)


def test_overlap_is_intersection_over_union():
    table = overlaps([(0, 0, 10, 10)], [(0, 0, 10, 10), (5, 0, 10, 10), (10, 0, 10, 10), (2, 2, 0, 0)])
    assert table[0] == pytest.approx([1, 1 / 3, 0, 0])
    assert overlaps([], [(0, 0, 1, 1)]).shape == (0, 1)


def test_a_face_keeps_its_number_while_it_moves():
    tracker = Tracker()
    for step in range(12):
        tracks = tracker.update([face(10 * step, 50)])
        assert numbers(tracks) == [1]
        assert tracks[0].face.box[0] == 10 * step


def test_two_faces_keep_theirs_whatever_the_order():
    tracker = Tracker()
    assert numbers(tracker.update([face(0, 0), face(100, 0)])) == [1, 2]
    assert numbers(tracker.update([face(104, 0), face(3, 0)])) == [2, 1]


def test_the_closest_pairs_are_matched_first():
    tracker = Tracker()
    tracker.update([face(0, 0), face(30, 0)])
    # The first overlaps both; it is the second one, moved by two pixels.
    assert numbers(tracker.update([face(28, 0), face(2, 0)])) == [2, 1]


def test_who_appears_elsewhere_is_someone_else():
    tracker = Tracker()
    tracker.update([face(0, 0)])
    tracks = tracker.update([face(35, 0)])
    assert numbers(tracks) == [2, 1]
    assert [track.missed for track in tracks] == [0, 1]


def textured(*places, size=(240, 640), side=40):
    """A plain ground with faces (left, top, seed of its texture)."""
    picture = np.full(size, 90, np.uint8)
    for left, top, seed in places:
        texture = np.random.default_rng(seed).integers(0, 255, (6, 6)).astype(np.uint8)
        picture[top : top + side, left : left + side] = cv2.resize(texture, (side, side))
    return picture


def test_who_moves_by_more_than_his_width_is_known_again():
    """Two people run towards each other, pass, and run on."""
    tracker, found = Tracker(), []
    for step in range(6):
        there, back = 10 + 90 * step, 560 - 90 * step
        tracks = tracker.update([face(there, 50), face(back, 120)], picture=textured((there, 50, 1), (back, 120, 2)))
        found.append(numbers(tracks))
    assert found == [[1, 2]] * 6


@pytest.mark.parametrize(
    ("place", "seed", "side"),
    [
        ((100, 50), 2, 40),  # who comes where another one left
        ((300, 50), 1, 40),  # too far for anybody
        ((80, 50), 1, 90),  # far nearer at once
    ],
)
def test_who_looks_otherwise_or_is_out_of_reach_is_someone_else(place, seed, side):
    tracker = Tracker()
    tracker.update([face(10, 50)], picture=textured((10, 50, 1)))
    tracks = tracker.update([face(*place, side)], picture=textured((*place, seed), side=side))
    assert numbers(tracks) == [2, 1]


def test_a_number_goes_to_one_face_alone():
    tracker = Tracker()
    tracker.update([face(20, 0)])
    assert numbers(tracker.update([face(12, 0), face(25, 0)])) == [2, 1]


def test_a_lost_face_comes_back_in_time_and_no_number_is_given_twice():
    tracker = Tracker(lost_after=3)
    tracker.update([face(0, 0)], time=1.0)
    for missed in (1, 2):
        (track,) = tracker.update([], time=1.0 + missed)
        assert (track.number, track.missed, track.seen, track.face.score) == (1, missed, 1.0, None)
    assert numbers(tracker.update([face(2, 0)], time=4.0)) == [1]
    for _ in range(3):
        tracks = tracker.update([])
    assert tracks == []
    assert numbers(tracker.update([face(2, 0)])) == [2]


def test_a_box_follows_what_moves_in_it():
    tracker = Tracker()
    tracker.update([face(100, 80, 60, points=np.array([[115.0, 100.0], [145.0, 100.0]]))])
    moved = scene(((1, 0, 6), (0, 1, -4)))
    tracker.follow(scene())
    (track,) = tracker.follow(moved)
    np.testing.assert_allclose(track.box, (106, 76, 60, 60), atol=1)
    assert track.face.box == tuple(round(side) for side in track.box)
    np.testing.assert_allclose(track.face.points, [[121, 96], [151, 96]], atol=1)
    assert track.face.score is None


def test_a_box_grows_with_what_comes_nearer():
    tracker = Tracker()
    tracker.update([face(100, 80, 60)])
    nearer = cv2.getRotationMatrix2D((130, 110), 0, 1.1)
    tracker.follow(scene())
    (track,) = tracker.follow(scene(nearer))
    np.testing.assert_allclose(track.box, (97, 77, 66, 66), atol=1.5)


def test_slow_motion_adds_up_below_a_pixel():
    tracker = Tracker()
    tracker.update([face(100, 80, 60)])
    for step in range(11):
        tracker.follow(scene(((1, 0, 0.4 * step), (0, 1, 0))))
    assert tracker.tracks[0].face.box[0] == pytest.approx(104, abs=1)


def test_a_box_keeps_its_place_where_nothing_can_be_followed():
    tracker = Tracker()
    tracker.update([face(100, 80, 60), face(10, 10)])
    blank = np.full((240, 320), 90, np.uint8)
    noise = np.random.default_rng(1).integers(0, 255, (240, 320)).astype(np.uint8)
    for picture in (blank, blank, scene(), noise):
        assert [track.box for track in tracker.follow(picture)] == [(100, 80, 60, 60), (10, 10, 40, 40)]


def test_what_moves_behind_a_face_does_not_pull_at_its_box():
    behind = np.random.default_rng(3).integers(0, 255, (60, 80)).astype(np.uint8)
    behind = cv2.resize(behind, (320, 240), interpolation=cv2.INTER_CUBIC)
    face_pixels = scene()[80:140, 100:160]
    before, after = behind.copy(), np.roll(behind, 5, axis=1)
    before[80:140, 100:160] = after[80:140, 100:160] = face_pixels
    tracker = Tracker()
    tracker.update([face(94, 74, 72)])  # a little of the ground is in the box
    tracker.follow(before)
    np.testing.assert_allclose(tracker.follow(after)[0].box, (94, 74, 72, 72), atol=0.5)


def test_a_face_that_leaves_the_picture_has_gone():
    tracker = Tracker()
    tracker.update([face(260, 80, 60)])
    for shift in range(0, 40, 5):
        for track in tracker.follow(scene(((1, 0, shift), (0, 1, 0)), patch=(260, 80, 60))):
            left, _, width, _ = track.face.box
            assert left + width <= 320
    assert tracker.tracks == []


def test_large_frames_are_followed_at_a_smaller_size():
    tracker = Tracker()
    tracker.update([face(600, 480, 360)])
    large = {"size": (1440, 1920), "patch": (600, 480, 360)}
    before, after = scene(**large), scene(((1, 0, 30), (0, 1, 12)), **large)
    tracker.follow(np.stack([before] * 3, axis=-1))
    (track,) = tracker.follow(after)
    np.testing.assert_allclose(track.box, (630, 492, 360, 360), atol=3)


def test_a_frame_of_another_size_moves_nothing():
    tracker = Tracker()
    tracker.update([face(100, 80, 60)])
    tracker.follow(scene())
    assert tracker.follow(scene(size=(200, 300)))[0].box == (100, 80, 60, 60)


def test_a_prediction_weighs_half_after_its_half_life():
    smoother = Smoother(0.5)
    smoother.smooth([1], 10.0, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(smoother.smooth([1], 10.5, np.array([[0.0, 1.0]])), [[0.5, 0.5]])


def test_smoothing_does_not_depend_on_the_frame_rate():
    ends = []
    for fps in (5, 30):
        smoother = Smoother(0.3)
        smoother.smooth([1], 0.0, np.array([[1.0, 0.0]]))
        ends.append([smoother.smooth([1], k / fps, np.array([[0.0, 1.0]])) for k in range(1, fps + 1)][-1])
    np.testing.assert_allclose(ends[0], ends[1])
    assert ends[0].sum() == pytest.approx(1)


def test_without_a_half_life_nothing_is_smoothed():
    smoother = Smoother(0)
    smoother.smooth([1], 0.0, np.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(smoother.smooth([1], 0.01, np.array([[0.2, 0.8]])), [[0.2, 0.8]])


def test_faces_are_smoothed_apart_and_forgotten():
    smoother = Smoother(10)
    smoother.smooth([1], 0.0, np.array([[1.0]]))
    np.testing.assert_allclose(smoother.smooth([2, 1], 0.1, np.array([[0.0], [1.0]])), [[0.0], [1.0]])
    smoother.smooth([2], 0.2, np.array([[0.0]]))
    np.testing.assert_array_equal(smoother.smooth([1], 0.3, np.array([[0.3]])), [[0.3]])
