import keras
import numpy as np

from models.layers import Standardize


def test_each_image_gets_zero_mean_and_unit_variance():
    images = np.random.default_rng(0).normal(120, [[[[10]]], [[[40]]]], (2, 12, 10, 3)).astype("float32")
    out = np.asarray(Standardize()(images))
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(1, 2, 3)), 1, atol=0.01)


def test_exposure_and_contrast_are_taken_out():
    image = np.random.default_rng(0).uniform(0, 255, (1, 12, 12, 1)).astype("float32")
    np.testing.assert_allclose(Standardize()(image), Standardize()(0.5 * image + 60), atol=1e-3)


def test_blank_image_becomes_zero():
    blank = np.full((1, 48, 48, 3), 255, "float32")
    np.testing.assert_allclose(Standardize()(blank), 0, atol=1e-4)


def test_settings_survive_serialisation():
    layer = Standardize(epsilon=4.0, name="normal")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (again.epsilon, again.name) == (4.0, "normal")
