"""The whole program on tiny generated data: train, compose, compare, evaluate, audit, kill and resume."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from tests.conftest import QUICK, draw_face, kill_when, run_program, write_fer_folder

GATHERED = ("--accumulate", "3", "--clip-norm", "1", "--optimizer", "nadam", "--schedule", "one-cycle")
ISLANDS = ("--loss", "island", "--emotions", "fear,happy,neutral,sad")
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def _json(path: Path) -> dict:
    return json.loads(path.read_text())


def _write_ferplus(folder: Path) -> tuple[Path, Path]:
    """A tiny fer2013.csv and the FER+ votes of the same rows; every fifth face is voted contempt by all."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    usages = ["Training"] * 20 + ["PublicTest"] * 10 + ["PrivateTest"] * 10
    order = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
    faces, votes = [], []
    for number, (usage, emotion) in enumerate((u, e) for e in range(7) for u in usages):
        faces.append((emotion, " ".join(map(str, draw_face(emotion, rng).ravel())), usage))
        chosen = "contempt" if number % 5 == 0 else EMOTIONS[emotion]
        shares = [8 if name == chosen else 0 for name in order]
        shares[0] += 2
        votes.append((usage, f"fer{number:07d}.png", *shares, 0, 0))
    pd.DataFrame(faces, columns=["emotion", "pixels", "Usage"]).to_csv(folder / "fer2013.csv", index=False)
    names = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
    pd.DataFrame(votes, columns=["Usage", "Image name", *names]).to_csv(folder / "fer2013new.csv", index=False)
    return folder / "fer2013.csv", folder / "fer2013new.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, fer_folder: Path) -> Path:
    """A results folder with a hierarchical and a flat run, their comparison, an evaluation and an audit."""
    results = tmp_path_factory.mktemp("results")
    other = write_fer_folder(results / "other-data", per_split={"Training": 3, "PrivateTest": 3}, seed=9)
    at = ("--results", results, "--logs", results / "logs")
    table, votes = _write_ferplus(results / "votes")
    ferplus = ("--data", table, "--ferplus", votes, *QUICK)
    data = ("--data", fer_folder, *QUICK, "--epochs", "3", *at)
    outcomes = run_program(
        ("--mode", "hierarchical", *data, "--name", "tree", "--balance", "negative=oversample"),
        ("--mode", "flat", *data, "--name", "flat", "--logit-adjustment", "1", "--balance", "class-weight"),
        ("--mode", "compare", "tree", "flat", "--name", "pair", "--results", results),
        ("--mode", "evaluate", "tree", "--data", other, "--robustness", "--name", "elsewhere", "--results", results),
        ("--mode", "audit", "--data", fer_folder, "--name", "audit", "--results", results),
        ("--mode", "evaluate", "elsewhere", "--data", other, "--results", results),
        ("--mode", "hierarchical", "--resume", "tree", *at),
        ("--mode", "flat", *data, *GATHERED, "--exclude", "disgust", "--name", "six"),
        ("--mode", "compare", "tree", "six", "--results", results),
        ("--mode", "flat", "--config", results / "flat" / "config.json", "--name", "again", *at),
        ("--mode", "flat", *ferplus, "--soft-labels", "on", "--epochs", "1", "--name", "voted", *at),
        ("--mode", "flat", *data, *ISLANDS, "--weights", "flat/flat", "--freeze", "1", "--name", "islands"),
        ("--mode", "models"),
        ("--mode", "evaluate", "tree", "--data", other, "--split", "validation", "--results", results),
        ("--mode", "evaluate", "tree", "--data", other, "--split", "test,public", "--results", results),
        ("--mode", "flat", *data, "--accumulate", "5000", "--name", "never"),
    )
    (results / "outcomes.json").write_text(json.dumps(outcomes))
    return results


@pytest.fixture(scope="module")
def outcomes(place: Path) -> list[tuple[int, str]]:
    """Exit code and output of each command of `place`."""
    return [tuple(pair) for pair in _json(place / "outcomes.json")]


def test_every_step_ends_well_and_names_its_report(outcomes: list) -> None:
    for code, text in (outcomes[i] for i in (0, 1, 2, 3, 4, 6, 7, 9, 10, 11)):
        assert code == 0, text
        assert text.rstrip().splitlines()[-1].endswith("report.html"), text


def test_a_run_is_at_its_end_when_it_is_evaluated_and_reported(outcomes: list) -> None:
    shares = [int(share) for share in re.findall(r"^ *(\d+)%  .* spent", outcomes[0][1], re.MULTILINE)]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert shares.count(100) == 1
    assert max(shares[:-1]) < 99


