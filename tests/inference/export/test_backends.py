"""A run predicts alike from its folder and from each export; what cannot be opened is one line."""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.predictions import predict
from fer_hierarchy.hierarchy.config import DataConfig, StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.inference.export import metadata
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.export.writer import export_run
from fer_hierarchy.inference.model import gate_of
from tests.conftest import CHECKOUT
from tests.inference.untrained import SHAPE, write_run

FORMATS = ("saved_model", "onnx", "tflite")
RUNS = ("tree", "shared", "flat")
# happy is alone in its group, and needs no specialist.
THREE = TAXONOMIES["valence"].restrict(["happy", "angry", "sad"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with their exports; the flat one has an activation of which tf2onnx knows a part only."""
    place = tmp_path_factory.mktemp("results")
    write_run(place / "tree", THREE)
    write_run(place / "shared", THREE, shared=True)
    write_run(place / "flat", THREE, mode="flat", model="shallow_cnn:activation=gelu")
    for name in RUNS:
        export_run(name, FORMATS, data=DataConfig(), out=None, results=place)
    return place


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """(300, 16, 16, 1) uint8."""
    return np.random.default_rng(0).integers(0, 255, (300, *SHAPE)).astype(np.uint8)


def exported(results: Path, run: str, name: str) -> str:
    ending = {"saved_model": "_saved_model", "onnx": ".onnx", "tflite": ".tflite"}[name]
    return str(results / run / "export" / f"{run}{ending}")


@pytest.mark.parametrize("run", RUNS)
def test_a_run_predicts_as_it_is_evaluated(results, faces, run):
    model = open_model(run, results)
    rows = pd.DataFrame({"emotion": ["happy"] * len(faces)})
    evaluated = predict(model.stages, THREE, faces, rows)
    predicted = model.predict(faces)
    np.testing.assert_allclose(predicted, evaluated.probabilities, atol=1e-6)
    np.testing.assert_allclose(gate_of(predicted, THREE), evaluated.gate, atol=1e-6)
    assert predicted.std(axis=0).min() > 1e-3  # the networks do tell faces apart


def test_a_run_that_predicts_often_keeps_its_predictions(results, faces):
    model = open_model("tree", results)
    first = model.predict(faces[:3])
    later = [model.predict(faces[:3]) for _ in range(8)]
    np.testing.assert_allclose(later, [first] * 8, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("run", RUNS)
def test_an_export_predicts_as_its_run(results, faces, run, name):
    wanted = open_model(run, results).predict(faces)
    model = open_model(exported(results, run, name), results)
    for count in (0, 1, 5, 300, 5):
        predicted = model.predict(faces[:count])
        assert predicted.shape == (count, 3)
        np.testing.assert_allclose(predicted, wanted[:count], atol=1e-5)


@pytest.mark.parametrize("name", [None, *FORMATS])
def test_a_model_says_what_it_is(results, name):
    facts = open_model("tree" if name is None else exported(results, "tree", name), results).facts
    assert (facts.run, facts.mode, facts.shape) == ("tree", "hierarchical", SHAPE)
    assert facts.taxonomy.emotions == ("angry", "happy", "sad")
    assert facts.taxonomy.group_names == ("positive", "negative")
    assert not facts.align
    assert not facts.synthetic


def test_a_tflite_predicts_without_tensorflow(results):
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from fer_hierarchy.inference.export.backends import open_model\n"
        "model = open_model(sys.argv[1], Path())\n"
        "print(model.predict(np.zeros((2, 16, 16, 1), np.uint8)).sum().round(3))\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'sklearn', 'scipy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, exported(results, "tree", "tflite")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=True)
    assert done.stdout.split("\n")[:2] == ["2.0", "[]"]
    assert done.stderr == ""


def refused(model: Path | str, results: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_model(str(model), results)
    (line,) = str(caught.value).splitlines()
    return line


def damaged(source: str, target: Path, change) -> Path:
    content = bytearray(Path(source).read_bytes())
    target.write_bytes(change(content))
    return target


def rewritten(path: Path, change) -> None:
    """Change the parts of a .keras file, by their names."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def flipped(content: bytearray) -> bytes:
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    return bytes(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[: len(content) // 2], "does not tell what its outputs mean"),
        (flipped, "damaged"),
        (lambda content: b"", "does not tell what its outputs mean"),
    ],
)
def test_a_damaged_tflite_is_one_line(results, tmp_path, change, words):
    path = damaged(exported(results, "tree", "tflite"), tmp_path / "bad.tflite", change)
    line = refused(path, results)
    assert "bad.tflite" in line
    assert words in line


def flatbuffer(content: bytes) -> bytes:
    return bytes(content[: content.index(b"PK\x03\x04")])


def test_a_tflite_of_somebody_else_is_one_line(results, tmp_path):
    path = damaged(exported(results, "tree", "tflite"), tmp_path / "other.tflite", flatbuffer)
    assert "no fer.json inside" in refused(path, results)


def test_facts_that_do_not_fit_the_tensors_are_one_line(results, tmp_path):
    path = damaged(exported(results, "tree", "tflite"), tmp_path / "mixed.tflite", flatbuffer)
    facts = open_model("tree", results).facts
    metadata.add_to_tflite(path, dataclasses.replace(facts, image_size=48))
    assert "its metadata promise" in refused(path, results)


def test_a_file_of_another_kind_with_our_facts_is_one_line(results, tmp_path):
    path = tmp_path / "text.tflite"
    path.write_text("no flatbuffer")
    metadata.add_to_tflite(path, open_model("tree", results).facts)
    assert "cannot be run" in refused(path, results)


def test_facts_of_another_format_are_one_line(results, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(exported(results, "tree", "saved_model"), folder)
    facts = folder / metadata.EXTRA / metadata.FACTS
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "format": 99}))
    assert "not of format" in refused(folder, results)


