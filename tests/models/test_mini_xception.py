import keras
import numpy as np

from fer_hierarchy.models.cost import parameters
from fer_hierarchy.models.registry import create_model


def test_parameters_are_those_of_the_authors_code():
    assert parameters(create_model("mini_xception", input_shape=(64, 64, 1), num_classes=7)) == 58_423


def test_head_equals_a_convolution_to_the_classes_then_averaged():
    model = create_model("mini_xception:widths=4+6:stem_width=4", input_shape=(20, 27, 1), num_classes=3)
    images = np.random.default_rng(0).uniform(0, 255, (4, 20, 27, 1)).astype("float32")
    maps = keras.Model(model.input, model.get_layer("block2_add").output)(images)
    kernel, _ = model.get_layer("predictions").get_weights()
    original = keras.ops.conv(maps, kernel.reshape(3, 3, 6, 3), padding="same")
    logits = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(logits, keras.ops.convert_to_numpy(original).mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_each_block_halves_the_map():
    model = create_model("mini_xception")
    sizes = [model.get_layer(f"block{block}_add").output.shape[1:] for block in (1, 2, 3, 4)]
    assert sizes == [(30, 30, 16), (15, 15, 32), (8, 8, 64), (4, 4, 128)]
