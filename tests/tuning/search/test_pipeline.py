import dataclasses
import json
import re
from types import SimpleNamespace

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import apply_flags
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import ANNOUNCED
from fer_hierarchy.hierarchy.training.workers import WorkerConfig, open_workers
from fer_hierarchy.tuning.report.record import StudyRecord
from fer_hierarchy.tuning.search import pipeline as searching
from fer_hierarchy.tuning.search.pipeline import locked, resume_search, start_search
from fer_hierarchy.tuning.search.study import extended, find_studies, read_study
from fer_hierarchy.tuning.settings import SearchConfig
from tests.conftest import write_fer_folder
from tests.tuning.quick_stage import SEEN

RATES = {"*": None, "learning_rate": {"low": 0.001, "high": 0.1, "scale": "log"}}


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Reports have tests of their own."""
    monkeypatch.setattr(searching, "write_study_report", StudyRecord.read)


def start(config, stage_type, tmp_path, *, space=RATES, workers=None, **settings):
    """Search the gate; the folder of the study."""
    file = tmp_path / "space.json"
    file.write_text(json.dumps(space))
    settings = {"stage": "valence", "tuner": "random", "max_trials": 4, "remeasure": 0, "space": str(file), **settings}
    places = {
        "name": "s",
        "studies": tmp_path / "studies",
        "command": "python tf_model.py --mode tune",
        "workers": workers,
    }
    return start_search(config, SearchConfig(**settings), stage_type, **places)


def resume(folder, stage_type, **search):
    return resume_search({folder: extended(read_study(folder), {}, search)}, stage_type)


def table(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv", dtype={"trial": str, "from_trial": str})


def scores(folder) -> pd.DataFrame:
    """What does not depend on how long it took, or on who did it."""
    return table(folder).drop(columns=["seconds", "cpu_seconds", "started", "ended", "worker"])


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband", "grid"])
def test_an_interrupted_search_ends_like_an_uninterrupted_one(tuner, quick: type[Stage], config, tmp_path, monkeypatch):
    space = {"*": None, "learning_rate": [0.001, 0.003, 0.01, 0.03]} if tuner == "grid" else RATES
    config = apply_flags(config, {"epochs": "3"})
    search = {"tuner": tuner, "space": space, "max_trials": None if tuner == "hyperband" else 4}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = start(config, quick, tmp_path / "a", **search)
    epochs = len(SEEN)
    SEEN.clear()
    monkeypatch.setattr(quick, "interrupt_after", 5)
    with pytest.raises(KeyboardInterrupt, match=r"go on with: python tf_model.py --mode tune .*--resume s"):
        start(config, quick, tmp_path / "b", **search)
    parts = tmp_path / "b" / "studies" / "s"
    assert "running" in set(table(parts)["status"])
    monkeypatch.setattr(quick, "interrupt_after", None)
    resume(parts, quick)
    pd.testing.assert_frame_equal(scores(whole), scores(parts))
    assert len(SEEN) == epochs  # no epoch was trained twice
    best = [json.loads((folder / "best.json").read_text()) for folder in (whole, parts)]
    assert best[0] == best[1]


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["random", "hyperband"])
def test_two_workers_run_the_trials_of_one_process(tuner, quick, config, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    config = apply_flags(config, {"epochs": "9"})
    search = {"tuner": tuner, "max_trials": None if tuner == "hyperband" else 6, "executions": 2}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    alone = start(config, quick, tmp_path / "a", **search)
    with open_workers(WorkerConfig(workers=2)) as pool:
        shared = start(config, quick, tmp_path / "b", workers=pool, **search)
    assert table(shared)["worker"].nunique() == 2
    names = {"trial", "from_trial"}  # the next trial may be chosen before or after another one has ended
    same = [scores(f).drop(columns=names).sort_values(["hp:learning_rate", "rung"]) for f in (alone, shared)]
    pd.testing.assert_frame_equal(*(one.reset_index(drop=True) for one in same))
    best = [json.loads((folder / "best.json").read_text()) for folder in (alone, shared)]
    assert best[0]["hyperparameters"] == best[1]["hyperparameters"]


def test_the_best_trial_is_found_and_kept(quick, config, tmp_path):
    folder = start(config, quick, tmp_path, max_trials=8)
    trials, best = table(folder), json.loads((folder / "best.json").read_text())
    assert best["score"] == trials["score"].max()
    row = trials.loc[trials["trial"] == best["trial"]].iloc[0]
    assert best["hyperparameters"]["learning_rate"] == row["hp:learning_rate"]
    assert "epochs" not in best["hyperparameters"]
    models = list(folder.glob("trials/*/*/*/model.keras"))
    assert [path.parts[-4] for path in models] == [best["trial"]]
    assert not list(folder.glob("trials/*/*/*/*.npz"))


def test_a_trial_that_cannot_be_trained_is_recorded_and_the_search_goes_on(quick, config, tmp_path):
    space = {"*": None, "batch_size": [7, 16], "warmup": [1, 5], "learning_rate": 0.01}
    trials = table(start(config, quick, tmp_path, space=space, tuner="grid", max_trials=None))
    assert trials["status"].value_counts().to_dict() == {"failed": 3, "completed": 1}
    failed = trials[trials["status"] == "failed"]
    assert set(failed["message"]) == {"no network takes batches of 7", "MemoryError"}
    assert failed["score"].isna().all()


def test_nothing_to_be_had_is_one_line(quick, config, tmp_path):
    space = {"*": None, "batch_size": 7, "learning_rate": [0.01, 0.02]}
    with pytest.raises(UserError, match="all 2 trials failed; the first: no network takes batches of 7"):
        start(config, quick, tmp_path, space=space)


def test_hyperband_goes_on_where_a_rung_paused_and_on_the_same_course(quick, config, tmp_path):
    config = apply_flags(config, {"epochs": "9"})
    folder = start(config, quick, tmp_path, tuner="hyperband", max_trials=None)
    assert {row["of"] for row in SEEN} == {9}  # every rung is a part of the whole course
    trained = [(row["rate"], row["epoch"]) for row in SEEN]
    assert len(trained) == len(set(trained))  # and none of it is trained again
    trials = table(folder).set_index("trial")
    later = trials[trials["from_trial"].notna()]
    assert len(later)
    for _, row in later.iterrows():
        before = trials.loc[row["from_trial"]]
        assert row["hp:learning_rate"] == before["hp:learning_rate"]
        assert row["rung"] == before["rung"] + 1
        assert row["epochs"] == row["epochs_asked"] > before["epochs"]


def test_a_failed_trial_does_not_keep_hyperband_waiting(quick, config, tmp_path):
    config = apply_flags(config, {"epochs": "3"})
    space = {**RATES, "batch_size": [7, 16]}
    trials = table(start(config, quick, tmp_path, space=space, tuner="hyperband", max_trials=None))
    assert "failed" in set(trials["status"])
    assert set(trials["bracket"].dropna()) == {0, 1}
    assert len(trials) == 6


def test_early_rungs_see_small_faces(quick, config, tmp_path):
    config = apply_flags(config, {"epochs": "3", "image_size": "24", "patience": "5"})
    folder = start(config, quick, tmp_path, tuner="hyperband", max_trials=None, early_size=16, remeasure=1)
    sizes = {(row["size"], row["epoch"]) for row in SEEN}
    assert {(16, 0), (24, 1), (24, 2), (24, 0)} == sizes  # the last bracket has one rung: all of it at full size
    # A rung that had stopped early would leave its successor nothing to choose an epoch from.
    assert {(row["size"], row["patience"]) for row in SEEN} == {(16, 0), (24, 5)}
    assert len(pd.read_csv(folder / "remeasured.csv")) == 1


def test_trials_learn_from_a_share_and_are_scored_on_all(quick, config, tmp_path):
    folder = start(config, quick, tmp_path, fraction=0.25, max_trials=1)
    study = json.loads((folder / "study.json").read_text())
    assert study["data"]["rows"] == {"train": 112, "validation": 42}
    assert study["data"]["train_used"] == 28
    (model,) = folder.glob("trials/*/*/*/model.keras")
    assert json.loads(model.read_text())["train"] == 28


def test_each_execution_and_each_remeasuring_has_a_seed_of_its_own(quick, config, tmp_path):
    folder = start(config, quick, tmp_path, executions=2, max_trials=2, remeasure=3)
    assert len({row["seed"] for row in SEEN}) == 5
    again = pd.read_csv(folder / "remeasured.csv")
    assert list(again["seed"]) == [2, 3, 4]
    epochs = len(SEEN)
    resume(folder, quick)
    assert len(SEEN) == epochs
    resume(folder, quick, remeasure=4)
    assert len(SEEN) == epochs + 2


def test_a_search_is_at_its_end_once_the_best_trial_is_measured_again(quick, config, tmp_path, capsys):
    start(config, quick, tmp_path, stage="all", max_trials=2, remeasure=1)
    lines = [line for line in capsys.readouterr().err.splitlines() if "spent" in line]
    shares = [int(line.split("%")[0]) for line in lines]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert shares.count(100) == 1
    again = [line for line in lines if "re-measured with seed" in line]
    assert len(again) == len(lines[:-1]) // 3
    assert "valence, re-measured" in again[0]


def test_a_search_ends_with_a_table_of_its_best_trials(quick, config, tmp_path, caught_logs):
    folder = start(config, quick, tmp_path, max_trials=3)
    best = table(folder).sort_values("score", ascending=False, kind="stable")
    lines = [record.getMessage() for record in caught_logs.records if hasattr(record, ANNOUNCED)]
    *rows, _ = lines[lines.index(f"study {folder.name}: 3 trials, random, balanced_accuracy") + 1 :]
    made = {row[0]: row[1:] for row in (re.split(" {2,}", line) for line in rows)}
    assert made["Trial"] == list(best["trial"])
    assert made["Balanced accuracy %"] == [f"{100 * score:.1f}" for score in best["score"]]
    assert len(made["learning_rate"]) == 3


def test_a_search_can_be_made_longer(quick, config, tmp_path):
    folder = start(config, quick, tmp_path)
    resume(folder, quick, max_trials=6)
    assert len(table(folder)) == 6


def test_a_budget_ends_a_search_in_mid_trial_and_says_when_it_was_too_small(quick, config, tmp_path, monkeypatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr(
        "fer_hierarchy.tuning.search.budget.time", SimpleNamespace(monotonic=lambda: float(next(ticks)))
    )
    config = apply_flags(config, {"epochs": "3"})
    with pytest.raises(
        UserError, match=r"--budget 3s is too small for one trial: it ended after 2 of 3 epochs; .*--resume s"
    ):
        start(config, quick, tmp_path, budget="3s")
    folder = tmp_path / "studies" / "s"
    resume(folder, quick, budget="6s")
    assert list(table(folder)["status"]) == ["completed", "running"]
    resume(folder, quick)
    assert set(table(folder)["status"]) == {"completed"}
    assert len(table(folder)) == 4


def test_all_stages_are_searched_one_after_the_other(quick, config, tmp_path):
    start(config, quick, tmp_path, stage="all", max_trials=1)
    objectives = {
        path.parent.name: json.loads(path.read_text())["search"]["objective"]
        for path in (tmp_path / "studies").glob("*/study.json")
    }
    assert objectives == {
        "s-valence": "balanced_accuracy",
        "s-positive": "macro_f1",
        "s-negative": "macro_f1",
        "s-flat": "macro_f1",
    }


def test_an_interrupted_search_of_all_stages_goes_on_with_all_that_are_left(quick, config, tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "interrupt_after", 3)  # in the second stage
    with pytest.raises(KeyboardInterrupt, match=r"--resume s$"):
        start(config, quick, tmp_path, stage="all", max_trials=1)
    monkeypatch.setattr(quick, "interrupt_after", None)
    resume_search({f: read_study(f) for f in find_studies("s", tmp_path / "studies")}, quick)
    assert len(list((tmp_path / "studies").glob("s-*/best.json"))) == 4


def test_the_same_search_is_not_begun_twice(quick, config, tmp_path):
    start(config, quick, tmp_path)
    with pytest.raises(UserError, match="exists already; choose another name or --resume s"):
        start(config, quick, tmp_path)


def test_other_faces_are_another_study(quick, config, tmp_path):
    counts = {"Training": 16, "PublicTest": 6, "PrivateTest": 6}
    data = write_fer_folder(tmp_path / "fer", per_split=counts, seed=1)
    folder = start(apply_flags(config, {"data": str(data)}), quick, tmp_path, max_trials=1)
    next((data / "train" / "happy").glob("*.png")).unlink()
    with pytest.raises(UserError, match="study s is of other data"):
        resume(folder, quick)


def test_one_process_at_a_time(quick, config, tmp_path):
    folder = start(config, quick, tmp_path, max_trials=1)
    with locked(folder), pytest.raises(UserError, match="study s is being searched by another process"):
        resume(folder, quick)


def test_damaged_files_are_one_line(quick, config, tmp_path):
    folder = start(config, quick, tmp_path, max_trials=2)
    (folder / "oracle" / "oracle.json").write_text('{"ongoing_trials": ')
    with pytest.raises(UserError, match=r"study s is damaged: .*oracle cannot be read"):
        resume(folder, quick)


def test_a_trial_that_kills_its_process_is_given_up(quick, config, tmp_path, monkeypatch):
    """As the kernel does when memory is short: no exception can be caught."""

    class KilledError(BaseException):
        pass

    def killed(*_args, **_kwargs):
        raise KilledError

    fit = quick.fit
    monkeypatch.setattr(quick, "fit", killed)
    with pytest.raises(KilledError):
        start(config, quick, tmp_path, max_trials=1)
    folder = tmp_path / "studies" / "s"
    for _ in range(2):
        with pytest.raises(KilledError):
            resume(folder, quick)
    with pytest.raises(UserError, match="the process ended 3 times in this trial within one epoch"):
        resume(folder, quick)
    monkeypatch.setattr(quick, "fit", fit)
    resume(folder, quick, max_trials=2)
    assert list(table(folder)["status"]) == ["failed", "completed"]


@pytest.mark.parametrize(
    ("search", "space", "words"),
    [
        ({"tuner": "grid", "max_trials": None}, RATES, "--tuner grid: learning_rate has no steps"),
        ({"tuner": "hyperband"}, {"epochs": [2, 3]}, "decides on the epochs itself"),
        ({"early_size": 16}, RATES, "--early-size 16 is for the rungs of --tuner hyperband"),
        ({}, {"*": None}, "leaves nothing to search"),
        ({"stage": "joy"}, RATES, "--stage: expected one of valence, positive, negative, flat"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(search, space, words, quick, config, tmp_path):
    with pytest.raises(UserError, match=words):
        start(config, quick, tmp_path, space=space, **search)
    assert not list((tmp_path / "studies").glob("*"))


def test_a_searched_size_is_what_trials_see(quick, config, tmp_path):
    space = {"*": None, "image_size": [16, 24], "learning_rate": 0.01}
    folder = start(config, quick, tmp_path, space=space, tuner="grid", max_trials=None, stage="flat")
    assert {row["size"] for row in SEEN} == {16, 24}
    assert json.loads((folder / "best.json").read_text())["hyperparameters"]["image_size"] in (16, 24)


@pytest.mark.parametrize(("size", "searched"), [(16, False), (None, True)])
def test_a_size_that_the_user_gives_is_not_searched(size, searched, quick, config, tmp_path):
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=size))
    folder = start(config, quick, tmp_path, space={"learning_rate": 0.01}, stage="flat", max_trials=1)
    assert ("image_size" in read_study(folder).space) is searched


def test_the_record_of_a_search_stands_alone(quick, config, tmp_path):
    folder = start(config, quick, tmp_path, max_trials=1)
    study = read_study(folder)
    assert dataclasses.asdict(study.config)["data"]["image_size"] == 16
    splits = pd.read_csv(folder / "splits.csv")
    assert set(splits["split"]) == {"train", "validation", "test"}
    assert (folder / "run.log").is_file()
