"""Pretrained weights: whether they can be had; and those that keras.applications and keras-hub download and keep."""

import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from fer_hierarchy.models.registry import create_model, model_info
from fer_hierarchy.models.spec import parse_spec

_WITHOUT = "train without them: --weights none"


def check_pretrained(spec: str, weights: str) -> None:
    """Get the weights of a model, so that their absence is known before any data is read.

    Args:
        spec: Name or spec of a model; see `models.registry.create_model`.
        weights: Their name, of `models.registry.PRETRAINED`.

    Raises:
        ValueError: The model has no such weights, or they can neither be found nor downloaded.
    """
    name, settings = parse_spec(spec)
    info = model_info(name)
    channels = 3 if 3 in info.channels else info.channels[0]
    create_model(name, input_shape=(info.size, info.size, channels), num_classes=2, **{**settings, "weights": weights})


def application(build: Callable[..., keras.Model], *, file: str, **keywords: Any) -> keras.Model:
    """Build a network of `keras.applications` with its ImageNet weights.

    Args:
        build: A builder of `keras.applications`.
        file: Name of the weights file that it downloads, for errors.
        **keywords: The builder's own settings.

    Raises:
        ValueError: The file cannot be downloaded, or is damaged.
    """
    try:
        return build(weights="imagenet", **keywords)
    except Exception as error:  # Keras's download raises that very class
        path, reason = keras_cache() / file, _first_line(error)
        if path.exists():
            problem = f"ImageNet weights {path} are incomplete or damaged ({reason})"
            way = "delete the file and they are downloaded again"
        else:
            problem = f"ImageNet weights {file} are not in {path.parent} and cannot be downloaded ({reason})"
            way = "put the file there"
        raise ValueError(f"{problem}; {way}, or {_WITHOUT}") from error


def keras_cache() -> Path:
    """The folder where Keras keeps the weights of `keras.applications`; KERAS_HOME moves it."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    # As keras.utils.get_file decides.
    if not os.access(home, os.W_OK):
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()) / ".keras"
    return home / "models"


def hub_backbone(preset: str) -> keras.Model:
    """Load a backbone of keras-hub, an optional package, with its ImageNet weights.

    Args:
        preset: Name of the preset, such as `resnet_18_imagenet`.

    Raises:
        ValueError: keras-hub is not installed, or the weights can neither be found nor downloaded.
    """
    try:
        keras_hub = importlib.import_module("keras_hub")
    except ImportError as error:
        raise ValueError(
            f"ImageNet weights {preset} come with the package keras-hub, which cannot be imported "
            f"({_first_line(error)}); pip install keras-hub, or {_WITHOUT}"
        ) from error
    try:
        return keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # of requests, kagglehub, h5py and keras-hub, which share no other base
        handle = keras_hub.models.Backbone.presets.get(preset, {}).get("kaggle_handle", preset)
        folder = hub_cache() / handle.removeprefix("kaggle://")
        raise ValueError(
            f"ImageNet weights {preset}, files config.json and model.weights.h5, cannot be loaded from {folder} or "
            f"downloaded ({_first_line(error)}); delete that folder if it is incomplete, or {_WITHOUT}"
        ) from error


def hub_cache() -> Path:
    """The folder where keras-hub's presets are kept; KAGGLEHUB_CACHE moves it."""
    return Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub") / "models"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
