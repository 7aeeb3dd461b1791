"""Faces of a finished run come from where its data is, and never from data that has changed since."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.runs.shown_faces import faces_of_run
from tests.conftest import write_fer_folder


@pytest.fixture
def run(tmp_path):
    """The folder of a run on data of its own, and its faces."""
    data = write_fer_folder(tmp_path / "data", per_split={"Training": 3, "PublicTest": 2, "PrivateTest": 2})
    config = RunConfig(data=DataConfig(data=str(data), image_size=24))
    faces = read_faces(config)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    faces.manifest.rename(columns={"id": "row"})[["row", "pixel_hash"]].to_csv(folder / "splits.csv", index=False)
    return folder, faces


def test_faces_come_in_the_order_asked_for(run):
    folder, faces = run
    ids = faces.split("test")["id"].tolist()[::-3]
    np.testing.assert_array_equal(faces_of_run(folder, ids), faces.pixels_of(ids))


def test_gone_data_gives_no_faces_and_no_error(run):
    folder, faces = run
    shutil.rmtree(folder.parent / "data")
    assert faces_of_run(folder, faces.manifest["id"].tolist()[:2]) is None


def test_unknown_ids_and_missing_records_give_no_faces(run):
    folder, faces = run
    assert faces_of_run(folder, ["nobody"]) is None
    (folder / "splits.csv").unlink()
    assert faces_of_run(folder, faces.manifest["id"].tolist()[:2]) is None


def test_another_picture_under_the_same_name_is_not_shown(run):
    folder, faces = run
    row = faces.split("test").iloc[0]
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(row["path"])
    assert faces_of_run(folder, [row["id"]]) is None
