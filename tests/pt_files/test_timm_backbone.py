import pytest

pytest.importorskip("torch")

import sys
from types import SimpleNamespace

import torch

from fer_hierarchy.pt_files.registry import create_model, model_info


class Backbone(torch.nn.Module):
    """Five features of an image of 32 pixels: the mean of each channel, its least and its largest value."""

    def forward(self, x):
        assert x.shape[2] == 32, "Input height doesn't match model (32)."
        return torch.cat([x.mean(dim=(2, 3)), x.amin(dim=(1, 2, 3))[:, None], x.amax(dim=(1, 2, 3))[:, None]], dim=1)


def make(name, *, pretrained, num_classes):
    if name != "tiny":
        raise RuntimeError(f"Unknown model ({name})")
    backbone = Backbone()
    backbone.pretrained = pretrained
    assert num_classes == 0
    return backbone


@pytest.fixture
def timm(monkeypatch):
    """A stand-in for the library, which needs torchvision."""
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=make))


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_scaled_as_imagenet_weights_expect(channels):
    model = create_model("timm:tiny", input_shape=(32, 32, channels), num_classes=3).eval()
    pixels = torch.full((2, channels, 32, 32), 255.0)
    # Mean and deviation of ImageNet's colours for pixels in [0, 1].
    expected = [(1 - m) / d for m, d in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert model.features(pixels)[0, :3].tolist() == pytest.approx(expected, abs=1e-5)
    assert model(pixels).shape == (2, 3)


@pytest.mark.usefixtures("timm")
def test_settings_of_the_spec_arrive():
    model = create_model("timm:tiny:weights=imagenet:dropout=0.3", input_shape=(32, 32, 3))
    assert model.layers.backbone.pretrained
    assert model.layers.dropout.p == 0.3
    assert model.layers.predictions.in_features == 5
    assert model_info("timm:tiny").size == 224


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("spec", "side", "message"),
    [
        ("timm:large", 32, r"timm cannot make 'large': Unknown model \(large\)"),
        ("timm:tiny", 48, "timm:tiny cannot take images of 48x48 pixels: Input height doesn't match"),
        ("timm:tiny:weights=mine", 32, "weights is 'mine'; it must be none or imagenet"),
        ("timm:tiny:width=3", 32, "timm:tiny:width=3 has no keyword width"),
        ("timm:tiny", 16, "at least 32x32 pixels"),
    ],
)
def test_bad_request_names_what_is_right(spec, side, message):
    with pytest.raises(ValueError, match=message):
        create_model(spec, input_shape=(side, side, 3))


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="model timm:resnet18 needs the library timm, which does not import"):
        create_model("timm:resnet18")
