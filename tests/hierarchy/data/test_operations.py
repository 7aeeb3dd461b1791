"""RandAugment's operations: each does its own to a face, light never reaches depth, and a face is not its neighbour."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers.stage import train_batches
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig, apply_flags
from fer_hierarchy.hierarchy.data import augment as augmentation
from fer_hierarchy.hierarchy.data.augment import Augmentation, augment, moved
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.data.operations import OPERATIONS, draw_operations, moved_maps, relight
from tests.hierarchy.data.test_augment import dot_positions, faces_with_depth, only

SIZE = 49
STILL = np.eye(2, 3)[None]


def face(channels=1):
    """A face-like gradient with a bright patch, in dull colours (SIZE, SIZE, channels)."""
    grey = np.linspace(60, 160, SIZE)[:, None] + np.zeros(SIZE)
    grey[20:26, 10:16] = 200
    return np.stack([grey * share for share in (1.0, 0.8, 0.6)[:channels]], axis=-1).astype(np.uint8)


def changed(name, strength, channels=1):
    """The face after one operation alone."""
    kinds, strengths = np.array([[OPERATIONS.index(name)]]), np.array([[strength]])
    matrices = moved_maps(STILL, kinds, strengths, (SIZE, SIZE))
    return relight(moved(face(channels)[None], matrices)[0], kinds[0], strengths[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_a_face_and_keeps_its_kind(name, channels):
    result = changed(name, 0.5, channels)
    assert result.shape == (SIZE, SIZE, channels)
    assert result.dtype == np.uint8
    nothing = name == "identity" or (name == "color" and channels == 1)
    assert (result == face(channels)).all() == nothing


@pytest.mark.parametrize("name", ["contrast", "brightness", "color", "sharpness"])
def test_the_sign_of_an_operation_of_light_is_its_direction(name):
    def measured(strength):
        pixels = changed(name, strength, channels=3).astype(float)
        chroma = pixels.max(axis=-1) - pixels.min(axis=-1)
        edge = np.abs(np.diff(pixels[22, :, 0])).max()
        return {"contrast": pixels.std(), "brightness": pixels.mean(), "color": chroma.mean(), "sharpness": edge}[name]

    assert measured(-0.5) < measured(0.0) < measured(0.5)


def test_moves_are_as_large_as_the_paper_has_them():
    dot = np.zeros((1, SIZE, SIZE, 1), np.uint8)
    dot[:, 23:26, 38:41] = 255  # 15 pixels right of the centre

    def place(*pairs):
        kinds, strengths = (np.array([values]) for values in zip(*pairs, strict=True))
        kinds = np.array([[OPERATIONS.index(name) for name in kinds[0]]])
        return dot_positions(moved(dot, moved_maps(STILL, kinds, strengths, (SIZE, SIZE))))[0] - 24

    np.testing.assert_allclose(np.abs(place(("rotate", 1.0))), [15 * 0.5, 15 * 0.75**0.5], atol=0.2)
    np.testing.assert_allclose(place(("shift x", 0.3)), [0, 15 - 0.09 * SIZE], atol=0.2)
    np.testing.assert_allclose(np.abs(place(("shift y", 0.3))), [0.09 * SIZE, 15], atol=0.2)
    np.testing.assert_allclose(np.abs(place(("shear y", 1.0))), [4.5, 15], atol=0.3)
    np.testing.assert_allclose(place(("shear x", 1.0)), [0, 15], atol=0.1)
    np.testing.assert_allclose(place(("rotate", 0.5), ("rotate", -0.5)), [0, 15], atol=0.2)


def test_all_operations_come_alike_in_both_directions():
    kinds, signs = draw_operations(np.random.default_rng(0), 3000, 2)
    counts = np.bincount(kinds.ravel(), minlength=len(OPERATIONS))
    assert len(counts) == len(OPERATIONS)
    assert counts.min() > 0.8 * counts.mean()
    assert 0.47 < (signs > 0).mean() < 0.53


def test_each_face_has_operations_of_its_own_and_the_seed_decides_them():
    batch = np.repeat(face()[None], 40, axis=0)
    settings = only(operations=2, magnitude=0.5)
    first, again, other = (augment(batch, np.random.default_rng(seed), settings) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({image.tobytes() for image in first}) > 30


def test_depth_moves_with_the_face_and_is_never_recoloured(monkeypatch):
    faces, settings = faces_with_depth(64), only(operations=3, magnitude=0.4)
    whole = augment(faces, np.random.default_rng(0), settings)
    assert whole.dtype == np.uint16
    measured = whole[..., 3][whole[..., 3] > 0]
    assert measured.min() >= 9_999
    assert measured.max() <= 14_001
    monkeypatch.setattr(augmentation, "relight", lambda image, *_: image)  # its place can be measured then
    unlit = augment(faces, np.random.default_rng(0), settings)
    np.testing.assert_array_equal(unlit[..., 3], whole[..., 3])
    assert (unlit[..., :3] != whole[..., :3]).any()
    bright = dot_positions(np.maximum(unlit[..., :1].astype(float) - 60, 0))
    far = dot_positions(np.maximum(unlit[..., 3:].astype(float) - 10_800, 0))
    assert np.abs(bright - far).max() < 0.6


def test_the_colours_are_those_that_the_picture_gets_without_depth():
    faces, settings = faces_with_depth(), Augmentation(operations=2, magnitude=0.5, depth_noise=2.0)
    colours = augment(faces[..., :3].astype(np.uint8), np.random.default_rng(4), settings)
    np.testing.assert_array_equal(augment(faces, np.random.default_rng(4), settings)[..., :3], colours)


def test_the_word_takes_operations_for_turns_and_zoom_and_only_train_faces_see_them():
    stage = apply_flags(RunConfig(), {"augment": "randaugment"}).stage
    assert (stage.augment, stage.operations, stage.magnitude, stage.rotation, stage.zoom) == (True, 2, 0.5, 0, 0)
    assert (stage.shift, stage.flip, stage.erase) == (0.1, True, 0.25)
    assert apply_flags(RunConfig(), {"operations": "3", "augment": "randaugment"}).stage.operations == 3
    pixels = np.repeat(face()[None], 4, axis=0)
    faces = StageFaces(
        pixels=pixels,
        rows=np.arange(4),
        labels=np.zeros(4, int),
        targets=np.ones((4, 1), np.float32),
        generated=np.zeros(4, bool),
    )
    still = StageConfig(augment=False, operations=4, batch_size=4)
    np.testing.assert_array_equal(train_batches(faces, still, seed=0).batch(0)[0], pixels)
