"""Pairing by name, the order of axes, and what is refused."""

import functools
from collections import OrderedDict

import pytest

pytest.importorskip("torch")

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.pt_files.convert import largest_difference, to_keras, to_torch
from fer_hierarchy.pt_files.layers import BatchNorm, Classifier, Standardize
from fer_hierarchy.pt_files.registry import create_model
from tests.pt_files.conftest import SMALL, made_up_faces, scatter

SHAPE = (6, 4, 3)


def keras_stack(*stack):
    model = keras.Sequential([keras.Input(SHAPE), *stack, layers.Dense(2, name="predictions")])
    scatter(model)
    return keras.Model(model.inputs[0], model.outputs[0])


def torch_stack(**stack):
    return Classifier(OrderedDict(stack))


@pytest.fixture
def flattened():
    """A map of which height, width and channels differ, normalised and flattened, with a normalisation in between."""
    stack = (
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
        layers.Flatten(name="flatten"),
        layers.BatchNormalization(name="bn", momentum=0.9),
        layers.Activation("relu", name="relu"),
    )
    twin = torch_stack(
        depthwise=nn.Conv2d(3, 6, 3, groups=3),
        flatten=nn.Flatten(),
        bn=BatchNorm(48, momentum=0.9),
        relu=nn.ReLU(),
        predictions=nn.Linear(48, 2),
    )
    return keras_stack(*stack), twin


def test_depthwise_kernels_and_all_that_follows_a_flatten_change_their_order(flattened):
    keras_model, torch_model = flattened
    to_torch(keras_model, torch_model)
    assert largest_difference(keras_model, torch_model, made_up_faces(4, SHAPE)) < 1e-5


def test_that_order_comes_back_bit_for_bit(flattened):
    keras_model, torch_model = flattened
    to_torch(keras_model, torch_model)
    original = keras_model.get_weights()
    scatter(keras_model, seed=1)
    to_keras(torch_model, keras_model)
    for value, expected in zip(keras_model.get_weights(), original, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_converted_weights_are_copies(flattened):
    keras_model, torch_model = flattened
    to_torch(keras_model, torch_model)
    before = torch_model.layers.predictions.bias.clone()
    keras_model.get_layer("predictions").bias.assign([9.0, 9.0])
    assert torch.equal(torch_model.layers.predictions.bias, before)


@pytest.fixture(scope="module")
def pairs(small_pair):
    """The same pair for every change."""
    return functools.cache(small_pair)


@pytest.mark.parametrize(
    ("label", "changes", "message"),
    [
        (
            "hierarchical_cnn",
            {"dense_width": 8},
            r"weight of layer 'features' \(Dense\) is \(16, .*and \(8, ",
        ),
        (
            "hierarchical_cnn",
            {"batch_norm_momentum": 0.5},
            "momentum of layer 'stage1_conv1_bn' .* is 0.9 in .* 0.5",
        ),
        (
            "compact_resnet",
            {"squeeze_from": None},
            "PyTorch .* no layer 'stage2_block1_squeeze_reduce' and 3 more",
        ),
        ("resnet18", {"blocks": (1, 1, 3)}, "Keras one has no layer 'stack2_block2_1_conv' and 3 more"),
        ("vgg13", {"batch_norm": True}, "Keras one has no layer 'block1_conv1_bn' and 9 more"),
        ("shallow_cnn", {"activation": "elu"}, "their activations differ"),
        ("rgbd_fusion", {"depth": "distance"}, "they read depth differently"),
        ("rgbd_fusion", {"depth": "normals"}, "PyTorch one has no layer 'depth_image'"),
        ("rgbd_fusion", {"heads": 2}, "their attention has other heads"),
        ("rgbd_fusion", {"modules": 3}, "Keras one has no layer 'rgb_mask3_reduce' and 7 more"),
        ("rgbd_fusion", {"mlp_dim": 9}, r"weight of layer 'block1_mlp1' \(Dense\) is \(10, 12\) .* \(9, 12\)"),
        ("rgbd_fusion-gated", {"fusion": "sum", "depth_backbone": None}, "PyTorch one has no layer"),
    ],
)
def test_models_of_different_settings_are_refused(pairs, label, changes, message):
    name, shape, settings = SMALL[label]
    keras_model, _ = pairs(label)
    torch_model = create_model(name, input_shape=shape, num_classes=4, **settings | changes)
    for refuse in (lambda: to_torch(keras_model, torch_model), lambda: to_keras(torch_model, keras_model)):
        with pytest.raises(UserError, match=message):
            refuse()


@pytest.mark.parametrize(
    ("stack", "twin", "message"),
    [
        (
            [layers.Rescaling(1 / 255), layers.Flatten()],
            {"standardize": Standardize(), "flatten": nn.Flatten()},
            "they scale pixels differently",
        ),
        (
            [layers.Conv2DTranspose(2, 1, name="up"), layers.Flatten()],
            {"up": nn.ConvTranspose2d(3, 2, 1), "flatten": nn.Flatten()},
            "layer 'up' is of kind Conv2DTranspose; only Conv2D, ",
        ),
        (
            [layers.Flatten(), layers.Reshape((4, 18), name="cut"), layers.Flatten()],
            {"flatten": nn.Flatten()},
            r"layer 'cut' \(Reshape\) takes a flattened map",
        ),
        (
            [layers.Conv2D(2, 1, use_bias=False, name="narrow"), layers.Flatten()],
            {"narrow": nn.Conv2d(3, 2, 1), "flatten": nn.Flatten()},
            r"bias of layer 'narrow' \(Conv2D\) is None in Keras and \(2,\) in PyTorch",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(stack, twin, message):
    keras_model = keras_stack(*stack)
    inputs = keras_model.get_layer("predictions").kernel.shape[0]
    with pytest.raises(UserError, match=message):
        to_torch(keras_model, torch_stack(**twin, predictions=nn.Linear(inputs, 2)))
