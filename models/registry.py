"""Models by name: `list_models`, `model_info`, `create_model`, and `@register_model` for builders of one's own."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_hierarchy import models
from fer_hierarchy.models.spec import checked_request, checked_settings, parse_spec

if TYPE_CHECKING:  # listing names must not cost a Keras import
    import keras

NO_WEIGHTS = "none"


@dataclass(frozen=True)
class Pretrained:
    """Weights that a model can begin with.

    Attributes:
        title: What they are called in a sentence.
        origin: What they were trained on.
        normalised: Whether their batch normalisations hold statistics of the pictures that they were trained on.
    """

    title: str
    origin: str
    normalised: bool = True


# By the name that settings give them; which models have them, each builder's `@register_model` lists.
PRETRAINED = {
    "imagenet": Pretrained("ImageNet weights", "trained on the thousand classes of ImageNet"),
    "dlib-face": Pretrained(
        "dlib-face weights",
        "trained to tell people apart on about three million faces, without any label of an emotion",
        normalised=False,
    ),
}


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before it is built.

    Attributes:
        name: The name that `create_model` takes.
        size: Height and width in pixels that the model was made for; its default.
        smallest: Least height and width in pixels that the builder can work with.
        source: Paper or origin, for the listing.
        pretrained: Names of weights, of `PRETRAINED`; with any, the builder takes the keyword `weights`, "none" or one
            of them.
        channels: Channel counts that the builder accepts, its default first: 1 for grey, 3 for colour; 2 and 4 for
            those with a depth plane behind them.
        module: Where the builder is.

    Raises:
        ValueError: The size is less than the smallest, or weights have no entry.
    """

    name: str
    size: int = 48
    smallest: int = 16
    source: str = ""
    pretrained: tuple[str, ...] = ()
    channels: tuple[int, ...] = (1, 3)
    module: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.size < self.smallest:
            raise ValueError(
                f"model {self.name!r}: its size of {self.size} pixels is less than its smallest, {self.smallest}"
            )
        if unknown := set(self.pretrained) - set(PRETRAINED):
            raise ValueError(
                f"model {self.name!r}: no pretrained weights {min(unknown)!r}; known: {', '.join(PRETRAINED)}"
            )


@dataclass(frozen=True)
class _Entry:
    build: Callable[..., keras.Model]
    info: ModelInfo


_entries: dict[str, _Entry] = {}  # of the modules that are imported


