"""Classifier: a stack of layers, named as in Keras, whose last one is `predictions`."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


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
        x = pixels
        for layer in list(self.layers)[:-1]:
            x = layer(x)
        return x

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (batch, classes)."""
        return self.layers.predictions(self.features(pixels))
