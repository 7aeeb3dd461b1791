"""GoogLeNet (Szegedy et al., 2015) with batch normalisation, as its users know it from torchvision.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015. Normalisation: S. Ioffe and C. Szegedy, "Batch
normalization: accelerating deep network training by reducing internal covariate shift", ICML 2015.

Two things differ from the paper, both as in torchvision. Every convolution is normalised; and the branch that the paper
gives 5x5 kernels has 3x3 ones, a slip of the first port that all published weights since have kept. The two auxiliary
heads are left out: they carried gradients to the early layers of a network without normalisation, which this one does
not need, and a model here has one output.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import classifier, convolution
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Factor, Share, Stem

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
    stem: Stem = "imagenet",
    width_factor: Factor = 1.0,
    dropout: Share = 0.2,
    batch_norm_momentum: Share = 0.9,
) -> keras.Model:
    """Build the stem, nine inception blocks, and a linear head on the averaged map.

    Args:
        stem: "imagenet" shrinks the picture to an eighth before the first block, as in the paper. At 48 pixels that
            leaves 6x6, and 2x2 for the last blocks; "small" shrinks it to a half only, at sixteen times the cost.
        width_factor: Multiplies the channels of every convolution.
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.
    """
    unit = partial(_unit, factor=width_factor, momentum=batch_norm_momentum)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    x = _stem(x, stem, unit)
    for stage, stage_blocks in _STAGES.items():
        if stage > 3:
            # torchvision's last pooling takes 2x2 pixels, its others 3x3.
            x = _halved(x, 3 if stage == 4 else 2, name=f"pool{stage - 1}")
        for letter, widths in stage_blocks.items():
            x = _inception(x, widths, unit, name=f"block{stage}{letter}")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return classifier(pixels, x, num_classes, dropout=dropout, name="googlenet")


def _unit(x: Any, width: int, size: int, *, stride: int = 1, factor: float, momentum: float, name: str) -> Any:
    channels = max(1, round(width * factor))
    return convolution(x, channels, size, stride=stride, name=name, momentum=momentum, epsilon=_EPSILON)


def _stem(x: Any, stem: str, unit: Callable[..., Any]) -> Any:
    if stem == "small":
        x = unit(x, 64, 3, name="conv1")
    else:
        x = _halved(unit(x, 64, 7, stride=2, name="conv1"), 3, name="pool1")
    x = unit(x, 64, 1, name="conv2")
    x = unit(x, 192, 3, name="conv3")
    return _halved(x, 3, name="pool2")


def _halved(x: Any, size: int, *, name: str) -> Any:
    """Take the maximum of size x size pixels at every second one, in windows that may reach over bottom and right."""
    over = [(side - size) % 2 for side in x.shape[1:3]]
    if any(over):
        # Nothing is below zero after the ReLUs, so zeros at the border never win.
        x = layers.ZeroPadding2D(((0, over[0]), (0, over[1])), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides=2, name=name)(x)


def _inception(x: Any, widths: Sequence[int], unit: Callable[..., Any], *, name: str) -> Any:
    first, reduce2, second, reduce3, third, fourth = widths
    branch1 = unit(x, first, 1, name=f"{name}_branch1")
    branch2 = unit(x, reduce2, 1, name=f"{name}_branch2_reduce")
    branch2 = unit(branch2, second, 3, name=f"{name}_branch2")
    branch3 = unit(x, reduce3, 1, name=f"{name}_branch3_reduce")
    branch3 = unit(branch3, third, 3, name=f"{name}_branch3")
    branch4 = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_branch4_pool")(x)
    branch4 = unit(branch4, fourth, 1, name=f"{name}_branch4")
    return layers.Concatenate(name=name)([branch1, branch2, branch3, branch4])
