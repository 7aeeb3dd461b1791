"""Layers that compute, train and start as their Keras namesakes do; images are (batch, channels, height, width)."""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_hierarchy.models import rgbd_settings as rgbd
from fer_hierarchy.models.settings import LEAKY_SLOPE, Factor
from fer_hierarchy.models.spec import check_limits

_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)

# A normal distribution cut at two deviations has this deviation; Keras divides by it (LeCun, 1998; He et al., 2015).
_CUT_NORMAL = 0.87962566103423978
_ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU}


class Classifier(nn.Module):
    """What every builder here returns.

    Takes float32 pixels in [0, 255] of shape (batch, channels, height, width), gives float32 logits of shape
    (batch, classes). Normalisation is among the layers.

    Args:
        layers: Name -> layer in their order, the last named `predictions`. The path of a layer, with "_" for ".", is
            the name of its Keras namesake; conversion goes by it.
    """

    def __init__(self, layers: Mapping[str, nn.Module]):
        super().__init__()
        # A level of their own: Keras names a layer `features`, which would hide the method.
        self.layers = nn.Sequential(OrderedDict(layers))

    def features(self, pixels: Tensor) -> Tensor:
        """What goes into `predictions`: float32 (batch, width)."""
        return self.layers[:-1](pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (batch, classes)."""
        return self.layers(pixels)


class Standardize(nn.Module):
    """Give every image zero mean and unit variance over channels, height and width.

    Args:
        epsilon: Added to the variance, in squared grey levels.
    """

    def __init__(self, *, epsilon: float = 1.0):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, pixels: Tensor) -> Tensor:
        """Standardise float32 pixels in [0, 255]; the shape stays."""
        centred = pixels - pixels.mean(dim=(1, 2, 3), keepdim=True)
        variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
        return centred * torch.rsqrt(variance + self.epsilon)


class ScaledRgb(nn.Module):
    """Scale pixels as weights trained in colour expect them; grey becomes three equal channels.

    Args:
        mean: Grey level of red, green and blue that becomes 0, in [0, 255].
        deviation: Grey levels of red, green and blue that become 1.
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 1 or 3, height, width) in [0, 255] to (batch, 3, height, width)."""
        return (pixels - self.mean) / self.deviation


class MirrorAveraged(nn.Module):
    """The mean of a network's logits for each image and for its mirror image.

    Args:
        core: (batch, channels, height, width) float32 pixels in, logits out.
    """

    def __init__(self, core: nn.Module):
        super().__init__()
        self.core = core

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of float32 pixels in [0, 255]."""
        return (self.core(pixels) + self.core(pixels.flip(-1))) / 2


class BatchNorm(nn.Module):
    """Normalise each channel of (batch, channels) or (batch, channels, height, width) over all other axes.

    Differs from `nn.BatchNorm2d` in its running variance: Keras averages the variance of each batch as it is, PyTorch
    enlarges it by n / (n - 1) first. With the same batches, both frameworks keep the same statistics.

    Args:
        channels: Number of channels.
        momentum: Share of the running statistics that one step keeps; PyTorch's own momentum is one minus this.
        epsilon: Added to the variance.
    """

    def __init__(self, channels: int, *, momentum: float = 0.99, epsilon: float = 1e-3):
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch while training, by the running statistics otherwise."""
        momentum = 1 - self.momentum if self.training else 0.0
        # The gradient's computation keeps the variance that it is given, so that one must not change again.
        variance = self.running_var.clone() if self.training else self.running_var
        out = functional.batch_norm(
            x, self.running_mean, variance, self.weight, self.bias, self.training, momentum, self.epsilon
        )
        if self.training:
            # variance is (1 - momentum) * running_var + momentum * batch variance * n / (n - 1) now: without the factor
            # it lies 1 / n nearer to the first term.
            self.running_var.copy_(torch.lerp(variance, self.running_var * self.momentum, x.shape[1] / x.numel()))
        return out


class SameConv2d(nn.Conv2d):
    """A convolution padded as Keras's "same": a pixel that cannot be halved goes to the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve to ceil(size / stride)."""
        height, width = (same_padding(*sizes) for sizes in zip(x.shape[2:], self.kernel_size, self.stride, strict=True))
        return super().forward(functional.pad(x, (*width, *height)))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels that Keras's "same" adds before and after an axis of `size` pixels."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def convolution(
    inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int | None = None, bias: bool = False
) -> nn.Conv2d:
    """A square convolution that starts from He's normal distribution (He et al., 2015) and zero bias.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        size: Height and width of the kernel in pixels.
        stride: Step in pixels.
        padding: Pixels added on every side; None pads as Keras's "same".
        bias: Whether to add one.
    """
    # PyTorch's own padding does the same, and faster, where it adds equally much on both sides.
    if padding is None and stride == 1 and size % 2:
        padding = size // 2
    if padding is None:
        return start_he_normal(SameConv2d(inputs, outputs, size, stride=stride, bias=bias))
    return start_he_normal(nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=bias))


