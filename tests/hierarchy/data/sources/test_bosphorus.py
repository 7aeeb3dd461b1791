"""Bosphorus: acted emotions with their range files; everything else is left out, and told."""

import logging
import struct

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth.depth_planes import NOMINAL_MM
from fer_hierarchy.hierarchy.data.sources import bosphorus, read_source
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "rgbd" / "BosphorusDB"
BROKEN = REAL.parent / "broken" / "BosphorusDB"
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL.is_dir(), reason="the rendered Bosphorus folder is not beside the checkout"),
]


def test_a_face_comes_with_its_subject_and_its_range_file(place):
    root = place(
        "bs000/bs000_E_ANGER_0.png",
        "bs000/bs000_E_ANGER_0.bnt",
        "bs000/bs000_E_ANGER_0.lm2",
        "bs001/bs001_N_N_1.png",
        "bs001/bs001_N_N_1.bnt",
    )
    manifest = read_source(root)
    assert manifest["id"].tolist() == ["bs000_E_ANGER_0", "bs001_N_N_1"]
    assert manifest["emotion"].tolist() == ["angry", "neutral"]
    assert manifest["subject"].tolist() == ["bs000", "bs001"]
    assert manifest["depth_path"].tolist() == [str(root / f"{name[:5]}/{name}.bnt") for name in manifest["id"]]
    assert set(manifest["depth_kind"]) == {"relative"}
    assert set(manifest["source"]) == {"bosphorus"}
    assert set(manifest["split"]) == {""}


def test_every_emotion_word_is_known(place):
    words = ("ANGER", "DISGUST", "FEAR", "HAPPY", "SADNESS", "SURPRISE")
    manifest = bosphorus.read(place(*(f"bs000/bs000_E_{word}_0.png" for word in words)))
    assert manifest["emotion"].tolist() == ["angry", "disgust", "fear", "happy", "sad", "surprise"]


def test_a_picture_without_range_file_has_no_depth(place):
    manifest = bosphorus.read(place("bs000/bs000_E_FEAR_0.png", "bs000/bs000_E_HAPPY_0.bnt"))
    assert manifest["depth_path"].tolist() == [""]
    assert manifest["depth_kind"].tolist() == [""]


def test_what_is_left_out_is_reported_once(place, caplog):
    others = ("LFAU_12_0", "LFAU_9L_0", "UFAU_1_0", "CAU_22A25_0", "YR_R10_0", "PR_D_0", "CR_RD_0", "O_EYE_0")
    root = place(*(f"bs000/bs000_{name}.png" for name in ("N_N_0", *others)), "bs000/bs000_E_FEAR_0.bnt")
    with caplog.at_level(logging.WARNING, "fer_hierarchy"):
        assert bosphorus.read(root)["id"].tolist() == ["bs000_N_N_0"]
    assert caplog.messages == [
        "bosphorus: 8 pictures left out, they show no emotion (CAU 1, CR 1, LFAU 2, O 1, PR 1, UFAU 1, YR 1)",
        "bosphorus: 1 range files have no picture (first: bs000_E_FEAR_0)",
    ]


def test_an_unknown_emotion_is_named(place):
    with pytest.raises(UserError, match=r"bs000_E_BORED_0 names no emotion \('BORED'\); known: angry"):
        bosphorus.read(place("bs000/bs000_E_ANGER_0.png", "bs000/bs000_E_BORED_0.png"))


def test_action_units_alone_are_no_faces(place):
    with pytest.raises(UserError, match=r"none of 1 pictures shows an emotion; names like bs000_E_ANGER_0\.png"):
        read_source(place("bs000/bs000_LFAU_12_0.png"))


def test_depth_stands_at_the_nominal_distance(tmp_path):
    v, u = np.mgrid[0.1:0.9:40j, 0.2:0.8:30j]
    x, y = (u - 0.5) * 150, (0.5 - v) * 200
    planes = np.stack([x, y, 500 - (x**2 + y**2) / 150, u, v])[:, ::-1]
    header = struct.pack("<HHdH", 40, 30, -1e9, 0) + struct.pack("<I", planes.size)
    (tmp_path / "face.bnt").write_bytes(header + planes.astype("<f8").tobytes())
    distance = bosphorus.read_depth(str(tmp_path / "face.bnt"), (100, 80))
    assert distance.dtype == np.float32
    assert np.nanmedian(distance) == pytest.approx(NOMINAL_MM, abs=0.01)
    assert distance[49, 39] == np.nanmin(distance)
    assert np.isnan(distance[0]).all()


class TestRendered:
    pytestmark = real_data

    def test_the_whole_set(self):
        manifest = read_source(REAL)
        assert manifest["emotion"].value_counts().to_dict() == dict.fromkeys(
            ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), 8
        )
        assert manifest["subject"].nunique() == 8
        assert (manifest["depth_path"] != "").all()

    @pytest.mark.parametrize("row", [0, 29, 55])
    def test_depth_lies_on_the_face(self, row):
        face = bosphorus.read(REAL).iloc[row]
        colour = cv2.imread(face["path"]).max(axis=2)
        distance = bosphorus.read_depth(face["depth_path"], colour.shape)
        measured = np.isfinite(distance)
        assert measured.mean() > 0.35
        assert (colour[measured] > 0).mean() > 0.999
        nearest = np.unravel_index(np.nanargmin(distance), distance.shape)
        np.testing.assert_allclose(nearest, (0.52 * colour.shape[0], 0.5 * colour.shape[1]), atol=14)

    def test_the_broken_file_is_reported(self):
        face = read_source(BROKEN).iloc[0]
        assert face["id"] == "bs900_E_ANGER_0"
        with pytest.raises(BadImageError, match=r"cut off: \d+ of \d+ bytes"):
            bosphorus.read_depth(face["depth_path"], (250, 200))
