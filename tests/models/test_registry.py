import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_hierarchy import models
from fer_hierarchy.models import registry
from fer_hierarchy.models.cost import multiply_adds, parameters
from fer_hierarchy.models.registry import (
    create_backbone,
    create_model,
    list_models,
    model_info,
    parse_spec,
    register_model,
)
from tests.conftest import CHECKOUT

ROOT = CHECKOUT
# For speed only: a model that is not here is tested as it is.
_TINY_VGG = {"width_factor": 0.1, "head_widths": (16, 16), "pooled_size": 2}
_TINY_VIT = {"patch": 4, "depth": 2, "heads": 2, "dim": 16, "mlp_dim": 32}
TINY = {
    "compact_resnet": {"widths": (8, 16, 16)},
    "deep_cnn": {"widths": (8, 8, 8), "dense_width": 16},
    "face_resnet": {"widths": (8, 8, 16), "blocks": (1, 1, 1)},
    "googlenet": {"width_factor": 0.1},
    "mobilenet": {"alpha": 0.25, "blocks": 4},
    "resnet18": {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)},
    "rgbd_fusion": {
        "backbone": "compact_resnet:widths=8+16:blocks=1+1:strides=2+2",
        "dim": 16,
        "blocks": 1,
        "heads": 2,
        "mlp_dim": 16,
        "modules": 2,
    },
    "vgg13": _TINY_VGG,
    "vgg16": _TINY_VGG,
    "vgg16_bn": _TINY_VGG,
    "vit_b16": _TINY_VIT,
    "vit_small_patch": _TINY_VIT,
}
# Between them these have every kind of layer: plain, separable and depthwise convolution, pooling by mean, maximum and
# to a fixed size, normalisation over the batch and over a token, attention.
KINDS = ("compact_resnet", "mini_xception", "mobilenet", "vgg13", "vit_small_patch")


# Of hundreds of layers, which take long one by one.
_SLOW = dict.fromkeys(("efficientnet_b0", "googlenet"), pytest.mark.slow)


