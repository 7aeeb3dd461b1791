"""That twins predict and train alike: the same cost, logits, step of training and weights there and back."""

import pytest

pytest.importorskip("torch")


import keras
import numpy as np
import torch
from PIL import Image

from fer_hierarchy.models import cost as keras_cost
from fer_hierarchy.pt_files import cost as torch_cost
from fer_hierarchy.pt_files.convert import largest_difference, state_dict_from_keras, to_keras, to_torch
from tests.conftest import CHECKOUT
from tests.pt_files.conftest import SMALL, made_up_faces, scatter

REAL = CHECKOUT.parent / "shared" / "data" / "fer2013" / "test"
FULL = ("compact_resnet", "deep_cnn", "hierarchical_cnn", "vgg13:batch_norm=on")
CLOSE = 1e-4  # of logits
# Statistics of depth do not learn, and a shift of all keys alike changes no attention.
UNMOVED = ("depth_image.mean", "depth_image.deviation", "attention.key.bias")


@pytest.fixture(scope="module", params=FULL)
def full_pair(request, make_pair):
    keras_model, torch_model = make_pair(request.param, (48, 48, 1))
    to_torch(keras_model, torch_model)
    return keras_model, torch_model


@pytest.mark.parametrize("label", SMALL)
def test_twins_cost_the_same_predict_alike_and_give_their_weights_back(small_pair, label):
    keras_model, torch_model = small_pair(label)
    original = [weight.numpy() for weight in keras_model.weights]
    to_torch(keras_model, torch_model)
    shape = SMALL[label][1]
    assert torch_cost.parameters(torch_model) == keras_cost.parameters(keras_model)
    assert torch_cost.multiply_adds(torch_model, shape) == keras_cost.multiply_adds(keras_model)
    faces = made_up_faces(8, shape)
    assert largest_difference(keras_model, torch_model, faces) < CLOSE
    backbone = keras.Model(keras_model.input, keras_model.get_layer("predictions").input)
    with torch.no_grad():
        features = torch_model.features(torch.from_numpy(faces).permute(0, 3, 1, 2))
    np.testing.assert_allclose(features, backbone(faces, training=False), rtol=1e-4, atol=1e-4)
    scatter(keras_model, seed=1)
    to_keras(torch_model, keras_model)
    for weight, value in zip(keras_model.weights, original, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value, err_msg=weight.path)


def test_twins_of_full_size_predict_alike(full_pair):
    keras_model, torch_model = full_pair
    assert torch_cost.parameters(torch_model) == keras_cost.parameters(keras_model)
    assert largest_difference(keras_model, torch_model, made_up_faces(4, (48, 48, 1))) < CLOSE


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real FER-2013 folder is not beside the checkout")
def test_twins_predict_alike_on_real_faces(full_pair):
    files = [sorted(folder.glob("*.*"))[0] for folder in sorted(REAL.iterdir())]
    faces = np.stack([np.asarray(Image.open(file).convert("L"), "float32")[..., None] for file in files])
    assert largest_difference(*full_pair, faces) < CLOSE


@pytest.fixture
def _doubles():
    """Keras layers compute in float64, where no rounding tips a value over the edge of a ReLU or a pooling."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.usefixtures("_doubles")
@pytest.mark.parametrize("label", SMALL)
def test_one_step_of_training_moves_twins_alike(small_pair, label):
    keras_model, torch_model = small_pair(label)
    torch_model.double()
    to_torch(keras_model, torch_model)
    before = {key: value.clone() for key, value in torch_model.state_dict().items()}
    faces, labels = made_up_faces(8, SMALL[label][1])[:7], np.arange(7) % 4
    losses = keras_step(keras_model, faces, labels), torch_step(torch_model, faces, labels)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    after = state_dict_from_keras(keras_model, torch_model)
    for key, value in torch_model.state_dict().items():
        moved = abs(value - before[key]).max().item()
        assert moved > 1e-6 or key.endswith(UNMOVED), key
        # The head is of float32 in every model, and with it the whole gradient.
        np.testing.assert_allclose(value, after[key], rtol=0, atol=1e-5 * moved + 1e-7, err_msg=key)


def keras_step(model, faces, labels):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True), loss, run_eagerly=True)
    return float(model.train_on_batch(faces, labels))


def torch_step(model, faces, labels):
    optimizer = torch.optim.SGD(model.train().parameters(), 0.05, momentum=0.9, nesterov=True)
    logits = model(torch.from_numpy(faces).double().permute(0, 3, 1, 2))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    optimizer.step()
    return loss.item()
