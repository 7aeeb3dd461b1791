import keras
import pytest

from fer_hierarchy.models.registry import create_model


def test_maps_shrink_as_unpadded_convolutions_do():
    model = create_model("hierarchical_cnn")
    sizes = [model.get_layer(f"stage{stage}_pool").output.shape[1:] for stage in (1, 2, 3)]
    assert sizes == [(22, 22, 64), (9, 9, 128), (2, 2, 256)]


def test_network_has_six_convolutions_each_normalised():
    model = create_model("hierarchical_cnn")
    convolutions = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions == [32, 64, 128, 128, 256, 256]
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == 7


def test_a_factor_scales_every_convolution():
    model = create_model("hierarchical_cnn:width_factor=0.1")
    convolutions = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions == [3, 6, 13, 13, 26, 26]


@pytest.mark.parametrize(
    "keywords",
    [{"widths": (8, 8)}, {"widths": ((8, 8), (8, 8))}, {"stage_dropout": 1.5}, {"width_factor": 0}],
)
def test_impossible_keywords_are_refused(keywords):
    with pytest.raises(ValueError, match=next(iter(keywords))):
        create_model("hierarchical_cnn", **keywords)
