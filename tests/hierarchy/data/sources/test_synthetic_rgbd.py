"""The source synthetic-rgbd: a manifest with depth, and depth that reads back in millimetres."""

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.data.manifest import MANIFEST_COLUMNS, check_manifest
from fer_hierarchy.hierarchy.data.sources import EMBEDDED, expected_size, read_source, source_names
from fer_hierarchy.hierarchy.data.sources import synthetic_rgbd as source
from fer_hierarchy.hierarchy.data.synthetic.embedded import entries, rendered_folder
from fer_hierarchy.hierarchy.data.synthetic.embedded_rgbd import RgbdSpec, render_rgbd
from fer_hierarchy.hierarchy.errors import UserError

TINY = RgbdSpec(seed=5, train=50, validation=50, test=50)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(source, "RgbdSpec", lambda: TINY)
        yield read_source(None, dataset="synthetic-rgbd")


def test_the_manifest_names_depth_for_every_face(cached):
    check_manifest(cached)
    assert tuple(cached.columns) == MANIFEST_COLUMNS
    assert cached["split"].value_counts().to_dict() == {"train": 50, "validation": 50, "test": 50}
    assert set(cached["source"]) == {"synthetic-rgbd"}
    assert set(cached["depth_kind"]) == {"metric"}
    assert (cached["depth_path"] != "").all()
    assert cached["subject"].groupby(cached["split"]).nunique().to_dict() == {"train": 10, "validation": 10, "test": 10}
    assert cached.groupby("subject")["split"].nunique().max() == 1


def test_colour_and_depth_read_back_as_drawn(cached):
    row, face = cached.iloc[-1], entries(TINY)[-1]
    colour, depth = render_rgbd(face.seed, face.index)
    assert row["id"] == face.name
    assert np.array_equal(read_image(row["path"], source.IMAGE_SIZE), colour)
    distance = source.read_depth(row["depth_path"], (64, 64))
    assert distance.dtype == np.float32
    assert np.array_equal(np.isnan(distance), depth == 0)
    assert np.allclose(distance[depth > 0], depth[depth > 0] * 0.125)


def test_the_second_reading_draws_nothing_and_a_lost_depth_draws_again(cached, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "fer_hierarchy.hierarchy.data.synthetic.embedded_rgbd.render_rgbd",
        lambda *which: drawn.append(which) or (np.ones((64, 64, 3), np.uint8), np.ones((64, 64), np.uint16)),
    )
    assert source.read(None, spec=TINY).equals(cached)
    assert drawn == []
    lost = RgbdSpec(seed=6, train=50, validation=50, test=50)
    folder = rendered_folder(lost)
    (folder / lost.files(entries(lost)[0])[1]).unlink()
    rendered_folder(lost)
    assert len(drawn) == 300


def test_unusable_depth_has_a_reason(tmp_path):
    path = tmp_path / "face.png"
    with pytest.raises(BadImageError, match=r"file is missing"):
        source.read_depth(str(path), (64, 64))
    path.write_bytes(cv2.imencode(".png", np.ones((64, 64), np.uint16))[1].tobytes()[:60])
    with pytest.raises(BadImageError, match=r"truncated or damaged"):
        source.read_depth(str(path), (64, 64))
    for pixels, reason in (
        (np.ones((64, 64), np.uint8), "8-bit depth: its units are lost"),
        (np.ones((32, 32), np.uint16), "32x32 pixels, its picture has 64x64"),
    ):
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        with pytest.raises(BadImageError, match=reason):
            source.read_depth(str(path), (64, 64))


def test_both_embedded_sets_need_no_path(tmp_path):
    assert EMBEDDED == ("synthetic", "synthetic-rgbd")
    assert set(EMBEDDED) <= set(source_names())
    assert expected_size("synthetic-rgbd") == (64, 64)
    with pytest.raises(UserError, match="does not look like synthetic-rgbd"):
        read_source(tmp_path.parent, dataset="synthetic-rgbd")
