"""Twin of `models/hierarchical_cnn.py`: three stages of two unpadded convolutions, a Dense layer and a linear head."""

from collections.abc import Sequence

from torch import nn

from fer_hierarchy.models.activations import check_activation
from fer_hierarchy.models.checks import KERNEL_SIZES, check_choice, check_counts, check_positive, check_shares
from fer_hierarchy.pt_files.classifier import Classifier
from fer_hierarchy.pt_files.layers import BatchNorm, Standardize, activation_layer, convolution, dense, start_he_normal


def hierarchical_cnn(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[Sequence[int]] = ((32, 64), (128, 128), (256, 256)),
    width_factor: float = 1.0,
    kernel_size: int = 3,
    dense_width: int = 256,
    activation: str = "relu",
    stage_dropout: float = 0.25,
    dropout: float = 0.5,
    batch_norm_momentum: float = 0.9,
) -> Classifier:
    """Build the network; the keywords are those of `models.hierarchical_cnn`.

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    _check_pairs(widths)
    check_counts(dense_width=dense_width)
    check_positive(width_factor=width_factor)
    check_choice("kernel_size", kernel_size, KERNEL_SIZES)
    check_activation(activation)
    check_shares(stage_dropout=stage_dropout, dropout=dropout, batch_norm_momentum=batch_norm_momentum)
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


def _check_pairs(widths: Sequence[Sequence[int]]) -> None:
    if len(widths) != 3 or any(len(pair) != 2 for pair in widths):
        raise ValueError(f"widths is {widths!r}; hierarchical_cnn needs three pairs of channels")
    for pair in widths:
        check_counts(widths=pair)
