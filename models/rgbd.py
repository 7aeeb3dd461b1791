"""Networks for faces in colour and depth: two backbones of the registry, and five ways of joining them.

The attention over late maps is that of F. Xue, Q. Wang and G. Guo, "TransFER: learning relation-aware facial expression
representations with transformers", ICCV 2021: several small networks of 1x1 convolutions each weigh the places of a
map, the largest weight counts, and a transformer relates the places. Its class token and positions are those of
A. Dosovitskiy and others, "An image is worth 16x16 words", ICLR 2021.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import class_token, classifier, normalised
from fer_hierarchy.models.layers import BranchDropout, DepthImage, Planes
from fer_hierarchy.models.registry import create_backbone, register_model
from fer_hierarchy.models.rgbd_settings import Fusion, Modality, Reading, backbone_specs, check_equal, no_map
from fer_hierarchy.models.settings import Count, Half, Share, check_heads

_BN_MOMENTUM = 0.9
_SQUEEZE_RATIO = 8
# Tokens are narrower than in ViT, whose kernels begin at 0.02 for 768 values: as much in all.
_DEVIATION = 0.05


@register_model(
    smallest=32, size=64, source="this project, after Xue et al., 2021", pretrained=("imagenet",), channels=(4, 2)
)
def rgbd_fusion(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    backbone: str = "compact_resnet",
    depth_backbone: str | None = None,
    fusion: Fusion = "late",
    modality: Modality = "rgbd",
    depth: Reading = "normals",
    modules: Count = 4,
    dim: Count = 128,
    blocks: Count = 2,
    heads: Count = 4,
    mlp_dim: Count = 256,
    dropout: Share = 0.2,
    branch_dropout: Half = 0.25,
    token_dropout: Share = 0.1,
    weights: str = "none",
) -> keras.Model:
    """Build a backbone for the colours, one for the depth, their fusion, and a linear head.

    Args:
        input_shape: (height, width, planes) in pixels: 3 colours or 1 grey plane in [0, 255], and behind them the
            distance from the camera in twentieths of a millimetre, 0 where nothing was measured.
        backbone: Model of the registry for the colours, `resnet18` or with settings `resnet18/stem=imagenet`; its
            layers are called `rgb_...`.
        depth_backbone: The same for depth, `depth_...`; None for the same model, with weights of its own.
        fusion: "late" puts the features of both side by side, so that their votes for each class are added; "sum" adds
            the features of both; "gated" weighs each feature by a number in (0, 1) that all features of
            its backbone decide, and mixes both; "attention" weighs the places of both last maps, adds the maps, and
            lets a transformer read the sum; "early" gives all planes to one backbone, `rgbd_...`. It changes
            nothing where `modality` is not "rgbd".
        modality: "rgbd", or "rgb" or "depth" for a backbone that gets these planes alone, for comparison.
        depth: How depth is read, "relief", "distance" or "normals"; see `models.layers.DepthImage`.
        modules: Networks that weigh the places of a map, in "attention".
        dim: Width of a token in "attention"; a multiple of `heads`.
        blocks: Transformer blocks.
        heads: Attention heads of each block.
        mlp_dim: Width of the hidden layer of each block.
        dropout: Share of features dropped before the head while training, in [0, 1).
        branch_dropout: Probability, while training, that a face reaches the fusion in colour alone, and that it does in
            depth alone, in [0, 0.5]; see `models.layers.BranchDropout`.
        token_dropout: Share of values dropped inside the transformer while training, in [0, 1).
        weights: "imagenet" where the backbone has such weights: for the colours, and for depth if its backbone is the
            same. Early fusion has more planes than such weights are for.
    """
    check_heads(dim, heads)
    pixels = keras.Input(input_shape, name="pixels")
    images = _images(pixels, modality=modality, early=fusion == "early", depth=depth)
    specs = backbone_specs(backbone, depth_backbone)
    trained = {sees: weights if sees != "depth" or specs["depth"] == specs["rgb"] else "none" for sees in specs}
    end = _late_map if len(images) == 2 and fusion == "attention" else _features
    parts = {
        sees: _branch(specs[sees], pixels, image, end=end, weights=trained[sees], name=sees)
        for sees, image in images.items()
    }
    if len(parts) == 1:
        x = next(iter(parts.values()))
    else:
        kept = BranchDropout(rate=branch_dropout, name="branch_dropout")(list(parts.values()))
        parts = dict(zip(parts, kept, strict=True))
        if fusion == "attention":
            tokens = partial(class_token, depth=blocks, heads=heads, mlp_dim=mlp_dim, dropout=token_dropout)
            x = _attended(parts, modules, dim, tokens)
        else:
            x = _joined(parts, fusion)
    return classifier(pixels, x, num_classes, dropout=dropout, name="rgbd_fusion")


def depth_image(model: keras.Model) -> DepthImage | None:
    """The layer of a network that reads depth; None where it has no depth."""
    return next((layer for layer in model.layers if isinstance(layer, DepthImage)), None)


def _images(pixels: Any, *, modality: str, early: bool, depth: str) -> dict[str, Any]:
    """The input of each backbone, by the name that its layers begin with: rgb, depth, or rgbd for both in one."""
    images, colours = {}, pixels.shape[-1] - 1
    if modality != "depth":
        images["rgb"] = Planes(first=0, count=colours, name="colours")(pixels)
    if modality != "rgb":
        plane = Planes(first=colours, count=1, name="depth_plane")(pixels)
        images["depth"] = DepthImage(reading=depth, name="depth_image")(plane)
    if modality != "rgbd" or not early:
        return images
    if depth != "normals":  # whose three planes differ
        images["depth"] = Planes(first=0, count=1, name="depth_grey")(images["depth"])
    return {"rgbd": layers.Concatenate(name="planes")(list(images.values()))}


def _branch(spec: str, pixels: Any, image: Any, *, end: Callable[..., Any], weights: str, name: str) -> Any:
    """Output of a backbone of the registry for `image`, its layers a part of the graph that begins at `pixels`.

    Args:
        spec: Of the backbone.
        pixels: The input of the complete network.
        image: Symbolic tensor that takes the place of the backbone's own input.
        end: Finds, in the backbone, the tensor that is wanted.
        weights: "none" or "imagenet".
        name: Begins the names of its layers.
    """
    try:
        model = create_backbone(spec, input_shape=image.shape[1:], weights=weights)
    except ValueError as error:
        raise ValueError(f"backbone {spec} for {name}: {error}") from error
    trunk = keras.Model(model.input, end(model, spec))

    def renamed(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "name": f"{name}_{layer.name}"})

    def call(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        return layer(*keras.tree.map_structure(lambda x: image if x is pixels else x, inputs), **options)

    branch = keras.models.clone_model(trunk, input_tensors=pixels, clone_function=renamed, call_function=call)
    if weights != "none":
        for layer in trunk.layers[1:]:
            branch.get_layer(f"{name}_{layer.name}").set_weights(layer.get_weights())
    return branch.output


def _features(model: keras.Model, spec: str) -> Any:  # noqa: ARG001 - as `_late_map`
    """What goes into the head of a model of the registry, before any dropout."""
    x = model.get_layer("predictions").input
    last = next(layer for layer in model.layers if layer.output is x)
    return last.input if isinstance(last, layers.Dropout) else x


def _late_map(model: keras.Model, spec: str) -> Any:
    """The map (batch, height, width, channels) of which a model's features are a pooling.

    Raises:
        ValueError: There is none.
    """
    pooling = next((layer for layer in model.layers if layer.name == "features"), None)
    if pooling is None or len(pooling.input.shape) != 4:
        raise no_map(spec)
    return pooling.input


def _joined(parts: dict[str, Any], fusion: str) -> Any:
    """One vector of features from the features of colour and depth."""
    if fusion == "late":
        return layers.Concatenate(name="features")(list(parts.values()))
    if fusion == "gated":
        return _gated(parts)
    check_equal({name: x.shape[1:] for name, x in parts.items()}, fusion=fusion)
    return layers.Add(name="features")(list(parts.values()))


def _gated(parts: dict[str, Any]) -> Any:
    """Weigh every feature by a gate from all features of its backbone, then mix both to the width of the colours'."""
    gated = []
    for name, x in parts.items():
        gate = layers.Dense(x.shape[-1], activation="sigmoid", name=f"{name}_gate")(x)
        gated.append(layers.Multiply(name=f"{name}_gated")([x, gate]))
    x = layers.Concatenate(name="both")(gated)
    x = layers.Dense(gated[0].shape[-1], use_bias=False, kernel_initializer="he_normal", name="mix")(x)
    x = normalised(x, _BN_MOMENTUM, name="mix")
    return layers.ReLU(name="features")(x)


