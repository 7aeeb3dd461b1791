import keras
import pytest
from keras import layers

from fer_hierarchy.models.cost import multiply_adds, parameters, planned_cost
from fer_hierarchy.models.registry import create_model


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
        (layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 5)), 10 * 8 * 6 * 5),
        (layers.EinsumDense("abcd,cde->abe", output_shape=(None, 5)), 10 * 8 * 6 * 5),
        (layers.EinsumDense("...d,def->...ef", output_shape=(4, 5)), 10 * 8 * 6 * 4 * 5),
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


@pytest.mark.parametrize("value_dim", [None, 3])
def test_attention_costs_its_projections_and_both_products(value_dim):
    queries, values = keras.Input((5, 6)), keras.Input((7, 9))
    model = keras.Model([queries, values], layers.MultiHeadAttention(2, 4, value_dim=value_dim)(queries, values))
    width = value_dim or 4
    projections = 5 * 6 * 2 * 4 + 7 * 9 * 2 * (4 + width) + 5 * 2 * width * 6
    assert multiply_adds(model) == projections + 5 * 7 * 2 * (4 + width)


def test_attention_along_one_axis_sees_that_axis_only():
    pixels = keras.Input((5, 7, 6))
    model = keras.Model(pixels, layers.MultiHeadAttention(2, 4, attention_axes=(2,))(pixels, pixels))
    assert multiply_adds(model) == 4 * 5 * 7 * 6 * 8 + 5 * 7 * 7 * 8 * 2


def test_vit_b16_costs_what_counting_by_hand_gives():
    tokens, dim = 14 * 14 + 1, 768
    block = 4 * tokens * dim * dim + 2 * tokens * tokens * dim + 2 * tokens * dim * 3072
    by_hand = 14 * 14 * 16 * 16 * 3 * dim + 12 * block + dim * 7
    assert planned_cost("vit_b16", num_classes=7).multiply_adds == by_hand
    assert by_hand == pytest.approx(17.6e9, rel=0.005)


@pytest.mark.parametrize("spec", ["compact_resnet", "mobilenet:alpha=0.25", "vit_small_patch:patch=8:dim=24:depth=1"])
def test_planned_cost_is_that_of_the_model(spec):
    settings = {"input_shape": (32, 40, 3), "num_classes": 4}
    model = create_model(spec, **settings)
    assert planned_cost(spec, **settings) == (parameters(model), multiply_adds(model))


def test_planning_leaves_no_variables_to_be_filled_later(monkeypatch):
    planned_cost("vit_b16")
    made = []
    fill = keras.initializers.TruncatedNormal.__call__
    monkeypatch.setattr(
        keras.initializers.TruncatedNormal, "__call__", lambda *args, **kw: made.append(args) or fill(*args, **kw)
    )
    with keras.StatelessScope():
        pass
    assert not made


def test_planning_downloads_nothing_and_refuses_as_building_does():
    assert planned_cost("mobilenet:alpha=0.25", weights="imagenet") == planned_cost("mobilenet:alpha=0.25")
    assert planned_cost("mobilenet:alpha=0.25:weights=imagenet") == planned_cost("mobilenet:alpha=0.25")
    with pytest.raises(ValueError, match="unknown model 'zzz'"):
        planned_cost("zzz")
