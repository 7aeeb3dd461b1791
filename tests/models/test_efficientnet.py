import keras
import numpy as np
import pytest
from keras import layers
from keras.src.utils import file_utils  # what keras.applications downloads with

from fer_hierarchy.models.registry import create_model

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, in [0, 1]


def faces(count, channels):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, channels)).astype("float32")


def layer_output(model, name):
    return keras.Model(model.input, model.get_layer(name).output)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A weights file like the library's: Keras's normalisation has its deviations in the place of variances."""
    network = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    rng = np.random.default_rng(3)
    for layer in network.layers:
        if isinstance(layer, layers.Normalization):
            layer.set_weights([MEAN, DEVIATION, np.array(0)])
        else:
            layer.set_weights([w + rng.uniform(0, 0.1, w.shape).astype("float32") for w in layer.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "efficientnet.h5"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def fresh():
    return create_model("efficientnet_b0", input_shape=(32, 32, 1), num_classes=3)


def test_imagenet_weights_give_the_features_of_the_library(monkeypatch, trained):
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(trained))
    library = keras.applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=(32, 32, 3))
    colour = create_model("efficientnet_b0", input_shape=(32, 32, 3), num_classes=2, weights="imagenet")
    images = faces(2, 3)
    expected = np.mean(library(images), axis=(1, 2))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(layer_output(colour, "features")(images), expected, rtol=1e-3, atol=1e-4)


def test_fresh_network_scales_pixels_as_the_trained_one(fresh):
    images = faces(2, 1)
    scaled = keras.Model(fresh.input, fresh.get_layer("stem_conv_pad").input)(images)
    np.testing.assert_allclose(scaled, (np.repeat(images, 3, axis=-1) / 255 - MEAN) / DEVIATION, atol=1e-5)


def test_layers_have_fixed_names_and_no_weights_but_those_that_train(fresh):
    again = create_model("efficientnet_b0", input_shape=(32, 32, 1), num_classes=3)
    assert [layer.name for layer in again.layers] == [layer.name for layer in fresh.layers]
    assert not any(isinstance(layer, layers.Normalization) for layer in fresh.layers)
    assert all(layer.trainable for layer in fresh.layers)
    assert sum(np.prod(weight.shape) for weight in fresh.trainable_weights) == 4_007_548 + 1280 * 3 + 3


def test_blocks_are_left_out_more_often_towards_the_end(fresh):
    rates = {layer.name: layer.rate for layer in fresh.layers if layer.name.endswith("drop")}
    assert rates["block6d_drop"] == pytest.approx(0.33 * 14 / 16)
    assert list(rates.values()) == sorted(rates.values())
    assert fresh.get_layer("dropout").rate == 0.5


def test_saved_network_predicts_the_same(fresh, tmp_path):
    fresh.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(faces(2, 1)), fresh(faces(2, 1)))
    assert {layer.momentum for layer in loaded.layers if isinstance(layer, layers.BatchNormalization)} == {0.9}


@pytest.mark.parametrize("setting", ["drop_connect", "dropout", "batch_norm_momentum"])
def test_share_of_one_is_refused(setting):
    with pytest.raises(ValueError, match=rf"{setting} is 1\.0; it must lie in \[0, 1\)"):
        create_model("efficientnet_b0", **{setting: 1.0})
