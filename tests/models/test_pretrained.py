import sys
from types import SimpleNamespace

import keras
import pytest
from keras.src.utils import file_utils  # what keras.applications downloads with

from fer_hierarchy.models import pretrained
from fer_hierarchy.models.pretrained import check_pretrained, hub_backbone

FILE = "mobilenet_2_5_224_tf_no_top.h5"
TINY = "mobilenet:alpha=0.25"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path


def no_network(*_, **__):
    raise Exception("URL fetch failure on https://example.org/file.h5: None -- Name or service not known\nmore")


def test_missing_file_ends_in_one_line_that_names_where_it_belongs(home, monkeypatch):
    monkeypatch.setattr(file_utils, "get_file", no_network)
    with pytest.raises(ValueError, match="--weights none") as caught:
        check_pretrained(TINY, "imagenet")
    message = str(caught.value)
    assert f"{FILE} are not in {home / 'models'} and cannot be downloaded" in message
    assert "https://example.org/file.h5" in message
    assert "\n" not in message


def test_damaged_file_is_named_with_what_to_do(home, monkeypatch):
    path = home / "models" / FILE
    path.write_bytes(b"\x89HDF\r\n\x1a\n and then the connection broke")
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    with pytest.raises(ValueError, match=r"damaged .*delete the file .*--weights none") as caught:
        check_pretrained(TINY, "imagenet")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused_in_one_line(home, monkeypatch):
    path = home / "models" / FILE
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    with pytest.raises(ValueError, match=rf"{FILE} are incomplete or damaged") as caught:
        check_pretrained(TINY, "imagenet")
    assert "\n" not in str(caught.value)


def test_weights_that_are_there_pass(home, monkeypatch):
    path = home / "models" / FILE
    keras.applications.MobileNet(weights=None, include_top=False, alpha=0.25, input_shape=(32, 32, 3)).save(path)
    requested = []
    monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: requested.append(name) or str(path))
    check_pretrained(TINY, "imagenet")
    assert requested == [FILE]


def test_model_without_such_weights_names_those_that_have():
    with pytest.raises(ValueError, match=r"compact_resnet has no ImageNet weights .*efficientnet_b0, mobilenet"):
        check_pretrained("compact_resnet", "imagenet")


def test_cache_is_where_keras_looks(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    assert pretrained.keras_cache() == tmp_path / ".keras" / "models"
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "nowhere"))
    # Keras falls back on the temporary folder where it cannot write.
    assert pretrained.keras_cache().parts[-2:] == (".keras", "models")
    assert not pretrained.keras_cache().is_relative_to(tmp_path / "nowhere")


def test_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match=r"resnet_18_imagenet .*pip install keras-hub, .*--weights none"):
        hub_backbone("resnet_18_imagenet")


def test_preset_out_of_reach_ends_in_one_line(tmp_path, monkeypatch):
    backbone = SimpleNamespace(
        presets={"tiny": {"kaggle_handle": "kaggle://keras/tiny/keras/tiny/4"}}, from_preset=no_network
    )
    monkeypatch.setitem(sys.modules, "keras_hub", SimpleNamespace(models=SimpleNamespace(Backbone=backbone)))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"model\.weights\.h5, .*Name or service not known.*--weights none") as caught:
        hub_backbone("tiny")
    assert str(tmp_path / "models" / "keras" / "tiny" / "keras" / "tiny" / "4") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_backbone_of_keras_hub_comes_through(monkeypatch):
    backbone = SimpleNamespace(from_preset=lambda preset: f"backbone of {preset}")
    monkeypatch.setitem(sys.modules, "keras_hub", SimpleNamespace(models=SimpleNamespace(Backbone=backbone)))
    assert hub_backbone("tiny") == "backbone of tiny"
