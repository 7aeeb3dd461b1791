import keras
import pytest
from keras import layers

from models.cost import multiply_adds, parameters


def model_of(*stack, shape=(10, 8, 6)):
    return keras.Sequential([keras.Input(shape), *stack])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(5, 3), 8 * 6 * 3 * 3 * 6 * 5),
        (layers.Conv2D(5, (3, 1), strides=2, padding="same"), 5 * 4 * 3 * 1 * 6 * 5),
        (layers.Conv2D(4, 3, groups=2, padding="same"), 10 * 8 * 3 * 3 * (6 // 2) * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), 8 * 6 * 3 * 3 * 6 * 2),
        (layers.SeparableConv2D(7, 3, strides=2, padding="same"), 5 * 4 * (3 * 3 * 6 + 6 * 7)),
        (layers.Conv2DTranspose(5, 2, strides=2), 10 * 8 * 2 * 2 * 6 * 5),
        (layers.Dense(5), 10 * 8 * 6 * 5),
        (layers.BatchNormalization(), 0),
        (layers.MaxPooling2D(), 0),
    ],
)
def test_one_layer_costs_what_counting_by_hand_gives(layer, expected):
    assert multiply_adds(model_of(layer)) == expected


def test_layers_add_up_and_biases_are_left_out():
    stack = model_of(layers.Conv2D(5, 3, use_bias=True), layers.Flatten(), layers.Dense(7))
    assert multiply_adds(stack) == 8 * 6 * 9 * 6 * 5 + 8 * 6 * 5 * 7
    assert parameters(stack) == (9 * 6 * 5 + 5) + (8 * 6 * 5 * 7 + 7)


def test_nested_model_is_counted():
    inner = model_of(layers.Conv2D(5, 3))
    assert multiply_adds(model_of(inner)) == multiply_adds(inner)


def test_parameters_hold_moving_statistics_and_no_seeds():
    assert parameters(model_of(layers.BatchNormalization(), layers.Dropout(0.5))) == 4 * 6


def test_open_size_is_refused():
    with pytest.raises(ValueError, match="fixed height and width"):
        multiply_adds(model_of(layers.Conv2D(5, 3), shape=(None, None, 6)))
