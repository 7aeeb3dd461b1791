import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from models import registry
from models.cost import multiply_adds, parameters
from models.registry import create_model, list_models, register_model

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ((48, 48, 1), (64, 64, 3))


def faces(count, shape=(48, 48, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("float32")


def compile_for_faces(model, learning_rate=0.05):
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def test_names_are_listed_without_importing_a_framework():
    code = (
        "import json, sys; from models.registry import list_models;"
        "print(json.dumps([list_models(), [m for m in ('keras', 'tensorflow', 'numpy') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names, imported = json.loads(done.stdout)
    assert names == ["compact_resnet", "hierarchical_cnn"]
    assert imported == []


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_model_ends_in_a_float32_layer_of_logits(name, shape, classes):
    model = create_model(name, input_shape=shape, num_classes=classes)
    last = model.layers[-1]
    assert model.input_shape == (None, *shape)
    assert model.output_shape == (None, classes)
    assert (last.name, last.dtype, last.activation) == ("predictions", "float32", keras.activations.linear)
    assert len(last.input.shape) == 2  # the features
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


@pytest.mark.parametrize("name", list_models())
def test_logits_are_finite_on_faces_and_on_blank_images(name):
    blank = np.stack([np.full((48, 48, 1), grey, "float32") for grey in (0, 1, 127, 255)])
    model = create_model(name)
    logits = model.predict(np.concatenate([faces(4), blank]), verbose=0)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert not np.allclose(logits.sum(axis=1), 1, atol=0.05)
    assert np.allclose(logits[4:], logits[4], atol=1e-5)  # brightness alone says nothing


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("shape", SHAPES)
def test_saved_model_predicts_the_same(name, shape, tmp_path):
    model = create_model(name, input_shape=shape, num_classes=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = faces(3, shape)
    np.testing.assert_array_equal(model.predict(images, verbose=0), loaded.predict(images, verbose=0))


@pytest.mark.parametrize("name", list_models())
def test_training_lowers_the_loss_on_one_repeated_batch(name):
    keras.utils.set_random_seed(1)
    # Without dropout, whose noise on eight faces hides what the steps did.
    off = {"dropout": 0.0, "stage_dropout": 0.0} if name == "hierarchical_cnn" else {"dropout": 0.0}
    model = compile_for_faces(create_model(name, num_classes=2, **off), learning_rate=0.01)
    images, labels = faces(8), np.arange(8) % 2
    losses = [model.train_on_batch(images, labels) for _ in range(2)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", list_models())
def test_deterministic_training_repeats_bit_for_bit(name):
    code = (
        "import sys, keras, tensorflow as tf; sys.path.insert(0, 'tests/models');"
        "tf.config.experimental.enable_op_determinism();"
        f"from test_registry import trained_weights; a, b = [trained_weights({name!r}) for _ in range(2)];"
        "assert len(a) > 10 and all((x == y).all() for x, y in zip(a, b, strict=True))"
    )
    # In a process of its own, because determinism cannot be switched off again.
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def trained_weights(name):
    keras.utils.set_random_seed(5)
    model = compile_for_faces(create_model(name, input_shape=(36, 36, 1), num_classes=3))
    model.fit(faces(40, (36, 36, 1)), np.arange(40) % 3, batch_size=4, epochs=2, verbose=0)  # 20 steps
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("name", list_models())
def test_training_goes_on_exactly_from_all_variables(name, tmp_path):
    # A .keras file keeps weights and optimiser, but of the dropouts neither seed nor count: those are
    # in `model.variables` (not in `model.weights`), in the order of the layers.
    images, labels = faces(8), np.arange(8) % 2
    keras.utils.set_random_seed(2)
    model = compile_for_faces(create_model(name, num_classes=2))
    model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    states = [variable.numpy() for variable in model.variables]
    model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)

    keras.utils.set_random_seed(99)
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    for variable, state in zip(resumed.variables, states, strict=True):
        variable.assign(state)
    resumed.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    assert len(model.variables) > len(model.weights)
    for left, right in zip(model.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=left.path)


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
        ({"name": "compact_resnt"}, "unknown model 'compact_resnt'; did you mean 'compact_resnet'.*hierarchical_cnn"),
        ({"name": "zzz"}, "unknown model 'zzz'; known: compact_resnet, hierarchical_cnn"),
        ({"drop": 0.1}, "hierarchical_cnn has no keyword drop; accepted: batch_norm_momentum, .*dropout"),
        ({"input_shape": (35, 48, 1)}, r"\(35, 48, 1\); .* at least 36x36 pixels and 1 or 3 channels"),
        ({"input_shape": (48, 48, 2)}, "1 or 3 channels"),
        ({"input_shape": (48, 48)}, r"needs \(height, width, channels\)"),
        ({"input_shape": 48}, "input_shape is 48"),
        ({"num_classes": 1}, "num_classes is 1; .* 2 or more"),
        ({"num_classes": 2.0}, "num_classes is 2.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_bad_request_says_what_is_right(settings, message):
    with pytest.raises(ValueError, match=message):
        create_model(**{"name": "hierarchical_cnn", **settings})


@pytest.mark.parametrize(("name", "smallest"), [("compact_resnet", 16), ("hierarchical_cnn", 36)])
def test_smallest_size_builds(name, smallest):
    model = create_model(name, input_shape=[smallest, smallest + 1, 3], num_classes=2)
    assert model.predict(faces(2, (smallest, smallest + 1, 3)), verbose=0).shape == (2, 2)


def test_own_builder_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register_model(smallest=8)
    def tiny(*, input_shape, num_classes, width=4):
        pixels = keras.Input(input_shape)
        x = keras.layers.Dense(width)(keras.layers.GlobalAveragePooling2D()(pixels))
        return keras.Model(pixels, keras.layers.Dense(num_classes, name="predictions")(x))

    assert "tiny" in list_models()
    assert create_model("tiny", input_shape=(8, 8, 1), width=6).layers[-1].input.shape == (None, 6)


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

    with pytest.raises(ValueError, match=r"'compact_resnet' is taken by models\.compact_resnet"):
        register_model(smallest=8)(compact_resnet)
