"""A network in another precision, and back."""

import keras
import numpy as np
import pytest

from fer_hierarchy.models.layers import OwnLayer
from fer_hierarchy.models.precision import with_precision
from fer_hierarchy.models.registry import create_model

MODELS = {
    "compact_resnet:stem_width=4:widths=8:blocks=1:strides=2": (16, 16, 1),
    "vit_small_patch:patch=8:dim=8:heads=1:depth=1:mlp_dim=8": (16, 16, 1),
    "rgbd_fusion:depth=relief": (32, 32, 4),
}


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("spec", MODELS)
def test_layers_compute_in_it_and_weights_and_logits_stay_float32(spec, precision):
    network = create_model(spec, input_shape=MODELS[spec], num_classes=3)
    mixed = with_precision(network, precision)
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert (mixed.input.dtype, mixed.output.dtype) == ("float32", "float32")
    for layer in mixed.layers:
        if not isinstance(layer, OwnLayer | keras.layers.InputLayer) and layer.name != "predictions":
            assert layer.compute_dtype == precision.removeprefix("mixed_"), layer.name
    faces = np.random.default_rng(0).integers(1, 256, (8, *MODELS[spec])).astype(np.float32)
    exact, rounded = (np.array(net(faces, training=False)) for net in (network, mixed))
    assert not np.array_equal(exact, rounded)
    assert rounded == pytest.approx(exact, rel=0.05, abs=0.05)
    back = with_precision(mixed, "float32")
    assert np.array_equal(back(faces, training=False), exact)
