"""A run as one file in every format, and what happens to the files when an export goes wrong."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ai_edge_litert.interpreter import Interpreter

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.inference.export import metadata, writer
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.export.verify import verify
from fer_hierarchy.inference.settings import FORMATS
from tests.conftest import write_fer_folder
from tests.inference.untrained import fit_last_layers, write_run

EMOTIONS = ("fear", "happy", "sad")  # two networks to train and convert: happy is alone in its group


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, fer_folder: Path) -> Path:
    """The run "tree", which knows its bars, and "flat", one network."""
    place = tmp_path_factory.mktemp("results")
    taxonomy = TAXONOMIES["valence"].restrict(EMOTIONS)
    fit_last_layers(write_run(place / "tree", taxonomy, mirror=True, data=fer_folder))
    write_run(place / "flat", taxonomy, mode="flat", data=fer_folder)
    return place


@pytest.fixture(scope="module")
def made(results: Path) -> dict[str, Path]:
    return writer.export_run("tree", FORMATS, data=DataConfig(), out=None, results=results)


@pytest.fixture(scope="module")
def pixels(results: Path) -> np.ndarray:
    """The run's test faces."""
    faces = read_faces(Run(results / "tree").config)
    return faces.images.pixels[faces.split("test").index.to_numpy()]


def test_each_format_is_one_file_beside_the_run(results, made):
    folder = results / "tree" / "export"
    names = {"saved_model": "tree_saved_model", "onnx": "tree.onnx", "tflite": "tree.tflite"}
    assert made == {name: folder / file for name, file in {**names, "tflite-int8": "tree-int8.tflite"}.items()}
    assert {path.name for path in folder.iterdir()} == {path.name for path in made.values()}
    assert made["tflite-int8"].stat().st_size < made["tflite"].stat().st_size / 2


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_predicts_as_its_run(results, made, pixels, name):
    expected, predicted = (open_model(str(p), results).predict(pixels) for p in ("tree", made[name]))
    if name != "tflite-int8":
        np.testing.assert_allclose(predicted, expected, atol=1e-4)
    same = predicted.argmax(axis=1) == expected.argmax(axis=1)
    assert same.mean() >= (0.8 if name == "tflite-int8" else 1)
    assert len(set(expected.argmax(axis=1))) == len(EMOTIONS)  # the run does tell emotions apart


def test_a_zip_program_finds_facts_and_labels_in_a_tflite(made):
    with zipfile.ZipFile(made["tflite"]) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().split() == list(EMOTIONS)
        assert json.loads(archive.read("fer.json"))["run"] == "tree"


