"""`--mode predict` as a user runs it, on a tiny run and on the stand-ins of this folder."""

import io
import json
import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib import cbook
from PIL import Image

from fer_hierarchy.hierarchy.errors import IncompleteError, UserError
from fer_hierarchy.inference.predict import Outputs, predict_files
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig, PredictConfig
from fer_hierarchy.inference.sources.inputs import Item, find_items
from fer_hierarchy.inference.sources.pictures import searched_pictures
from tests.conftest import draw_face, run_program
from tests.inference.stand_ins import SEVEN, BarModel, FixedDetector, SquareDetector
from tests.inference.untrained import fit_last_layers, write_run

PHOTO = Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces that no run has seen, in folders by emotion without splits."""
    root = tmp_path_factory.mktemp("other")
    rng = np.random.default_rng(7)
    for index, emotion in enumerate(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")):
        (root / emotion).mkdir()
        for number in range(12):
            Image.fromarray(draw_face(index, rng)).save(root / emotion / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, fer_folder: Path, other: Path) -> dict:
    """Results folder, working folder, and exit code and output of each command by name."""
    results, work = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("work")
    fit_last_layers(write_run(results / "tree", SEVEN, data=fer_folder))
    write_run(results / "flat", SEVEN, mode="flat")
    at = ("--results", results)
    shutil.copy(PHOTO, work / "photo.jpg")
    os.mkfifo(work / "pipe.csv")
    (work / "film.mp4").write_text("no film")
    (work / "bad").mkdir()
    (work / "bad" / "text.jpg").write_text("no picture")
    shutil.copy(PHOTO, work / "bad" / "photo.jpg")
    published = ("--mode", "predict", *at)  # without --run: the published weights, which load fast
    predict = (*published, "--run", "tree")
    photo = (*predict, work / "photo.jpg")
    commands = {
        "evaluate": ("--mode", "evaluate", "tree", "--data", other, "--name", "evaluated", *at),
        "cropped": (*predict, other, "--cropped", "--out", work / "cropped.csv"),
        "again": (*predict, other, "--cropped", "--out", work / "cropped.csv"),
        "abstain": (*published, work / "photo.jpg", "--abstain", "0.999"),
        "bad": (*published, work / "bad", "--out", work / "bad.json"),
        "plot": (*photo, "--plot"),
        "explain": (*predict, work / "film.mp4", "--explain", work / "why3"),
        "twice": (*photo, "--run", "tree"),
        "unknown": (*published, work / "photo.jpg", "--run", "nothing"),
        "kind": (*photo, "--out", work / "rows.txt"),
        "pipe": (*photo, "--out", work / "pipe.csv"),
        "place": (*photo, "--out", work / "gone" / "rows.csv"),
        "yunet": (*photo, "--detector", "yunet"),
        "replace": (*published, work / "photo.jpg", "--annotate", work),
    }
    drawn = {
        "photo": (*photo, "--annotate", work / "marked", "--explain", work / "why"),
        "two": (*photo, "--run", "flat", "--explain", work / "why2"),
    }
    outcomes = dict(zip(commands, run_program(*commands.values()), strict=True))
    outcomes |= zip(drawn, run_program(*drawn.values(), drawn=True), strict=True)
    return {"results": results, "work": work, "outcomes": outcomes}


def text_of(done: dict, name: str, code: int = 0) -> str:
    got, text = done["outcomes"][name]
    assert got == code, text
    return text


def test_faces_cut_out_get_the_probabilities_that_evaluate_gives(done):
    text_of(done, "cropped")
    evaluated = pd.read_csv(done["results"] / "evaluated" / "predictions.csv")
    rows = pd.read_csv(done["work"] / "cropped.csv")
    assert len(rows) == len(evaluated) == 84
    rows["row"] = rows["file"].str.split("/").str[-2:].str.join("/")
    both = evaluated.merge(rows, on="row", suffixes=("", "_predicted"))
    assert len(both) == 84
    columns = [name for name in evaluated if name.startswith(("p_", "gate_"))]
    for name in columns:
        assert (both[name] == both[f"{name}_predicted"]).all(), name
    assert (both["predicted"] == both["emotion"]).all()
    assert (both["route"] == both["route_predicted"]).all()


def test_the_same_call_again_has_nothing_left_to_do(done):
    assert "0 files; 84 files done before" in text_of(done, "again")
    assert len(pd.read_csv(done["work"] / "cropped.csv")) == 84


def test_a_photo_is_predicted_in_a_line(done):
    lines = text_of(done, "photo").splitlines()
    assert lines[0].split() == ["file", "face", "box", "emotion", "prob.", "gate"]
    assert "1/1" in lines[1]
    assert "1 file; 1 face" in lines[2]


def test_annotated_and_explained_pictures_are_written(done):
    marked, why = done["work"] / "marked" / "photo.jpg", done["work"] / "why" / "photo_1.png"
    original = np.asarray(Image.open(PHOTO).convert("RGB")).astype(int)
    assert np.abs(np.asarray(Image.open(marked).convert("RGB")) - original).max() > 100
    assert Image.open(why).size[0] > 500
    assert sorted(path.name for path in (done["work"] / "why2").iterdir()) == ["flat", "tree"]


def test_several_models_stand_side_by_side(done):
    lines = text_of(done, "two").splitlines()
    head = next(line for line in lines if line.split() == ["tree", "flat"])
    shares = [line.split() for line in lines if line.strip().startswith(("angry", "happy", "neutral"))]
    assert all(len(words) == 5 and words[2] == words[4] == "%" for words in shares)
    assert lines.index(head) < next(at for at, line in enumerate(lines) if line.split()[:1] == ["emotion"])


def test_what_is_refused_leaves_no_folder(done):
    text_of(done, "explain", code=2)
    assert not (done["work"] / "why3").exists()


def test_an_unsure_prediction_is_uncertain(done):
    assert "uncertain" in text_of(done, "abstain")


def test_a_damaged_file_is_a_row_and_an_exit_code(done):
    text = text_of(done, "bad", code=1)
    assert text.rstrip().splitlines()[-1].startswith("tf_model.py: 1 file could not be read")
    rows = json.loads((done["work"] / "bad.json").read_text())
    assert [Path(row["file"]).name for row in rows] == ["photo.jpg", "text.jpg"]
    assert (rows[0]["error"], rows[0]["faces"]) == (None, 1)
    assert "not an image" in rows[1]["error"]
    assert rows[1]["faces"] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plot", "--plot: there is no video"),
        ("explain", "--explain: there is no picture"),
        ("twice", "--run tree is named twice"),
        ("unknown", "no run 'nothing'"),
        ("kind", "rows.txt is none of .csv, .json, .parquet"),
        ("pipe", "pipe.csv is a pipe or a device"),
        ("place", "gone does not exist"),
        ("yunet", "--detector yunet needs --detector-model FILE"),
        ("replace", "photo.jpg would replace it"),
    ],
)
def test_what_cannot_be_is_one_line(done, name, words):
    last = text_of(done, name, code=2).rstrip().splitlines()[-1]
    assert last.startswith("tf_model.py: error: ")
    assert words in last


def stand_in(side=None, **options):
    detector = SquareDetector(side) if side else None
    return Predictor(BarModel(**options), faces=FaceConfig(cropped=side is None), detector=detector)


def face_files(folder, count):
    rng = np.random.default_rng(1)
    for number in range(count):
        Image.fromarray(draw_face(number % 7, rng)).save(folder / f"{number:03d}.png")
    return find_items([str(folder)], io.BytesIO())


def predict(items, predictors, tmp_path, name="rows.csv"):
    predict_files(items, predictors, settings=PredictConfig(), outputs=Outputs(out=tmp_path / name))
    return pd.read_csv(tmp_path / name)


def test_a_folder_is_searched_and_predicted_in_batches(tmp_path):
    (tmp_path / "faces").mkdir()
    predictor = stand_in()
    rows = predict(face_files(tmp_path / "faces", 600), [predictor], tmp_path)
    assert predictor._model.batches == [256, 256, 88]
    assert len(rows) == 600


def test_an_interrupted_folder_goes_on_where_it_stopped(tmp_path):
    (tmp_path / "faces").mkdir()
    items = face_files(tmp_path / "faces", 300)

    class Tired(BarModel):
        def emotions(self, faces):
            if self.batches:
                raise KeyboardInterrupt
            return super().emotions(faces)

    tired = Predictor(Tired(), faces=FaceConfig(cropped=True), detector=None)
    with pytest.raises(KeyboardInterrupt, match="give the same command again"):
        predict(items, [tired], tmp_path)
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 256
    fresh = stand_in()
    rows = predict(items, [fresh], tmp_path)
    assert fresh._model.batches == [44]
    assert rows["file"].tolist() == [item.name for item in items]


def test_the_next_chunk_is_read_while_one_is_predicted(tmp_path):
    (tmp_path / "faces").mkdir()
    items = face_files(tmp_path / "faces", 300)
    seen = set()
    for _ in searched_pictures(items, [stand_in()], keep=False):
        seen |= {thread.name for thread in threading.enumerate()}
    assert len(seen) > 1


def test_large_pictures_are_not_all_held_at_once(tmp_path):
    (tmp_path / "large").mkdir()
    for number in range(5):
        Image.new("L", (5000, 4000)).save(tmp_path / "large" / f"{number}.png")
    chunks = list(searched_pictures(find_items([str(tmp_path / "large")], io.BytesIO()), [stand_in()], keep=True))
    assert [len(chunk) for chunk in chunks] == [3, 2]


def test_missing_files_of_a_list_do_not_end_the_others(tmp_path, capsys):
    (tmp_path / "faces").mkdir()
    items = [*face_files(tmp_path / "faces", 2), Item(str(tmp_path / "gone.png"), "gone.png")]
    with pytest.raises(IncompleteError, match=r"1 file could not be read; the reasons are in "):
        predict(items, [stand_in()], tmp_path)
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows["error"].tolist()[-1] == "file is missing"
    assert rows["emotion"].tolist()[:2] == ["angry", "disgust"]


def test_models_of_two_sizes_predict_the_same_faces(tmp_path):
    (tmp_path / "faces").mkdir()
    small, large = stand_in(name="small", size=24), stand_in(name="large", size=96, channels=3)
    rows = predict(face_files(tmp_path / "faces", 7), [small, large], tmp_path)
    assert rows["run"].tolist() == ["small", "large"] * 7
    assert (rows["emotion"][::2].to_numpy() == rows["emotion"][1::2].to_numpy()).all()


def test_a_model_that_other_rows_are_of_is_refused(tmp_path):
    (tmp_path / "faces").mkdir()
    items = face_files(tmp_path / "faces", 2)
    predict(items, [stand_in()], tmp_path)
    with pytest.raises(UserError, match="holds predictions of bars, not of other"):
        predict(items, [stand_in(name="other")], tmp_path)


def film(path, faces, side=48):
    """A film of two seconds, ten frames each, with one face that stays where it is."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for face in faces:
        picture = np.zeros((120, 160, 3), np.uint8)
        picture[40 : 40 + side, 60 : 60 + side] = face[..., None]
        writer.write(picture)
    writer.release()
    return Item(str(path), path.name)


def test_a_video_is_looked_at_five_times_a_second(tmp_path):
    rng = np.random.default_rng(3)
    item = film(tmp_path / "film.avi", [np.maximum(draw_face(3, rng), 1) for _ in range(20)])
    whole = Predictor(BarModel(), faces=FaceConfig(), detector=FixedDetector((60, 40, 48, 48)))
    rows = predict([item], [whole], tmp_path)
    assert rows["frame"].tolist() == list(range(0, 20, 2))
    assert set(rows["track"]) == {1}
    assert set(rows["faces"]) == {10}
    assert set(rows["emotion"]) == {"happy"}


def test_a_marked_copy_that_cannot_be_written_ends_the_call_and_is_not_the_videos_fault(tmp_path):
    item = film(tmp_path / "film.mp4", [np.full((48, 48), 200, np.uint8)] * 4)
    whole = Predictor(BarModel(), faces=FaceConfig(), detector=FixedDetector((60, 40, 48, 48)))
    outputs = Outputs(out=tmp_path / "rows.csv", annotate=tmp_path)
    with pytest.raises(UserError, match=r"film\.mp4 would replace it"):
        predict_files([item], [whole], settings=PredictConfig(), outputs=outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