@pytest.mark.parametrize("change", [lambda content: content[:1000], lambda content: b"text"])
def test_a_damaged_onnx_is_one_line(results, tmp_path, change):
    line = refused(damaged(exported(results, "tree", "onnx"), tmp_path / "bad.onnx", change), results)
    assert "bad.onnx is damaged" in line


def test_an_onnx_of_somebody_else_is_one_line(results, tmp_path):
    import onnx

    model = onnx.load(exported(results, "tree", "onnx"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    assert "no fer.json inside" in refused(tmp_path / "other.onnx", results)


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("tflite", "ai-edge-litert")])
def test_a_missing_runtime_is_one_line_that_says_how_to_get_it(results, monkeypatch, name, package):
    module = {"onnx": "onnxruntime", "tflite": "ai_edge_litert.interpreter"}[name]
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install {package}" in refused(exported(results, "tree", name), results)


def test_a_damaged_saved_model_is_one_line(results, tmp_path):
    folder = tmp_path / "bad"
    shutil.copytree(exported(results, "tree", "saved_model"), folder)
    (folder / "saved_model.pb").write_bytes(b"text")
    assert "bad is damaged" in refused(folder, results)
    shutil.rmtree(folder / metadata.EXTRA)
    assert "no fer.json inside" in refused(folder, results)


