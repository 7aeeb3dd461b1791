"""Twin of `models/face_resnet.py`: dlib's face recognition network, for emotions."""

from collections.abc import Sequence

from torch import Tensor, nn

from fer_hierarchy.models.settings import Count, Share, check_stages, residual_blocks
from fer_hierarchy.pt_files.layers import (
    Classifier,
    GlobalAverage,
    ScaledRgb,
    dense,
    normalised_convolution,
    zero_filled,
)

_EPSILON = 1e-5
_KERNEL = 3
# In grey levels of red, green and blue: what becomes 0, and what becomes 1 over it.
_MEAN = (122.782, 117.001, 104.298)
_DEVIATION = (256.0, 256.0, 256.0)


def face_resnet(
    *,
    input_shape: tuple[int, int, int],  # noqa: ARG001 - the same for any shape
    num_classes: int,
    widths: Sequence[Count] = (32, 64, 128, 256, 256),
    blocks: Sequence[Count] = (3, 4, 3, 3, 1),
    dropout: Share = 0.0,
    batch_norm_momentum: Share = 0.9,
) -> Classifier:
    """Build the network; the keywords are those of `models.face_resnet.face_resnet`, all but the weights."""
    check_stages(widths=widths, blocks=blocks)
    inputs, momentum = widths[0], batch_norm_momentum
    layers: dict[str, nn.Module] = {"scale": ScaledRgb(_MEAN, _DEVIATION)}
    layers["conv1"] = _unit(3, inputs, 7, stride=2, momentum=momentum)
    layers["conv1_relu"] = nn.ReLU()
    layers["pool1_pool"] = nn.MaxPool2d(3, stride=2)
    for name, width, stride in residual_blocks(widths, blocks):
        layers[name] = _Block(inputs, width, stride=stride, momentum=momentum)
        inputs = max(inputs, width)  # what a block adds up is as wide as the wider of both
    layers["features"] = GlobalAverage()
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(inputs, num_classes)
    return Classifier(layers)


class _Block(nn.ModuleDict):
    """Two 3x3 convolutions, "1" and "2", beside a shortcut, which is the average "0" where the map is halved."""

    def __init__(self, inputs: int, width: int, *, stride: int, momentum: float):
        super().__init__()
        if stride > 1:
            self["0"] = nn.AvgPool2d(stride)
        self["1"] = _unit(inputs, width, _KERNEL, stride=stride, momentum=momentum)
        self["relu"] = nn.ReLU()
        self["2"] = _unit(width, width, _KERNEL, stride=1, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, the more of inputs and width, height / stride, width / stride)."""
        if "0" in self:
            x = zero_filled(x, [*x.shape[:2], *(max(size, _KERNEL) for size in x.shape[2:])])
        shortcut = self["0"](x) if "0" in self else x
        x = self["2"](self["relu"](self["1"](x)))
        shape = [max(sizes) for sizes in zip(shortcut.shape, x.shape, strict=True)]
        return self["relu"](zero_filled(shortcut, shape) + zero_filled(x, shape))


def _unit(inputs: int, outputs: int, size: int, *, stride: int, momentum: float) -> nn.Module:
    """A convolution, at the border of which nothing is added where it has a stride, and its normalisation."""
    padding = 0 if stride > 1 else size // 2
    settings = {"stride": stride, "padding": padding, "momentum": momentum, "epsilon": _EPSILON}
    return normalised_convolution(inputs, outputs, size, **settings)
