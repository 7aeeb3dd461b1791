"""Colour and depth of one face: cut alike, stacked, read once where reading is slow."""

import types

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth import depth_planes, pairs


@pytest.fixture
def face(tmp_path, monkeypatch):
    """A picture of 60x80 whose face, at rows 10..49 and columns 30..69, has depth; the source is made up."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    colour = np.zeros((60, 80, 3), np.uint8)
    colour[10:50, 30:70] = (200, 120, 40)
    distance = np.full((60, 80), np.nan, np.float32)
    distance[10:50, 30:70] = 500 + np.arange(40)
    cv2.imwrite(str(tmp_path / "face.png"), colour[..., ::-1])
    (tmp_path / "face.range").write_bytes(b"range")
    source = types.SimpleNamespace(IMAGE_SIZE=None, CACHED=True, calls=[])

    def read_depth(path, picture):
        source.calls.append((path, picture))
        return distance

    source.read_depth = read_depth
    source.folder = tmp_path
    monkeypatch.setattr(pairs, "source_module", lambda _: source)
    return source


def read(face, **settings):
    paths = (str(face.folder / "face.png"), str(face.folder / "face.range"))
    return pairs.read_pair(*paths, "made-up", **{"align": False, **settings})


def test_both_are_cut_to_the_square_around_the_measured_face(face):
    colour, distance = read(face)
    assert colour.shape == (*distance.shape, 3)
    assert colour.shape[0] == colour.shape[1]
    assert 40 <= colour.shape[0] <= 46  # the face and a little margin
    np.testing.assert_array_equal(np.isfinite(distance), (colour > 0).any(axis=-1))


def test_a_slow_reading_happens_once_and_again_when_the_file_changes(face):
    first = read(face)[1]
    second = read(face)[1]
    assert len(face.calls) == 1
    np.testing.assert_array_equal(np.isnan(first), np.isnan(second))
    np.testing.assert_allclose(first, second, atol=0.05, equal_nan=True)
    (face.folder / "face.range").write_bytes(b"another range")
    read(face)
    assert len(face.calls) == 2


def test_a_damaged_cache_entry_is_read_again(face):
    read(face)
    kept = next((face.folder / "cache" / "depth").iterdir())
    kept.write_bytes(b"half a file")
    assert np.isfinite(read(face)[1]).any()
    assert len(face.calls) == 2


def test_no_depth_and_all_holes_are_reasons(face):
    with pytest.raises(BadImageError, match="no depth"):
        pairs.read_pair(str(face.folder / "face.png"), "", "made-up", align=False)
    face.CACHED, face.read_depth = False, lambda *_: np.full((60, 80), np.nan, np.float32)
    with pytest.raises(BadImageError, match=r"face\.range is all holes"):
        read(face)


def test_a_missing_depth_file_is_a_reason(face):
    with pytest.raises(BadImageError, match=r"gone\.range cannot be read"):
        pairs.read_pair(str(face.folder / "face.png"), str(face.folder / "gone.range"), "made-up", align=False)


def test_a_reason_names_the_file(face):
    def read_depth(*_):
        raise BadImageError("mesh has no faces")

    face.read_depth = read_depth
    with pytest.raises(BadImageError, match=r"^face\.range: mesh has no faces"):
        read(face)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_holds_colours_as_a_picture_alone_would_and_the_depth_behind(face, channels):
    colour, distance = read(face)
    decoded = pairs.stacked(colour, distance, 24, channels)
    assert decoded.pixels.dtype == np.uint16
    assert decoded.pixels.shape == (24, 24, channels + 1)
    assert depth_planes.colours(decoded.pixels).max() == (200 if channels == 3 else decoded.pixels[..., 0].max())
    measured = depth_planes.to_distance(decoded.pixels[..., -1])
    assert 499 <= np.nanmin(measured) < np.nanmax(measured) <= 540
    assert np.isnan(measured[0]).all()  # the margin is no distance


def test_the_fingerprint_knows_both(face):
    colour, distance = read(face)
    same = pairs.stacked(colour, distance, 24, 3).digest
    assert pairs.stacked(colour, distance, 32, 3).digest == same
    assert pairs.stacked(colour, distance + 1, 24, 3).digest != same
    assert pairs.stacked(colour // 2, distance, 24, 3).digest != same
