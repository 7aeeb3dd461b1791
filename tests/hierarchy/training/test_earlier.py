"""What a run builds on, by first weights and teachers, and what that took."""

import dataclasses
import json

import pytest

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.earlier import earlier_of, earlier_trainings, whole_cost


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
            (folder / "stages" / "flat" / "history.csv").write_text(f"epoch,cpu_seconds\n1,{seconds}\n")
        return folder

    return made


def weights_of(folder):
    return str(folder / "stages" / "flat" / "model.keras")


def found(folder):
    return earlier_trainings(Run(str(folder)).config, ["flat"])


def test_first_weights_and_teachers_and_what_these_build_on_count_once(make):
    first = make("first", seconds=50)
    teacher = make("teacher", seconds=30, weights=weights_of(first))
    run = make("run", seconds=5, weights=weights_of(first), teacher=str(teacher))
    assert found(run) == {"first/flat": 50, "teacher": 30}
    assert whole_cost({"train_cpu_seconds": 5}, found(run)) == (85, [])


def test_what_is_recorded_with_a_run_stays_when_the_others_are_gone(make):
    run = make("run", weights="/gone/first/stages/flat/model.keras", earlier={"first/flat": 50})
    assert earlier_of(Run(str(run))) == {"first/flat": 50}
    student = make("student", teacher=str(run))
    assert found(student) == {"run": 100, "first/flat": 50}


def test_what_is_not_recorded_is_unknown_and_not_free(make):
    run = make("run", seconds=5, weights="/gone/first/stages/flat/model.keras", teacher="/gone/teacher")
    assert found(run) == {"first/flat": None, "teacher": None}
    assert whole_cost({"train_cpu_seconds": 5}, found(run)) == (5, ["first/flat", "teacher"])
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


def test_trainings_of_one_name_stay_apart(make):
    one, two = make("a/first", seconds=50), make("b/first", seconds=70)
    run = make("run", weights=weights_of(one))
    config = Run(str(run)).config
    stages = {"valence": {"weights": weights_of(two)}}
    both = earlier_trainings(dataclasses.replace(config, mode="hierarchical", stages=stages), ["valence", "positive"])
    assert {name: both[name] for name in ("first/flat", "a/first/flat")} == {"first/flat": 70, "a/first/flat": 50}


@pytest.mark.parametrize("recorded", [5, "x", ["a"], {"a": "x"}, {"a": -3}, {"a": True}])
def test_a_damaged_record_is_one_line(make, recorded):
    with pytest.raises(UserError, match=r"metrics.json is damaged: its cost has 'earlier'"):
        earlier_of(Run(str(make("run", earlier=recorded))))