def _attended(parts: dict[str, Any], modules: int, dim: int, tokens: Callable[..., Any]) -> Any:
    """Weigh the places of each map, add the maps, and let a transformer, `tokens`, read the sum."""
    check_equal({name: x.shape[1:] for name, x in parts.items()}, fusion="attention")
    weighed = []
    for name, x in parts.items():
        masks = [_mask(x, name=f"{name}_mask{number}") for number in range(1, modules + 1)]
        mask = layers.Maximum(name=f"{name}_mask")(masks) if modules > 1 else masks[0]
        weighed.append(layers.Multiply(name=f"{name}_weighed")([x, mask]))
    x = layers.Add(name="both")(weighed)
    # Normalised over the batch: what all faces share would drown what distinguishes them, and training gain little.
    x = layers.Conv2D(dim, 1, use_bias=False, name="patches")(x)
    return tokens(normalised(x, _BN_MOMENTUM, name="patches"), deviation=_DEVIATION)


def _mask(x: Any, *, name: str) -> Any:
    """A number in (0, 1) for each place of a map: (batch, height, width, 1)."""
    narrow = max(1, x.shape[-1] // _SQUEEZE_RATIO)
    x = layers.Conv2D(narrow, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_reduce")(x)
    x = normalised(x, _BN_MOMENTUM, activation="relu", name=f"{name}_reduce")
    x = layers.Conv2D(1, 1, use_bias=False, name=f"{name}_score")(x)
    x = normalised(x, _BN_MOMENTUM, name=f"{name}_score")
    return layers.Activation("sigmoid", name=name)(x)
