import keras
import pytest

from fer_hierarchy.models.cost import parameters
from fer_hierarchy.models.registry import create_model


def kinds(model, start, count):
    """Types of layers from the named one on."""
    names = [layer.name for layer in model.layers]
    first = names.index(start)
    return [type(layer).__name__ for layer in model.layers[first : first + count]]


def test_deep_cnn_has_the_published_number_of_parameters():
    assert parameters(create_model("deep_cnn", input_shape=(48, 48, 1), num_classes=7)) == 2_395_591


@pytest.mark.parametrize(("name", "start"), [("shallow_cnn", "stage1_conv"), ("deep_cnn", "stage1_conv1")])
def test_normalisation_follows_the_activation(name, start):
    assert kinds(create_model(name), start, 3) == ["Conv2D", "Activation", "BatchNormalization"]


def test_shallow_cnn_has_three_stages_and_64_features():
    model = create_model("shallow_cnn")
    assert [model.get_layer(f"stage{n}_pool").output.shape[1:] for n in (1, 2, 3)] == [
        (24, 24, 32),
        (12, 12, 64),
        (6, 6, 128),
    ]
    assert model.layers[-1].input.shape == (None, 64)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.5] * 4


def test_deep_cnn_begins_with_large_kernels_and_drops_more_towards_the_end():
    model = create_model("deep_cnn")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size[0] for layer in convolutions] == [5, 5, 3, 3, 3, 3]
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.4, 0.4, 0.5, 0.6]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("shallow_cnn:widths=8+8+8+8", r"widths is \(8, 8, 8, 8\); it must have 1 to 3 entries"),
        ("shallow_cnn:dropout=1.5", "dropout is 1.5"),
        ("deep_cnn:widths=8+8", "widths has 2, kernel_sizes has 3, stage_dropout has 3 entries"),
        ("deep_cnn:stage_dropout=0.4+0.4+1.4", r"stage_dropout is \(0.4, 0.4, 1.4\); it must lie in \[0, 1\)"),
        ("deep_cnn:dense_width=0", "dense_width is 0; it must be 1 or more"),
    ],
)
def test_impossible_settings_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        create_model(spec)
