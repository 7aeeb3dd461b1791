import dataclasses
import json

import pytest

from fer_hierarchy.hierarchy.config import (
    DataConfig,
    EvaluationConfig,
    RunConfig,
    StageConfig,
    apply_flags,
    differences,
    fields_of,
    load_config,
    parse_staged,
)
from fer_hierarchy.hierarchy.errors import UserError


def saved(tmp_path, record):
    path = tmp_path / "config.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return path


def test_every_default_passes_its_own_checks():
    assert RunConfig.from_dict(RunConfig().to_dict()) == RunConfig()


@pytest.mark.parametrize("part", [DataConfig, StageConfig, EvaluationConfig, RunConfig])
def test_every_setting_explains_itself(part):
    assert all(field.metadata["help"] for field in fields_of(part).values())


def test_no_setting_stands_in_two_sections():
    names = [name for part in (DataConfig, StageConfig, EvaluationConfig, RunConfig) for name in fields_of(part)]
    assert len(names) == len(set(names))


def test_a_saved_configuration_reads_back_as_the_same(tmp_path):
    flags = {"epochs": "3,valence=5", "exclude": "disgust", "limit": "70", "seed": "4", "flip": "off", "skip_bad": True}
    config = apply_flags(RunConfig(), flags)
    again = load_config(saved(tmp_path, config.to_dict()))
    assert again == config
    assert differences(config, again) == []


def test_a_record_without_settings_that_came_later_has_their_defaults():
    record = RunConfig(stage=StageConfig(epochs=3)).to_dict()
    for name in ("accumulate", "clip_norm", "operations", "magnitude", "precision"):
        del record["stage"][name]
    for name in ("device", "jit"):
        del record[name]
    assert differences(RunConfig.from_dict(record), RunConfig(stage=StageConfig(epochs=3))) == []


def test_flags_go_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = load_config(saved(tmp_path, {"seed": 3, "stage": {"epochs": 9, "batch_size": 16}}))
    config = apply_flags(file, {"epochs": "2"})
    assert (config.seed, config.stage.epochs, config.stage.batch_size, config.stage.zoom) == (3, 2, 16, 0.1)


def test_a_stage_gets_its_own_value_and_the_others_the_common_one():
    config = apply_flags(RunConfig(), {"epochs": "valence=12,positive=20,4", "balance": "negative=oversample"})
    assert [config.for_stage(s).epochs for s in ("valence", "positive", "negative")] == [12, 20, 4]
    assert [config.for_stage(s).balance for s in ("positive", "negative")] == ["none", "oversample"]


def test_a_common_flag_replaces_what_the_file_says_of_single_stages(tmp_path):
    file = load_config(saved(tmp_path, {"stages": {"valence": {"epochs": 9, "ema": 0}}}))
    config = apply_flags(file, {"epochs": "2"})
    assert config.for_stage("valence").epochs == 2
    assert config.for_stage("valence").ema == 0


def test_strong_augmentation_is_blur_and_noise_unless_a_flag_goes_over_them():
    strong = apply_flags(RunConfig(), {"augment": "strong"}).stage
    assert (strong.augment, strong.defocus, strong.noise) == (True, 0.015, 0.03)
    assert apply_flags(RunConfig(), {"noise": "0.1", "augment": "strong"}).stage.noise == 0.1
    assert apply_flags(RunConfig(), {"augment": "on"}).stage == RunConfig().stage


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"epochs": "0"}, "--epochs: expected at least 1 and at most 100000, got 0"),
        ({"epochs": "many"}, "--epochs: expected a whole number, got 'many'"),
        ({"epochs": "9" * 30}, "--epochs: expected at least 1 and at most 100000"),
        ({"warmup": "1e300"}, "--warmup: expected at least 0 and at most 100000"),
        ({"logit_adjustment": "1e308"}, "--logit-adjustment: expected at least 0 and at most 10"),
        ({"exclude": ","}, "--exclude: expected emotions, got ','"),
        ({"emotions": " "}, "--emotions: expected emotions, got ' '"),
        ({"epochs": "2.5"}, "--epochs: expected a whole number"),
        ({"seed": "9" * 400}, "--seed: expected a whole number"),
        ({"seed": "-1"}, "--seed: expected at least 0"),
        ({"learning_rate": "nan"}, "--learning-rate: expected a number"),
        ({"learning_rate": "0"}, "--learning-rate: expected above 0"),
        ({"balance": "smote"}, "--balance: expected one of none, oversample, class-weight, sampler, got 'smote'"),
        ({"flip": "maybe"}, "--flip: expected on or off"),
        ({"channels": "2"}, "--channels: expected one of 1, 3"),
        ({"test_fraction": "0.9"}, "--test-fraction: expected above 0 and at most 0.5"),
        ({"exclude": "boredom"}, "--exclude: unknown emotion 'boredom'"),
        ({"exclude": "happy,surprise,neutral"}, "group 'positive'"),
        ({"taxonomy": "nothing.json"}, "neither a known name"),
        ({"epochs": "2,3"}, "given twice"),
        ({"epochs": "valence=2,valence=3"}, "given twice"),
        ({"epochs": "angry=2"}, "stage 'angry' is not part of this run; its stages are valence, positive, negative"),
        ({"epochs": ""}, "--epochs: expected a whole number"),
        (
            {"schedule": "one-cycle", "warmup": "3"},
            "--warmup 3.0 with --schedule one-cycle warms stage valence up twice",
        ),
        ({"accumulate": "0"}, "--accumulate: expected at least 1"),
        ({"clip_norm": "-1"}, "--clip-norm: expected at least 0"),
        ({"mode": "audit"}, "--mode: expected one of hierarchical, flat"),
    ],
)
def test_a_bad_flag_is_one_clear_line(flags, message):
    with pytest.raises(UserError) as error:
        apply_flags(RunConfig(), flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "not readable as JSON"),
        ([], "expected a JSON object"),
        ({"format": 2}, "format 2"),
        ({"sede": 1}, "unknown setting 'sede'"),
        ({"data": 3}, "data: expected an object"),
        ({"data": {"epochs": 3}}, "data: unknown setting 'epochs'"),
        ({"stage": {"epochs": "3x"}}, "stage.epochs: expected a whole number"),
        ({"stage": {"epochs": True}}, "stage.epochs: expected a whole number"),
        ({"stage": {"model": 7}}, "stage.model: expected text"),
        ({"stages": {"left": {"epochs": 3}}}, "stage 'left'"),
        ({"stages": []}, "stages: expected an object"),
        ({"stages": {"valence": {"epoch": 3}}}, "stages.valence: unknown setting 'epoch'"),
        ({"data": {"exclude": 5}}, "data.exclude: expected emotions"),
        ({"data": {"taxonomy": {"groups": {}}}}, "at least two"),
        ({"mode": "compare"}, "mode: expected one of hierarchical, flat"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, record, message):
    with pytest.raises(UserError) as error:
        load_config(saved(tmp_path, record))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_taxonomy_file_is_written_out_in_full(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"groups": {"calm": ["neutral", "sad"], "wild": ["fear", "angry"]}}))
    record = apply_flags(RunConfig(), {"taxonomy": str(path)}).to_dict()
    path.unlink()
    assert RunConfig.from_dict(record).grouping().stages("hierarchical") == ("gate", "calm", "wild")


