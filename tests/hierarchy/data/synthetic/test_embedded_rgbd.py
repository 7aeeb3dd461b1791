"""The embedded faces in colour and depth: registered, with a real sensor's flaws, and expressive in both."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.synthetic.embedded import (
    SMALLEST_SPLIT,
    SyntheticSpec,
    entries,
    face_emotion,
    sample_face,
    stream,
)
from fer_hierarchy.hierarchy.data.synthetic.embedded_rgbd import (
    RGBD_SHARES,
    RgbdSpec,
    render_rgbd,
    sample_palette,
    sample_shot,
)
from fer_hierarchy.hierarchy.data.synthetic.parameters import sample
from fer_hierarchy.hierarchy.data.synthetic.portrait_rgbd import UNIT_MM, render_pair
from fer_hierarchy.hierarchy.data.synthetic.portrait_surface import Build, surface


@pytest.fixture(scope="module")
def pairs():
    return [render_rgbd(2013, index) for index in range(0, 200, 5)]


def parts(index, **shot):
    """Face, palette, build and shot of a frontal face without occlusion."""
    face = sample_face(1, index)
    calm = replace(face.view, yaw=0.0, pitch=0.0, roll=0.0, occlusion="none", blink=0.0)
    face = replace(face, view=calm, units={}, identity=replace(face.identity, glasses=0.0, hair_style="bald"))
    rng = stream(1, 3, index)
    palette, build = sample_palette(face.identity, rng), sample(Build, rng)
    return face, palette, build, replace(sample_shot(calm, stream(1, 4, index)), **shot)


def test_colour_and_depth_have_one_size_and_one_background(pairs):
    for colour, depth in pairs:
        assert (colour.shape, colour.dtype) == ((64, 64, 3), np.uint8)
        assert (depth.shape, depth.dtype) == ((64, 64), np.uint16)
        assert (colour[0, 0] == 0).all()
        assert (colour[depth > 0] > 0).all()
        assert 0.2 < (depth > 0).mean() < 0.8


def test_faces_have_colours_of_their_own(pairs):
    red, green, blue = np.mean([colour[colour.any(axis=2)].mean(axis=0) for colour, _ in pairs], axis=0)
    assert red > green > blue
    warmth = [colour[30:40, 28:36, 0].mean() / colour[30:40, 28:36, 2].mean() for colour, _ in pairs]
    assert max(warmth) > 1.2 * min(warmth)


def test_depth_is_a_distance_of_a_head_from_a_camera(pairs):
    distances = [depth[depth > 0] * UNIT_MM for _, depth in pairs]
    nearest = np.array([np.percentile(distance, 1) for distance in distances])
    assert 350 < nearest.min() < 550 < 850 < nearest.max() < 1050
    assert all(40 < np.percentile(d, 99) - np.percentile(d, 1) < 130 for d in distances)


def test_a_face_depends_on_seed_and_index_only():
    first, again = render_rgbd(3, 17), render_rgbd(3, 17)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], render_rgbd(3, 18)[1])
    assert not np.array_equal(first[1], render_rgbd(4, 17)[1])


def test_light_leaves_depth_alone_and_distance_leaves_colour_alone():
    colour, depth = render_pair(*parts(0, exposure=1.0))
    dark, same_depth = render_pair(*parts(0, exposure=0.3))
    same_colour, far = render_pair(*parts(0, exposure=1.0, distance=1000.0))
    assert dark.mean() < 0.5 * colour.mean()
    assert np.array_equal(depth, same_depth)
    assert np.array_equal(colour, same_colour)
    assert not np.array_equal(depth, far)


def test_noise_grows_with_the_square_of_distance():
    def roughness(distance):
        noisy, clean = (
            render_pair(*parts(5, distance=distance, depth_noise=noise, speckle=0.0))[1] for noise in (0.4, 0.0)
        )
        both = (noisy > 0) & (clean > 0)
        return (noisy[both] * UNIT_MM - clean[both] * UNIT_MM).std()

    assert 2.5 < roughness(1000.0) / roughness(520.0) < 5.0


def test_speckle_makes_holes_and_the_open_mouth_makes_more():
    face, palette, build, shot = parts(10, speckle=0.03)
    mouth = (slice(42, 56), slice(24, 40))
    closed = render_pair(face, palette, build, shot)[1]
    opened = render_pair(replace(face, units={26: 1.0, 25: 1.0}), palette, build, shot)[1]
    assert 0.005 < (closed[20:50, 20:44] == 0).mean() < 0.12
    assert (opened[mouth] == 0).mean() > (closed[mouth] == 0).mean() + 0.05


def test_steps_of_the_sensor_grow_with_distance():
    near, far = (render_pair(*parts(15, distance=distance))[1] for distance in (480.0, 1080.0))
    assert len(np.unique(far)) < 0.6 * len(np.unique(near))


@pytest.mark.parametrize(
    ("units", "rows", "columns", "rises"),
    [
        ({12: 1.0, 6: 1.0}, slice(64, 80), slice(80, 95), True),  # cheeks
        ({26: 1.0}, slice(100, 115), slice(55, 73), False),  # the chin drops back
        ({4: 1.0}, slice(40, 48), slice(60, 68), True),  # between the brows
        ({9: 1.0}, slice(66, 80), slice(68, 76), True),  # wings of the nose
        ({12: 1.0}, slice(83, 93), slice(80, 87), False),  # corners of the mouth
    ],
)
def test_an_action_unit_moves_the_surface_by_millimetres(units, rows, columns, rises):
    changes = []
    for index in (0, 5, 10):
        face, _, build, _ = parts(index)
        changes.append(surface(replace(face, units=units), build, 128) - surface(face, build, 128))
    change = np.mean(changes, axis=0)
    moved = change[rows, columns]
    assert (moved.max() if rises else -moved.min()) > 1.5
    assert abs(change[:20]).max() < 0.5


def test_a_turned_head_comes_nearer_on_one_side():
    face, _, build, _ = parts(20)
    straight = surface(face, build, 128)
    turned = surface(replace(face, view=replace(face.view, yaw=0.2)), build, 128)
    nose = slice(70, 80)
    assert turned[nose].mean(axis=0).argmax() >= straight[nose].mean(axis=0).argmax() + 5
    # Both eyes have moved 7 pixels to the right; the left one is nearer now.
    assert turned[54, 55] > turned[54, 87] + 8
    assert abs(straight[54, 48] - straight[54, 79]) < 3


def test_shares_and_splits():
    assert sum(RGBD_SHARES.values()) == 100
    counts = Counter((face.split, face.emotion) for face in entries(RgbdSpec()))
    assert (counts["train", "disgust"], counts["validation", "disgust"], counts["test", "disgust"]) == (108, 27, 36)
    cycle = [face_emotion(2013, i, RGBD_SHARES) for i in range(200)]
    assert all(set(cycle[start : start + SMALLEST_SPLIT]) == set(RGBD_SHARES) for start in range(100))


def test_no_name_is_shared_with_the_grey_faces():
    both = [entries(spec(train=50, validation=50, test=50)) for spec in (SyntheticSpec, RgbdSpec)]
    grey, colour = ({face.name for face in faces} | {face.subject for face in faces} for faces in both)
    assert not grey & colour
    assert "synthetic-rgbd2013_0000001" in colour
