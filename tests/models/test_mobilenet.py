import keras
import numpy as np
import pytest
from keras.src.utils import file_utils  # what keras.applications downloads with

from fer_hierarchy.models.registry import create_model

TINY = {"input_shape": (32, 32, 1), "num_classes": 2, "alpha": 0.25}


def faces(count, shape=(32, 32, 1)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Keras's network with weights and statistics that are not those of a fresh one, and their file."""
    network = keras.applications.MobileNet(weights=None, include_top=False, alpha=0.25, input_shape=(32, 32, 3))
    rng = np.random.default_rng(3)
    network.set_weights([w + rng.uniform(0, 0.1, w.shape).astype("float32") for w in network.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "mobilenet.h5"
    network.save(path)
    return network, path


@pytest.fixture
def download(monkeypatch, trained):
    """Serves the file of `trained`; lists the requested names."""
    requested = []
    monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: requested.append(name) or str(trained[1]))
    return requested


def test_full_network_ends_where_the_project_cuts_it():
    model = create_model("mobilenet")
    whole = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(48, 48, 3))
    pooled = model.get_layer("features").input
    assert model.get_layer(whole.layers[-14].name).output is pooled
    assert pooled.shape == (None, 3, 3, 512)


def test_pixels_reach_the_first_convolution_between_minus_one_and_one():
    model = create_model("mobilenet", **TINY)
    scaled = keras.Model(model.input, model.get_layer("conv1").input)(np.stack([np.zeros((32, 32, 1)), *faces(1)]))
    assert np.allclose(scaled[0], -1)
    np.testing.assert_allclose(scaled[1], np.repeat(faces(1)[0] / 127.5 - 1, 3, axis=-1), atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32, 3), (40, 32, 1)])
def test_imagenet_weights_give_the_features_of_the_trained_network(download, trained, shape):
    model = create_model("mobilenet", **{**TINY, "input_shape": shape}, weights="imagenet")
    images = faces(2, shape)
    expected = keras.Model(trained[0].input, trained[0].get_layer("conv_pw_11_relu").output)
    rebuilt = keras.Model(model.input, model.get_layer("features").output)
    rgb = np.repeat(images, 3 // shape[2], axis=-1) / 127.5 - 1
    if shape[0] == 32:
        np.testing.assert_allclose(rebuilt(images), np.max(expected(rgb), axis=(1, 2)), atol=1e-5)
    assert download == ["mobilenet_2_5_224_tf_no_top.h5"]
    for layer in model.layers[:-1]:
        if layer.weights:
            for ours, theirs in zip(layer.get_weights(), trained[0].get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_imagenet_weights_freeze_fifteen_layers_also_in_a_saved_model(download, tmp_path):
    model = create_model("mobilenet", **TINY, weights="imagenet")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    frozen = ["conv1", "conv1_bn", "conv_dw_1", "conv_dw_1_bn", "conv_pw_1", "conv_pw_1_bn"]
    frozen += ["conv_dw_2", "conv_dw_2_bn", "conv_pw_2"]
    for network in (model, loaded):
        assert [layer.name for layer in network.layers if layer.weights and not layer.trainable] == frozen
    before = {layer.name: layer.get_weights() for layer in loaded.layers}
    loaded.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    loaded.train_on_batch(faces(4), np.arange(4) % 2)
    changed = {
        layer.name
        for layer in loaded.layers
        if any((new != old).any() for new, old in zip(layer.get_weights(), before[layer.name], strict=True))
    }
    assert not changed & set(frozen)
    assert {"conv_pw_2_bn", "conv_dw_3", "predictions"} <= changed


def test_frozen_layers_can_be_chosen(download):
    assert all(layer.trainable for layer in create_model("mobilenet", **TINY).layers)
    assert all(
        layer.trainable for layer in create_model("mobilenet", **TINY, weights="imagenet", frozen_layers=0).layers
    )
    three = create_model("mobilenet", **TINY, frozen_layers=3)
    assert [layer.name for layer in three.layers if not layer.trainable] == ["conv1", "conv1_bn"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_shape": (31, 48, 1)}, "at least 32x32"),
        ({"alpha": 0.0}, r"alpha is 0\.0; it must be above 0"),
        ({"alpha": 0.01}, r"alpha is 0\.01; .* 32 x alpha"),
        ({"alpha": 0.3, "weights": "imagenet"}, r"alpha is 0\.3; ImageNet weights exist for 0\.25, 0\.5, 0\.75, 1\.0"),
        ({"blocks": 14}, "blocks is 14; it must be 1 to 13"),
        ({"frozen_layers": -1}, "frozen_layers is -1"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
    ],
)
def test_bad_setting_names_what_is_right(settings, message):
    with pytest.raises(ValueError, match=message):
        create_model("mobilenet", **settings)