def test_differences_name_the_setting_and_both_values():
    changed = differences(RunConfig(), apply_flags(RunConfig(), {"epochs": "3", "seed": "1"}))
    assert changed == ["seed: 0 -> 1", "stage.epochs: None -> 3"]


def test_staged_values_keep_their_types():
    assert parse_staged("ema", "0.2,valence=0", "--ema") == {None: 0.2, "valence": 0.0}
    assert parse_staged("flip", "on,valence=off", "--flip") == {None: True, "valence": False}


def test_emotions_keep_their_own_and_leave_out_the_rest():
    config = apply_flags(RunConfig(), {"emotions": "fear,Happiness,neutral,sad"})
    assert config.grouping().emotions == ("fear", "happy", "sad", "neutral")
    assert set(config.data.left_out) == {"angry", "disgust", "surprise", "contempt"}
    assert RunConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UserError, match="fear stands in --emotions and in --exclude"):
        apply_flags(config, {"exclude": "fear"})
    with pytest.raises(UserError, match="leaves group 'negative'"):
        apply_flags(RunConfig(), {"emotions": "happy,neutral"})


@pytest.mark.parametrize("loss", ["weighted", "balanced-softmax"])
def test_rebalancing_twice_is_refused(loss):
    with pytest.raises(UserError, match=f"--loss {loss} with --balance oversample rebalances stage negative twice"):
        apply_flags(RunConfig(), {"loss": f"negative={loss}", "balance": "oversample"})


def test_a_model_with_settings_of_its_own_is_no_stage():
    config = apply_flags(RunConfig(), {"model": "vgg13:batch_norm=on,negative=resnet18:stem=imagenet"})
    assert config.for_stage("valence").model == "vgg13:batch_norm=on"
    assert config.for_stage("negative").model == "resnet18:stem=imagenet"


def rgbd(**stage):
    return RunConfig(mode="hierarchical", stage=StageConfig(model="rgbd_fusion", **stage))


def test_an_rgbd_model_is_told_what_it_sees():
    assert rgbd().reads_depth
    assert rgbd().for_stage("valence").model_spec == "rgbd_fusion:modality=rgbd:depth=normals"
    own = apply_flags(rgbd(), {"modality": "valence=depth", "depth": "relief", "model": "rgbd_fusion:fusion=sum"})
    assert own.for_stage("valence").model_spec == "rgbd_fusion:fusion=sum:modality=depth:depth=relief"
    assert own.for_stage("positive").model_spec == "rgbd_fusion:fusion=sum:modality=rgbd:depth=relief"
    plain = RunConfig()
    assert not plain.reads_depth
    assert plain.for_stage("valence").model_spec == plain.stage.model


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"modality": "depth"}, "--modality depth belongs to an RGB-D model"),
        ({"depth": "normals"}, "--depth normals belongs to an RGB-D model"),
        ({"model": "rgbd_fusion,positive=convnet"}, "stage positive is convnet, but other stages read depth"),
        ({"model": "rgbd_fusion", "mixup": "0.2"}, "--mixup"),
        ({"model": "rgbd_fusion:modality=rgb"}, "give what it sees as --modality"),
        ({"folds": "5"}, "--folds needs --fold"),
        ({"fold": "5"}, "--fold needs --folds"),
        ({"folds": "5", "fold": "6"}, "--fold 6: expected 1 to 5"),
        ({"data": ["a", "b"], "dataset": "ck48"}, "--dataset belongs to a single data set"),
        ({"data": ["a", "b", "a"]}, "--data: a is given twice"),
    ],
)
def test_settings_of_depth_folds_and_merged_data_that_do_not_go_together(flags, words):
    with pytest.raises(UserError, match=words):
        apply_flags(RunConfig(), flags)


def test_several_data_sets_are_a_list_and_one_is_a_path():
    several = apply_flags(RunConfig(), {"data": ["a", "b"]})
    assert several.data.paths == ("a", "b")
    assert RunConfig.from_dict(several.to_dict()) == several
    assert apply_flags(RunConfig(), {"data": ["a"]}).data.data == "a"
    assert RunConfig().data.paths == ()
