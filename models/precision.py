"""A network in another precision: the same weights, other numbers between its layers."""

import keras

from fer_hierarchy.models.layers import OwnLayer


def with_precision(network: keras.Model, precision: str) -> keras.Model:
    """A copy whose layers compute in a precision; weights stay float32, and so do the logits.

    Layers of our own, which read pixels and distances, stay in float32 too. Micikevicius et al., "Mixed Precision
    Training", ICLR 2018.

    Args:
        network: A flat functional model that ends in the layer `predictions`.
        precision: One of `models.settings.PRECISIONS`.

    Returns:
        A network with weights of its own, equal to those of `network`.
    """
    kept = {layer.name for layer in network.layers if isinstance(layer, keras.layers.InputLayer | OwnLayer)}
    settings = network.get_config()
    for layer in settings["layers"]:
        if layer["config"]["name"] not in kept | {"predictions"}:
            layer["config"]["dtype"] = precision
    copy = network.__class__.from_config(settings)
    copy.set_weights(network.get_weights())
    return copy
