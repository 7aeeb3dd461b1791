import pytest

pytest.importorskip("torch")

import keras
import numpy as np
import torch

from fer_hierarchy.models.blocks import activated
from fer_hierarchy.models.settings import ACTIVATIONS
from fer_hierarchy.pt_files.layers import (
    BatchNorm,
    SameConv2d,
    Standardize,
    activation_layer,
    convolution,
    same_padding,
    start_he_normal,
)


def test_each_image_gets_zero_mean_and_unit_variance_and_a_blank_one_zero():
    images = torch.randn(3, 3, 12, 10) * torch.tensor([10.0, 40.0, 0.0])[:, None, None, None] + 120
    out = Standardize()(images)
    np.testing.assert_allclose(out.mean(dim=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(dim=(1, 2, 3)), [1, 1, 0], atol=0.01)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 5)])
def test_batch_statistics_are_averaged_as_they_are(shape):
    layer, x = BatchNorm(3, momentum=0.75), torch.randn(shape) * 3 + 1
    values = x.movedim(1, 0).reshape(3, -1)
    out = layer.train()(x).movedim(1, 0).reshape(3, -1)
    np.testing.assert_allclose(layer.running_mean, 0.25 * values.mean(dim=1), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * values.var(dim=1, correction=0), rtol=1e-5)
    np.testing.assert_allclose(out.detach().mean(dim=1), 0, atol=1e-5)


def test_batch_statistics_stay_as_they_are_in_evaluation():
    layer = BatchNorm(3).eval()
    layer(torch.randn(6, 3))
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("sizes", "padding"),
    [((48, 3, 2), (0, 1)), ((47, 3, 2), (1, 1)), ((10, 4, 1), (1, 2)), ((9, 1, 2), (0, 0))],
)
def test_surplus_padding_goes_to_the_end(sizes, padding):
    assert same_padding(*sizes) == padding


def test_strided_convolution_sees_the_first_pixel_first():
    layer = SameConv2d(1, 1, 3, stride=2, bias=False)
    torch.nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0, 0, 0] = 1  # takes the upper left pixel of each window
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(image)[0, 0].tolist() == [[0, 2], [8, 10]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_compute_what_they_do_in_keras(name):
    values = np.linspace(-6, 6, 97, dtype="float32")
    expected = keras.ops.convert_to_numpy(activated(values, name, name=name))
    np.testing.assert_allclose(activation_layer(name)(torch.from_numpy(values)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [convolution(16, 64, 3), start_he_normal(torch.nn.Linear(144, 64))])
def test_weights_start_from_the_same_distribution_as_in_keras(layer):
    ours = layer.weight.detach().flatten()
    theirs = np.ravel(keras.initializers.HeNormal(seed=0)((3, 3, 16, 64)))
    assert float(ours.std()) == pytest.approx(theirs.std(), rel=0.03)
    assert float(abs(ours).max()) == pytest.approx(abs(theirs).max(), rel=0.03)  # both are cut at two deviations
