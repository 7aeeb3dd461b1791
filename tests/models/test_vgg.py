import keras
import numpy as np
import pytest

from fer_hierarchy.models import vgg
from fer_hierarchy.models.cost import parameters
from fer_hierarchy.models.registry import create_model

LIGHT = ":width_factor=0.05:head_widths=8+6"


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


@pytest.fixture
def weightless():
    """Builds without drawing first weights, which for 134 million of them would take long."""

    def outline(*arguments, **keywords):
        with keras.StatelessScope(initialize_variables=False):
            return create_model(*arguments, **keywords)

    yield outline
    keras.utils.clear_session()  # else the next such scope draws them after all


@pytest.mark.parametrize(("name", "counts"), [("vgg13", [2, 2, 2, 2, 2]), ("vgg16", [2, 2, 3, 3, 3])])
def test_blocks_have_the_convolutions_of_the_paper(name, counts):
    names = [layer.name for layer in convolutions(create_model(name + LIGHT))]
    assert names == [f"block{b}_conv{n}" for b, count in enumerate(counts, start=1) for n in range(1, count + 1)]


def test_first_convolution_takes_as_many_channels_as_the_picture_has():
    assert convolutions(create_model("vgg13" + LIGHT))[0].kernel.shape == (3, 3, 1, 3)


@pytest.mark.parametrize(("size", "inputs"), [(1, 512), (7, 25088)])
def test_head_has_its_original_inputs_at_48_pixels_if_requested(weightless, size, inputs):
    model = weightless(f"vgg16:pooled_size={size}")
    assert model.get_layer("dense1").kernel.shape == (inputs, 1024)
    assert model.layers[-1].kernel.shape == (1024, 7)


def test_convolutions_have_the_paper_s_widths(weightless):
    model = weightless("vgg16", input_shape=(48, 48, 3))
    assert sum(np.prod(w.shape) for layer in convolutions(model) for w in layer.weights) == 14_714_688


def test_vgg16_bn_is_torchvision_s_but_for_the_biases_before_normalisation(weightless):
    model = weightless("vgg16_bn", input_shape=(224, 224, 3), num_classes=1000)
    channels = sum(layer.filters for layer in convolutions(model))
    moving_statistics = 2 * channels
    assert parameters(model) == 138_365_992 - channels + moving_statistics


@pytest.mark.parametrize("name", ["vgg13", "vgg16"])
def test_first_loss_is_close_to_that_of_a_guess(name):
    faces = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 1)).astype("float32")
    keras.utils.set_random_seed(0)
    logits = create_model(f"{name}:width_factor=0.5")(faces)
    loss = keras.losses.sparse_categorical_crossentropy(np.arange(8) % 7, logits, from_logits=True)
    assert np.log(7) - 0.1 < float(keras.ops.mean(loss)) < np.log(7) + 1


def test_batch_norm_takes_the_place_of_the_bias():
    model = create_model("vgg13:batch_norm=on" + LIGHT)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == 10
    assert not any(layer.use_bias for layer in convolutions(model))


def test_imagenet_features_equal_those_of_keras_applications(monkeypatch):
    trained = keras.applications.VGG16(weights=None, include_top=False)
    requested = {}
    monkeypatch.setattr(
        vgg, "application", lambda build, **keywords: requested.update(keywords, build=build) or trained
    )
    model = create_model("vgg16:head_widths=8:pooled_size=2", input_shape=(65, 64, 1), weights="imagenet")
    assert requested["build"] is keras.applications.VGG16
    grey = np.random.default_rng(0).integers(0, 256, (2, 65, 64, 1)).astype("float32")
    expected = trained(keras.applications.vgg16.preprocess_input(np.repeat(grey, 3, axis=-1)))
    found = keras.Model(model.input, model.get_layer("pooled").output)(grey)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (found, expected)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vgg13:pooled_size=0", "pooled_size is 0; it must be 1 or more"),
        ("vgg13:width_factor=-1", "width_factor is -1; it must be above 0"),
        ("vgg16_bn:dropout=1.0", "dropout is 1.0"),
        ("vgg13:weights=imagenet", "vgg13 has no ImageNet weights"),
        (
            "vgg16:weights=imagenet:batch_norm=on",
            "ImageNet weights fit vgg16 with batch_norm off and width_factor 1 only",
        ),
    ],
)
def test_impossible_settings_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        create_model(spec)
