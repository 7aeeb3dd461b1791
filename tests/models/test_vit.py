import keras
import numpy as np
import pytest
from keras import ops

from fer_hierarchy.models.registry import create_model
from fer_hierarchy.models.vit import copy_hub_weights, resized_positions

TINY = {"num_classes": 3, "patch": 8, "depth": 2, "heads": 2, "dim": 16, "mlp_dim": 24}
NAMES = ["vit_b16", "vit_small_patch"]


def faces(count, shape=(16, 24, 1)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("float32")


def tiny(name="vit_small_patch", shape=(16, 24, 1), **settings):
    return create_model(name, input_shape=shape, **{**TINY, **settings})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_saved_model_predicts_the_same(name, channels, tmp_path):
    model = tiny(name, (16, 24, channels))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = faces(2, (16, 24, channels))
    assert model.get_layer("tokens").output.shape == (None, 1 + 2 * 3, 16)
    np.testing.assert_array_equal(loaded(images), model(images))


def test_prediction_depends_on_where_a_patch_stands():
    keras.utils.set_random_seed(0)
    model = tiny()
    image = faces(1)
    swapped = np.concatenate([image[:, :, 8:16], image[:, :, :8], image[:, :, 16:]], axis=2)
    assert np.abs(np.array(model(image) - model(swapped))).max() > 1e-5
    positions = model.get_layer("tokens").positions
    positions.assign(ops.zeros_like(positions))
    np.testing.assert_allclose(model(image), model(swapped), atol=1e-5)


def test_layers_of_equal_shape_begin_with_different_kernels():
    model = tiny()
    first, second = (model.get_layer(f"block{number}_mlp1").kernel for number in (1, 2))
    attention = model.get_layer("block1_attention")
    assert np.abs(np.array(first - second)).max() > 0.01
    assert np.abs(np.array(attention.query_dense.kernel - attention.key_dense.kernel)).max() > 0.01
    assert np.std(attention.query_dense.kernel) == pytest.approx(0.02, rel=0.3)


def test_prediction_is_the_head_on_the_class_token():
    model = tiny()
    tokens, features = keras.Model(model.input, [model.get_layer("norm").output, model.layers[-1].input])(faces(2))
    np.testing.assert_array_equal(features, tokens[:, 0])


def test_all_weights_but_the_biases_of_keys_train():
    model = tiny(dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    before = [weight.numpy() for weight in model.weights]
    model.fit(faces(4), np.arange(4) % 3, epochs=2, verbose=0)
    still = [w.path for w, old in zip(model.weights, before, strict=True) if (w.numpy() == old).all()]
    # A constant that is added to every key shifts all scores of a query alike, which the softmax takes out.
    assert all(path.endswith("key/bias") for path in still)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (16, 30, 1)}, "multiples of the patch of 8 pixels: instead of 30, 24 or 32"),
        ({"shape": (16, 16, 1), "patch": 20}, "instead of 16, 20"),
        ({"heads": 3}, "dim is 16 and heads is 3; dim must be a multiple"),
        ({"depth": 0}, "depth is 0; it must be 1 or more"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"name": "vit_b16", "weights": "imagenet"}, "patch=16:depth=12:heads=12:dim=768:mlp_dim=3072"),
    ],
)
def test_bad_setting_names_what_is_right(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(**settings)


def test_positions_are_interpolated_over_the_grid_and_not_over_the_token():
    positions = np.array([[9.0], *[[row] for row in (0.0, 0.0, 4.0, 4.0)]], "float32")  # 2x2 patches, rows 0 and 4
    resized = np.array(resized_positions(positions, (2, 2), (4, 2)))
    assert resized.shape == (1, 9, 1)
    assert resized.ravel().tolist() == [9, 0, 0, 1, 1, 3, 3, 4, 4]
    np.testing.assert_array_equal(resized_positions(positions, (2, 2), (2, 2))[0], positions)


@pytest.mark.parametrize("shape", [(16, 24, 3), (32, 32, 1)])
def test_weights_of_keras_hub_give_its_class_token(shape):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(*shape[:2], 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24
    )
    rng = np.random.default_rng(1)
    backbone.set_weights([w + rng.normal(0, 0.1, w.shape) for w in backbone.get_weights()])
    model = tiny("vit_b16", shape)
    copy_hub_weights(backbone, model)
    images = faces(2, shape)
    expected = backbone(np.repeat(images, 3 // shape[2], axis=-1) / 127.5 - 1)[:, 0]
    features = keras.Model(model.input, model.layers[-1].input)(images)
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_weights_of_keras_hub_fit_another_size():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24
    )
    model = tiny("vit_b16", (16, 24, 1))
    copy_hub_weights(backbone, model)
    old = backbone.get_layer("vit_patching_and_embedding").position_embedding.embeddings
    new = model.get_layer("tokens").positions[0]
    np.testing.assert_array_equal(new[0], old[0])
    np.testing.assert_allclose(new[1], old[1], atol=1e-6)  # the corners stay
    np.testing.assert_allclose(new[2], (old[1] + old[2]) / 2, atol=1e-6)
