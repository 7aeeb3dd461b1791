import time

import numpy as np
import pytest

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.data.augment import Augmentation, augment
from fer_hierarchy.hierarchy.errors import UserError

NOTHING = {"shift": 0, "flip": False, "rotation": 0, "zoom": 0, "shear": 0, "erase": 0, "brightness": 0, "contrast": 0}


def only(**settings):
    return Augmentation(**{**NOTHING, **settings})


def batch_of(n=64, shape=(48, 48, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def run(batch, settings, seed=1):
    return augment(batch, np.random.default_rng(seed), settings)


def dot_positions(images):
    """(n, 2) centre of mass, y and x."""
    weights = images[..., 0].astype(float)
    grid = np.indices(weights.shape[1:])
    return np.stack([(weights * axis).sum((1, 2)) / weights.sum((1, 2)) for axis in grid], axis=1)


def test_nothing_on_changes_nothing_but_gives_a_new_array():
    batch = batch_of()
    result = run(batch, only())
    assert (result == batch).all()
    assert not np.shares_memory(result, batch)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_shape_type_and_input_are_kept(channels):
    batch = batch_of(16, (40, 48, channels))
    batch.setflags(write=False)  # as the memory map of the image cache
    before = batch.copy()
    result = run(batch, Augmentation(shear=0.2, brightness=0.2, contrast=0.2))
    assert result.shape == batch.shape
    assert result.dtype == np.uint8
    assert (batch == before).all()
    assert (result != batch).any(axis=(1, 2, 3)).all()


def test_seed_decides_everything():
    batch, settings = batch_of(), Augmentation(brightness=0.1, contrast=0.1, erase=0.5)
    assert (run(batch, settings, seed=3) == run(batch, settings, seed=3)).all()
    assert (run(batch, settings, seed=3) != run(batch, settings, seed=4)).any()


def test_flip_mirrors_half_of_the_images_exactly():
    batch = batch_of(400)
    result = run(batch, only(flip=True))
    same = (result == batch).all(axis=(1, 2, 3))
    mirrored = (result == batch[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_dot_moves_within_the_shift_and_images_keep_their_places():
    batch = np.zeros((300, 48, 48, 1), np.uint8)
    batch[:, 30:33, 20:23] = 255
    batch[::2] = np.roll(batch[::2], -10, axis=2)
    moved = dot_positions(run(batch, only(shift=0.1))) - dot_positions(batch)
    assert np.abs(moved).max() < 4.8 + 0.3  # a tenth of 48 pixels, and the rounding of grey values
    assert (moved.max(axis=0) > 3.5).all()
    assert (moved.min(axis=0) < -3.5).all()


def test_rotation_and_zoom_turn_about_the_centre():
    batch = np.zeros((300, 49, 49, 1), np.uint8)
    batch[:, 23:26, 38:41] = 255  # 15 pixels right of the centre
    turned = dot_positions(run(batch, only(rotation=30))) - 24
    assert np.allclose(np.hypot(*turned.T), 15, atol=0.3)
    angles = np.rad2deg(np.arctan2(turned[:, 0], turned[:, 1]))
    assert np.abs(angles).max() < 31
    assert angles.max() > 25
    assert angles.min() < -25
    zoomed = dot_positions(run(batch, only(zoom=0.2))) - 24
    assert np.allclose(zoomed[:, 0], 0, atol=0.1)
    assert 11.7 < zoomed[:, 1].min() < 12.6
    assert 17.4 < zoomed[:, 1].max() < 18.3


def test_shear_slants_upright_lines_about_the_centre_and_leaves_level_ones():
    batch = np.zeros((300, 49, 49, 1), np.uint8)
    batch[:, 8:11, 23:26] = 255  # 15 pixels above the centre
    batch[::2] = batch[::2].transpose(0, 2, 1, 3)[:, :, ::-1]  # or 15 to the right of it
    slanted = dot_positions(run(batch, only(shear=0.4))) - 24
    np.testing.assert_allclose(slanted[::2], [[0, 15]] * 150, atol=0.1)
    np.testing.assert_allclose(slanted[1::2, 0], -15, atol=0.1)
    assert 5.5 < slanted[1::2, 1].max() < 6.1
    assert -6.1 < slanted[1::2, 1].min() < -5.5


def test_defocus_takes_detail_and_noise_adds_it_each_to_a_strength_of_its_own():
    batch = np.zeros((200, 48, 48, 1), np.uint8)
    batch[:, ::2] = 200  # stripes of a pixel
    soft = run(batch, only(defocus=0.03)).std(axis=(1, 2, 3))
    assert soft.max() == batch.std()
    assert soft.min() < 0.1 * batch.std()
    plain = np.full((200, 48, 48, 1), 128, np.uint8)
    noisy = run(plain, only(noise=0.1)).std(axis=(1, 2, 3))
    assert noisy.min() < 1
    assert 23 < noisy.max() < 26


def test_without_shear_results_are_those_from_before_there_was_any():
    """Means of each variant as the program gave them then; any number drawn more or less would change them all."""
    batch = np.random.default_rng(0).integers(0, 256, (4, 24, 20, 1), dtype=np.uint8)
    settings = Augmentation(erase=1.0, brightness=0.2, contrast=0.2, rotation=30)
    np.testing.assert_allclose(
        run(batch, settings, seed=3).mean(axis=(1, 2, 3)), [115.2104, 143.2292, 80.1208, 119.4563], atol=0.05
    )
    rng = np.random.default_rng(3)
    augment(batch, rng, settings)
    assert rng.random() == pytest.approx(0.2753743769480771, abs=1e-12)


def test_border_mirrors_the_face():
    assert (run(np.full((50, 48, 48, 1), 90, np.uint8), Augmentation(erase=0)) == 90).all()


def test_erasing_hits_as_many_as_requested_and_one_small_rectangle_each():
    batch = np.full((400, 48, 48, 1), 90, np.uint8)
    batch[:, 0] = 120  # the mean is 91: no filling goes unseen
    changed = run(batch, only(erase=0.25)) != batch
    hit = changed.any(axis=(1, 2, 3))
    assert 70 < hit.sum() < 130
    share = changed[hit].mean(axis=(1, 2, 3))
    assert share.max() < 0.22
    for mask in changed[hit][..., 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9


def test_brightness_and_contrast_stay_in_range():
    batch = batch_of(200)
    bright = run(batch // 2 + 64, only(brightness=0.2)).mean((1, 2, 3)) - (batch // 2 + 64).mean((1, 2, 3))
    assert 40 < bright.max() < 52
    assert -52 < bright.min() < -40
    spread = run(batch, only(contrast=0.5)).std((1, 2, 3)) / batch.std((1, 2, 3))
    assert spread.min() < 0.6
    assert spread.max() > 1.1


@pytest.mark.parametrize(
    "settings",
    [
        {"shift": 0.6},
        {"shift": -0.1},
        {"rotation": 181},
        {"zoom": 0.9},
        {"shear": 0.6},
        {"erase": 1.5},
        {"erase": float("nan")},
        {"brightness": "dark"},
        {"contrast": None},
        {"flip": "perhaps"},
        {"zoom": True},
        {"depth_noise": -1},
        {"depth_noise": 60},
        {"depth_holes": 1.5},
        {"operations": 9},
        {"operations": 1.5},
        {"magnitude": 0},
        {"mixup": 1.5},
        {"cutmix": -0.1},
        {"mixup": float("nan")},
    ],
)
def test_unusable_settings_name_themselves(settings):
    with pytest.raises(UserError, match=f"--{next(iter(settings)).replace('_', '-')}: "):
        StageConfig(**settings)


def test_empty_batch_and_wrong_batch():
    assert run(batch_of(0), Augmentation()).shape == (0, 48, 48, 1)
    with pytest.raises(ValueError, match="uint8"):
        run(batch_of().astype(np.float32), Augmentation())


def test_speed_is_printed():
    batch = batch_of(512)
    run(batch, Augmentation())
    began = time.perf_counter()
    run(batch, Augmentation())
    print(f"augment: {(time.perf_counter() - began) / len(batch) * 1e6:.1f} us an image of 48x48x1")


def faces_with_depth(n=16, size=48, seed=3):
    """Faces whose colour planes and depth plane show the same bright, far patch; a hole in a corner of the depth."""
    rng = np.random.default_rng(seed)
    faces = np.full((n, size, size, 4), 20, np.uint16)
    faces[..., 3] = 10_000
    for face in faces:
        top, left = rng.integers(10, size - 18, 2)
        face[top : top + 8, left : left + 8, :3] = 220
        face[top : top + 8, left : left + 8, 3] = 14_000
    faces[:, :6, :6, 3] = 0
    return faces


def test_colour_and_depth_move_together():
    faces = faces_with_depth(64)
    moved = run(faces, only(shift=0.1, flip=True, rotation=15.0, zoom=0.1, shear=0.1))
    assert moved.dtype == np.uint16
    bright = dot_positions(np.maximum(moved[..., :1].astype(float) - 60, 0))
    far = dot_positions(np.maximum(moved[..., 3:].astype(float) - 10_800, 0))
    assert np.abs(bright - far).max() < 0.6
    before = dot_positions(np.maximum(faces[..., :1].astype(float) - 60, 0))
    assert np.abs(bright - before).max() > 4  # or nothing has moved


def test_the_colours_are_those_that_the_picture_gets_without_depth():
    faces = faces_with_depth()
    everything = Augmentation(shear=0.1, brightness=0.3, contrast=0.3, erase=1.0, depth_noise=2.0, depth_holes=1.0)
    with_depth = run(faces, everything)
    without = run(faces[..., :3].astype(np.uint8), everything)
    np.testing.assert_array_equal(with_depth[..., :3], without)


def test_light_and_erasing_leave_depth_alone():
    faces = faces_with_depth()
    changed = run(faces, only(brightness=0.5, contrast=0.5, erase=1.0))
    assert (changed[..., :3] != faces[..., :3]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(changed[..., 3], faces[..., 3])


def test_noise_and_holes_leave_colours_alone():
    faces = faces_with_depth(200)
    changed = run(faces, only(depth_noise=2.0, depth_holes=0.5))
    np.testing.assert_array_equal(changed[..., :3], faces[..., :3])
    new_hole = ((changed[..., 3] == 0) & (faces[..., 3] > 0)).any(axis=(1, 2))
    assert 0.35 < new_hole.mean() < 0.65
    assert (changed[..., 3][faces[..., 3] == 0] == 0).all()  # noise fills no hole
    both = (changed[..., 3] > 0) & (faces[..., 3] > 0)
    noise = 0.05 * (changed[..., 3].astype(float) - faces[..., 3])[both]  # millimetres
    assert 0.5 < noise.std() < 2.0
    assert abs(noise.mean()) < 0.05


def test_a_hole_pulls_no_neighbour_to_the_camera():
    faces = faces_with_depth(32)
    moved = run(faces, only(shift=0.1, rotation=20.0, zoom=0.2))[..., 3]
    assert moved[moved > 0].min() >= 9_999
    assert (moved == 0).any(axis=(1, 2)).mean() > 0.8  # most holes are still in the picture