def normalised_convolution(
    inputs: int,
    outputs: int,
    size: int,
    *,
    stride: int = 1,
    padding: int,
    activation: str | None = None,
    momentum: float,
    epsilon: float,
) -> nn.Sequential:
    """A convolution, `conv`, its normalisation, `bn`, and an activation under its own name where one is given."""
    layers: dict[str, nn.Module] = {
        "conv": convolution(inputs, outputs, size, stride=stride, padding=padding),
        "bn": BatchNorm(outputs, momentum=momentum, epsilon=epsilon),
    }
    if activation:
        layers[activation] = activation_layer(activation)
    return nn.Sequential(OrderedDict(layers))


def zero_filled(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Fill maps (batch, channels, height, width) with zeros behind the last channel, row and column.

    Args:
        maps: What is filled.
        shape: Sizes of the result; its first, of the batch, is the maps' own.
    """
    channels, height, width = (wanted - size for wanted, size in zip(shape[1:], maps.shape[1:], strict=True))
    return functional.pad(maps, (0, width, 0, height, 0, channels))


def start_he_normal(layer: _Layer) -> _Layer:
    """Draw the weights of a convolution or Linear as Keras's `he_normal` does, and set the bias to zero."""
    start_cut_normal(layer.weight, math.sqrt(2 / layer.weight[0].numel()) / _CUT_NORMAL)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def start_cut_normal(weight: Tensor, deviation: float) -> None:
    """Draw from a normal distribution cut at two deviations, as Keras's `TruncatedNormal`."""
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def dense(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer that starts as Keras's Dense: Glorot's uniform distribution and zero bias."""
    return start_glorot(nn.Linear(inputs, outputs))


def start_glorot(layer: _Layer) -> _Layer:
    """Draw the weights of a convolution or Linear as Keras does by default, and set the bias to zero."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def activation_layer(name: str) -> nn.Module:
    """One of `models.settings.ACTIVATIONS`."""
    return nn.LeakyReLU(LEAKY_SLOPE) if name == "leaky_relu" else _ACTIVATIONS[name]()


class GlobalAverage(nn.Module):
    """The mean of each map: (batch, channels, height, width) to (batch, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over height and width."""
        return x.mean(dim=(2, 3))


class DepthImage(nn.Module):
    """Show a depth plane as three planes of grey levels, every hole masked; see `models.layers.DepthImage`.

    Args:
        reading: "relief", "distance" or "normals".

    Raises:
        ValueError: There is no such reading.
    """

    def __init__(self, reading: str):
        super().__init__()
        check_limits("reading", reading, rgbd.Reading)
        self.reading = reading
        for name, start in zip(("mean", "deviation"), rgbd.START.get(reading, ()), strict=False):
            self.register_buffer(name, torch.tensor(start))

    def set_statistics(self, mean: float, deviation: float) -> None:
        """Set what becomes 0, and what becomes 1 over it: millimetres of this reading over the train faces.

        Raises:
            ValueError: The deviation is not above 0.
        """
        check_limits("deviation", deviation, Factor)
        if self.reading in rgbd.START:
            self.mean.fill_(mean)
            self.deviation.fill_(deviation)

    def forward(self, depth: Tensor) -> Tensor:
        """(batch, 1, height, width) in twentieths of a millimetre to (batch, 3, height, width), about 0 to 255."""
        distance = depth * rgbd.UNIT_MM
        if self.reading == "normals":
            return _normals(distance)
        seen = (depth > 0).to(depth.dtype)
        if self.reading == "distance":
            values = self.mean - distance
        else:
            count = seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
            middle = (distance * seen).sum(dim=(2, 3), keepdim=True) / count
            values = (middle - distance).clamp(-rgbd.MOST_RELIEF_MM, rgbd.MOST_RELIEF_MM) - self.mean
        grey = rgbd.GREY + rgbd.GREYS * seen * (values / self.deviation)
        return torch.cat([grey, grey, rgbd.SEEN * seen], dim=1)


def _normals(distance: Tensor) -> Tensor:
    """Unit normals (batch, 3, height, width) of a surface (batch, 1, height, width) in millimetres, as grey levels."""
    around = functional.pad(distance, (1, 1, 1, 1))  # nothing is measured outside
    left, right = around[:, :, 1:-1, :-2], around[:, :, 1:-1, 2:]
    above, below = around[:, :, :-2, 1:-1], around[:, :, 2:, 1:-1]
    apart = 2 * rgbd.FACE_MM / distance.shape[3]
    normal = torch.cat([(right - left) / apart, (below - above) / apart, torch.ones_like(distance)], dim=1)
    sound = (torch.cat([distance, left, right, above, below], dim=1) > 0).all(dim=1, keepdim=True)
    direction = normal / normal.square().sum(dim=1, keepdim=True).sqrt()
    return rgbd.DIRECTION_GREY * (1 + direction * sound)
