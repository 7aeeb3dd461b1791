"""The activations that builders take by name, in both frameworks."""

from fer_hierarchy.models.checks import check_choice

ACTIVATIONS = ("relu", "elu", "gelu", "silu", "leaky_relu")
# Of leaky_relu, below zero. The frameworks' own defaults differ: 0.2 or 0.3 in Keras, 0.01 in PyTorch.
LEAKY_SLOPE = 0.2


def check_activation(activation: str) -> None:
    """Check a setting that names an activation.

    Raises:
        ValueError: It names none of `ACTIVATIONS`.
    """
    check_choice("activation", activation, ACTIVATIONS)
