"""Corruptions of faces: strength 0 is the face, more strength is further from it, and depth goes along."""

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.corruptions import CORRUPTIONS, STRENGTHS, corrupted


def drawn(n=24, side=48, channels=1):
    """Smooth blots on a ramp, which every corruption changes."""
    rng = np.random.default_rng(3)
    blots = rng.integers(0, 256, (n, 6, 6, channels)).astype(np.float32)
    large = np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in blots])
    return np.clip(large, 0, 255).astype(np.uint8).reshape(n, side, side, channels)


def distance(a, b):
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_strength_is_further_from_the_face(name, channels):
    faces = drawn(channels=channels)
    away = [distance(corrupted(faces, name, strength, seed=0), faces) for strength in range(STRENGTHS + 1)]
    assert away[0] == 0
    assert away[1] > 0.3
    assert away == sorted(away)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_faces_and_leaves_the_given_ones(name):
    faces = drawn()
    before = faces.copy()
    first, again = (corrupted(faces, name, 3, seed=5) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == faces.shape
    assert (first == again).all()
    assert (faces == before).all()


def test_colours_are_compressed_in_their_own_channels():
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert corrupted(red, "JPEG", 5, seed=0)[0].mean(axis=(0, 1)).argmax() == 0


def test_every_face_is_turned_by_the_angle_of_the_strength():
    bar = np.zeros((6, 61, 61, 1), np.uint8)
    bar[:, 28:33, 5:56] = 255
    for face in corrupted(bar, "turning", 5, seed=1)[..., 0]:
        rows, columns = np.nonzero(face[15:46, 15:46] > 128)
        slope = np.polyfit(columns, rows, 1)[0]
        assert abs(abs(slope) - 1) < 0.15


def test_the_covered_share_is_the_level():
    faces = np.full((8, 40, 40, 1), 7, np.uint8)
    worse = corrupted(faces, "occlusion", 5, seed=2)
    assert np.mean(worse != 7) == pytest.approx(0.4, abs=0.03)


def test_depth_moves_with_its_face_and_is_a_hole_where_it_is_covered():
    colours, plane = drawn(n=4), np.full((4, 48, 48, 1), 5000, np.uint16)
    plane[:, :, :24] = 9000
    faces = np.concatenate([colours, plane], axis=-1, dtype=np.uint16)
    assert (corrupted(faces, "noise", 5, seed=0)[..., 1] == faces[..., 1]).all()
    covered = corrupted(faces, "occlusion", 3, seed=0)[..., 1] == 0
    assert np.mean(covered) == pytest.approx(0.2, abs=0.03)
    assert distance(corrupted(faces, "shift", 5, seed=0)[..., 1], faces[..., 1]) > 10
