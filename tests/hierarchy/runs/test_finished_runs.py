"""What a finished run is good for: it teaches another one, is pooled with others, listed and published."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, apply_flags
from fer_hierarchy.hierarchy.data.faces import StageFaces, read_faces
from fer_hierarchy.hierarchy.data.leakage import check_unseen
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.listing import flags_of
from fer_hierarchy.hierarchy.publishing.publish import known_places, placeless, portable_command
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run_folder import write_json
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.hierarchy.training.distillation import SoftTargets, check_teachers, teacher_targets
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage, load_model
from fer_hierarchy.hierarchy.training.transfer import origins, resolve_teachers
from tests.conftest import QUICK, run_program

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])


def view(stage: str, emotions: list[str]) -> StageFaces:
    """Faces of a stage with the labels that it knows; face i is row 10 + i of the pixels."""
    labels = np.array(SEVEN.stage_labels(stage, emotions))
    return StageFaces(
        pixels=np.zeros((20, 16, 16, 1), np.uint8),
        rows=np.flatnonzero(labels >= 0) + 10,
        labels=labels[labels >= 0],
        targets=np.eye(len(SEVEN.stage_classes(stage)), dtype=np.float32)[labels[labels >= 0]],
        generated=np.zeros((labels >= 0).sum(), bool),
    )


def test_each_stage_is_taught_what_the_answer_says_of_its_classes():
    emotions = ["happy", "fear"]  # angry disgust fear happy sad surprise neutral
    shares = np.array([[0.1, 0, 0.1, 0.6, 0, 0.2, 0], [0, 0, 0, 1, 0, 0, 0]], np.float32)
    soft_targets = SoftTargets(shares=shares, rows=np.array([10, 11]), weight=0.5)

    def targets(stage: str) -> np.ndarray:
        return soft_targets.applied_to(view(stage, emotions), stage, SEVEN).targets

    order = [SEVEN.group_names.index(group) for group in ("positive", "negative")]
    np.testing.assert_allclose(targets("valence")[:, order], [[0.9, 0.1], [0.5, 0.5]], atol=1e-6)
    members = SEVEN.members("positive")
    happy, surprise = members.index("happy"), members.index("surprise")
    np.testing.assert_allclose(targets("positive")[0, [happy, surprise]], [0.5 + 0.5 * 0.75, 0.5 * 0.25], atol=1e-6)
    fear = SEVEN.members("negative").index("fear")
    assert targets("negative").tolist() == [np.eye(4)[fear].tolist()], "a teacher that rules out the group says nothing"
    np.testing.assert_allclose(targets("flat"), (np.eye(7)[[3, 2]] + shares) / 2, atol=1e-6)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, fer_folder: Path) -> Path:
    """The runs "teacher" (flat), "taught" and "untaught", which differ in what they learned from."""
    place = tmp_path_factory.mktemp("results")
    common = ("--data", fer_folder, *QUICK, "--augment", "off", "--results", place)
    common += ("--logs", place.parent / "logs")
    taught = ("--teacher", "teacher", "--teacher-weight", "1", "--teacher-temperature", "2", "--label-smoothing", "0")
    shared = ("--mode", "hierarchical", "--trunk", "shared", "--epochs", "2")
    both = ("teacher", "taught", "--name", "both", "--results", place, "--resamples", "100")
    small = place / "given" / "small"
    done = run_program(
        ("--mode", "flat", "--name", "teacher", "--epochs", "3", *common),
        (*shared, "--name", "taught", *taught, *common),
        (*shared, "--name", "untaught", "--label-smoothing", "0", *common),
        (*shared, "--resume", "taught", "--results", place, "--logs", place.parent / "logs"),
        (*shared, "--name", "alone", "--teacher", "nobody", *common),
        (*shared, "--name", "other", "--teacher", "teacher", *common, "--image-size", "24"),
        ("--mode", "ensemble", *both),
        ("--mode", "publish", "taught", "--out", small, "--mirror", "--results", place),
        (
            "--mode",
            "evaluate",
            small,
            "--data",
            fer_folder,
            "--name",
            "again",
            "--results",
            place,
            "--resamples",
            "100",
        ),
        ("--mode", "runs", "--results", place, "--out", place.parent / "runs.csv"),
        ("--mode", "publish", "taught", "--out", small, "--results", place),
        ("--mode", "publish", "both", "--out", small.parent / "more", "--results", place),
        ("--mode", "ensemble", "teacher", "teacher", "--results", place),
    )
    for code, text in (*done[:4], *done[6:10]):
        assert code == 0, text
    lines = [[re.split(" {2,}", line)[0] for line in done[number][1].splitlines()] for number in (6, 8)]
    assert lines[0][:4] == ["run", "teacher", "taught", "both"]
    assert lines[1][lines[1].index("prediction") :][1:4] == ["soft composition", "hard routing", "oracle (upper bound)"]
    assert done[4][0] == 2
    assert "--teacher: no run 'nobody'" in done[4][1]
    assert done[5][0] == 2
    assert "teacher: its faces have --image-size 16, this run's 24" in done[5][1]
    assert not (place / "other").exists()
    for (code, text), words in zip(
        done[10:], ("exists already", "is an ensemble, which has no networks", "named twice"), strict=True
    ):
        assert code == 2
        assert words in text
    assert not (small.parent / "more").exists()
    return place


def test_a_run_that_was_taught_says_so_and_has_learned_something_else(results):
    taught, untaught = (json.loads((results / name / "metrics.json").read_text()) for name in ("taught", "untaught"))
    assert "Labels: 100 % predictions of the run teacher." in taught["notes"]
    teacher = json.loads((results / "teacher" / "metrics.json").read_text())
    assert taught["cost"]["earlier"] == {"teacher": teacher["cost"]["train_cpu_seconds"]}
    assert untaught["cost"]["earlier"] == {}
    assert json.loads((results / "taught" / "config.json").read_text())["data"]["teacher_weight"] == 1
    assert taught["training"]["valence"]["temperature"] != untaught["training"]["valence"]["temperature"]
    assert "predictions of the run teacher" in (results / "taught" / "report.md").read_text()


def test_teachers_that_cannot_teach_are_refused(results, fer_folder, tmp_path):
    flags = {"data": str(fer_folder), "image_size": "16", "channels": "1"}
    config = apply_flags(RunConfig(framework="keras"), {**flags, "teacher": str(results / "teacher")})
    faces = read_faces(config)
    check_teachers(config, faces.taxonomy)
    check_unseen(origins([], config.data.teachers), set(faces.split("test")["pixel_hash"]))
    with pytest.raises(UserError, match=r"--teacher teacher: \d+ test faces of this run stand in the train"):
        check_unseen(origins([], config.data.teachers), set(faces.split("train")["pixel_hash"]))
    with pytest.raises(UserError, match="it does not know contempt; leave that out with --exclude"):
        check_teachers(config, TAXONOMIES["valence"])
    with pytest.raises(UserError, match="it is of keras; needed pytorch"):
        check_teachers(apply_flags(config, {"framework": "pytorch"}), faces.taxonomy)
    unfinished = shutil.copytree(results / "teacher", tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    with pytest.raises(UserError, match="--teacher unfinished: it is no finished run"):
        check_teachers(apply_flags(config, {"teacher": str(unfinished)}), faces.taxonomy)


def test_two_teachers_speak_as_their_geometric_mean(results, fer_folder):
    flags = {"data": str(fer_folder), "image_size": "16", "channels": "1", "teacher_temperature": "2"}

    def soft_targets(*teachers: str) -> np.ndarray:
        config = resolve_teachers(apply_flags(RunConfig(framework="keras"), {**flags, "teacher": teachers}), results)
        return teacher_targets(read_faces(config), config.data, KerasStage).shares

    one, other, both = soft_targets("teacher"), soft_targets("taught"), soft_targets("teacher", "taught")
    product = np.sqrt(one * other)
    np.testing.assert_allclose(both, product / product.sum(axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(UserError, match=r"--teacher: .*teacher is given twice"):
        soft_targets("teacher", str(results / "teacher"))


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def probabilities(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "predictions.csv").set_index("row")
    return table[[name for name in table if name.startswith("p_")]]


def test_an_ensemble_is_the_geometric_mean_at_the_cost_of_both(results):
    one, other, both = (probabilities(results / name) for name in ("teacher", "taught", "both"))
    product = np.sqrt(np.maximum(one, 5e-7) * np.maximum(other.loc[one.index], 5e-7))
    np.testing.assert_allclose(both.loc[one.index], product.div(product.sum(axis=1), axis=0), atol=2e-6)
    record = read(results / "both" / "metrics.json")
    assert record["members"] == ["teacher", "taught"]
    costs = [read(results / name / "metrics.json")["cost"]["multiply_adds"] for name in ("teacher", "taught")]
    assert record["cost"]["multiply_adds"] == sum(costs)
    assert record["validation"]["n"] == 42
    assert (results / "both" / "report.html").is_file()


def test_a_published_run_is_small_mirrored_and_gives_its_figures_again(results):
    source, small = results / "taught", results / "given" / "small"
    before, after = ((place / "stages/trunk/model.keras").stat().st_size for place in (source, small))
    published = read(small / "metrics.json")
    assert published["published"]["bytes"] == after < before
    assert published["published"]["run"] == "taught"
    assert published["cost"]["multiply_adds"] == 2 * read(source / "metrics.json")["cost"]["multiply_adds"]
    assert read(small / "stages/valence/stage.json")["mirror"] is True
    network = load_model(small / "stages/trunk/model.keras")
    kernel = next(weight.numpy() for weight in network.weights if len(weight.shape) == 4)
    assert (kernel == kernel.astype(np.float16)).all()
    again = read(results / "again" / "metrics.json")
    assert again["answers"]["soft"]["top1"] == published["answers"]["soft"]["top1"]
    assert again["test_fingerprint"] == published["test_fingerprint"]
    pd.testing.assert_frame_equal(
        probabilities(results / "again"), probabilities(small).loc[probabilities(results / "again").index]
    )


def test_a_published_run_names_no_place_and_shows_no_face(results, fer_folder):
    small = results / "given" / "small"
    for path in small.rglob("*"):
        if path.is_file() and path.suffix != ".keras":
            content = path.read_bytes()
            for place in (results, fer_folder, Path.home()):
                assert str(place).encode() not in content, path
    assert not (small / "figures" / "mistakes.png").exists()
    assert "Most confident mistakes" not in (small / "report.md").read_text()
    config = read(small / "config.json")
    assert (config["data"]["data"], config["data"]["teacher"]) == ("data/fer2013", "teacher")
    training, publishing = read(small / "environment.json")["command"].split("\n")
    assert "--data data/fer2013" in training
    assert publishing.startswith("python tf_model.py --mode publish taught")
    assert "--mirror" in flags_of(Run(small).config).split()
    card = (small / "model_card.md").read_text()
    named = (
        "It must not be used",
        "FER-2013",
        "Recall %",
        "Taught by | teacher",
        "predictions of the run teacher",
        "predicted too",
    )
    for words in (*named, "42 test faces"):
        assert words.lower() in card.lower(), words


@pytest.mark.parametrize(
    ("command", "portable"),
    [
        (
            "python tf_model.py --mode flat --data /a/b/fer --results /a/r --logs=/a/l",
            "python tf_model.py --mode flat --data data/fer2013",
        ),
        (
            "python tf_model.py --weights negative=/r/first/stages/flat/model.keras",
            "python tf_model.py --weights negative=model.keras",
        ),
        (
            "python tf_model.py --ferplus ../x/fer2013new.csv --seed 3",
            "python tf_model.py --ferplus data/fer2013new.csv --seed 3",
        ),
        (
            "python tf_model.py --mode publish '/home/a b/my runs/first' --out='/home/a b/given'",
            "python tf_model.py --mode publish first --out=given",
        ),
        (
            "tf --weights 'positive=C:\\Users\\a b\\m.keras,negative=first/negative' --config 'D:/a b/t.json'",
            "tf --weights positive=m.keras,negative=first/negative --config t.json",
        ),
        ("fer-hierarchy --ferplus 'C:\\Users\\a b\\votes.csv'", "fer-hierarchy --ferplus data/votes.csv"),
    ],
)
def test_a_command_is_told_without_the_places_of_a_machine(command, portable):
    assert portable_command(command, "fer2013") == portable


@pytest.mark.parametrize(
    ("note", "portable"),
    [
        ("3 faces of /home/a b/faces and C:\\Users\\c d\\faces.", "3 faces of faces and faces."),
        ("1 bad image: x (/home/a b/faces/sad/x.png): empty", "1 bad image: x (x.png): empty"),
        ("taught by /home/a b/teacher/, begun at D:\\other\\m.keras", "taught by teacher, begun at m.keras"),
        ("no place: 3/4 and first/negative", "no place: 3/4 and first/negative"),
        ("/home/a b/faces/of me/x.png is damaged", "x.png is damaged"),
        ("/mnt/my disk/c (d)/x.png, 3/4 of E:\\f g\\y.png; '/h i/z.csv'", "x.png, 3/4 of y.png; 'z.csv'"),
        ("positive=/m n/a.keras,negative=/o p/b.keras", "positive=a.keras,negative=b.keras"),
    ],
)
def test_a_note_is_told_without_the_places_of_a_machine(tmp_path, note, portable):
    data = DataConfig(data=["/home/a b/faces", "C:\\Users\\c d\\faces"], teacher="/home/a b/teacher")
    write_json(tmp_path / "config.json", RunConfig(data=data).to_dict())
    assert placeless(note, known_places(Run(tmp_path))) == portable


def test_the_list_of_runs_tells_validation_scores_costs_and_flags(results):
    table = pd.read_csv(results.parent / "runs.csv").set_index("run")
    assert set(table.index) == {"teacher", "taught", "untaught", "both", "again", "given/small"}
    assert table.loc["again", "kind"] == "evaluation of small on fer2013"
    assert (table["state"] == "finished").all()
    assert table["validation_top1"].dropna().is_monotonic_decreasing
    assert table.loc["taught", "kind"] == "hierarchical, shared trunk"
    for words in ("--trunk shared", "--teacher teacher", "--teacher-weight 1", "--augment off", "--label-smoothing 0"):
        assert words in table.loc["taught", "flags"]
    assert table.loc["taught", "validation_n"] == 42
