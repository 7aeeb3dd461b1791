"""The command line of the converter: files there and back, and bad input in one line."""

import json
import zipfile

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from fer_hierarchy.pt_files.convert import main, read_keras, state_dict_from_keras
from fer_hierarchy.pt_files.model_file import read_model
from tests.pt_files.conftest import made_up_faces

SPEC = "shallow_cnn:widths=4+6:dense_width=8"
SHAPE = (12, 10, 1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory, make_pair):
    """A stage's folder as a run leaves it, with a model and its record."""
    folder = tmp_path_factory.mktemp("run") / "stages" / "flat"
    folder.mkdir(parents=True)
    make_pair(SPEC, SHAPE)[0].save(folder / "model.keras")
    (folder / "stage.json").write_text(json.dumps({"name": "flat", "record": {"model": SPEC}}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pt_file(stage):
    path = stage.parent / "shallow.pt"
    assert main([str(stage), str(path)]) == 0
    return path


@pytest.fixture
def refused(capsys):
    """Runs a command line that must fail; gives its one line."""

    def run(*arguments):
        assert main([str(word) for word in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("pt_files.convert: error: ")
        return err

    return run


def test_stage_becomes_a_file_that_predicts_alike(stage, pt_file):
    saved = read_model(pt_file)
    assert (saved.spec, saved.input_shape, saved.num_classes) == (SPEC, SHAPE, 4)
    faces = made_up_faces(3, SHAPE)
    expected = read_keras(stage / "model.keras")(faces, training=False)
    with torch.no_grad():
        logits = saved.model(torch.from_numpy(faces).permute(0, 3, 1, 2))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_file_gives_the_very_weights_back(stage, pt_file, tmp_path, capsys):
    assert main([str(pt_file), str(tmp_path / "back.keras")]) == 0
    assert "back.keras: its logits differ by " in capsys.readouterr().out
    original, back = (read_keras(path).get_weights() for path in (stage / "model.keras", tmp_path / "back.keras"))
    for value, expected in zip(back, original, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_model_file_alone_needs_its_spec(stage, tmp_path, refused):
    alone = tmp_path / "alone.keras"
    alone.write_bytes((stage / "model.keras").read_bytes())
    assert "no stage.json is beside it; give --model" in refused(alone, tmp_path / "alone.pt")
    assert main([str(alone), str(tmp_path / "alone.pt"), "--model", SPEC]) == 0
    fresh = read_model(tmp_path / "alone.pt")
    for key, value in state_dict_from_keras(alone, fresh.model).items():
        assert torch.equal(fresh.model.state_dict()[key], value), key


def test_wrong_spec_is_refused_and_nothing_is_written(stage, tmp_path, refused):
    target = tmp_path / "model.pt"
    assert "weight of layer 'features'" in refused(stage, target, "--model", SPEC.replace("width=8", "width=9"))
    assert "no PyTorch twin of model 'googlenet'" in refused(stage, target, "--model", "googlenet")
    assert "model 'shallow_cnn:wide=3': shallow_cnn has no keyword wide" in refused(
        stage, target, "--model", "shallow_cnn:wide=3"
    )
    assert list(tmp_path.iterdir()) == []


def test_model_that_predicts_otherwise_is_not_written(stage, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("fer_hierarchy.pt_files.convert.to_torch", lambda keras_model, torch_model: None)
    assert "the converted model predicts differently, by " in refused(stage, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "target", "flags", "message"),
    [
        ("nowhere.keras", "a.pt", (), "nowhere.keras is missing; expected a .keras file, or a run's stage folder"),
        ("empty", "a.pt", (), "empty/model.keras is missing"),
        ("empty", "a.keras", (), "empty/model.pt is missing; expected a .pt file"),
        ("text.keras", "a.pt", ("--model", "x"), "text.keras is damaged: it is no complete .keras file"),
        ("zip.keras", "a.pt", ("--model", "x"), "zip.keras is damaged or no Keras model"),
        ("text.pt", "a.keras", (), "text.pt is damaged: it is no complete .pt file"),
        ("zip.pt", "a.keras", (), "zip.pt is damaged or holds more than weights"),
        ("code.pt", "a.keras", (), "code.pt is damaged or holds more than weights"),
        ("other.pt", "a.keras", (), "it must hold spec, input_shape, num_classes, state_dict"),
        ("narrow.pt", "a.keras", (), "its weights do not fit model 'shallow_cnn:widths=4'"),
        ("unknown.pt", "a.keras", (), "its weights do not fit model 'resnet99' of this program: no PyTorch twin"),
        ("text.pt", "a.pt", (), "a .pt file is made of a .keras file"),
        ("text.pt", "a.onnx", (), "its name must end in .pt or .keras"),
        ("text.pt", "a.keras", ("--model", "vgg13"), "--model goes with a Keras SOURCE only"),
        ("text.keras", "text.pt", (), "text.pt exists already"),
        ("text.keras", "no/where.pt", (), "there is no folder"),
        ("text.keras", "a.pt", ("--modle", "x"), "unrecognized arguments: --modle x"),
    ],
)
def test_bad_input_ends_in_one_line(files, refused, source, target, flags, message):
    before = sorted(files.iterdir())
    assert message in refused(files / source, files / target, *flags)
    assert sorted(files.iterdir()) == before


@pytest.fixture
def files(tmp_path):
    """Files that are not what their names promise."""
    (tmp_path / "empty").mkdir()
    for suffix in (".keras", ".pt"):
        (tmp_path / f"text{suffix}").write_text("no archive", encoding="utf-8")
        with zipfile.ZipFile(tmp_path / f"zip{suffix}", "w") as archive:
            archive.writestr("note.txt", "no model")
    record = {"spec": "shallow_cnn:widths=4", "input_shape": SHAPE, "num_classes": 4, "state_dict": {}}
    torch.save(record, tmp_path / "narrow.pt")
    torch.save(record | {"spec": "resnet99"}, tmp_path / "unknown.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save(record | {"state_dict": torch.nn.Linear(2, 2)}, tmp_path / "code.pt")
    return tmp_path


def test_damaged_record_is_named(stage, tmp_path, refused):
    (tmp_path / "model.keras").write_bytes((stage / "model.keras").read_bytes())
    for text, message in (('{"record": {}}', "give --model"), ("{", "is missing or damaged"), ("[]", "damaged")):
        (tmp_path / "stage.json").write_text(text, encoding="utf-8")
        assert message in refused(tmp_path, tmp_path / "model.pt")
