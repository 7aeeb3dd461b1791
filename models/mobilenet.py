"""MobileNet (Howard et al., 2017), cut short and partly frozen as in a public FER-2013 project.

A. G. Howard and others, "MobileNets: efficient convolutional neural networks for mobile vision applications",
arXiv:1704.04861. The layers, their names and the ImageNet weights are those of `keras.applications.MobileNet`.
"""

from typing import Annotated

import keras
from keras import layers

from fer_hierarchy.models.blocks import classifier, scaled_rgb
from fer_hierarchy.models.pretrained import application
from fer_hierarchy.models.registry import register_model
from fer_hierarchy.models.settings import Factor, Limit, Share

_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # width -> its name in Keras's file names
_BLOCKS = 13
_FROZEN = 15
_Blocks = Annotated[int, Limit(lambda blocks: 1 <= blocks <= _BLOCKS, f"be 1 to {_BLOCKS}")]
_Frozen = Annotated[int, Limit(lambda count: count >= 0, "be 0 or more")]
_GREY = (127.5, 127.5, 127.5)  # pixels become [-1, 1]


@register_model(smallest=32, source="Howard et al., 2017, as in a public FER-2013 project", pretrained=("imagenet",))
def mobilenet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    alpha: Factor = 1.0,
    blocks: _Blocks = 11,
    dropout: Share = 0.0,
    batch_norm_momentum: Share = 0.9,
    frozen_layers: _Frozen | None = None,
    weights: str = "none",
) -> keras.Model:
    """Build the first depthwise-separable blocks, global max pooling and a linear head.

    That project takes `layers[-14]` of the network without top, which is `conv_pw_11_relu`, the end of block 11: a map
    of 1/16 of the input's side. (The network with top, whose `layers[-14]` is the convolution `conv_pw_12`, takes
    ImageNet weights at 224 pixels only, so it cannot be what works on its 48-pixel faces.)

    Args:
        alpha: Factor of every width; ImageNet weights exist for 0.25, 0.5, 0.75 and 1.
        blocks: Depthwise-separable blocks that are kept, 1 to 13.
        dropout: Share of features dropped before the head while training, in [0, 1).
        batch_norm_momentum: Share of the moving statistics that one step keeps.
        frozen_layers: Layers of Keras's network, counted from its input, that never train (`trainable` is False, also
            after saving and loading; their normalisation keeps its statistics). None for 15, up to `conv_pw_2`, with
            ImageNet weights and for 0 without.
        weights: "none", or "imagenet" for those of `keras.applications`.
    """
    frozen = (_FROZEN if weights == "imagenet" else 0) if frozen_layers is None else frozen_layers
    if int(32 * alpha) < 1:
        raise ValueError(f"alpha is {alpha!r}; the first convolution's 32 x alpha channels must be 1 or more")
    if weights == "imagenet" and alpha not in _ALPHAS:
        raise ValueError(f"alpha is {alpha!r}; ImageNet weights exist for {', '.join(map(str, _ALPHAS))}")
    pixels = keras.Input(input_shape, name="pixels")
    network = _network(scaled_rgb(pixels, mean=_GREY, deviation=_GREY), alpha, weights)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    _freeze(network, frozen)
    x = network.get_layer(f"conv_pw_{blocks}_relu").output
    x = layers.GlobalMaxPooling2D(name="features")(x)
    return classifier(pixels, x, num_classes, dropout=dropout, name="mobilenet")


def _network(scaled: keras.KerasTensor, alpha: float, weights: str) -> keras.Model:
    settings = {"include_top": False, "alpha": alpha, "input_tensor": scaled}
    if weights != "imagenet":
        return keras.applications.MobileNet(weights=None, **settings)
    file = f"mobilenet_{_ALPHAS[alpha]}_224_tf_no_top.h5"
    # The tensor decides the size; this shape only decides the file, else Keras warns.
    return application(keras.applications.MobileNet, file=file, input_shape=(224, 224, 3), **settings)


def _freeze(network: keras.Model, count: int) -> None:
    names = [layer.name for layer in network.layers]
    # Keras's input is a layer too; our own layers stand in its place.
    for layer in network.layers[names.index("conv1") :][: max(count - 1, 0)]:
        layer.trainable = False
