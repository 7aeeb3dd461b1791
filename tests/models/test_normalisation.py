"""Statistics of given faces: put in without a change of what a network computes."""

import keras
import numpy as np
import pytest

from fer_hierarchy.models.normalisation import measure_statistics
from fer_hierarchy.models.registry import create_model

SHAPE = (48, 51, 3)
KINDS = {
    "face_resnet": {"widths": (6, 8, 8), "blocks": (1, 2, 1)},
    "resnet18": {"widths": (4, 8), "blocks": (1, 1)},
    "mobilenet": {"alpha": 0.25, "blocks": 4},
    "shallow_cnn": {"widths": (4, 6), "dense_width": 8},  # has one behind a Dense layer
}


def faces(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype("float32")


def network(name):
    """A network whose normalisations scale and shift at random, and have statistics of no data."""
    keras.utils.set_random_seed(0)
    model = create_model(name, input_shape=SHAPE, num_classes=3, **KINDS[name])
    rng = np.random.default_rng(1)
    for layer in normalisations(model):
        gamma, beta, mean, _ = layer.get_weights()
        drawn = [
            rng.uniform(0.5, 2, gamma.shape),
            *rng.normal(0, 0.5, (2, *beta.shape)),
            rng.uniform(0.5, 2, mean.shape),
        ]
        layer.set_weights(drawn)
    return model


def normalisations(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("name", KINDS)
def test_outputs_stay_as_they_were(name):
    model, shown = network(name), faces(6, seed=5)
    before = np.asarray(model(shown, training=False))
    measure_statistics(model, [faces(8), faces(3, seed=2)])
    np.testing.assert_allclose(model(shown, training=False), before, rtol=1e-4, atol=1e-4 * abs(before).max())


@pytest.mark.parametrize("name", KINDS)
def test_in_training_every_layer_sees_what_it_was_measured_on(name):
    """Batches of unequal size count by their faces: the whole is one batch to a training step."""
    model, shown = network(name), faces(11)
    opened = keras.Model(model.input, [layer.input for layer in normalisations(model)])
    measure_statistics(model, [shown[:8], shown[8:]])
    for layer, x in zip(normalisations(model), opened(shown, training=False), strict=True):
        values = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
        np.testing.assert_allclose(layer.moving_mean, values.mean(axis=0), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(layer.moving_variance, values.var(axis=0), rtol=1e-3, atol=1e-3)


def test_a_training_step_begins_with_the_function_that_prediction_has():
    model, shown = network("face_resnet"), faces(16)
    predicted = np.asarray(model(shown, training=False))
    assert not np.allclose(model(shown, training=True), predicted, atol=0.05)
    model = network("face_resnet")
    measure_statistics(model, [shown])
    np.testing.assert_allclose(model(shown, training=True), predicted, rtol=0, atol=1e-3 * abs(predicted).max())


def test_channels_that_are_always_zero_do_no_harm():
    model = network("face_resnet")
    kernel = model.get_layer("conv1_conv").kernel
    kernel.assign(np.zeros(kernel.shape))
    before = np.asarray(model(faces(2), training=False))
    measure_statistics(model, [faces(4)])
    after = np.asarray(model(faces(2), training=False))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_there_must_be_faces():
    with pytest.raises(ValueError, match="no faces to measure statistics on"):
        measure_statistics(network("resnet18"), [])


def test_a_network_without_normalisation_is_left_alone():
    model = create_model("convnet:widths=4:dense_widths=4", input_shape=(24, 24, 1))
    before = model.get_weights()
    measure_statistics(model, [])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
