"""The six-convolution network that a public FER-2013 hierarchy uses for its gate, specialists and flat model."""

import keras
from keras import layers

from fer_hierarchy.models.blocks import classifier, normalised, shrinking_convolution
from fer_hierarchy.models.layers import Standardize
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Activation, Count, Factor, KernelSize, Pairs, Share


# Two unpadded 3x3 convolutions and a pooling, three times: 36 pixels shrink to a map of exactly one.
@register_model(smallest=36, source="a public FER-2013 hierarchy")
def hierarchical_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Pairs = ((32, 64), (128, 128), (256, 256)),
    width_factor: Factor = 1.0,
    kernel_size: KernelSize = 3,
    dense_width: Count = 256,
    activation: Activation = "relu",
    stage_dropout: Share = 0.25,
    dropout: Share = 0.5,
    batch_norm_momentum: Share = 0.9,
) -> keras.Model:
    """Build three stages of two convolutions, a Dense layer and a linear head.

    Args:
        widths: Channels of the two convolutions of each of the three stages.
        width_factor: Multiplies the channels of every convolution.
        kernel_size: Side of the convolutions' kernels in pixels, 3 or 5; the larger ones are padded by a pixel, so that
            maps have the same sizes.
        dense_width: Units of the Dense layer, which are the features.
        activation: What follows each normalisation: "relu", "elu", "gelu", "silu" or "leaky_relu".
        stage_dropout: Share of values dropped after each stage while training, in [0, 1).
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.
    """
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    for stage, pair in enumerate(widths, start=1):
        for number, width in enumerate(pair, start=1):
            name = f"stage{stage}_conv{number}"
            x = shrinking_convolution(x, max(1, round(width * width_factor)), kernel_size, use_bias=False, name=name)
            x = normalised(x, batch_norm_momentum, activation=activation, name=name)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(stage_dropout, name=f"stage{stage}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dense_width, use_bias=False, kernel_initializer="he_normal", name="features")(x)
    x = normalised(x, batch_norm_momentum, activation=activation, name="features")
    return classifier(pixels, x, num_classes, dropout=dropout, name="hierarchical_cnn")
