"""Twin of `models/compact_resnet.py`: a residual network sized for training on two processor cores."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_hierarchy.models.settings import Activation, Count, KernelSize, Share, Stride, check_stages
from fer_hierarchy.pt_files.layers import (
    BatchNorm,
    Classifier,
    GlobalAverage,
    Standardize,
    activation_layer,
    convolution,
    dense,
)

_BN_MOMENTUM = 0.9
_SQUEEZE_RATIO = 8


def compact_resnet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem_width: Count = 32,
    stem_stride: Stride = 2,
    widths: Sequence[Count] = (32, 64, 160),
    blocks: Sequence[Count] = (1, 1, 2),
    strides: Sequence[Stride] = (1, 2, 2),
    squeeze_from: int | None = 3,
    kernel_size: KernelSize = 3,
    activation: Activation = "relu",
    dropout: Share = 0.2,
) -> Classifier:
    """Build the network; the keywords are those of `models.compact_resnet`."""
    check_stages(widths=widths, blocks=blocks, strides=strides)
    layers: dict[str, nn.Module] = {
        "standardize": Standardize(),
        "stem": convolution(input_shape[2], stem_width, 3, stride=stem_stride),
        "stem_bn": BatchNorm(stem_width, momentum=_BN_MOMENTUM),
        f"stem_{activation}": activation_layer(activation),
    }
    inputs = stem_width
    for stage, (width, count, stride) in enumerate(zip(widths, blocks, strides, strict=True), start=1):
        squeeze = squeeze_from is not None and stage >= squeeze_from
        for number in range(1, count + 1):
            layers[f"stage{stage}_block{number}"] = _Block(
                inputs,
                width,
                kernel_size,
                stride=stride if number == 1 else 1,
                activation=activation,
                squeeze=squeeze,
            )
            inputs = width
    layers["features"] = GlobalAverage()
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(inputs, num_classes)
    return Classifier(layers)


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which averages before its 1x1 convolution where the map shrinks."""

    def __init__(self, inputs: int, width: int, size: int, *, stride: int, activation: str, squeeze: bool):
        super().__init__()
        # The last window of an odd side reaches over the edge and averages the pixels that are there, as in Keras.
        self.shortcut_pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else None
        self.shortcut = convolution(inputs, width, 1) if inputs != width else None
        self.shortcut_bn = BatchNorm(width, momentum=_BN_MOMENTUM) if inputs != width else None
        self.conv1 = convolution(inputs, width, size, stride=stride)
        self.conv1_bn = BatchNorm(width, momentum=_BN_MOMENTUM)
        self.conv2 = convolution(width, width, size)
        self.conv2_bn = BatchNorm(width, momentum=_BN_MOMENTUM)
        self.squeeze = _Squeeze(width) if squeeze else None
        self.activation = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, width, height / stride, width / stride)."""
        shortcut = x if self.shortcut_pool is None else self.shortcut_pool(x)
        if self.shortcut is not None:
            shortcut = self.shortcut_bn(self.shortcut(shortcut))
        x = self.activation(self.conv1_bn(self.conv1(x)))
        x = self.conv2_bn(self.conv2(x))
        if self.squeeze is not None:
            x = self.squeeze(x)
        return self.activation(shortcut + x)


class _Squeeze(nn.Module):
    """Weighs each channel by a number in (0, 1) that the means of all channels decide."""

    def __init__(self, width: int):
        super().__init__()
        narrow = max(1, width // _SQUEEZE_RATIO)
        self.reduce = dense(width, narrow)
        self.expand = dense(narrow, width)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh (batch, width, height, width)."""
        weights = torch.sigmoid(self.expand(functional.relu(self.reduce(x.mean(dim=(2, 3))))))
        return x * weights[:, :, None, None]
