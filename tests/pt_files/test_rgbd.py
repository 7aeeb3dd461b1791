"""What parity does not show of the PyTorch network for colour and depth: its statistics, timm's backbones, refusals."""

import pytest

pytest.importorskip("torch")

import sys
from types import SimpleNamespace

import keras
import numpy as np
import torch

from fer_hierarchy.models import rgbd as keras_rgbd
from fer_hierarchy.models.layers import DepthImage as KerasDepthImage
from fer_hierarchy.models.rgbd_settings import READINGS
from fer_hierarchy.pt_files.convert import convert, to_keras, to_torch
from fer_hierarchy.pt_files.layers import DepthImage
from fer_hierarchy.pt_files.model_file import read_model
from fer_hierarchy.pt_files.registry import create_model, model_info
from fer_hierarchy.pt_files.rgbd import BranchDropout, depth_image
from fer_hierarchy.pt_files.transformer import ClassTokenAndPositions, linear
from tests.pt_files.conftest import RGBD, made_up_faces


def build(shape=(32, 32, 4), **settings):
    return create_model("rgbd_fusion", input_shape=shape, num_classes=3, **{**RGBD, **settings}).eval()


def as_tensor(faces):
    return torch.from_numpy(faces).permute(0, 3, 1, 2)


@pytest.mark.parametrize("reading", READINGS)
def test_depth_is_read_as_in_keras(reading):
    depth = np.round(made_up_faces(3, (20, 24, 2))[..., 1:])
    depth[0, :, :12] += 1_000  # a step
    ours, theirs = DepthImage(reading), KerasDepthImage(reading=reading)
    theirs.build((None, None, None, 1))
    for layer in (ours, theirs):
        layer.set_statistics(1.5, 12.0)
    np.testing.assert_allclose(ours(as_tensor(depth)).permute(0, 2, 3, 1), theirs(depth), atol=2e-3)


def test_statistics_are_kept_by_conversion_both_ways(make_pair):
    keras_model, torch_model = make_pair("rgbd_fusion", (32, 32, 4), **RGBD)
    keras_rgbd.depth_image(keras_model).set_statistics(4.0, 25.0)
    to_torch(keras_model, torch_model)
    assert [float(value) for value in torch_model.layers.depth_image.state_dict().values()] == [4.0, 25.0]
    depth_image(torch_model).set_statistics(-3.0, 31.0)
    to_keras(torch_model, keras_model)
    assert [float(value) for value in keras_model.get_layer("depth_image").weights] == [-3.0, 31.0]


def test_statistics_change_what_reads_heights_alone():
    faces = as_tensor(made_up_faces(2, (32, 32, 4)))
    for settings, changes in (({}, True), ({"depth": "normals"}, False)):
        model = build(**settings)
        with torch.no_grad():
            before = model(faces)
            depth_image(model).set_statistics(5.0, 40.0)
            assert (not torch.equal(model(faces), before)) == changes
    with pytest.raises(ValueError, match="deviation is 0"):
        depth_image(build()).set_statistics(5.0, 0)


def test_depth_layer_is_found_where_there_is_one():
    assert depth_image(build(depth="distance")).reading == "distance"
    assert depth_image(build(modality="rgb")) is None
    assert depth_image(create_model("shallow_cnn")) is None


def test_file_is_converted_by_its_spec(tmp_path):
    spec = (
        "rgbd_fusion:backbone=compact_resnet/widths=8+8/blocks=1+1/strides=2+2:dim=8:heads=2:modality=rgbd:depth=relief"
    )
    from fer_hierarchy.models.registry import create_model as create_keras

    create_keras(spec, input_shape=(32, 32, 4), num_classes=3).save(tmp_path / "model.keras")
    assert convert(tmp_path / "model.keras", tmp_path / "model.pt", spec=spec) < 1e-4
    assert convert(tmp_path / "model.pt", tmp_path / "again.keras") < 1e-4
    assert read_model(tmp_path / "model.pt").spec == spec
    before, after = (keras.saving.load_model(tmp_path / name) for name in ("model.keras", "again.keras"))
    assert all((a == b).all() for a, b in zip(before.get_weights(), after.get_weights(), strict=True))


