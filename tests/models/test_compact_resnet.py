import keras
import pytest

from fer_hierarchy.models.registry import create_model


def test_keywords_shape_the_network():
    model = create_model("compact_resnet", widths=[8, 16], blocks=[2, 1], strides=[1, 2], stem_stride=2, squeeze_from=2)
    names = {layer.name for layer in model.layers}
    assert {"stage1_block2_add", "stage2_block1_squeeze"} <= names
    assert "stage1_block1_squeeze" not in names
    assert model.get_layer("features").output.shape == (None, 16)
    assert model.get_layer("stage2_block1_add").output.shape == (None, 12, 12, 16)


def test_no_bias_stands_before_a_normalisation():
    model = create_model("compact_resnet")
    assert not any(layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"widths": (8, 16)}, "widths has 2, blocks has 3, strides has 3 entries"),
        ({"widths": (0, 8, 8)}, "widths is .* must be 1 or more"),
        ({"strides": (1, 2, 3)}, r"strides is \(1, 2, 3\); it must be 1 or 2"),
        ({"stem_stride": 3}, "stem_stride is 3"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_impossible_keywords_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        create_model("compact_resnet", **keywords)
