"""Vision transformers (Dosovitskiy et al., 2021): ViT-B/16, and one with small patches from a RAF-DB comparison.

A. Dosovitskiy and others, "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021.
"""

from typing import Any

import keras
from keras import layers, ops

from fer_hierarchy.models.blocks import class_token, scaled_rgb
from fer_hierarchy.models.checks import check_counts, check_shares
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.pretrained import hub_backbone
from fer_hierarchy.models.registry import register_model

_PRESET = "vit_base_patch16_224_imagenet"
_BASE = {"patch": 16, "depth": 12, "heads": 12, "dim": 768, "mlp_dim": 3072}
_GREY = (127.5, 127.5, 127.5)  # pixels become [-1, 1]


@register_model(smallest=8, size=224, source="Dosovitskiy et al., 2021", pretrained=("imagenet",))
def vit_b16(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    patch: int = 16,
    depth: int = 12,
    heads: int = 12,
    dim: int = 768,
    mlp_dim: int = 3072,
    dropout: float = 0.0,
    weights: str = "none",
) -> keras.Model:
    """Build ViT-B/16 on pixels scaled to [-1, 1], with a linear head on the class token.

    Args:
        input_shape: (height, width, channels) in pixels; height and width are multiples of `patch`.
        num_classes: Number of logits.
        patch: Side of a patch in pixels.
        depth: Number of transformer blocks.
        heads: Attention heads of each block.
        dim: Width of a token; a multiple of `heads`.
        mlp_dim: Width of the hidden layer of each block.
        dropout: Share of values dropped while training, in [0, 1): of embeddings, attention and hidden layers.
        weights: "imagenet" for keras-hub's ImageNet weights, which fit the default sizes only. Trained at 224 pixels;
            at another size the embeddings of their 14x14 positions are interpolated.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network, or the weights cannot be had.
    """
    sizes = {"patch": patch, "depth": depth, "heads": heads, "dim": dim, "mlp_dim": mlp_dim}
    if weights == "imagenet" and sizes != _BASE:
        base = ":".join(f"{name}={size}" for name, size in _BASE.items())
        raise ValueError(f"ImageNet weights fit vit_b16 with its own sizes only: {base}")
    _check(input_shape, **sizes, dropout=dropout)
    pixels = keras.Input(input_shape, name="pixels")
    features = _transformer(scaled_rgb(pixels, mean=_GREY, deviation=_GREY), **sizes, dropout=dropout)
    logits = layers.Dense(num_classes, dtype="float32", name="predictions")(features)
    model = keras.Model(pixels, logits, name="vit_b16")
    if weights == "imagenet":
        copy_hub_weights(hub_backbone(_PRESET), model)
    return model


@register_model(smallest=8, size=100, source="Dosovitskiy et al., 2021, as in a public RAF-DB comparison")
def vit_small_patch(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    patch: int = 10,
    depth: int = 12,
    heads: int = 12,
    dim: int = 768,
    mlp_dim: int = 3072,
    dropout: float = 0.1,
) -> keras.Model:
    """Build a ViT for small images, to be trained from scratch, with a linear head on the class token.

    Args:
        input_shape: (height, width, channels) in pixels; height and width are multiples of `patch`.
        num_classes: Number of logits.
        patch: Side of a patch in pixels.
        depth: Number of transformer blocks.
        heads: Attention heads of each block.
        dim: Width of a token; a multiple of `heads`.
        mlp_dim: Width of the hidden layer of each block.
        dropout: Share of values dropped while training, in [0, 1): of embeddings, attention and hidden layers.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    settings = {"patch": patch, "depth": depth, "heads": heads, "dim": dim, "mlp_dim": mlp_dim, "dropout": dropout}
    _check(input_shape, **settings)
    pixels = keras.Input(input_shape, name="pixels")
    features = _transformer(Standardize(name="standardize")(pixels), **settings)
    logits = layers.Dense(num_classes, dtype="float32", name="predictions")(features)
    return keras.Model(pixels, logits, name="vit_small_patch")


def _check(
    shape: tuple[int, int, int], *, patch: int, depth: int, heads: int, dim: int, mlp_dim: int, dropout: float
) -> None:
    check_counts(patch=patch, depth=depth, heads=heads, dim=dim, mlp_dim=mlp_dim)
    check_shares(dropout=dropout)
    if dim % heads:
        raise ValueError(f"dim is {dim!r} and heads is {heads!r}; dim must be a multiple of heads")
    for side in shape[:2]:
        if side % patch:
            below = side - side % patch
            nearest = f"{below} or {below + patch}" if below else f"{patch}"
            raise ValueError(
                f"input_shape is {shape!r}; height and width must be multiples of the patch of {patch} pixels: "
                f"instead of {side}, {nearest}"
            )


def _transformer(
    image: Any, *, patch: int, depth: int, heads: int, dim: int, mlp_dim: int, dropout: float
) -> keras.KerasTensor:
    """Normalised class token, (batch, dim), of an image that is scaled already."""
    maps = layers.Conv2D(dim, patch, strides=patch, name="patches")(image)
    return class_token(maps, depth=depth, heads=heads, mlp_dim=mlp_dim, dropout=dropout)


def copy_hub_weights(backbone: keras.Model, model: keras.Model) -> None:
    """Copy the weights of a `ViTBackbone` of keras-hub into a model of this file with the same sizes.

    Args:
        backbone: Its positions may be those of another image size; they are interpolated.
        model: Everything but its head is overwritten.
    """
    embedding, encoder = backbone.get_layer("vit_patching_and_embedding"), backbone.get_layer("vit_encoder")
    grid = model.get_layer("patches").output.shape[1:3]
    positions = resized_positions(embedding.position_embedding.embeddings, _grid(embedding), grid)
    model.get_layer("patches").set_weights(embedding.patch_embedding.get_weights())
    model.get_layer("tokens").set_weights([embedding.class_token, positions])
    for number, block in enumerate(encoder.encoder_layers, start=1):
        parts = {
            "norm1": block.layer_norm_1,
            "attention": block.mha,
            "norm2": block.layer_norm_2,
            "mlp1": block.mlp.dense_1,
            "mlp2": block.mlp.dense_2,
        }
        for name, layer in parts.items():
            model.get_layer(f"block{number}_{name}").set_weights(layer.get_weights())
    model.get_layer("norm").set_weights(encoder.layer_norm.get_weights())


def _grid(embedding: keras.layers.Layer) -> tuple[int, int]:
    height, width = (side // patch for side, patch in zip(embedding.image_size, embedding.patch_size, strict=True))
    return height, width


def resized_positions(positions: Any, before: tuple[int, int], after: tuple[int, int]) -> Any:
    """Interpolate position embeddings bilinearly to another grid of patches (section 3.2 of the paper).

    Args:
        positions: (1 + height * width, dim) embeddings; the class token's comes first and stays as it is.
        before: (height, width) in patches.
        after: The same of the result.

    Returns:
        (1, 1 + height * width, dim) embeddings.
    """
    token, grid = positions[:1], positions[1:]
    grid = ops.image.resize(ops.reshape(grid, (*before, -1)), after, interpolation="bilinear")
    return ops.concatenate([token, ops.reshape(grid, (after[0] * after[1], -1))])[None]
