import keras
import numpy as np
import pytest
from keras import layers

from fer_hierarchy.inference.explain.grad_cam import BOTH, DEPTH, PICTURE, MapLayer, grad_cam, map_layers
from fer_hierarchy.models.registry import create_model

SIDE = 16


def cropped(x, *, rows, columns, name):
    """Everything outside a window becomes zero."""
    (top, bottom), (left, right) = rows, columns
    x = layers.Cropping2D(((top, bottom), (left, right)), name=f"{name}crop")(x)
    return layers.ZeroPadding2D(((top, bottom), (left, right)), name=f"{name}frame")(x)


def window_network(weights=((1.0, -1.0),)):
    """Two logits, plus and minus the brightness of the upper left quarter."""
    pixels = keras.Input((SIDE, SIDE, 1))
    x = cropped(pixels, rows=(0, 8), columns=(0, 8), name="window_")
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", activation="relu", name="map")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    network = keras.Model(pixels, layers.Dense(2, name="predictions")(x))
    network.get_layer("predictions").set_weights([np.array(weights), np.zeros(2)])
    return network


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(1, 256, (5, SIDE, SIDE, 1)).astype(np.uint8)


def test_heat_lies_where_the_logit_comes_from(faces):
    network = window_network()
    maps = map_layers(network)
    assert maps == {PICTURE: MapLayer("map", (SIDE, SIDE))}
    heat = grad_cam(network, faces, np.zeros(5, int), maps)[PICTURE]
    assert heat.shape == (5, SIDE, SIDE)
    assert (heat[:, :8, :8] > 0).any(axis=(1, 2)).all()
    assert heat.sum() == pytest.approx(heat[:, :8, :8].sum())


def test_what_speaks_against_a_class_is_no_heat(faces):
    network = window_network()
    assert not grad_cam(network, faces, np.ones(5, int), map_layers(network))[PICTURE].any()


def test_a_map_is_its_channels_weighed_by_their_mean_gradient(faces):
    pixels = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="map")(pixels)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    network = keras.Model(pixels, layers.Dense(4, name="predictions")(x))
    channels = keras.Model(pixels, network.get_layer("map").output).predict(faces.astype("float32"), verbose=0)
    kernel = network.get_layer("predictions").get_weights()[0]
    classes = np.array([0, 1, 2, 3, 0])
    heat = grad_cam(network, faces, classes, map_layers(network))[PICTURE]
    expected = np.maximum(np.einsum("nhwc,cn->nhw", channels, kernel[:, classes] / SIDE**2), 0)
    np.testing.assert_allclose(heat, expected, rtol=1e-4, atol=1e-6)


def test_faces_do_not_depend_on_their_company(faces):
    network = create_model("compact_resnet", input_shape=(SIDE, SIDE, 1), num_classes=3)
    maps, classes = map_layers(network), np.array([0, 1, 2, 0, 1])
    together = grad_cam(network, faces, classes, maps)[PICTURE]
    apart = grad_cam(network, faces, classes, maps, batch_size=2)[PICTURE]
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("spec", "side", "layer", "grid"),
    [
        ("compact_resnet", 48, "stage3_block2_relu2", (6, 6)),
        ("hierarchical_cnn", 48, "stage3_conv2_relu", (5, 5)),
        ("shallow_cnn", 48, "stage3_conv_relu", (12, 12)),
        ("mini_xception", 64, "block4_add", (4, 4)),
        ("face_resnet:widths=4+4+4+4+4", 112, "stack3_block2_out", (3, 3)),  # the last one is a single place
        ("vit_small_patch:patch=12:depth=2:dim=24:heads=2:mlp_dim=32", 48, "block2_norm1", (4, 4)),
    ],
)
def test_the_last_map_of_each_kind_of_network_is_found(spec, side, layer, grid):
    found = map_layers(create_model(spec, input_shape=(side, side, 1), num_classes=3))[PICTURE]
    assert (found.name, found.grid) == (layer, grid)


def test_a_transformer_has_a_map_of_its_patches(faces):
    spec = "vit_small_patch:patch=4:depth=2:dim=24:heads=2:mlp_dim=32"
    network = create_model(spec, input_shape=(SIDE, SIDE, 1), num_classes=2)
    heat = grad_cam(network, faces, np.zeros(5, int), map_layers(network))[PICTURE]
    assert heat.shape == (5, 4, 4)
    assert heat.any()


def test_each_modality_has_a_map_of_its_own(faces):
    """Two streams in one network: the picture's left half counts, and the depth's lower half."""
    pixels = keras.Input((SIDE, SIDE, 2))
    colour = layers.Conv2D(1, 1, use_bias=False, trainable=False, name="split_picture")(pixels)
    depth = layers.Conv2D(1, 1, use_bias=False, trainable=False, name="depth_image")(pixels)
    colour = cropped(colour, rows=(0, 0), columns=(0, 8), name="rgb_")
    depth = cropped(depth, rows=(8, 0), columns=(0, 0), name="depth_")
    names = ("rgb_map", "depth_map")
    parts = [
        layers.Conv2D(1, 1, kernel_initializer="ones", activation="relu", name=name)(x)
        for name, x in zip(names, (colour, depth), strict=True)
    ]
    x = layers.GlobalAveragePooling2D(name="features")(layers.Concatenate(name="both")(parts))
    network = keras.Model(pixels, layers.Dense(2, kernel_initializer="ones", name="predictions")(x))
    network.get_layer("split_picture").set_weights([np.array([[[[1.0], [0.0]]]])])
    network.get_layer("depth_image").set_weights([np.array([[[[0.0], [1.0]]]])])
    maps = map_layers(network)
    assert {what: place.name for what, place in maps.items()} == {PICTURE: "rgb_map", DEPTH: "depth_map"}
    heat = grad_cam(network, np.concatenate([faces, faces], axis=-1).astype(np.uint16), np.zeros(5, int), maps)
    assert heat[PICTURE][:, :, :8].all()
    assert not heat[PICTURE][:, :, 8:].any()
    assert heat[DEPTH][:, 8:].all()
    assert not heat[DEPTH][:, :8].any()


@pytest.mark.parametrize(
    ("fusion", "modality", "expected"),
    [
        ("attention", "rgbd", [PICTURE, DEPTH]),
        ("sum", "rgbd", [PICTURE, DEPTH]),
        ("sum", "depth", [DEPTH]),
        ("early", "rgbd", [BOTH]),
    ],
)
def test_rgbd_networks_have_a_map_for_each_backbone(fusion, modality, expected):
    spec = f"rgbd_fusion:fusion={fusion}:modality={modality}"
    network = create_model(spec, input_shape=(32, 32, 4), num_classes=3)
    maps = map_layers(network)
    assert list(maps) == expected
    faces = np.random.default_rng(1).integers(1, 250, (2, 32, 32, 4)).astype(np.uint16)
    faces[..., -1] += 12_000
    heat = grad_cam(network, faces, np.array([0, 2]), maps)
    assert all(heat[what].shape == (2, 4, 4) for what in expected)


def test_a_network_without_places_is_refused():
    pixels = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(pixels, layers.Dense(2, name="predictions")(layers.Flatten()(pixels)), name="linear")
    with pytest.raises(ValueError, match="'linear' has no map"):
        map_layers(network)
