import dataclasses
import json

import pytest

from fer_hierarchy.hierarchy.config import RunConfig, apply_flags
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import load_taxonomy
from fer_hierarchy.tuning.search.study import (
    BEST,
    STUDY,
    Study,
    extended,
    find_studies,
    read_best,
    read_study,
    stages_named,
    with_hyperparameters,
)
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.space.dimension import Dimension

SPACE = {"learning_rate": Dimension.from_json("learning_rate", [0.001, 0.01], "test")}
DATA = {"dataset": "made", "path": None, "fingerprint": "f" * 16, "splits": "s" * 16, "rows": {}, "train_used": 9}


def study_of(**changes) -> Study:
    parts = {
        "name": "first",
        "stage": "valence",
        "config": RunConfig(),
        "search": SearchConfig(stage="valence", objective="macro_f1", max_trials=4),
        "space": SPACE,
        "taxonomy": load_taxonomy("valence"),
        "data": DATA,
        "synthetic": False,
        "command": "python tf_model.py --mode tune",
    }
    return Study(**{**parts, **changes})


def write(folder, study):
    folder.mkdir(parents=True)
    (folder / STUDY).write_text(json.dumps(study.to_dict()))
    return folder


def write_best(folder, stage, **hyperparameters):
    folder.mkdir(parents=True, exist_ok=True)
    record = {"kind": "stage", "study": folder.name, "stage": stage, "hyperparameters": hyperparameters}
    (folder / BEST).write_text(json.dumps(record))
    return folder / BEST


def test_what_decides_a_score_is_in_the_key():
    first = study_of()
    config = RunConfig()
    others = [
        study_of(stage="positive"),
        study_of(space={"learning_rate": Dimension.from_json("learning_rate", [0.001, 0.02], "test")}),
        study_of(data={**DATA, "fingerprint": "e" * 16}),
        study_of(data={**DATA, "splits": "e" * 16}),
        study_of(taxonomy=load_taxonomy("arousal")),
        study_of(search=dataclasses.replace(first.search, tuner="random")),
        study_of(search=dataclasses.replace(first.search, fraction=0.5)),
        study_of(config=apply_flags(config, {"seed": "1"})),
        study_of(config=apply_flags(config, {"exclude": "disgust"})),
        study_of(config=apply_flags(config, {"model": "convnet"})),
        study_of(config=apply_flags(config, {"image_size": "32"})),
    ]
    assert len({study.key for study in [first, *others]}) == 12


def test_name_place_and_length_are_not():
    longer = dataclasses.replace(study_of().search, max_trials=99, budget="2h", remeasure=0)
    elsewhere = apply_flags(RunConfig(), {"data": "/elsewhere", "name": "other"})
    assert study_of().key == study_of(name="second", search=longer, config=elsewhere, command="other").key


def test_a_study_of_a_version_that_lacked_a_setting_is_read(tmp_path):
    study = study_of()
    record = json.loads(json.dumps(study.to_dict()))
    del record["config"]["stage"]["noise"]
    record["key"] = study.key_of(record["search"], record["config"])
    folder = write(tmp_path / "first", study)
    (folder / "study.json").write_text(json.dumps(record))
    assert read_study(folder) == study
    record["config"]["stage"]["batch_size"] = 31
    (folder / "study.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="was edited"):
        read_study(folder)


def test_a_study_comes_back_as_it_was(tmp_path):
    assert read_study(write(tmp_path / "first", study_of())) == study_of()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["space"].update(learning_rate=[0.001, 0.03]), "was edited"),
        (lambda r: r["data"].update(fingerprint="0" * 16), "was edited"),
        (lambda r: r.update(stage="joy"), "was edited"),
        (lambda r: r["space"].update(colour=["red", "blue"]), "unknown key 'colour'"),
        (lambda r: r.pop("taxonomy"), "is damaged: .*taxonomy"),
        (lambda r: r.update(format=9), "format 9 is not the 1"),
        (lambda r: r.update(kind="taxonomy"), "a search of a taxonomy"),
    ],
)
def test_a_damaged_study_is_one_line(change, words, tmp_path):
    folder, record = write(tmp_path / "first", study_of()), study_of().to_dict()
    change(record)
    (folder / STUDY).write_text(json.dumps(record))
    with pytest.raises(UserError, match=words):
        read_study(folder)


