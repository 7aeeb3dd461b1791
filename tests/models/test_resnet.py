import sys

import keras
import numpy as np
import pytest

from fer_hierarchy.models import resnet
from fer_hierarchy.models.registry import create_model

IMAGENET = "resnet18:stem=imagenet"


def shaken(network):
    """Give a fresh network weights that no two layers share, moving statistics too."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(weight.numpy() * rng.uniform(0.9, 1.1, weight.shape) + 0.01)
    return network


def features(model, images):
    return keras.ops.convert_to_numpy(keras.Model(model.input, model.layers[-1].input)(images))


def test_parameters_are_those_of_the_paper():
    model = create_model(IMAGENET, input_shape=(64, 64, 3), num_classes=1000)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 11_689_512


@pytest.mark.parametrize(("stem", "sides"), [("small", (48, 24, 12, 6)), ("imagenet", (12, 6, 3, 2))])
def test_small_stem_keeps_the_resolution(stem, sides):
    model = create_model(f"resnet18:stem={stem}:widths=4+4+8+8")
    assert [model.get_layer(f"stack{stage}_block1_out").output.shape[1] for stage in range(4)] == list(sides)


def test_blocks_and_widths_are_as_requested():
    model = create_model("resnet18:widths=4+8:blocks=1+3")
    assert model.get_layer("stack1_block2_out").output.shape == (None, 24, 24, 8)
    assert model.layers[-1].input.shape == (None, 8)


def test_imagenet_weights_are_copied_to_every_layer(monkeypatch):
    backbone = shaken(create_model(IMAGENET, input_shape=(32, 32, 3)))
    monkeypatch.setattr(resnet, "hub_backbone", lambda preset: backbone)
    model = create_model(IMAGENET, input_shape=(32, 32, 3), num_classes=3, weights="imagenet")
    assert model.layers[-1].units == 3
    for layer in model.layers[:-1]:
        for found, given in zip(
            layer.get_weights(), backbone.get_layer(layer.name).get_weights() if layer.weights else (), strict=True
        ):
            np.testing.assert_array_equal(found, given)


def test_imagenet_weights_of_another_network_are_refused(monkeypatch):
    other = create_model("resnet18:stem=imagenet:widths=64:blocks=2", input_shape=(32, 32, 3))
    monkeypatch.setattr(resnet, "hub_backbone", lambda preset: other)
    with pytest.raises(ValueError, match="resnet_18_imagenet has no layer"):
        create_model(IMAGENET, input_shape=(32, 32, 3), weights="imagenet")


def test_features_equal_those_of_keras_hub(monkeypatch):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub, an optional package, is not installed")
    backbone = shaken(
        keras_hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=[2, 2, 2, 2],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block",
        )
    )
    monkeypatch.setattr(resnet, "hub_backbone", lambda preset: backbone)
    grey = np.random.default_rng(0).integers(0, 256, (2, 71, 66, 1)).astype("float32")
    model = create_model(IMAGENET, input_shape=(71, 66, 1), weights="imagenet")
    rgb = (np.repeat(grey, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = keras.ops.convert_to_numpy(backbone(rgb.astype("float32"))).mean(axis=(1, 2))
    np.testing.assert_allclose(features(model, grey), expected, rtol=1e-4, atol=1e-4)


def test_imagenet_weights_need_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match=r"pip install keras-hub.*--weights none"):
        create_model(IMAGENET, weights="imagenet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stem": "tiny"}, "stem is 'tiny'; it must be small or imagenet"),
        ({"blocks": (2, 2)}, "widths has 4, blocks has 2 entries"),
        ({"weights": "imagenet"}, "ImageNet weights fit resnet18:stem=imagenet with its own widths, blocks"),
        ({"weights": "imagenet", "stem": "imagenet", "blocks": (1, 1, 1, 1)}, "widths, blocks and activation only"),
        ({"weights": "imagenet", "stem": "imagenet", "activation": "elu"}, "widths, blocks and activation only"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        create_model("resnet18", **settings)
