"""GoogLeNet (Szegedy et al., 2015) with batch normalisation, as its users know it from torchvision.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015. Normalisation: S. Ioffe and C. Szegedy, "Batch
normalization: accelerating deep network training by reducing internal covariate shift", ICML 2015.

Two things differ from the paper, both as in torchvision. Every convolution is normalised; and the branch that the paper
gives 5x5 kernels has 3x3 ones, a slip of the first port that all published weights since have kept. The two auxiliary
heads are left out: they carried gradients to the early layers of a network without normalisation, which this one does
not need, and a model here has one output.
"""

from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import convolution
from fer_hierarchy.models.checks import check_choice, check_positive, check_shares
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model

_EPSILON = 1e-3
# Channels of the four branches: 1x1; 1x1 then 3x3; 1x1 then 3x3 (5x5 in the paper); pooling then 1x1.
_STAGES = {
    3: {"a": (64, 96, 128, 16, 32, 32), "b": (128, 128, 192, 32, 96, 64)},
    4: {
        "a": (192, 96, 208, 16, 48, 64),
        "b": (160, 112, 224, 24, 64, 64),
        "c": (128, 128, 256, 24, 64, 64),
        "d": (112, 144, 288, 32, 64, 64),
        "e": (256, 160, 320, 32, 128, 128),
    },
    5: {"a": (256, 160, 320, 32, 128, 128), "b": (384, 192, 384, 48, 128, 128)},
}


@register_model(smallest=32, size=224, source="Szegedy et al., 2015")
def googlenet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: str = "imagenet",
    width_factor: float = 1.0,
    dropout: float = 0.2,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Build the stem, nine inception blocks, and a linear head on the averaged map.

    Args:
        input_shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        stem: "imagenet" shrinks the picture to an eighth before the first block, as in the paper. At 48 pixels that
            leaves 6x6, and 2x2 for the last blocks; "small" shrinks it to a half only, at sixteen times the cost.
        width_factor: Multiplies the channels of every convolution.
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.

    Returns:
        A flat functional model from float32 pixels in [0, 255] to logits.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    check_choice("stem", stem, ("imagenet", "small"))
    check_shares(dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    check_positive(width_factor=width_factor)
    settings = {"momentum": batch_norm_momentum, "epsilon": _EPSILON}
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    x = _stem(x, stem, width_factor, settings)
    for stage, stage_blocks in _STAGES.items():
        if stage > 3:
            # torchvision's last pooling takes 2x2 pixels, its others 3x3.
            x = _halved(x, 3 if stage == 4 else 2, name=f"pool{stage - 1}")
        for letter, widths in stage_blocks.items():
            channels = [_scaled(width, width_factor) for width in widths]
            x = _inception(x, channels, settings, name=f"block{stage}{letter}")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="predictions")(x)
    return keras.Model(pixels, logits, name="googlenet")


def _scaled(width: int, factor: float) -> int:
    return max(1, round(width * factor))


def _stem(x: Any, stem: str, factor: float, settings: dict[str, float]) -> Any:
    if stem == "small":
        x = convolution(x, _scaled(64, factor), 3, name="conv1", **settings)
    else:
        x = convolution(x, _scaled(64, factor), 7, stride=2, name="conv1", **settings)
        x = _halved(x, 3, name="pool1")
    x = convolution(x, _scaled(64, factor), 1, name="conv2", **settings)
    x = convolution(x, _scaled(192, factor), 3, name="conv3", **settings)
    return _halved(x, 3, name="pool2")


def _halved(x: Any, size: int, *, name: str) -> Any:
    """Take the maximum of size x size pixels at every second one, in windows that may reach over bottom and right."""
    over = [(side - size) % 2 for side in x.shape[1:3]]
    if any(over):
        # Nothing is below zero after the ReLUs, so zeros at the border never win.
        x = layers.ZeroPadding2D(((0, over[0]), (0, over[1])), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides=2, name=name)(x)


def _inception(x: Any, widths: list[int], settings: dict[str, float], *, name: str) -> Any:
    first, reduce2, second, reduce3, third, fourth = widths
    branch1 = convolution(x, first, 1, name=f"{name}_branch1", **settings)
    branch2 = convolution(x, reduce2, 1, name=f"{name}_branch2_reduce", **settings)
    branch2 = convolution(branch2, second, 3, name=f"{name}_branch2", **settings)
    branch3 = convolution(x, reduce3, 1, name=f"{name}_branch3_reduce", **settings)
    branch3 = convolution(branch3, third, 3, name=f"{name}_branch3", **settings)
    branch4 = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_branch4_pool")(x)
    branch4 = convolution(branch4, fourth, 1, name=f"{name}_branch4", **settings)
    return layers.Concatenate(name=name)([branch1, branch2, branch3, branch4])