def test_a_search_can_go_on_for_longer_and_for_nothing_else():
    study = study_of()
    assert extended(study, {}, {"max_trials": 9, "budget": "2h"}).search.max_trials == 9
    assert extended(study, {"seed": "0"}, {"tuner": study.search.tuner}).key == study.key
    with pytest.raises(UserError, match=r"keeps its own settings; .*seed"):
        extended(study, {"seed": "1"}, {})
    with pytest.raises(UserError, match=r"--tuner \(bayesian -> grid\)"):
        extended(study, {}, {"tuner": "grid"})


def test_an_earlier_budget_does_not_bind_a_later_call():
    spent = study_of(search=dataclasses.replace(study_of().search, budget="1m"))
    assert extended(spent, {}, {}).search.budget is None


def test_the_studies_of_all_stages_have_one_name(tmp_path):
    for stage in ("valence", "negative"):
        write(tmp_path / f"big-{stage}", study_of(stage=stage, name=f"big-{stage}"))
    write(tmp_path / "big-other", study_of())
    assert [path.name for path in find_studies("big", tmp_path)] == ["big-negative", "big-valence"]
    assert find_studies("big-valence", tmp_path) == [tmp_path / "big-valence"]
    assert find_studies(str(tmp_path / "big-valence"), tmp_path / "no") == [tmp_path / "big-valence"]
    with pytest.raises(UserError, match=r"no study 'small' .*big-negative, big-other, big-valence"):
        find_studies("small", tmp_path)


def test_stages_by_name():
    assert stages_named("all", RunConfig()) == ("valence", "positive", "negative", "flat")
    assert stages_named("flat", RunConfig()) == ("flat",)
    with pytest.raises(UserError, match=r"--stage: expected one of valence, positive, negative, flat, .*got 'joy'"):
        stages_named("joy", RunConfig())


def test_each_stage_gets_what_was_found_for_it_and_flags_go_over_it(tmp_path):
    gate = write_best(tmp_path / "a", "valence", model="convnet:dropout=0.3", learning_rate=0.002)
    write_best(tmp_path / "b", "negative", model="compact_resnet", batch_size=32)
    (tmp_path / "b" / STUDY).write_text(json.dumps(study_of(stage="negative").to_dict()))
    config = with_hyperparameters(RunConfig(), [str(gate), "b"], tmp_path)
    assert config.for_stage("valence").model == "convnet:dropout=0.3"
    assert config.for_stage("negative").batch_size == 32
    assert config.for_stage("positive") == RunConfig().stage
    assert config.searched == {"valence": str(gate), "negative": str(tmp_path / "b" / BEST)}
    flagged = apply_flags(config, {"learning_rate": "valence=0.01", "batch_size": "16"})
    assert flagged.for_stage("valence").learning_rate == 0.01
    assert flagged.for_stage("negative").batch_size == 16
    assert RunConfig.from_dict(json.loads(json.dumps(flagged.to_dict()))) == flagged


def test_the_searched_image_size_is_the_runs(tmp_path):
    best = write_best(tmp_path / "f", "flat", model="convnet", image_size=64)
    assert with_hyperparameters(RunConfig(mode="flat"), [str(best)], tmp_path).data.image_size == 64


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([("flat", {})], "is for stage flat; the stages of this run are valence, positive, negative"),
        ([("valence", {}), ("valence", {})], "are both of valence"),
        ([("valence", {"image_size": 32}), ("negative", {"image_size": 48})], "faces of one size"),
        ([("valence", {"learning_rate": -1})], "learning_rate: expected above 0, got -1"),
        ([("valence", {"colour": 1})], "unknown setting 'colour'"),
    ],
)
def test_hyperparameters_that_do_not_fit_are_one_line(records, words, tmp_path):
    files = [str(write_best(tmp_path / str(n), stage, **values)) for n, (stage, values) in enumerate(records)]
    with pytest.raises(UserError, match=words):
        with_hyperparameters(RunConfig(), files, tmp_path)


def test_a_best_json_of_another_kind_says_how_it_is_used(tmp_path):
    path = tmp_path / BEST
    path.write_text(json.dumps({"kind": "composition"}))
    with pytest.raises(UserError, match="--composition"):
        read_best(path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"best\.json is missing or damaged"):
        read_best(path)