def test_int8_computes_in_int8_takes_bytes_and_gives_floats(made):
    interpreter = Interpreter(model_path=str(made["tflite-int8"]))
    assert interpreter.get_input_details()[0]["dtype"] is np.uint8
    assert interpreter.get_output_details()[0]["dtype"] is np.float32
    kinds = {detail["index"]: np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    operations = [op for op in interpreter._get_ops_details() if op["op_name"] in ("CONV_2D", "FULLY_CONNECTED")]
    assert len(operations) == 2 * 2 * 5  # networks, face and mirror image, layers with kernels in each
    assert all(kinds[op["inputs"][i]] == "int8" for op in operations for i in (0, 1))
    soft = [op for op in interpreter._get_ops_details() if op["op_name"] in ("SOFTMAX", "RSQRT")]
    assert {kinds[op["outputs"][0]] for op in soft} == {"float32"}


def test_exports_are_verified_against_their_run(results, made, capsys, tmp_path):
    other = write_fer_folder(tmp_path / "other", per_split={"Training": 1, "PrivateTest": 4}, seed=5)
    assert verify("tree", made, data=DataConfig(data=str(other)), results=results) == []
    text = capsys.readouterr().out
    assert all(name in text for name in ("keras", *FORMATS))
    table = pd.read_csv(results / "tree" / "export" / "verify.csv")
    assert table["format"].tolist() == ["keras", *FORMATS]
    assert (table["faces"] == 4 * len(EMOTIONS)).all()
    assert (table["largest_difference"][:4] < 1e-4).all()
    assert table["ok"].all()
    assert (table[["megabytes", "faces_per_second", "faces_per_second_64"]] > 0).all(axis=None)
    assert json.loads((results / "tree" / "export" / "verify.json").read_text())["run"] == "tree"


def test_nothing_but_our_own_words_reaches_the_screen(results, tmp_path, capfd):
    writer.export_run("flat", ["tflite-int8", "onnx"], data=DataConfig(), out=tmp_path, results=results)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def copy(results, tmp_path) -> Path:
    """A results folder of its own with the run "flat" and exports of yesterday."""
    folder = shutil.copytree(results / "flat", tmp_path / "results" / "flat") / "export"
    (folder / "flat_saved_model").mkdir(parents=True)
    for name in ("flat.tflite", "flat_saved_model/saved_model.pb"):
        (folder / name).write_bytes(b"old")
    return folder.parent.parent


def files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "step"), [("tflite", "add_to_tflite"), ("saved_model", "add_to_saved_model")])
def test_an_interrupted_export_leaves_the_old_one(copy, monkeypatch, name, step):
    before = files_in(copy / "flat" / "export")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(metadata, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.export_run("flat", [name], data=DataConfig(), out=None, results=copy)
    assert files_in(copy / "flat" / "export") == before


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(copy, monkeypatch):
    folder = copy / "flat" / "export" / "flat_saved_model"
    before = files_in(folder.parent)
    rename = Path.rename

    def interrupt(self, target):
        if target == folder and not self.name.endswith("-old"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.export_run("flat", ["saved_model"], data=DataConfig(), out=None, results=copy)
    assert files_in(folder.parent) == before


def test_a_second_export_takes_the_place_of_the_first(copy):
    folder = copy / "flat" / "export"
    before = sorted(path.name for path in folder.iterdir())
    (folder / ".flat-ab12cd_9.tflite").write_text("what a killed export left")
    (folder / ".flat_saved_model-ab12cd_9" / "variables").mkdir(parents=True)
    made = writer.export_run("flat", ["tflite", "saved_model"], data=DataConfig(), out=None, results=copy)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [open_model(str(path), copy).facts.run for path in made.values()] == ["flat", "flat"]


def test_int8_is_calibrated_by_other_faces_where_the_own_are_gone(copy, tmp_path):
    config = copy / "flat" / "config.json"
    record = json.loads(config.read_text())
    record["data"] = {**record["data"], "data": str(tmp_path / "gone")}
    config.write_text(json.dumps(record))
    given = {"out": tmp_path / "out", "results": copy}
    with pytest.raises(UserError, match=r"needs some train faces of this run.*name other with --data"):
        writer.export_run("flat", ["tflite-int8"], data=DataConfig(), **given)
    assert not (tmp_path / "out").exists()
    other = write_fer_folder(tmp_path / "other", per_split={"Training": 3, "PublicTest": 1, "PrivateTest": 1}, seed=6)
    made = writer.export_run("flat", ["tflite-int8"], data=DataConfig(data=str(other)), **given)
    assert open_model(str(made["tflite-int8"]), copy).facts.run == "flat"


def test_a_model_that_a_format_cannot_hold_is_one_line(copy, monkeypatch):
    def refuse(function):
        raise RuntimeError("no such operation\nand a long story")

    monkeypatch.setattr(writer, "_converter", refuse)
    with pytest.raises(UserError) as caught:
        writer.export_run("flat", ["tflite"], data=DataConfig(), out=None, results=copy)
    assert str(caught.value) == "run flat cannot be exported as tflite: shallow_cnn: no such operation"


def test_a_place_that_is_no_folder_is_one_line(copy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot export into .*file"):
        writer.export_run("flat", ["tflite"], data=DataConfig(), out=tmp_path / "file", results=copy)
