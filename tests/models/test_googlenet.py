import keras
import numpy as np
import pytest

from fer_hierarchy.models import googlenet
from fer_hierarchy.models.registry import create_model


def sizes(model):
    return [model.get_layer(name).output.shape[1:] for name in ("block3b", "block4e", "block5b")]


def test_parameters_are_those_of_torchvision_without_auxiliary_heads():
    model = create_model("googlenet", input_shape=(64, 64, 3), num_classes=1000)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 6_624_904


@pytest.mark.parametrize(
    ("side", "spec", "map_sides"), [(224, "", (28, 14, 7)), (48, "", (6, 3, 2)), (48, ":stem=small", (24, 12, 6))]
)
def test_maps_shrink_by_the_stem_and_twice_after(side, spec, map_sides):
    model = create_model(f"googlenet{spec}:width_factor=0.25", input_shape=(side, side, 1))
    assert sizes(model) == [(n, n, c // 4) for n, c in zip(map_sides, (480, 832, 1024), strict=True)]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("side", [6, 7])
def test_pooling_reaches_over_the_border_and_leaves_nothing_out(size, side):
    image = np.random.default_rng(0).uniform(0, 1, (1, side, side, 1)).astype("float32")
    pixels = keras.Input(image.shape[1:])
    found = keras.ops.convert_to_numpy(keras.Model(pixels, googlenet._halved(pixels, size, name="p"))(image))[
        0, :, :, 0
    ]
    starts = range(0, side - size + 2, 2)  # the last window may hang over by a pixel
    expected = [[image[0, i : i + size, j : j + size, 0].max() for j in starts] for i in starts]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("googlenet:stem=large", "stem is 'large'; it must be small or imagenet"),
        ("googlenet:width_factor=0", "width_factor is 0; it must be above 0"),
    ],
)
def test_impossible_settings_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        create_model(spec)