def test_dropout_of_tokens_acts_in_training_only():
    model, faces = build(token_dropout=0.5), as_tensor(made_up_faces(2, (32, 32, 4)))
    assert torch.equal(model(faces), model(faces))
    # The rest of the network, normalised by the batch, predicts as before.
    assert not torch.equal(model.train()(faces), model(faces))


def test_token_weights_start_from_the_same_distribution_as_in_keras():
    ours = linear(128, 256, deviation=0.05).weight.detach()
    theirs = np.asarray(keras.initializers.TruncatedNormal(stddev=0.05, seed=0)((128, 256)))
    assert float(ours.std()) == pytest.approx(theirs.std(), rel=0.03)
    assert float(abs(ours).max()) == pytest.approx(abs(theirs).max(), rel=0.03)
    tokens = ClassTokenAndPositions(64, 128)
    assert float(tokens.positions.detach().std()) == pytest.approx(0.0176, rel=0.05)  # 0.02, cut at two deviations
    assert not tokens.token.any()


class Backbone(torch.nn.Module):
    """Three features: the mean of each colour."""

    def forward(self, x):
        return x.mean(dim=(2, 3))


@pytest.fixture
def timm(monkeypatch):
    """A stand-in for the library, which needs torchvision."""
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=lambda *_, **__: Backbone()))


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("planes", [4, 2])
@pytest.mark.parametrize("fusion", ["sum", "gated"])
def test_backbones_of_timm_give_features(fusion, planes):
    spec = f"rgbd_fusion:backbone=timm/tiny:fusion={fusion}"
    model = create_model(spec, input_shape=(32, 32, planes), num_classes=3).eval()
    faces = as_tensor(made_up_faces(2, (32, 32, planes)))
    assert model(faces).shape == (2, 3)
    assert model.features(faces).shape == (2, 3)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"backbone": "timm:tiny", "fusion": "attention"},
            "fusion=attention needs the map .*, and timm:tiny has none",
        ),
        (
            {"backbone": "timm:tiny", "fusion": "early"},
            "backbone timm:tiny for rgbd: .* 32x32 pixels and 1 or 3 channels",
        ),
        ({"backbone": "mobilenet"}, "backbone mobilenet for rgb: no PyTorch twin of model 'mobilenet'"),
        ({"backbone": "rgbd_fusion"}, "rgbd_fusion is no model for pictures alone"),
        ({"backbone": "shallow_cnn", "fusion": "attention"}, "shallow_cnn has none; use fusion gated"),
        (
            {"fusion": "sum", "depth_backbone": "shallow_cnn"},
            "fusion=sum adds what both backbones give, which is 16 and 64",
        ),
        ({"fusion": "middle"}, "fusion is 'middle'"),
        ({"dim": 13}, "dim is 13 and heads is 3"),
        ({"shape": (32, 32, 3)}, "at least 32x32 pixels and 4 or 2 channels"),
        ({"shape": (31, 32, 4)}, "at least 32x32 pixels"),
        ({"weights": "imagenet"}, "the PyTorch twin of rgbd_fusion has no weights of its own"),
    ],
)
def test_bad_settings_end_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(**settings)
    assert "\n" not in str(caught.value)


def test_default_shape_is_colour_with_depth():
    assert model_info("rgbd_fusion").channels == (4, 2)
    assert create_model("rgbd_fusion").layers.rgb.stem.in_channels == 3


def test_branch_dropout_leaves_each_face_one_branch_at_least():
    torch.manual_seed(0)
    layer = BranchDropout(0.25).train()
    first, second = layer(torch.ones(400, 2), torch.ones(400, 1, 2, 2))
    seen = first[:, 0] + 2 * second[:, 0, 0, 0]  # 1 colour alone, 2 depth alone, 3 both
    shares = [(seen == kind).float().mean().item() for kind in (0, 1, 2, 3)]
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([0.25, 0.25, 0.5], abs=0.07)
    assert all((kept == 1).all() for kept in layer.eval()(torch.ones(4, 2), torch.ones(4, 1, 2, 2)))
