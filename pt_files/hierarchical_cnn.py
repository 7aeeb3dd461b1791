"""Twin of `models/hierarchical_cnn.py`: three stages of two unpadded convolutions, a Dense layer and a linear head."""

from torch import nn

from fer_hierarchy.models.settings import Activation, Count, Factor, KernelSize, Pairs, Share
from fer_hierarchy.pt_files.layers import (
    BatchNorm,
    Classifier,
    Standardize,
    activation_layer,
    convolution,
    dense,
    start_he_normal,
)


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
) -> Classifier:
    """Build the network; the keywords are those of `models.hierarchical_cnn`."""
    height, width, channels = input_shape
    layers: dict[str, nn.Module] = {"standardize": Standardize()}
    for stage, pair in enumerate(widths, start=1):
        for number, full in enumerate(pair, start=1):
            name, filters = f"stage{stage}_conv{number}", max(1, round(full * width_factor))
            # Maps shrink by two pixels whatever the kernel.
            layers[name] = convolution(channels, filters, kernel_size, padding=(kernel_size - 3) // 2)
            layers[f"{name}_bn"] = BatchNorm(filters, momentum=batch_norm_momentum)
            layers[f"{name}_{activation}"] = activation_layer(activation)
            channels = filters
        layers[f"stage{stage}_pool"] = nn.MaxPool2d(2)
        layers[f"stage{stage}_dropout"] = nn.Dropout(stage_dropout)
        height, width = (height - 4) // 2, (width - 4) // 2
    layers["flatten"] = nn.Flatten()
    layers["features"] = start_he_normal(nn.Linear(channels * height * width, dense_width, bias=False))
    layers["features_bn"] = BatchNorm(dense_width, momentum=batch_norm_momentum)
    layers[f"features_{activation}"] = activation_layer(activation)
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(dense_width, num_classes)
    return Classifier(layers)