def writing(folder: Path, facts: metadata.Metadata, file: Path) -> Path:
    """A SavedModel that writes a file whenever it predicts."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.uint8, name="faces")])
    def call(faces):
        tf.io.write_file(str(file), "here")
        return {"probabilities": tf.ones((tf.shape(faces)[0], 3)) / 3}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": call})
    metadata.add_to_saved_model(folder, facts)
    return folder


def test_a_saved_model_that_writes_files_is_one_line(results, tmp_path):
    file = tmp_path / "written"
    folder = writing(tmp_path / "bad", open_model("tree", results).facts, file)
    assert "holds the operation WriteFile" in refused(folder, results)
    assert not file.exists()


def test_a_saved_model_that_calls_itself_is_one_line(results, tmp_path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder, saved = tmp_path / "bad", SavedModel()
    shutil.copytree(exported(results, "tree", "saved_model"), folder)
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        node = function.node_def.add(name="again", op="PartitionedCall")
        node.attr["f"].func.name = function.signature.name
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert "nodes are in a cycle" in refused(folder, results)


def test_what_a_saved_model_would_do_when_it_is_loaded_is_not_done(results, tmp_path):
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder, file, saved = tmp_path / "bad", tmp_path / "written", SavedModel()
    shutil.copytree(exported(results, "tree", "saved_model"), folder)
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    with tf.Graph().as_default() as first:
        tf.io.write_file(str(file), "here", name="first")
    graph.graph_def.node.extend(first.as_graph_def().node)
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "first"
    graph.collection_def["saved_model_main_op"].node_list.value[:] = ["first"]
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert open_model(str(folder), results).predict(np.zeros((1, *SHAPE), np.uint8)).shape == (1, 3)
    assert not file.exists()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    assert file.exists()  # so that this test does try something


def test_an_onnx_with_weights_in_another_file_is_one_line(results, tmp_path):
    import onnx

    model = onnx.load(exported(results, "tree", "onnx"))
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert "outside.onnx keeps weights in another file" in refused(path, results)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 48}, "takes no faces of (48, 48, 1)"),
        ({"taxonomy": TAXONOMIES["valence"], "prior": None}, "its metadata promise float32 (8,)"),
    ],
)
def test_facts_that_do_not_fit_a_graph_are_one_line(results, tmp_path, change, words):
    import onnx

    facts = metadata.entries(dataclasses.replace(open_model("tree", results).facts, **change))
    model = onnx.load(exported(results, "tree", "onnx"))
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, tmp_path / "mixed.onnx")
    folder = shutil.copytree(exported(results, "tree", "saved_model"), tmp_path / "mixed")
    (folder / metadata.EXTRA / metadata.FACTS).write_text(facts[metadata.FACTS])
    for path in (tmp_path / "mixed.onnx", folder):
        assert words in refused(path, results)


def test_facts_of_absurd_sizes_are_one_line(results, tmp_path):
    folder = shutil.copytree(exported(results, "tree", "saved_model"), tmp_path / "huge")
    facts = folder / metadata.EXTRA / metadata.FACTS
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "image_size": 10**12}))
    assert "image_size: expected at least 16 and at most 512" in refused(folder, results)


@pytest.fixture
def run(results, tmp_path) -> Path:
    """A copy of a run, to be spoiled."""
    return shutil.copytree(results / "tree", tmp_path / "copy", ignore=shutil.ignore_patterns("export"))


def test_an_unfinished_run_is_one_line(results, run):
    (run / "metrics.json").unlink()
    line = refused(run, results)
    assert "copy is not finished" in line
    assert "--resume" in line


def test_a_run_of_an_older_version_is_one_line(results, run):
    record = run_folder.read_json(run / "metrics.json")
    run_folder.write_json(run / "metrics.json", {key: value for key, value in record.items() if key != "synthetic"})
    assert "it has no 'synthetic'" in refused(run, results)


def test_an_evaluation_is_one_line_that_names_its_run(results, run):
    shutil.rmtree(run / "stages")
    record = {**run_folder.read_json(run / "metrics.json"), "mode": "evaluation", "trained_on": {"run": "first"}}
    run_folder.write_json(run / "metrics.json", record)
    assert "name the run that it evaluated: first" in refused(run, results)


def test_a_damaged_stage_is_one_line(results, run):
    damaged(str(run / "stages/valence/model.keras"), run / "stages/valence/model.keras", lambda c: c[:5000])
    assert "valence/model.keras is damaged" in refused(run, results)


@pytest.mark.parametrize(
    ("stage", "facts", "words"),
    [
        ("valence", {"classes": ["positive"]}, "its network has 2 outputs, its record has 1 classes"),
        ("valence", {"classes": 7}, "is missing or damaged"),
        ("valence", {"name": "negative"}, "it is that of a stage 'negative'"),
        ("negative", {"columns": [0, 2]}, "trunk/model.keras is missing"),
        ("negative", {"log_prior_shift": ["a", "b"]}, "is missing or damaged"),
        ("negative", {"record": 3}, "is missing or damaged"),
    ],
)
def test_a_stage_record_that_does_not_fit_is_one_line(results, run, stage, facts, words):
    path = run / "stages" / stage / "stage.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    assert words in refused(run, results)


@pytest.mark.parametrize(("name", "network"), [("tree", "negative"), ("shared", "trunk")])
@pytest.mark.parametrize("kept", [True, False])
def test_swapped_classes_are_one_line(results, tmp_path, name, network, kept):
    run = shutil.copytree(results / name, tmp_path / "copy", ignore=shutil.ignore_patterns("export"))
    if not kept:  # as in runs of older versions
        rewritten(run / "stages" / network / "model.keras", lambda parts: parts.pop("classes.json"))
    path = run / "stages" / "negative" / "stage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "classes": record["classes"][::-1]}))
    words = (
        "the classes of its network are angry, sad"
        if kept
        else "its classes are sad, angry, those of the run angry, sad"
    )
    assert words in refused(run, results)


def test_settings_of_faces_that_the_network_does_not_take_are_one_line(results, run):
    path = run / "config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "data": {**record["data"], "image_size": 48}}))
    assert "its network takes no faces of (48, 48, 1)" in refused(run, results)


def _without_layers(config):
    config["layers"] = []


def _without_outputs(config):
    del config["output_layers"]


def _with_another_output(config):
    config["output_layers"] = [[config["layers"][1]["name"], 0, 0]]


def _wide(config):
    config["layers"][-1]["config"]["units"] = 10**8


@pytest.mark.parametrize("change", [_without_layers, _without_outputs, _with_another_output, _wide])
def test_a_keras_file_of_no_network_of_ours_is_one_line(results, run, change):
    def changed(parts):
        model = json.loads(parts["config.json"])
        change(model["config"])
        parts["config.json"] = json.dumps(model)

    rewritten(run / "stages" / "valence" / "model.keras", changed)
    assert "valence/model.keras is damaged or no Keras model" in refused(run, results)


def test_a_run_of_pytorch_is_one_line(results, run):
    stage = run / "stages" / "valence"
    (stage / "model.keras").rename(stage / "model.pt")
    assert "fer_hierarchy.pt_files.convert" in refused(run, results)


def test_a_run_that_takes_depth_is_one_line(results, tmp_path):
    run = write_run(tmp_path / "rgbd", THREE, stage=StageConfig(model="rgbd_fusion"))
    assert "with their depth" in refused(run, results)
