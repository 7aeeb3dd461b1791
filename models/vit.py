"""Vision transformers (Dosovitskiy et al., 2021): ViT-B/16, and one with small patches from a RAF-DB comparison.

A. Dosovitskiy and others, "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021.
"""

from typing import Any

import keras
from keras import layers, ops

from fer_hierarchy.models.blocks import class_token, classifier, scaled_rgb
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.pretrained import hub_backbone
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Count, Share, check_heads

_PRESET = "vit_base_patch16_224_imagenet"
_BASE = {"patch": 16, "depth": 12, "heads": 12, "dim": 768, "mlp_dim": 3072}
_GREY = (127.5, 127.5, 127.5)  # pixels become [-1, 1]


@register_model(smallest=8, size=224, source="Dosovitskiy et al., 2021", pretrained=("imagenet",))
def vit_b16(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    patch: Count = 16,
    depth: Count = 12,
    heads: Count = 12,
    dim: Count = 768,
    mlp_dim: Count = 3072,
    dropout: Share = 0.0,
    weights: str = "none",
) -> keras.Model:
    """Build ViT-B/16 on pixels scaled to [-1, 1], with a linear head on the class token.

    Args:
        input_shape: (height, width, channels) in pixels; height and width are multiples of `patch`.
        patch: Side of a patch in pixels.
        depth: Number of transformer blocks.
        heads: Attention heads of each block.
        dim: Width of a token; a multiple of `heads`.
        mlp_dim: Width of the hidden layer of each block.
        dropout: Share of values dropped while training, in [0, 1): of embeddings, attention and hidden layers.
        weights: "imagenet" for keras-hub's ImageNet weights, which fit the default sizes only. Trained at 224 pixels;
            at another size the embeddings of their 14x14 positions are interpolated.
    """
    sizes = {"patch": patch, "depth": depth, "heads": heads, "dim": dim, "mlp_dim": mlp_dim}
    if weights == "imagenet" and sizes != _BASE:
        base = ":".join(f"{name}={size}" for name, size in _BASE.items())
        raise ValueError(f"ImageNet weights fit vit_b16 with its own sizes only: {base}")
    pixels = keras.Input(input_shape, name="pixels")
    image = scaled_rgb(pixels, mean=_GREY, deviation=_GREY)
    maps = _patches(image, input_shape, patch, dim, heads)
    features = class_token(maps, depth=depth, heads=heads, mlp_dim=mlp_dim, dropout=dropout)
    model = classifier(pixels, features, num_classes, name="vit_b16")
    if weights == "imagenet":
        copy_hub_weights(hub_backbone(_PRESET), model)
    return model


@register_model(smallest=8, size=100, source="Dosovitskiy et al., 2021, as in a public RAF-DB comparison")
def vit_small_patch(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    patch: Count = 10,
    depth: Count = 12,
    heads: Count = 12,
    dim: Count = 768,
    mlp_dim: Count = 3072,
    dropout: Share = 0.1,
) -> keras.Model:
    """Build a ViT for small images, to be trained from scratch, with a linear head on the class token.

    The keywords are those of `vit_b16`, all but the weights.
    """
    pixels = keras.Input(input_shape, name="pixels")
    maps = _patches(Standardize(name="standardize")(pixels), input_shape, patch, dim, heads)
    features = class_token(maps, depth=depth, heads=heads, mlp_dim=mlp_dim, dropout=dropout)
    return classifier(pixels, features, num_classes, name="vit_small_patch")


def _patches(image: Any, shape: tuple[int, int, int], patch: int, dim: int, heads: int) -> Any:
    """A token for each patch of an image that is scaled already: (batch, height / patch, width / patch, dim).

    Raises:
        ValueError: The sides are no multiples of the patch, or the width of a token is none of the heads.
    """
    check_heads(dim, heads)
    for side in shape[:2]:
        if side % patch:
            below = side - side % patch
            nearest = f"{below} or {below + patch}" if below else f"{patch}"
            raise ValueError(
                f"input_shape is {shape!r}; height and width must be multiples of the patch of {patch} pixels: "
                f"instead of {side}, {nearest}"
            )
    return layers.Conv2D(dim, patch, strides=patch, name="patches")(image)


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
