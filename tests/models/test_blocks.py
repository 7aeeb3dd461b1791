"""Groups of layers: what they compute, and that their gradients do not bring the process down."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_hierarchy.models.blocks import activated, convolution, shrinking_convolution, strided_pixels
from fer_hierarchy.models.settings import ACTIVATIONS
from tests.conftest import CHECKOUT


@pytest.mark.parametrize("side", [7, 8])
def test_every_second_pixel_and_a_convolution_are_the_strided_convolution(side):
    faces = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype("float32")
    strided = keras.layers.Conv2D(4, 1, strides=2, use_bias=False)
    expected = strided(faces)
    whole = keras.layers.Conv2D(4, 1, use_bias=False)
    whole.build(faces.shape)
    whole.set_weights(strided.get_weights())
    np.testing.assert_allclose(whole(strided_pixels(faces, 2, name="pixels")), expected, atol=1e-6)


def test_a_strided_convolution_halves_the_map_upwards():
    pixels = keras.Input((9, 8, 3))
    for size in (1, 3):
        made = convolution(pixels, 4, size, stride=2, name=f"c{size}", momentum=0.9, epsilon=1e-3)
        assert made.shape == (None, 5, 4, 4)


@pytest.mark.parametrize("size", [3, 5])
def test_a_shrinking_convolution_takes_a_pixel_off_each_side(size):
    assert shrinking_convolution(keras.Input((9, 8, 3)), 4, size, name="c").shape == (None, 7, 6, 4)


def test_activations_are_as_published():
    values = np.array([-2.0, -0.5, 0.0, 1.0], "float32")
    expected = {
        "relu": [0, 0, 0, 1],
        "elu": [np.expm1(-2), np.expm1(-0.5), 0, 1],
        "gelu": [-0.0455003, -0.1542688, 0, 0.8413447],
        "silu": [-2 / (1 + np.exp(2)), -0.5 / (1 + np.exp(0.5)), 0, 1 / (1 + np.exp(-1))],
        "leaky_relu": [-0.4, -0.1, 0, 1],
    }
    assert tuple(expected) == ACTIVATIONS
    for name, values_after in expected.items():
        np.testing.assert_allclose(activated(values, name, name=name), values_after, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.slow
def test_a_step_of_training_on_few_channels_does_not_crash():
    """TensorFlow's gradient of a strided 1x1 convolution did, at 60 pixels and above."""
    code = (
        "import fer_hierarchy.hierarchy, keras, numpy as np; from fer_hierarchy.models.registry import create_model\n"
        "for spec in ('mini_xception', 'resnet18:widths=8+16:blocks=1+1'):\n"
        "    model = create_model(spec, input_shape=(64, 64, 1), num_classes=7)\n"
        "    model.compile('sgd', keras.losses.SparseCategoricalCrossentropy(from_logits=True))\n"
        "    model.train_on_batch(np.ones((64, 64, 64, 1), 'float32'), np.arange(64) % 7)"
    )
    # In a process of its own, which may die.
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
