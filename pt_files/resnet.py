"""Twin of `models/resnet.py`: ResNet-18 (He et al., 2016), with a start for small images beside the original one."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from fer_hierarchy.models.settings import Activation, Count, Share, Stem, check_stages, residual_blocks
from fer_hierarchy.pt_files.layers import (
    Classifier,
    GlobalAverage,
    Standardize,
    activation_layer,
    dense,
    normalised_convolution,
)


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
    inputs = widths[0]
    unit = partial(normalised_convolution, activation=activation, momentum=batch_norm_momentum, epsilon=1e-5)
    if stem == "small":
        layers["conv1"] = unit(input_shape[2], inputs, 3, padding=1)
    else:
        layers["conv1"] = unit(input_shape[2], inputs, 7, stride=2, padding=3)
        # PyTorch's own padding never wins; these zeros may, as in Keras, where the activation goes below zero.
        layers["pool1"] = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))
    for name, width, stride in residual_blocks(widths, blocks):
        layers[name] = _Block(inputs, width, unit, stride=stride, activation=activation)
        inputs = width
    layers["features"] = GlobalAverage()
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(inputs, num_classes)
    return Classifier(layers)


class _Block(nn.ModuleDict):
    """Two 3x3 convolutions, "1" and "2", beside a shortcut, which is the convolution "0" where the shape changes."""

    def __init__(self, inputs: int, width: int, unit: Callable[..., nn.Module], *, stride: int, activation: str):
        super().__init__()
        if stride > 1 or inputs != width:
            self["0"] = unit(inputs, width, 1, stride=stride, padding=0, activation=None)
        self["1"] = unit(inputs, width, 3, stride=stride, padding=1)
        self["2"] = unit(width, width, 3, padding=1, activation=None)
        self["out"] = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, width, height / stride, width / stride)."""
        shortcut = self["0"](x) if "0" in self else x
        return self["out"](shortcut + self["2"](self["1"](x)))