def faces(count, shape=(48, 48, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("float32")


def build(name, shape=None, classes=3, **keywords):
    shape = shape or usual_shape(name)
    return create_model(name, input_shape=shape, num_classes=classes, **{**TINY.get(name, {}), **keywords})


def usual_shape(name):
    return (48, 48, model_info(name).channels[0])


@functools.cache
def built(name):
    """One model of each name for the tests that change nothing: its smallest size, no square, three colours."""
    smallest = model_info(name).smallest
    return build(name, (smallest, smallest + TINY.get(name, {}).get("patch", 1), max(model_info(name).channels)), 4)


def compile_for_faces(model):
    model.compile(
        # However steep the loss is, and some of these models begin steeply, a step is this long at most.
        keras.optimizers.SGD(0.001, momentum=0.9, nesterov=True, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # a step or two do not pay for compiling hundreds of layers
    )
    return model


def predicted(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def undropped(name):
    """Settings without the noise of dropout, which on eight faces hides what a step did."""
    kinds = ("dropout", "stage_dropout", "drop_connect", "branch_dropout", "token_dropout")
    settings = {key: 0.0 for key in kinds if key in keywords_of(name)}
    return {**settings, **({"stage_dropout": (0.0, 0.0, 0.0)} if name == "deep_cnn" else {})}


def keywords_of(name):
    return registry.builder(name).__kwdefaults__


def having(keyword):
    return [name for name in list_models() if keyword in keywords_of(name)]


def test_names_are_listed_without_importing_a_framework():
    code = (
        "import json, sys; from fer_hierarchy.models.registry import list_models, parse_spec;"
        "print(json.dumps([list_models(), parse_spec('convnet:dropout=0.4'),"
        "[m for m in ('keras', 'tensorflow', 'numpy') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names, spec, imported = json.loads(done.stdout)
    assert {"compact_resnet", "vgg16", "vit_b16"} < set(names)
    assert names == sorted(names)
    assert spec == ["convnet", {"dropout": 0.4}]
    assert imported == []


def test_facts_read_from_the_files_are_those_that_are_registered():
    for name in list_models():
        registry.builder(name)
        assert model_info(name) == registry._declared(tuple(models.__path__))[name]
        assert registry.builder(name).__module__ == model_info(name).module


@pytest.mark.parametrize("name", list_models())
def test_model_ends_in_a_float32_layer_of_logits(name):
    model = built(name)
    last = model.layers[-1]
    assert (last.name, last.dtype, last.activation) == ("predictions", "float32", keras.activations.linear)
    assert len(last.input.shape) == 2  # the features
    assert model.output_shape == (None, 4)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


@pytest.mark.parametrize("name", list_models())
def test_logits_are_finite_on_faces_and_on_blank_images(name):
    model = built(name)
    shape = model.input_shape[1:]
    blank = np.stack([np.full(shape, grey, "float32") for grey in (0, 1, 127, 255)])
    images = np.concatenate([faces(4, shape), blank])
    # Compiled where a kind of layer is new, else layer by layer.
    logits = model.predict(images, verbose=0) if name in KINDS else predicted(model, images)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert (logits[0] != logits[1]).any()
    if "standardize" in (layer.name for layer in model.layers):
        assert np.allclose(logits[4:], logits[4], atol=1e-5)  # brightness alone changes nothing


@pytest.mark.parametrize("name", list_models())
def test_listing_holds_what_it_was_made_for(name):
    info = model_info(name)
    assert info.name == name
    assert 8 <= info.smallest <= info.size <= 260
    assert info.source
    assert bool(info.pretrained) == ("weights" in keywords_of(name))
    assert set(info.pretrained) <= set(registry.PRETRAINED)


@pytest.mark.parametrize("name", [pytest.param(name, marks=_SLOW.get(name, ())) for name in list_models()])
def test_training_a_gate_lowers_its_loss_and_once_saved_it_predicts_the_same(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = compile_for_faces(build(name, classes=2, **undropped(name)))
    images, labels = faces(8, usual_shape(name)), np.arange(8) % 2
    losses = [model.train_on_batch(images, labels) for _ in range(2)]
    assert losses[1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(predicted(model, images), predicted(loaded, images))


@pytest.mark.parametrize("name", having("activation"))
def test_another_activation_takes_the_place_of_the_usual_one(name):
    shape, usual = built(name).input_shape[1:], keywords_of(name)["activation"]
    model = build(name, shape, 4, activation="leaky_relu")
    assert [layer.name for layer in model.layers] == [
        layer.name.replace(f"_{usual}", "_leaky_relu") for layer in built(name).layers
    ]
    kinds = [type(layer).__name__ for layer in model.layers]
    assert not {"ReLU", "Activation"} & set(kinds)
    with pytest.raises(ValueError, match="activation is 'tanh'; it must be relu or elu or gelu or silu or leaky_relu"):
        build(name, shape, activation="tanh")


def test_another_activation_is_saved(tmp_path):
    model = build("mini_xception", (16, 16, 1), activation="leaky_relu")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(predicted(model, faces(2, (16, 16, 1))), predicted(loaded, faces(2, (16, 16, 1))))


@pytest.mark.parametrize("name", having("kernel_size"))
def test_wider_kernels_leave_the_maps_their_sizes(name):
    plain = built(name)
    wide = build(name, plain.input_shape[1:], 4, kernel_size=5)
    for layer in plain.layers:
        assert wide.get_layer(layer.name).output.shape == layer.output.shape
    assert parameters(wide) > parameters(plain)
    with pytest.raises(ValueError, match="kernel_size is 4; it must be 3 or 5"):
        build(name, kernel_size=4)


@pytest.mark.slow
def test_deterministic_training_repeats_bit_for_bit():
    code = (
        "import sys, keras, tensorflow as tf; sys.path.insert(0, 'tests/models');"
        "tf.config.experimental.enable_op_determinism();"
        "from test_registry import KINDS, trained_weights\n"
        "for name in KINDS:\n"
        "    a, b = [trained_weights(name) for _ in range(2)]\n"
        "    assert len(a) > 10 and all((x == y).all() for x, y in zip(a, b, strict=True)), name"
    )
    # In a process of its own, because determinism cannot be switched off again.
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def trained_weights(name):
    keras.utils.set_random_seed(5)
    model = compile_for_faces(build(name, (32, 32, 1)))
    model.fit(faces(8, (32, 32, 1)), np.arange(8) % 3, batch_size=4, verbose=0)
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("name", ["compact_resnet", "vit_small_patch"])
def test_training_goes_on_exactly_from_all_variables(name, tmp_path):
    # A .keras file keeps weights and optimiser, but of the dropouts neither seed nor count: those are
    # in `model.variables` (not in `model.weights`), in the order of the layers.
    shape = (16, 16, 1)
    images, labels = faces(4, shape), np.arange(4) % 2
    keras.utils.set_random_seed(2)
    model = compile_for_faces(build(name, shape, dropout=0.5))
    model.fit(images, labels, batch_size=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    states = [variable.numpy() for variable in model.variables]
    model.fit(images, labels, batch_size=2, shuffle=False, verbose=0)

    keras.utils.set_random_seed(99)
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    for variable, state in zip(resumed.variables, states, strict=True):
        variable.assign(state)
    resumed.fit(images, labels, batch_size=2, shuffle=False, verbose=0)
    assert len(model.variables) > len(model.weights)
    for left, right in zip(model.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy(), err_msg=left.path)


@pytest.mark.parametrize(
    ("name", "most_parameters", "most_multiply_adds"),
    [("compact_resnet", 1.2e6, 80e6), ("hierarchical_cnn", 1.5e6, 150e6)],
)
def test_cost_stays_within_its_limits(name, most_parameters, most_multiply_adds):
    model = create_model(name)
    assert parameters(model) <= most_parameters
    assert multiply_adds(model) <= most_multiply_adds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spec": "compact_resnt"}, "unknown model 'compact_resnt'; did you mean 'compact_resnet'.*hierarchical_cnn"),
        ({"spec": "zzz"}, "unknown model 'zzz'; known: compact_resnet, convnet, .*vgg16_bn"),
        ({"drop": 0.1}, "hierarchical_cnn has no keyword drop; .*accepted: activation, batch_norm_momentum, .*dropout"),
        ({"dropuot": 0.1}, "no keyword dropuot; did you mean dropout?"),
        ({"dropout": "much"}, "dropout is 'much'; it must be a number"),
        ({"widths": (8, 8, 8)}, r"widths is \(8, 8, 8\); it must be several, each several, each a whole number"),
        ({"dense_width": 2.5}, "dense_width is 2.5; it must be a whole number"),
        ({"input_shape": (35, 48, 1)}, r"\(35, 48, 1\); .* at least 36x36 pixels and 1 or 3 channels"),
        ({"input_shape": (48, 48, 2)}, "1 or 3 channels"),
        ({"input_shape": (48, 48)}, r"needs \(height, width, channels\)"),
        ({"input_shape": 48}, "input_shape is 48"),
        ({"spec": "rgbd_fusion", "input_shape": (64, 64, 3)}, "rgbd_fusion needs .* 32x32 pixels and 4 or 2 channels"),
        ({"num_classes": 1}, "num_classes is 1; .* 2 or more"),
        ({"num_classes": 2.0}, "num_classes is 2.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"weights": "imagenet"}, "hierarchical_cnn has no ImageNet weights .*models that have: .*resnet18, .*vgg16"),
        ({"weights": "dlib-face"}, "has no dlib-face weights .*models that have: face_resnet$"),
        ({"weights": "places"}, "weights is 'places'; hierarchical_cnn takes none$"),
        ({"spec": "face_resnet", "weights": "places"}, "weights is 'places'; face_resnet takes none or dlib-face$"),
        ({"spec": "face_resnet", "weights": "imagenet"}, "face_resnet has no ImageNet weights"),
        ({"spec": "vgg16:batch_nrm=on"}, "vgg16 has no keyword batch_nrm; did you mean batch_norm?"),
        ({"spec": "vgg16:batch_norm=yes"}, "batch_norm is 'yes'; it must be on or off"),
        ({"spec": "vgg16:batch_norm"}, "'batch_norm' is no setting; write NAME:key=value"),
        ({"spec": "vgg16:dropout="}, "'dropout=' is no setting"),
        ({"spec": ":dropout=0.5"}, "'dropout=0.5' is no setting"),
        ({"spec": "vgg16:dropout=.1:dropout=.2"}, "dropout stands twice"),
        ({"spec": "vgg16:num_classes=3"}, "num_classes comes from the data"),
        ({"spec": "vgg16:head_widths=64+many"}, "it must be several, each a whole number"),
        ({"spec": None}, "model is None; it must be text"),
    ],
)
def test_bad_request_names_what_is_right(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        create_model(**{"spec": "hierarchical_cnn", **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("vgg16", ("vgg16", {})),
        ("vgg16:batch_norm=on", ("vgg16", {"batch_norm": True})),
        ("vit:depth=6:ratio=-0.5:x=1e-3", ("vit", {"depth": 6, "ratio": -0.5, "x": 0.001})),
        ("vgg16:a=off:b=none:c=same", ("vgg16", {"a": False, "b": None, "c": "same"})),
        ("vgg16:widths=1024+512:shares=.1+.2", ("vgg16", {"widths": (1024, 512), "shares": (0.1, 0.2)})),
        ("two:part=vgg16/widths=8+16/depth=1", ("two", {"part": "vgg16/widths=8+16/depth=1"})),
    ],
)
def test_spec_is_a_name_with_keywords(spec, expected):
    name, keywords = parse_spec(spec)
    assert (name, keywords) == expected
    assert [type(value) for value in keywords.values()] == [type(value) for value in expected[1].values()]


def test_facts_of_a_new_file_must_be_literals(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("@register_model(source=SOURCE)\ndef own(): ...\n", encoding="utf-8")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"own\.py:1: @register_model takes literals here, no names"):
        list_models()


def test_keywords_go_over_those_of_the_spec():
    model = create_model("convnet:widths=4+4:dense_widths=6:dropout=0.1", dense_widths=(5, 3), input_shape=(24, 24, 1))
    assert model.layers[-1].input.shape == (None, 3)
    assert [model.get_layer(name).filters for name in ("conv1", "conv2")] == [4, 4]
    assert model.get_layer("dense1_dropout").rate == 0.1


def test_a_number_alone_is_a_sequence_of_one():
    model = create_model("convnet:widths=4:dense_widths=6", input_shape=(24, 24, 1))
    assert model.layers[-1].input.shape == (None, 6)


def test_no_shape_means_grey_at_the_models_own_size():
    assert create_model("mini_xception").input_shape == (None, 64, 64, 1)


def test_own_builder_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register_model(smallest=8)
    def tiny(*, input_shape, num_classes, width=4):
        pixels = keras.Input(input_shape)
        x = keras.layers.Dense(width)(keras.layers.GlobalAveragePooling2D()(pixels))
        return keras.Model(pixels, keras.layers.Dense(num_classes, name="predictions")(x))

    assert "tiny" in list_models()
    assert model_info("tiny") == registry.ModelInfo("tiny", size=48, smallest=8, source="", pretrained=())
    assert model_info("tiny").channels == (1, 3)
    assert create_model("tiny", input_shape=(8, 8, 1), width=6).layers[-1].input.shape == (None, 6)


def test_the_function_behind_a_name_has_its_keywords():
    assert registry.builder("convnet").__module__ == "fer_hierarchy.models.convnet"
    assert "dense_widths" in keywords_of("convnet")
    with pytest.raises(ValueError, match="unknown model 'convnt'; did you mean 'convnet'"):
        registry.builder("convnt")


def test_own_builder_declares_which_channels_it_takes(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register_model(channels=(5, 2))
    def stacked(*, input_shape, num_classes):
        pixels = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling2D()(pixels)
        return keras.Model(pixels, keras.layers.Dense(num_classes, name="predictions")(x))

    assert create_model("stacked").input_shape == (None, 48, 48, 5)
    assert create_model("stacked", input_shape=(48, 48, 2)).input_shape == (None, 48, 48, 2)
    with pytest.raises(ValueError, match="at least 16x16 pixels and 5 or 2 channels"):
        create_model("stacked", input_shape=(48, 48, 3))


def test_backbone_takes_any_number_of_planes_unless_it_scales_as_imagenet_does():
    assert create_backbone("convnet:widths=4:dense_widths=4", input_shape=(24, 24, 6)).input_shape[-1] == 6
    with pytest.raises(ValueError, match="for 1 or 3 channels, not for 4"):
        create_backbone("mobilenet:alpha=0.25", input_shape=(32, 32, 4))
    with pytest.raises(ValueError, match="at least 32x32 pixels and 1 or more channels"):
        create_backbone("mobilenet", input_shape=(32, 32, 0))
    with pytest.raises(ValueError, match="rgbd_fusion is no model for pictures alone"):
        create_backbone("rgbd_fusion", input_shape=(64, 64, 4))


def test_builder_with_pretrained_weights_gets_their_name(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    given = []

    @register_model(pretrained=("imagenet", "dlib-face"))
    def learned(*, input_shape, num_classes, weights="none"):
        given.append(weights)
        pixels = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling2D()(pixels)
        return keras.Model(pixels, keras.layers.Dense(num_classes, name="predictions")(x))

    create_model("learned")
    create_model("learned", weights="imagenet")
    create_model("learned:weights=imagenet")
    create_model("learned:weights=none")
    create_model("learned", weights="dlib-face")
    assert given == ["none", "imagenet", "imagenet", "none", "dlib-face"]
    with pytest.raises(ValueError, match="'learned': no pretrained weights 'places'; known: imagenet, dlib-face"):
        register_model(pretrained=("imagenet", "places"))(learned)


def test_own_builder_without_a_predictions_layer_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register_model(smallest=8)
    def headless(*, input_shape, num_classes):
        pixels = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling2D()(pixels)
        return keras.Model(pixels, keras.layers.Dense(num_classes, name="out")(x))

    with pytest.raises(ValueError, match=r"headless ends in layer 'out' .*'predictions' of shape \(None, 7\)"):
        create_model("headless")


def test_taken_name_is_refused():
    def compact_resnet():
        raise AssertionError

    with pytest.raises(ValueError, match=r"'compact_resnet' is taken by fer_hierarchy\.models\.compact_resnet"):
        register_model(smallest=8)(compact_resnet)


def test_size_below_the_smallest_is_refused():
    def big():
        raise AssertionError

    with pytest.raises(ValueError, match="'big': its size of 48 pixels is less than its smallest, 64"):
        register_model(smallest=64)(big)