def test_the_splits_to_judge_on_must_be_there(outcomes: list) -> None:
    assert [code for code, _ in outcomes[13:15]] == [2, 2]
    assert "--split: this data has no official validation split; it has train, test" in outcomes[13][1]
    assert "--split: expected some of train, validation, test, separated by commas, got 'public'" in outcomes[14][1]


def test_models_are_listed_with_their_cost(outcomes: list) -> None:
    code, text = outcomes[12]
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "2.40 M" in lines["deep_cnn"]
    assert "Tan and Le" in lines["efficientnet_b0"]
    assert "report" not in text


def test_a_run_leaves_everything_that_repeats_and_explains_it(place: Path) -> None:
    run = place / "tree"
    files = ("config.json", "environment.json", "splits.csv", "predictions.csv", "metrics.json", "report.md")
    for name in (*files, "report.html", "predictions_validation.csv"):
        assert (run / name).stat().st_size > 0, name
    assert sorted(p.name for p in (run / "stages").iterdir()) == ["negative", "positive", "valence"]
    for stage in (run / "stages").iterdir():
        assert {"model.keras", "history.csv", "stage.json"} == {p.name for p in stage.iterdir()}
        assert len(pd.read_csv(stage / "history.csv")) == 3
    assert (place / "logs" / "tree" / "run.log").stat().st_size > 0
    assert list((run / "figures").glob("*.png"))


def test_predictions_hold_every_test_face_and_compose_softly(place: Path, fer_folder: Path) -> None:
    table = pd.read_csv(place / "tree" / "predictions.csv")
    expected = {p.stem for p in fer_folder.glob("test/*/PrivateTest_*.png")}
    assert set(table["row"]) == expected
    answer = table[[f"p_{e}" for e in EMOTIONS]].to_numpy()
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-4)
    group = {e: "positive" if e in ("happy", "surprise", "neutral") else "negative" for e in EMOTIONS}
    for column, emotion in enumerate(EMOTIONS):
        product = table[f"gate_{group[emotion]}"] * table[f"given_{emotion}"]
        np.testing.assert_allclose(answer[:, column], product, atol=1e-5)
    assert (table["predicted"] == np.array(EMOTIONS)[answer.argmax(axis=1)]).all()


def test_metrics_agree_with_predictions(place: Path) -> None:
    metrics, table = _json(place / "tree" / "metrics.json"), pd.read_csv(place / "tree" / "predictions.csv")
    soft = metrics["answers"]["soft"]
    assert soft["top1"] == pytest.approx((table["true"] == table["predicted"]).mean())
    assert soft["n"] == metrics["data"]["rows"]["test"] == len(table) == 42
    assert metrics["stages"]["positive"]["n"] == 18, "a specialist is judged on every face of its group"
    assert metrics["answers"]["oracle"]["group"]["top1"] == 1


def test_the_flat_run_is_judged_on_what_it_implies(place: Path) -> None:
    metrics = _json(place / "flat" / "metrics.json")
    assert set(metrics["stages"]) == {"valence", "positive", "negative"}
    assert set(metrics["answers"]) == {"flat", "oracle", "logit_adjusted"}


def test_rebalancing_touches_train_rows_of_its_stage_only(place: Path) -> None:
    record = _json(place / "tree" / "metrics.json")
    assert record["training"]["negative"]["balance"] == "oversample"
    assert record["training"]["valence"]["balance"] == "none"
    assert record["data"]["rows"] == {"train": 112, "validation": 42, "test": 42}


def test_the_temperature_is_shown_with_what_it_gains(place: Path) -> None:
    for stage in _json(place / "tree" / "metrics.json")["training"].values():
        assert stage["temperature"] > 0
        assert 0 <= stage["ece_before"] <= 1
        assert 0 <= stage["ece_after"] <= 1


def test_ferplus_votes_replace_the_labels(place: Path) -> None:
    record = _json(place / "voted" / "metrics.json")
    assert record["emotions"][-1] == "contempt"
    assert record["data"]["counts"]["test"]["contempt"] == 14
    assert record["training"]["flat"]["soft_labels"] is True


def test_compare_pairs_the_same_faces(place: Path) -> None:
    record = _json(place / "pair" / "comparison.json")
    assert record["test"]["n"] == 42
    assert {record["pairs"][0]["a"], record["pairs"][0]["b"]} == {"tree", "flat"}
    assert (place / "pair" / "report.html").stat().st_size > 0


def test_evaluate_judges_other_data_and_cannot_itself_be_evaluated(place: Path, outcomes: list) -> None:
    record = _json(place / "elsewhere" / "metrics.json")
    assert record["mode"] == "evaluation"
    assert record["answers"]["soft"]["n"] == 21
    assert len(record["robustness"]["corrupted"]) == 35
    code, text = outcomes[5]
    assert code == 2
    assert "is an evaluation" in text


