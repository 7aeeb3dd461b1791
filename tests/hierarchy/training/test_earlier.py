"""What a run builds on, by first weights and teachers, and what that took."""

import dataclasses
import json
import shutil

import pytest

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.earlier import earlier_of, earlier_record, earlier_trainings, whole_cost


@pytest.fixture
def make(tmp_path):
    """Makes the folder of a finished run: its settings, its cost and a history for its one stage."""

    def made(name, *, seconds=100.0, weights="none", teacher=None, recorded=True, **cost):
        folder = tmp_path / name
        (folder / "stages" / "flat").mkdir(parents=True)
        config = RunConfig(name=name, mode="flat", stage=StageConfig(weights=weights), data=DataConfig(teacher=teacher))
        (folder / "config.json").write_text(json.dumps(config.to_dict()))
        metrics = {name: {} for name in ("taxonomy", "answers", "stages", "data")} | {"training": {"flat": {}}}
        metrics |= {"format": 1, "mode": "flat", "seed": 0, "synthetic": False, "headline": "flat"}
        metrics["cost"] = {"train_cpu_seconds": seconds, **cost}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        if recorded:
            (folder / "stages" / "flat" / "history.csv").write_text(f"epoch,cpu_seconds,of\n1,{seconds},{name}\n")
        return folder

    return made


def weights_of(folder):
    return str(folder / "stages" / "flat" / "model.keras")


def trainings(folder, stages=("flat",), **changes):
    return earlier_trainings(dataclasses.replace(Run(str(folder)).config, **changes), stages)


def found(folder):
    return earlier_record(trainings(folder))["earlier"]


def recorded(folder):
    return earlier_record(earlier_of(Run(str(folder))))["earlier"]


def test_first_weights_and_teachers_and_what_these_build_on_count_once(make):
    first = make("first", seconds=50)
    teacher = make("teacher", seconds=30, weights=weights_of(first))
    run = make("run", seconds=5, weights=weights_of(first), teacher=str(teacher))
    assert found(run) == {"first/flat": 50, "teacher": 30}
    assert whole_cost({"train_cpu_seconds": 5}, trainings(run)) == (85, [])


def test_what_is_recorded_with_a_run_stays_when_the_others_are_gone(make):
    run = make("run", weights="/gone/first/stages/flat/model.keras", earlier={"first/flat": 50})
    assert recorded(run) == {"first/flat": 50}
    student = make("student", teacher=str(run))
    assert found(student) == {"run": 100, "first/flat": 50}


def test_what_is_not_recorded_is_unknown_and_not_free(make):
    run = make("run", seconds=5, weights="/gone/first/stages/flat/model.keras", teacher="/gone/teacher")
    assert found(run) == {"first/flat": None, "teacher": None}
    assert whole_cost({"train_cpu_seconds": 5}, trainings(run)) == (5, ["teacher", "first/flat"])
    assert found(make("left", weights="first/flat")) == {"first/flat": None}
    assert found(make("published", weights="dlib-face")) == {"dlib-face": None}
    assert found(make("other", weights=weights_of(make("no-history", recorded=False)))) == {"no-history/flat": None}


def test_runs_that_name_each_other_end(make, tmp_path):
    one = make("one", weights=str(tmp_path / "two" / "stages" / "flat" / "model.keras"))
    two = make("two", weights=weights_of(one))
    assert found(two) == {"one/flat": 100, "two/flat": 100}


def test_a_teacher_that_gave_first_weights_too_counts_once(make):
    teacher = make("teacher", seconds=50)
    run = make("run", seconds=5, weights=weights_of(teacher), teacher=str(teacher))
    assert found(run) == {"teacher": 50}


def test_trainings_of_one_name_stay_apart_also_once_they_are_recorded(make):
    one, two = make("a/first", seconds=50), make("b/first", seconds=70)
    between = make("between", seconds=5, weights=weights_of(one))
    metrics = json.loads((between / "metrics.json").read_text())
    metrics["cost"] |= earlier_record(trainings(between))
    (between / "metrics.json").write_text(json.dumps(metrics))
    (one / "stages" / "flat" / "history.csv").unlink()
    run = make("run", weights=weights_of(two), teacher=str(between))
    assert found(run) == {"between": 5, "first/flat": 50, "first/flat (2)": 70}
    assert whole_cost({"train_cpu_seconds": 1}, trainings(run)) == (126, [])


def test_a_moved_training_is_the_same_one(make, tmp_path):
    first = make("first", seconds=50)
    run = make("run", weights=weights_of(first), teacher=str(shutil.copytree(first, tmp_path / "published" / "copy")))
    assert found(run) == {"copy": 50}


def test_of_separate_stages_the_one_that_was_taken_counts(make):
    gate, other = make("gate", seconds=50), make("other", seconds=70)
    tree = make("tree", seconds=100)
    config = Run(str(tree)).config
    stages = {"valence": {"weights": weights_of(gate)}, "positive": {"weights": weights_of(other)}}
    (tree / "config.json").write_text(
        json.dumps(dataclasses.replace(config, mode="hierarchical", stages=stages).to_dict())
    )
    metrics = json.loads((tree / "metrics.json").read_text())
    metrics |= {"training": {"valence": {}, "positive": {}}}
    metrics["cost"]["earlier"] = {"gate/flat": 50, "other/flat": 70}
    (tree / "metrics.json").write_text(json.dumps(metrics))
    for stage, seconds in (("valence", 60), ("positive", 40)):
        (tree / "stages" / stage).mkdir()
        (tree / "stages" / stage / "history.csv").write_text(f"epoch,cpu_seconds\n1,{seconds}\n")
    run = make("run", weights=str(tree / "stages" / "valence" / "model.keras"))
    assert found(run) == {"tree/valence": 60, "gate/flat": 50}
    assert found(make("taught", teacher=str(tree))) == {"tree": 100, "gate/flat": 50, "other/flat": 70}


@pytest.mark.parametrize("recorded", [5, "x", ["a"], {"a": "x"}, {"a": -3}, {"a": True}])
def test_a_damaged_record_is_one_line(make, recorded):
    with pytest.raises(UserError, match=r"metrics.json is damaged: its cost has 'earlier'"):
        earlier_of(Run(str(make("run", earlier=recorded))))
