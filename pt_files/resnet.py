"""Twin of `models/resnet.py`: ResNet-18 (He et al., 2016), with a start for small images beside the original one."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from models.checks import check_choice, check_counts, check_shares, check_stages
from pt_files.classifier import Classifier
from pt_files.layers import BatchNorm, GlobalAverage, Standardize, convolution, dense

_EPSILON = 1e-5


def resnet18(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: str = "small",
    widths: Sequence[int] = (64, 128, 256, 512),
    blocks: Sequence[int] = (2, 2, 2, 2),
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.9,
) -> Classifier:
    """Build the network; the keywords are those of `models.resnet.resnet18`, all but the weights.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    check_choice("stem", stem, ("small", "imagenet"))
    check_stages(widths=widths, blocks=blocks)
    check_counts(widths=widths, blocks=blocks)
    check_shares(dropout=dropout, batch_norm_momentum=batch_norm_momentum)
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    inputs = widths[0]
    if stem == "small":
        layers["conv1"] = _unit(input_shape[2], inputs, 3, momentum=batch_norm_momentum)
    else:
        layers["conv1"] = _unit(input_shape[2], inputs, 7, stride=2, momentum=batch_norm_momentum)
        layers["pool1"] = nn.MaxPool2d(3, stride=2, padding=1)
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            layers[f"stack{stage}_block{block}"] = _Block(inputs, width, stride=stride, momentum=batch_norm_momentum)
            inputs = width
    layers["features"] = GlobalAverage()
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(inputs, num_classes)
    return Classifier(layers)


class _Block(nn.ModuleDict):
    """Two 3x3 convolutions, "1" and "2", beside a shortcut, which is the convolution "0" where the shape changes."""

    def __init__(self, inputs: int, width: int, *, stride: int, momentum: float):
        super().__init__()
        if stride > 1 or inputs != width:
            self["0"] = _unit(inputs, width, 1, stride=stride, momentum=momentum, relu=False)
        self["1"] = _unit(inputs, width, 3, stride=stride, momentum=momentum)
        self["2"] = _unit(width, width, 3, momentum=momentum, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, width, height / stride, width / stride)."""
        shortcut = self["0"](x) if "0" in self else x
        return functional.relu(shortcut + self["2"](self["1"](x)))


def _unit(inputs: int, outputs: int, size: int, *, stride: int = 1, momentum: float, relu: bool = True) -> nn.Module:
    layers: dict[str, nn.Module] = {
        "conv": convolution(inputs, outputs, size, stride=stride, padding=size // 2),
        "bn": BatchNorm(outputs, momentum=momentum, epsilon=_EPSILON),
    }
    return nn.Sequential(OrderedDict(layers | ({"relu": nn.ReLU()} if relu else {})))