def test_an_excluded_emotion_is_absent_everywhere_and_not_compared(place: Path, outcomes: list) -> None:
    record = _json(place / "six" / "metrics.json")
    assert "disgust" not in record["emotions"]
    assert "disgust" not in pd.read_csv(place / "six" / "splits.csv")["emotion"].to_numpy()
    assert not [c for c in pd.read_csv(place / "six" / "predictions.csv").columns if "disgust" in c]
    code, text = outcomes[8]
    assert code == 2
    assert "differ" in text or "same" in text


def test_the_report_names_the_faces_of_an_update_and_too_few_batches_for_one_are_refused(
    place: Path, outcomes: list
) -> None:
    settings = _json(place / "six" / "config.json")["stage"]
    assert [settings[name] for name in ("accumulate", "clip_norm", "optimizer", "schedule")] == [
        3,
        1,
        "nadam",
        "one-cycle",
    ]
    assert "48 (3 batches of 16)" in (place / "six" / "report.html").read_text()
    code, text = outcomes[-1]
    assert code == 2
    assert re.search(r"--accumulate 5000: stage flat trains \d+ batches, too few for an update", text), text
    assert not (place / "never").exists()


def test_asked_emotions_alone_are_trained_from_other_weights_and_their_features_shown(place: Path) -> None:
    record = _json(place / "islands" / "metrics.json")
    assert record["emotions"] == ["fear", "happy", "sad", "neutral"]
    assert record["training"]["flat"]["weights"] == str(place / "flat" / "stages" / "flat" / "model.keras")
    shown = pd.read_csv(place / "islands" / "stages" / "flat" / "features.csv")
    assert sorted(shown["row"]) == sorted(pd.read_csv(place / "islands" / "predictions.csv")["row"])
    assert set(shown["emotion"]) == set(record["emotions"])
    assert "Learned features" in (place / "islands" / "report.html").read_text()
    assert "Learned features" not in (place / "flat" / "report.html").read_text()


def _weights(run: Path) -> dict[str, list[np.ndarray]]:
    import fer_hierarchy.models.layers  # noqa: F401 - registers the layers of the saved models

    stages = sorted((run / "stages").iterdir())
    return {s.name: keras.saving.load_model(s / "model.keras", compile=False).get_weights() for s in stages}


def _assert_same_weights(left: Path, right: Path) -> None:
    a, b = _weights(left), _weights(right)
    assert a.keys() == b.keys()
    for stage in a:
        for x, y in zip(a[stage], b[stage], strict=True):
            np.testing.assert_array_equal(x, y, err_msg=stage)


def test_a_run_repeats_bit_for_bit_from_its_own_record(place: Path) -> None:
    _assert_same_weights(place / "flat", place / "again")
    first, again = (pd.read_csv(place / run / "predictions.csv") for run in ("flat", "again"))
    pd.testing.assert_frame_equal(first, again, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(place: Path, fer_folder: Path) -> None:
    """SIGKILL in the gate's training, then in a specialist's; the end is that of the uninterrupted run."""
    at = ("--results", str(place), "--logs", str(place / "logs"))
    start = ("--mode", "hierarchical", "--data", str(fer_folder), *QUICK, "--epochs", "3", "--name", "killed", *at)
    resume = ("--mode", "hierarchical", "--resume", "killed", *at)
    kill_when((*start, "--balance", "negative=oversample"), place / "killed" / "stages" / "valence" / "checkpoint.npz")
    assert not (place / "killed" / "stages" / "valence" / "stage.json").exists(), "killed too late to prove anything"
    kill_when(resume, place / "killed" / "stages" / "negative" / "checkpoint.npz")
    ((code, text),) = run_program(resume)
    assert code == 0, text
    _assert_same_weights(place / "tree", place / "killed")


def test_resume_refuses_other_settings_and_changed_data(stored_runs: Path, tmp_path: Path) -> None:
    at = ("--results", tmp_path, "--logs", tmp_path / "logs")
    faces = shutil.copytree(stored_runs.parent / "faces", tmp_path / "faces")
    config = shutil.copytree(stored_runs / "flat", tmp_path / "flat") / "config.json"
    config.write_text(config.read_text().replace(str(stored_runs.parent / "faces"), str(faces)))
    next((faces / "train" / "happy").iterdir()).unlink()
    other, changed = run_program(
        ("--mode", "flat", "--resume", "flat", "--epochs", "5", *at), ("--mode", "flat", "--resume", "flat", *at)
    )
    assert (other[0], changed[0]) == (2, 2)
    assert "epochs" in other[1]
    assert "changed" in changed[1]
