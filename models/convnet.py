"""The three-convolution network that a public RAF-DB comparison sets against large pretrained ones."""

from collections.abc import Sequence

import keras
from keras import layers

from fer_hierarchy.models.blocks import activated, classifier, shrinking_convolution
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Activation, Count, KernelSize, Share, check_stages


# Each stage takes two pixels off and halves the rest: 22 pixels shrink to a map of exactly one.
@register_model(smallest=22, size=100, source="a public RAF-DB comparison")
def convnet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[Count] = (64, 64, 32),
    dense_widths: Sequence[Count] = (512, 64),
    kernel_size: KernelSize = 3,
    activation: Activation = "relu",
    dropout: Share = 0.5,
) -> keras.Model:
    """Build unpadded convolutions, each with its activation and pooling, Dense layers and a linear head.

    At 100 pixels the last map is 10x10x32: 3,200 values go into the Dense layers. The original ends in a softmax and
    takes another in its loss; here, as in every model, logits come out.

    Args:
        widths: Channels of each convolution; up to three.
        dense_widths: Units of each Dense layer; the last ones are the features.
        kernel_size: Side of the convolutions' kernels in pixels, 3 or 5; the larger ones are padded by a pixel, so that
            maps have the same sizes.
        activation: What follows each convolution and Dense layer: "relu", "elu", "gelu", "silu" or "leaky_relu".
        dropout: Share of values dropped after each Dense layer while training, in [0, 1).
    """
    check_stages(most=3, widths=widths)
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for number, width in enumerate(widths, start=1):
        x = shrinking_convolution(x, width, kernel_size, name=f"conv{number}")
        x = activated(x, activation, name=f"conv{number}_{activation}")
        x = layers.MaxPooling2D(name=f"conv{number}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(dense_widths, start=1):
        x = layers.Dense(width, kernel_initializer="he_normal", name=f"dense{number}")(x)
        x = activated(x, activation, name=f"dense{number}_{activation}")
        x = layers.Dropout(dropout, name=f"dense{number}_dropout")(x)
    return classifier(pixels, x, num_classes, name="convnet")
