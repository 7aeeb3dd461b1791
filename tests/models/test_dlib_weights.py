"""Networks in dlib's format: read as they were written; damaged files and other kinds are refused in one line."""

import contextlib

import numpy as np
import pytest

from fer_hierarchy.models import dlib_weights
from fer_hierarchy.models.dlib_weights import face_weights_file, read_network
from tests import dlib_files

SMALL = dlib_files.face_network((4, 6), (1, 1))


@pytest.fixture
def written(tmp_path):
    """Writes a file; its path."""

    def write(content):
        (tmp_path / "network.dat").write_bytes(content)
        return tmp_path / "network.dat"

    return write


def test_layers_come_from_the_input_to_the_descriptor(written):
    layers = read_network(written(SMALL))
    block = ["con", "affine", "relu", "con", "affine"]
    assert [layer.kind for layer in layers] == [
        *("con", "affine", "relu", "max_pool"),
        *(*block, "add_prev", "relu"),
        *(*block, "avg_pool", "add_prev", "relu"),
        *("avg_pool", "fc"),
    ]
    convolutions = [layer.settings for layer in layers if layer.kind == "con"]
    assert convolutions[0] == (4, 7, 7, 2, 2, 0, 0)
    assert convolutions[3:] == [(6, 3, 3, 2, 2, 0, 0), (6, 3, 3, 1, 1, 1, 1)]
    assert [layer.settings for layer in layers if layer.kind.endswith("pool")] == [
        (3, 3, 2, 2, 0, 0),
        (2, 2, 2, 2, 0, 0),
        (0, 0, 1, 1, 0, 0),
    ]
    assert layers[-1].settings == (5,)


def test_numbers_are_those_that_were_written(written):
    rng = np.random.default_rng(0)  # as the writer draws
    kernel = rng.normal(0, (2 / (3 * 49)) ** 0.5, (4, 3, 7, 7)).astype("float32")
    bias = rng.normal(0, 0.1, 4).astype("float32")
    gamma = rng.uniform(0.5, 2, 4).astype("float32")
    first, second, *_, last = read_network(written(SMALL))
    np.testing.assert_array_equal(first.weights["kernel"], kernel)
    np.testing.assert_array_equal(first.weights["bias"], bias)
    np.testing.assert_array_equal(second.weights["gamma"], gamma)
    assert second.weights["beta"].shape == (4,)
    assert {key: value.shape for key, value in last.weights.items()} == {"kernel": (6, 5), "bias": (0,)}
    assert all(value.dtype == np.float32 for value in (*first.weights.values(), *last.weights.values()))


def test_a_file_that_was_cut_anywhere_is_refused(written):
    for length in [*range(0, 400), *range(400, len(SMALL), 97), len(SMALL) - 1]:
        with pytest.raises(ValueError, match=r"network\.dat is damaged or no network of dlib's: .* at byte") as caught:
            read_network(written(SMALL[:length]))
        assert "\n" not in str(caught.value)


def test_a_changed_byte_is_refused_or_changes_a_number(written):
    rng = np.random.default_rng(1)
    unnoticed = 0
    for place in rng.choice(len(SMALL), 600, replace=False):
        content = bytearray(SMALL)
        content[place] ^= int(rng.integers(1, 256))
        with contextlib.suppress(ValueError):  # nothing else may be raised
            read_network(written(content))
            unnoticed += 1
    assert 0 < unnoticed < 600


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it ends where 1 more bytes belong"),
        (b"\x89PNG\r\n\x1a\n" * 9, "0x89 begins no whole number|no whole number"),
        (b"PK\x03\x04" * 9, "0x50 begins no whole number"),
        (SMALL + b"\x00", "more than a network"),
        (SMALL.replace(b"loss_metric_2", b"loss_binary_2"), "a loss of kind 'loss_binary_2'"),
        (SMALL.replace(b"input_rgb_image_sized", b"input_rgb_image_other"), "an input of kind 'input_rgb_image_other'"),
        (SMALL.replace(b"con_4", b"con_9", 1), "a layer of kind 'con_9'"),
        (SMALL.replace(b"con_4", b"c n_4", 1), "'c n_4' is no name"),
        (SMALL.replace(b"110", b"150", 1), "stands where each is 0 or 1"),
    ],
)
def test_what_is_no_such_network_is_refused(written, content, reason):
    with pytest.raises(ValueError, match=reason):
        read_network(written(content))


def test_an_array_that_no_file_could_hold_takes_no_memory(written):
    place = SMALL.index(b"con_4") + len(b"con_4")
    huge = dlib_files.wholes(2, 2**62, 2**62, 1, 1)
    size = len(dlib_files.wholes(2, 4 * 3 * 49 + 4, 1, 1, 1))
    with pytest.raises(ValueError, match=r"an array of shape \(4611686018427387904, "):
        read_network(written(SMALL[:place] + huge + SMALL[place + size :]))


def test_weights_that_are_not_finite_are_refused(written):
    place = SMALL.index(b"con_4") + 100
    with pytest.raises(ValueError, match="values that are not finite"):
        read_network(written(SMALL[:place] + b"\xff" * 8 + SMALL[place + 8 :]))


def test_a_file_that_is_too_large_is_not_read(written, monkeypatch):
    monkeypatch.setattr(dlib_weights, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=rf"has {len(SMALL)} bytes; a network of dlib's has at most 1000"):
        read_network(written(SMALL))


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.dat cannot be read \(No such file"):
        read_network(tmp_path / "nowhere.dat")


def test_the_package_is_found_and_not_imported(tmp_path, monkeypatch):
    path = dlib_files.write_package(tmp_path, SMALL)
    monkeypatch.syspath_prepend(tmp_path)
    assert face_weights_file() == path
    path.unlink()
    with pytest.raises(ValueError, match=r"are missing; install face_recognition_models again, or .*--weights none"):
        face_weights_file()


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install face_recognition_models, or .*--weights none") as caught:
        face_weights_file()
    assert "\n" not in str(caught.value)
