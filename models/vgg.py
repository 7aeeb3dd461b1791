"""VGG-13 and VGG-16 (configurations B and D of Simonyan and Zisserman, 2015), with batch normalisation as an option.

K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.

The first convolution takes as many channels as the picture has. Between the convolutions and the head the last map is
averaged to a fixed size, so that any picture of 32 pixels or more fits: `pooled_size=7` gives the head its original
25,088 inputs at 48 pixels too, where each of them stands 49 times.

Kernels begin as He et al. (2015) draw them and the head as the paper does, close to zero: the first loss is near that
of a guess. Without normalisation the learning rate decides whether these networks train at all: in 54 steps on 96 faces
of 32 pixels, VGG-13 improved with SGD at 0.01 and with AdamW at 0.0002, and stayed at chance with AdamW at 0.001.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from fer_hierarchy.models.blocks import classifier, normalised, scaled_rgb
from fer_hierarchy.models.layers import AdaptiveMean, Standardize
from fer_hierarchy.models.pretrained import application
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Count, Factor, Share

# Channels of each block, which ends in a pooling; convolutions in each block.
_WIDTHS = (64, 128, 256, 512, 512)
_VGG13 = (2, 2, 2, 2, 2)
_VGG16 = (2, 2, 3, 3, 3)
_EPSILON = 1e-5
_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
# In grey levels: red, green, blue. These kernels were trained on means taken out, and nothing else.
_IMAGENET_MEAN = (123.68, 116.779, 103.939)


@register_model(smallest=32, source="Simonyan and Zisserman, 2015")
def vgg13(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    batch_norm: bool = False,
    head_widths: Sequence[Count] = (1024, 1024),
    pooled_size: Count = 1,
    dropout: Share = 0.5,
    width_factor: Factor = 1.0,
    batch_norm_momentum: Share = 0.9,
) -> keras.Model:
    """Build ten convolutions in five blocks, Dense layers and a linear head.

    Args:
        batch_norm: Whether every convolution is normalised, in place of its bias.
        head_widths: Units of each Dense layer before the head; the last ones are the features.
        pooled_size: Height and width to which the last map is averaged.
        dropout: Share of values dropped after each Dense layer while training, in [0, 1).
        width_factor: Multiplies the channels of every convolution.
        batch_norm_momentum: Share of the moving statistics that one step keeps.
    """
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    x = _blocks(x, _VGG13, width_factor, batch_norm_momentum if batch_norm else None)
    return _head(pixels, x, num_classes, pooled_size, head_widths, dropout, name="vgg13")


@register_model(smallest=32, source="Simonyan and Zisserman, 2015", pretrained=("imagenet",))
def vgg16(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    batch_norm: bool = False,
    head_widths: Sequence[Count] = (1024, 1024),
    pooled_size: Count = 1,
    dropout: Share = 0.5,
    width_factor: Factor = 1.0,
    batch_norm_momentum: Share = 0.9,
    weights: str = "none",
) -> keras.Model:
    """Build thirteen convolutions in five blocks, Dense layers and a linear head; the keywords are those of `vgg13`.

    Args:
        weights: "imagenet" for the kernels of `keras.applications.VGG16`, which has no normalisation.
    """
    trained = weights == "imagenet"
    if trained and (batch_norm or width_factor != 1):
        raise ValueError("ImageNet weights fit vgg16 with batch_norm off and width_factor 1 only")
    pixels = keras.Input(input_shape, name="pixels")
    x = scaled_rgb(pixels, mean=_IMAGENET_MEAN) if trained else Standardize(name="standardize")(pixels)
    x = _blocks(x, _VGG16, width_factor, batch_norm_momentum if batch_norm else None)
    model = _head(pixels, x, num_classes, pooled_size, head_widths, dropout, name="vgg16")
    if trained:
        _copy_kernels(application(keras.applications.VGG16, file=_FILE, include_top=False), model)
    return model


@register_model(smallest=32, size=224, source="Simonyan and Zisserman, 2015")
def vgg16_bn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    head_widths: Sequence[Count] = (4096, 4096),
    pooled_size: Count = 7,
    dropout: Share = 0.5,
    width_factor: Factor = 1.0,
    batch_norm_momentum: Share = 0.9,
) -> keras.Model:
    """Build `vgg16` with batch normalisation and its sizes for ImageNet; the keywords are those of `vgg13`."""
    pixels = keras.Input(input_shape, name="pixels")
    x = Standardize(name="standardize")(pixels)
    x = _blocks(x, _VGG16, width_factor, batch_norm_momentum)
    return _head(pixels, x, num_classes, pooled_size, head_widths, dropout, name="vgg16_bn")


def _blocks(x: Any, counts: Sequence[int], factor: float, momentum: float | None) -> Any:
    """Stack the convolutions, normalised where a momentum is given."""
    for block, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True), start=1):
        for number in range(1, count + 1):
            name, channels = f"block{block}_conv{number}", max(1, round(width * factor))
            settings = {"padding": "same", "use_bias": momentum is None, "kernel_initializer": "he_normal"}
            x = layers.Conv2D(channels, 3, **settings, name=name)(x)
            if momentum is not None:
                x = normalised(x, momentum, epsilon=_EPSILON, name=name)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return x


def _head(
    pixels: Any, x: Any, num_classes: int, pooled_size: int, widths: Sequence[int], dropout: float, *, name: str
) -> keras.Model:
    x = AdaptiveMean(size=pooled_size, name="pooled")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(widths, start=1):
        x = layers.Dense(width, kernel_initializer="he_normal", name=f"dense{number}")(x)
        x = layers.ReLU(name=f"dense{number}_relu")(x)
        x = layers.Dropout(dropout, name=f"dense{number}_dropout")(x)
    close_to_zero = keras.initializers.RandomNormal(stddev=0.01)
    return classifier(pixels, x, num_classes, initial=close_to_zero, name=name)


def _copy_kernels(trained: keras.Model, model: keras.Model) -> None:
    """Give each convolution the weights of the layer of the same name."""
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            kernel, bias = trained.get_layer(layer.name).get_weights()
            if layer.name == "block1_conv1":
                kernel = kernel[:, :, ::-1]  # these kernels take blue first
            layer.set_weights([kernel, bias])
