"""Twin of `models/resnet.py`: ResNet-18 (He et al., 2016), with a start for small images beside the original one."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from fer_hierarchy.models.settings import Activation, Count, Share, Stem, check_stages
from fer_hierarchy.pt_files.layers import (
    BatchNorm,
    Classifier,
    GlobalAverage,
    Standardize,
    activation_layer,
    convolution,
    dense,
)

_EPSILON = 1e-5


def resnet18(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Stem = "small",
    widths: Sequence[Count] = (64, 128, 256, 512),
    blocks: Sequence[Count] = (2, 2, 2, 2),
    activation: Activation = "relu",
    dropout: Share = 0.0,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build the network; the keywords are those of `models.resnet.resnet18`, all but the weights."""
    check_stages(widths=widths, blocks=blocks)
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    inputs, settings = widths[0], {"activation": activation, "momentum": batch_norm_momentum}
    if stem == "small":
        layers["conv1"] = _unit(input_shape[2], inputs, 3, **settings)
    else:
        layers["conv1"] = _unit(input_shape[2], inputs, 7, stride=2, **settings)
        # PyTorch's own padding never wins; these zeros may, as in Keras, where the activation goes below zero.
        layers["pool1"] = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            layers[f"stack{stage}_block{block}"] = _Block(inputs, width, stride=stride, **settings)
            inputs = width
    layers["features"] = GlobalAverage()
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(inputs, num_classes)
    return Classifier(layers)


class _Block(nn.ModuleDict):
    """Two 3x3 convolutions, "1" and "2", beside a shortcut, which is the convolution "0" where the shape changes."""

    def __init__(self, inputs: int, width: int, *, stride: int, activation: str, momentum: float):
        super().__init__()
        if stride > 1 or inputs != width:
            self["0"] = _unit(inputs, width, 1, stride=stride, activation=None, momentum=momentum)
        self["1"] = _unit(inputs, width, 3, stride=stride, activation=activation, momentum=momentum)
        self["2"] = _unit(width, width, 3, activation=None, momentum=momentum)
        self["out"] = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, width, height / stride, width / stride)."""
        shortcut = self["0"](x) if "0" in self else x
        return self["out"](shortcut + self["2"](self["1"](x)))


def _unit(
    inputs: int, outputs: int, size: int, *, stride: int = 1, activation: str | None, momentum: float
) -> nn.Module:
    layers: dict[str, nn.Module] = {
        "conv": convolution(inputs, outputs, size, stride=stride, padding=size // 2),
        "bn": BatchNorm(outputs, momentum=momentum, epsilon=_EPSILON),
    }
    if activation:
        layers[activation] = activation_layer(activation)
    return nn.Sequential(OrderedDict(layers))
