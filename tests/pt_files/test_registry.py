import pytest

pytest.importorskip("torch")

import inspect

import torch

from fer_hierarchy.models import registry as keras_registry
from fer_hierarchy.pt_files import cost, registry
from fer_hierarchy.pt_files.registry import create_model, list_models, model_info


@pytest.mark.parametrize("name", list_models())
def test_twin_takes_the_keywords_of_its_keras_model(name):
    ours = inspect.signature(registry.builder(name)).parameters
    theirs = inspect.signature(keras_registry.builder(name)).parameters
    assert {k: p.default for k, p in ours.items()} == {k: p.default for k, p in theirs.items() if k != "weights"}


def test_every_file_of_builders_holds_twins_of_the_same_name():
    assert {"compact_resnet", "deep_cnn", "face_resnet", "rgbd_fusion", "vgg16_bn"} < set(list_models())
    for name in list_models():
        module = registry.builder(name).__module__
        assert module.rpartition(".")[2] == model_info(name).module.rpartition(".")[2]


@pytest.mark.parametrize("name", [name for name in list_models() if name != "vgg16_bn"])
def test_smallest_size_works(name):
    smallest, channels = model_info(name).smallest, max(model_info(name).channels)
    model = create_model(name, input_shape=[smallest, smallest + 1, channels], num_classes=2).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, channels, smallest, smallest + 1)).shape == (2, 2)


@pytest.mark.parametrize(
    ("spec", "shape", "classes", "count"),
    [
        ("deep_cnn", (48, 48, 1), 7, 2_395_591),
        # As published with ImageNet's thousand classes; the moving statistics come on top.
        ("resnet18:stem=imagenet", (224, 224, 3), 1000, 11_689_512 + 9_600),
        ("vgg16:head_widths=4096+4096:pooled_size=7", (224, 224, 3), 1000, 138_357_544),
        # Published with a bias in each of 4,224 channels, which the normalisation cancels.
        ("vgg16_bn", (224, 224, 3), 1000, 138_365_992 - 4_224 + 2 * 4_224),
    ],
)
def test_parameters_are_as_published(spec, shape, classes, count):
    with torch.device("meta"):  # shapes without values
        model = create_model(spec, input_shape=shape, num_classes=classes)
    assert cost.parameters(model) == count


def test_spec_gives_the_wide_head_at_48_pixels():
    with torch.device("meta"):
        model = create_model("vgg16:head_widths=1024+1024:pooled_size=7", input_shape=(48, 48, 1))
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(25088, 1024), (1024, 1024), (1024, 7)]


def test_keywords_go_over_those_of_the_spec():
    model = create_model("shallow_cnn:dense_width=16:dropout=0.4:weights=none", dense_width=8)
    assert model.layers.predictions.in_features == 8
    assert model.layers.dropout.p == 0.4


def test_dropout_acts_in_training_only():
    model = create_model("shallow_cnn", input_shape=(16, 16, 1))
    faces = torch.rand(4, 1, 16, 16) * 255
    assert not torch.equal(model.train()(faces), model(faces))
    assert torch.equal(model.eval()(faces), model(faces))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spec": "compact_resnt"}, "no PyTorch twin of model 'compact_resnt'; did you mean 'compact_resnet'"),
        ({"spec": "mobilenet"}, "no PyTorch twin of model 'mobilenet'; known: compact_resnet, .*, and timm:NAME"),
        ({"spec": "shallow_cnn:drop=0.1"}, "shallow_cnn has no keyword drop; did you mean dropout"),
        ({"spec": "shallow_cnn:dropout"}, "'dropout' is no setting"),
        ({"spec": "shallow_cnn:dropout=1"}, "dropout is 1; it must lie in"),
        ({"spec": "resnet18:weights=imagenet"}, "the PyTorch twin of resnet18 has no weights of its own"),
        ({"spec": "resnet18:stem=large"}, "stem is 'large'; it must be small or imagenet"),
        ({"input_shape": (35, 48, 1)}, r"\(35, 48, 1\); .* at least 36x36 pixels and 1 or 3 channels"),
        ({"input_shape": (48, 48, 2)}, "1 or 3 channels"),
        ({"input_shape": 48}, "input_shape is 48"),
        ({"num_classes": 1}, "num_classes is 1; .* 2 or more"),
        ({"widths": ((4, 4), (4, 4))}, "it must be three pairs of channels"),
    ],
)
def test_bad_request_names_what_is_right(settings, message):
    with pytest.raises(ValueError, match=message):
        create_model(**{"spec": "hierarchical_cnn", **settings})
