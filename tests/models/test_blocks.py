import keras
import numpy as np
import pytest

from models.blocks import convolution, scaled_rgb


def run(images, block):
    pixels = keras.Input(images.shape[1:])
    return keras.ops.convert_to_numpy(keras.Model(pixels, block(pixels))(images))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("side", [8, 9])
def test_padding_is_the_same_on_every_side(size, stride, side):
    image = np.random.default_rng(0).uniform(0, 1, (1, side, side, 1)).astype("float32")
    pixels = keras.Input(image.shape[1:])
    out = convolution(pixels, 1, size, stride=stride, relu=False, name="a", momentum=0.9, epsilon=0.0)
    model = keras.Model(pixels, out)
    model.get_layer("a_conv").set_weights([np.ones((size, size, 1, 1), "float32")])
    padded = np.pad(image[0, :, :, 0], (size - 1) // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))[::stride, ::stride]
    found = keras.ops.convert_to_numpy(model(image))[0, :, :, 0]
    np.testing.assert_allclose(found, windows.sum(axis=(2, 3)), rtol=1e-5)


def test_colours_are_scaled_each_on_its_own():
    image = np.array([[[[10.0, 20.0, 30.0]]]], "float32")
    found = run(image, lambda x: scaled_rgb(x, mean=(10, 10, 10), deviation=(1, 5, 40)))
    np.testing.assert_allclose(found[0, 0, 0], [0, 2, 0.5], atol=1e-6)


def test_grey_is_the_colour_of_equal_parts():
    grey = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 1)).astype("float32")
    scaling = {"mean": (1.0, 2.0, 3.0), "deviation": (4.0, 5.0, 6.0)}
    colour = run(np.repeat(grey, 3, axis=-1), lambda x: scaled_rgb(x, **scaling))
    np.testing.assert_array_equal(run(grey, lambda x: scaled_rgb(x, **scaling)), colour)
