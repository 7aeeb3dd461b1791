"""The layer that shows depth to a network: the same reading as the data's, holes masked, slopes as angles."""

import keras
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.depth import depth_planes as data_depth
from fer_hierarchy.models import rgbd_settings
from fer_hierarchy.models.layers import DepthImage, Planes


def shown(planes, reading="relief", statistics=(0.0, 48.0)):
    """What the layer makes of (n, h, w) planes; 1 mm is one grey level by default."""
    layer = DepthImage(reading=reading)
    layer.build((None, None, None, 1))
    layer.set_statistics(*statistics)
    return np.asarray(layer(np.asarray(planes, "float32")[..., None]))


def surface(distance, holes=()):
    planes = data_depth.to_plane(np.asarray(distance, "float32"))
    for row, column in holes:
        planes[..., row, column] = 0
    return planes


def bumpy(count=2, size=12, seed=0):
    rng = np.random.default_rng(seed)
    planes = surface(rng.uniform(500, 900, (count, 1, 1)) + rng.uniform(-200, 200, (count, size, size)))
    planes[rng.random(planes.shape) < 0.2] = 0
    return planes


def test_constants_are_those_of_the_data():
    assert rgbd_settings.UNIT_MM == data_depth.UNIT_MM
    assert rgbd_settings.NOMINAL_MM == data_depth.NOMINAL_MM
    assert rgbd_settings.MOST_RELIEF_MM == data_depth.MOST_RELIEF_MM


def test_relief_is_that_of_the_data():
    planes = bumpy()
    heights = data_depth.relief(planes)
    expected = np.where(planes > 0, 128 + np.nan_to_num(heights), 128)
    np.testing.assert_allclose(shown(planes)[..., 0], expected, atol=2e-3)


def test_distance_is_brighter_where_it_is_nearer():
    grey = shown(surface([[[600.0, 610.0, 580.0]]]), "distance", (600.0, 48.0))[0, 0, :, 0]
    np.testing.assert_allclose(grey, [128, 118, 148], atol=1e-3)


@pytest.mark.parametrize("reading", ["relief", "distance"])
def test_holes_lie_at_the_mean_and_are_marked(reading):
    planes = surface(np.full((1, 4, 4), 700.0), holes=[(1, 2)])
    grey, again, mask = np.moveaxis(shown(planes, reading, (7.0, 2.0)), -1, 0)
    np.testing.assert_array_equal(grey, again)
    assert grey[0, 1, 2] == 128
    assert (mask == np.where(planes > 0, 255, 0)).all()
    assert (grey[planes > 0] != 128).all()


@pytest.mark.parametrize(("reading", "same"), [("relief", True), ("distance", False), ("normals", True)])
def test_a_step_back_changes_the_distance_alone(reading, same):
    planes = bumpy()
    back = np.where(planes > 0, planes + round(100 / data_depth.UNIT_MM), 0)
    assert np.allclose(shown(planes, reading), shown(back, reading), atol=5e-3) == same


@pytest.mark.parametrize("reading", rgbd_settings.READINGS)
def test_face_without_any_depth_is_finite(reading):
    out = shown(np.zeros((1, 5, 5)), reading)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[0], np.broadcast_to(out[0, 0, 0], (5, 5, 3)))


def test_statistics_centre_and_scale():
    planes = surface([[[600.0, 640.0]]])
    np.testing.assert_allclose(
        shown(planes, statistics=(10.0, 5.0))[0, 0, :, 0], [128 + 48 * 2, 128 - 48 * 6], atol=0.01
    )


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (0, -1), (1, 1), (1, -1)])
def test_normals_of_a_tilted_plane_are_its_angle(axis, sign):
    """Receding by 30 degrees to the right (or down) turns the normal by 30 degrees to the right (or down)."""
    size, angle = 20, np.radians(30)
    pitch = rgbd_settings.FACE_MM / size
    rows, columns = np.mgrid[:size, :size] * pitch
    planes = surface(600 + sign * np.tan(angle) * (columns, rows)[axis])
    direction = shown(planes[None], "normals")[0, 1:-1, 1:-1] / 127.5 - 1
    expected = np.zeros(3)
    expected[axis], expected[2] = sign * np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(direction, np.broadcast_to(expected, direction.shape), atol=5e-3)


def test_normals_beside_a_hole_or_the_border_are_none():
    planes = surface(np.full((1, 7, 7), 600.0), holes=[(3, 3)])
    none = (shown(planes, "normals")[0] == 127.5).all(axis=-1)
    expected = np.ones((7, 7), bool)
    expected[1:-1, 1:-1] = False
    for row, column in ((3, 3), (2, 3), (4, 3), (3, 2), (3, 4)):
        expected[row, column] = True
    np.testing.assert_array_equal(none, expected)


@pytest.mark.parametrize("reading", rgbd_settings.READINGS)
def test_statistics_are_saved_and_never_trained(reading, tmp_path):
    pixels = keras.Input((6, 6, 2))
    layer = DepthImage(reading=reading, name="depth_image")
    model = keras.Model(pixels, layer(Planes(first=1, count=1)(pixels)))
    layer.set_statistics(3.0, 17.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    faces = np.random.default_rng(0).integers(0, 20_000, (2, 6, 6, 2)).astype("float32")
    np.testing.assert_array_equal(model(faces), loaded(faces))
    assert loaded.trainable_weights == []
    assert [float(weight) for weight in loaded.weights] == ([] if reading == "normals" else [3.0, 17.0])


def test_planes_are_cut_from_the_stack():
    stack = np.arange(2 * 3 * 3 * 4.0).reshape(2, 3, 3, 4).astype("float32")
    np.testing.assert_array_equal(Planes(first=1, count=2)(stack), stack[..., 1:3])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Planes(first=1, count=2)))
    assert (again.first, again.count) == (1, 2)


def test_impossible_settings_are_named():
    with pytest.raises(ValueError, match="reading is 'hha'; it must be relief or distance or normals"):
        DepthImage(reading="hha")
    with pytest.raises(ValueError, match=r"deviation is 0\.0; it must be above 0"):
        shown(np.ones((1, 2, 2)), statistics=(0.0, 0.0))
