"""`--mode explain` as a user runs it, on a stored run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import FER_EMOTIONS, run_program, write_fer_folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces that no run has seen."""
    return write_fer_folder(tmp_path_factory.mktemp("other"), per_split={"Training": 1, "PrivateTest": 2}, seed=9)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large colour picture, and a file that is none."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 60, 3)).astype(np.uint8)).save(folder / "me.png")
    (folder / "text.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, stored_runs: Path, other: Path, files: Path) -> dict:
    """Results folder, and exit code and output of each command by name."""
    results = tmp_path_factory.mktemp("results")
    at = ("--results", results)
    for name in ("tree", "half", "torch"):
        shutil.copytree(stored_runs / "hierarchical", results / name)
    (results / "half" / "metrics.json").unlink()
    for model in results.glob("torch/stages/*/model.keras"):
        model.rename(model.with_name("model.pt"))
    faces = stored_runs.parent / "faces"
    inside = next(other.glob("test/sad/PrivateTest_*.png"))
    trained_on = next(faces.glob("train/happy/*.png"))
    (strange := files.parent / "strange" / "contempt").mkdir(parents=True, exist_ok=True)
    shutil.copy(files / "me.png", strange)
    explain = ("--mode", "explain", "tree", *at)
    commands = {
        "own": (*explain, "--limit", "14"),
        "other": (*explain, "--data", other, "--name", "other", "--image", files / "me.png", inside),
        "alone": (*explain, "--name", "alone", "--image", files / "me.png", "--image", trained_on),
        "inside": (*explain, "--data", other, "--limit", "8", "--image", inside),
        "text": (*explain, "--name", "bad", "--image", files / "text.png"),
        "missing": (*explain, "--name", "bad", "--image", files / "none.png"),
        "half": ("--mode", "explain", "half", *at),
        "torch": ("--mode", "explain", "torch", *at),
        "unknown": ("--mode", "explain", "nothing", *at),
        "strange": (*explain, "--data", strange.parent, "--dataset", "folder"),
        "limit": (*explain, "--limit", "3"),
    }
    outcomes = dict(zip(commands, run_program(*commands.values()), strict=True))
    return {"results": results, "outcomes": outcomes, "faces": faces, "trained_on": trained_on}


def folder_of(done: dict, name: str, folder: str) -> Path:
    code, text = done["outcomes"][name]
    assert code == 0, text
    assert text.rstrip().endswith(f"report: {done['results'] / folder / 'report.html'}")
    return done["results"] / folder


def test_a_run_is_explained_on_its_own_test_faces(done):
    folder = folder_of(done, "own", "explain-tree")
    maps = pd.read_csv(folder / "maps.csv")
    tested = {path.stem for path in done["faces"].glob("test/*/PrivateTest_*.png")}
    assert set(maps["row"]) <= tested
    assert (maps["stage"] == "valence").sum() == 14
    assert set(maps["emotion"]) == set(FER_EMOTIONS)
    shares = maps[["upper", "middle", "lower"]].dropna()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)


def test_the_predictions_are_those_of_the_run(done):
    maps = pd.read_csv(done["results"] / "explain-tree" / "maps.csv").drop_duplicates("row").set_index("row")
    predicted = pd.read_csv(done["results"] / "tree" / "predictions.csv").set_index("row")
    assert (maps["answer"] == predicted.loc[maps.index, "predicted"]).all()
    gate = maps[maps["stage"] == "valence"]
    assert (gate["says"] == predicted.loc[gate.index, "route"]).all()


def test_figures_and_reports_show_every_emotion_and_stage(done):
    folder = done["results"] / "explain-tree"
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {f"gallery_{emotion}" for emotion in FER_EMOTIONS} | {"average_valence"} <= drawn
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "14 (of 21" in text
    assert "does not prove" in text
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png") == len(drawn)
    record = json.loads((folder / "explain.json").read_text(encoding="utf-8"))
    assert record["layers"]["valence"]["picture"]["grid"] == [4, 4]


def test_other_data_and_pictures_stand_side_by_side(done):
    folder = folder_of(done, "other", "other")
    assert pd.read_csv(folder / "maps.csv")["row"].nunique() == 14
    pictures = pd.read_csv(folder / "images.csv", keep_default_na=False).drop_duplicates("row")
    assert len(pictures) == 2
    assert pictures["emotion"].tolist() == ["", "sad"]  # only the data set's own file has a label
    assert (folder / "figures" / "images_1.png").is_file()


def test_a_picture_of_the_data_set_is_shown_with_its_label(done):
    folder = folder_of(done, "inside", "explain-tree-on-fer2013")
    assert set(pd.read_csv(folder / "images.csv")["emotion"]) == {"sad"}


def test_pictures_alone_need_no_data_and_those_of_the_training_are_named(done):
    folder = folder_of(done, "alone", "alone")
    assert not (folder / "maps.csv").exists()
    pictures = pd.read_csv(folder / "images.csv", keep_default_na=False).drop_duplicates("row")
    assert pictures["row"].str.endswith(("me.png", done["trained_on"].name)).all()
    assert "trained on" in done["outcomes"]["alone"][1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text", ("text.png", "not an image")),
        ("missing", ("--image", "none.png is no file")),
        ("half", ("half is not finished", "--resume")),
        ("torch", ("trained by PyTorch", "fer_hierarchy.pt_files.convert")),
        ("unknown", ("no run 'nothing'",)),
        ("strange", ("none of its emotions",)),
        ("limit", ("--limit 3", "at least 7")),
    ],
)
def test_what_cannot_be_explained_is_one_line_and_leaves_nothing(done, name, words):
    code, text = done["outcomes"][name]
    last = text.rstrip().splitlines()[-1]
    assert code == 2, text
    assert last.startswith("tf_model.py: error: ")
    assert all(word in last for word in words), last
    made = {"explain-tree", "explain-tree-on-fer2013", "other", "alone"}
    assert {path.name for path in done["results"].iterdir()} == {"tree", "half", "torch"} | made