def register_model(**facts: Any) -> Callable[[Callable[..., keras.Model]], Callable[..., keras.Model]]:
    """Make a builder available to `create_model` under its function name.

    The builder takes the keywords `input_shape`, (height, width, channels) in pixels, and `num_classes`, the number of
    logits, and plain keywords of its own with defaults, whose annotations limit what they take (`models.settings`). It
    returns a flat functional model: float32 pixels in [0, 255] of shape (batch, height, width, channels) in, float32
    logits of shape (batch, num_classes) out of a last layer named `predictions`. It raises a ValueError for settings
    that make no network, and for weights that cannot be had.

    Args:
        **facts: Those of `ModelInfo`, all but name and module. In a file of this folder they are literals, since they
            are read without importing the file.

    Raises:
        ValueError: The name is taken by another builder, or a fact is impossible.
    """

    def register(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
        name = build.__name__
        if name in (known := _known()) and known[name].module != build.__module__:
            raise ValueError(f"model name {name!r} is taken by {known[name].module}; choose another function name")
        _entries[name] = _Entry(build, ModelInfo(name, **facts, module=build.__module__))
        return build

    return register


def _known() -> dict[str, ModelInfo]:
    """Every model by name: those of the files in this folder, and those that were registered."""
    return _declared(tuple(models.__path__)) | {name: entry.info for name, entry in _entries.items()}


@functools.cache
def _declared(folders: tuple[str, ...]) -> dict[str, ModelInfo]:
    """The models whose builders in the files of these folders are decorated, read without importing them."""
    found = {}
    for path in sorted(path for folder in folders for path in Path(folder).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == register_model.__name__:
                    found[node.name] = ModelInfo(
                        node.name, **_literals(call, path), module=f"{models.__name__}.{path.stem}"
                    )
    return found


def _literals(call: ast.Call, path: Path) -> dict[str, Any]:
    try:
        return {str(fact.arg): ast.literal_eval(fact.value) for fact in call.keywords}
    except ValueError as error:
        raise ValueError(f"{path}:{call.lineno}: @register_model takes literals here, no names") from error


def list_models() -> tuple[str, ...]:
    """Names that `create_model` knows, sorted; imports no framework."""
    return tuple(sorted(_known()))


def model_info(name: str) -> ModelInfo:
    """What a model was made for; imports no framework.

    Raises:
        ValueError: Unknown name.
    """
    known = _known()
    if name not in known:
        raise unknown_name("unknown model", name, list_models())
    return known[name]


def unknown_name(what: str, name: str, known: Sequence[str], more: str = "") -> ValueError:
    """The error of a name that stands for no model, with the closest one that does."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"{what} {name!r}; {hint}known: {', '.join(known)}{more}")


def builder(name: str) -> Callable[..., keras.Model]:
    """The function that builds a model, for those who need its keywords; imports its module.

    Raises:
        ValueError: Unknown name.
    """
    if name not in _entries:
        importlib.import_module(f"{models.__name__}.keras_defaults")
        importlib.import_module(model_info(name).module)
    return _entries[name].build


def create_model(
    spec: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int = 7,
    weights: str = NO_WEIGHTS,
    **keywords: Any,
) -> keras.Model:
    """Build a model by name.

    Args:
        spec: One of `list_models()`, alone or with settings as in `vgg16:batch_norm=on:head_widths=1024+512`.
        input_shape: (height, width, channels) in pixels; 1 or 3 channels, or those of `model_info(name).channels`. None
            for the first of these at the model's own size.
        num_classes: Number of logits, 2 or more.
        weights: "none" to begin at random, or as in the spec; a name of `PRETRAINED` that the model has weights of.
        **keywords: The builder's own settings, such as `dropout`; they go over those of the spec.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to float32 logits. Its last layer is the Dense layer
        `predictions`; what goes into that layer are the features.

    Raises:
        ValueError: Unknown name or keyword, or a shape, class count or value that the builder cannot use, or weights
            that cannot be had.
    """
    channels = model_info(parse_spec(spec)[0]).channels
    return _create(spec, keywords, input_shape, num_classes, weights, channels=channels)


def create_backbone(spec: str, *, input_shape: tuple[int, int, int], weights: str = NO_WEIGHTS) -> keras.Model:
    """Build a model for pictures that is to become a part of another one: on any number of planes.

    Args:
        spec: As for `create_model`.
        input_shape: (height, width, planes) in pixels.
        weights: As for `create_model`.

    Returns:
        The model with a head of two classes.

    Raises:
        ValueError: As for `create_model`, or the model is not made for pictures.
    """
    check_backbone(model_info(parse_spec(spec)[0]))
    return _create(spec, {}, input_shape, 2, weights, channels=None)


def check_backbone(info: ModelInfo) -> None:
    """Check that a model can be a part of another one.

    Raises:
        ValueError: It is not made for pictures.
    """
    if 3 not in info.channels:
        raise ValueError(f"{info.name} is no model for pictures alone and cannot be a part of another; use one that is")


def _create(
    spec: str,
    keywords: dict[str, Any],
    input_shape: tuple[int, int, int] | None,
    num_classes: int,
    weights: str,
    *,
    channels: tuple[int, ...] | None,
) -> keras.Model:
    name, settings = parse_spec(spec)
    info, build = model_info(name), builder(name)
    of_spec = settings.pop("weights", None)  # parse_spec reads none as None
    if weights == NO_WEIGHTS and of_spec is not None:
        weights = of_spec
    wanted = (info.size, info.size, info.channels[0]) if input_shape is None else input_shape
    shape = checked_request(name, wanted, num_classes, smallest=info.smallest, channels=channels)
    settings = checked_settings(name, build, settings | keywords)
    _check_weights(info, weights)
    if info.pretrained:
        settings["weights"] = weights
    model = build(input_shape=shape, num_classes=num_classes, **settings)
    _check_contract(name, model, num_classes)
    return model


def _check_weights(info: ModelInfo, weights: object) -> None:
    if weights in (NO_WEIGHTS, *info.pretrained):
        return
    if weights not in PRETRAINED:
        raise ValueError(f"weights is {weights!r}; {info.name} takes {' or '.join((NO_WEIGHTS, *info.pretrained))}")
    having = ", ".join(name for name in list_models() if weights in model_info(name).pretrained)
    raise ValueError(f"{info.name} has no {PRETRAINED[weights].title} (use weights none); models that have: {having}")


def _check_contract(name: str, model: keras.Model, num_classes: int) -> None:
    last = model.layers[-1]
    if last.name != "predictions" or last.dtype != "float32" or model.output_shape != (None, num_classes):
        raise ValueError(
            f"{name} ends in layer {last.name!r} ({last.dtype}, shape {model.output_shape}); "
            f"it must end in a float32 layer 'predictions' of shape (None, {num_classes})"
        )
