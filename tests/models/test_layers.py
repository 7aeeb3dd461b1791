import keras
import numpy as np
import pytest

from fer_hierarchy.models.layers import AdaptiveMean, Standardize, ZeroFilled, ZeroFilledSum


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


@pytest.mark.parametrize(("shape", "size"), [((1, 1), 7), ((1, 3), 2), ((14, 7), 7), ((5, 9), 3), ((4, 4), 1)])
def test_maps_are_averaged_in_windows_that_leave_nothing_out(shape, size):
    maps = np.random.default_rng(0).uniform(0, 1, (2, *shape, 3)).astype("float32")
    bounds = [[(i * n // size, -(-(i + 1) * n // size)) for i in range(size)] for n in shape]
    expected = [[maps[:, a:b, c:d].mean(axis=(1, 2)) for c, d in bounds[1]] for a, b in bounds[0]]
    pixels = keras.Input(maps.shape[1:])
    found = keras.Model(pixels, AdaptiveMean(size=size)(pixels)).predict(maps, verbose=0)
    np.testing.assert_allclose(found, np.moveaxis(expected, 2, 0), rtol=1e-5)


def test_means_go_into_tflite():
    """The VGGs are made of them, and exported."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    pixels = keras.Input((5, 4, 2))
    network = keras.Model(pixels, AdaptiveMean(size=3)(pixels))
    call = tf.function(lambda x: network(x), input_signature=[tf.TensorSpec((None, 5, 4, 2), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], tf.Module())
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (2, 5, 4, 2))
    interpreter.allocate_tensors()
    maps = np.random.default_rng(0).normal(size=(2, 5, 4, 2)).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], maps)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, network(maps), atol=1e-5)


def test_size_survives_serialisation():
    layer = AdaptiveMean(size=3, name="pooled")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (again.size, again.name) == (3, "pooled")


def test_a_small_map_is_filled_below_and_to_the_right():
    maps = np.random.default_rng(0).normal(size=(2, 2, 5, 3)).astype("float32")
    filled = np.asarray(ZeroFilled(size=4)(maps))
    assert filled.shape == (2, 4, 5, 3) == tuple(ZeroFilled(size=4).compute_output_shape(maps.shape))
    np.testing.assert_array_equal(filled[:, :2], maps)
    assert not filled[:, 2:].any()
    np.testing.assert_array_equal(ZeroFilled(size=2)(maps), maps)


@pytest.mark.parametrize("shapes", [((4, 5, 2), (3, 5, 6)), ((3, 5, 6), (4, 5, 2)), ((4, 4, 4), (4, 4, 4))])
def test_maps_of_unequal_size_are_added_from_the_first_place_and_channel_on(shapes):
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(2, *shape)).astype("float32") for shape in shapes)
    expected = np.zeros((2, *map(max, *shapes)))
    for x in (first, second):
        expected[:, : x.shape[1], : x.shape[2], : x.shape[3]] += x
    layer = ZeroFilledSum()
    assert layer.compute_output_shape([first.shape, second.shape]) == expected.shape
    np.testing.assert_allclose(layer([first, second]), expected, rtol=1e-6)


def test_maps_filled_with_zeros_follow_another_size_of_the_input(tmp_path):
    pixels = keras.Input((2, 2, 1))
    model = keras.Model(pixels, ZeroFilledSum()([pixels, ZeroFilled(size=4)(pixels)]))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.output_shape == (None, 4, 4, 1)
    larger = keras.models.clone_model(loaded, input_tensors=keras.Input((6, 5, 1)))
    assert larger.output_shape == (None, 6, 5, 1)
