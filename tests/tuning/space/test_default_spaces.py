"""Default spaces: every point of them can be trained, and what the user set is left alone."""

import json

import pytest

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.models import registry
from fer_hierarchy.tuning.space.default_spaces import default_space
from fer_hierarchy.tuning.space.dimension import Dimension
from fer_hierarchy.tuning.space.spaces import check_models, settings_of
from tests.tuning.space.space_points import accepted, points

PLAIN = StageConfig()


@pytest.mark.parametrize("name", registry.list_models())
def test_every_point_of_a_default_space_can_be_trained(name):
    config = StageConfig(model=name)
    space = default_space(config, stage_is_flat=True)
    check_models(space, config)
    assert any(key.startswith("model.") for key in space), "a model without keywords to search"
    for values in points(space):
        settings, size = settings_of(values, config)
        assert accepted(settings)
        assert size is None or size >= registry.model_info(name).smallest


@pytest.mark.parametrize("name", ["compact_resnet", "hierarchical_cnn", "shallow_cnn"])
def test_the_corners_of_a_default_space_build(name):
    config = StageConfig(model=name)
    *_, low, high = points(default_space(config, stage_is_flat=True), count=0)
    sizes = [
        registry.create_model(settings.model, input_shape=(size, size, 1)).count_params()
        for settings, size in (settings_of(low, config), settings_of(high, config))
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "weighted"},
        {"loss": "balanced-softmax"},
        {"balance": "sampler"},
        {"augment": False},
        {"optimizer": "sgd"},
        {"model": "vit_small_patch:heads=5:dim=320"},
        {"model": "resnet18:stem=imagenet", "weights": "imagenet"},
        {"model": "rgbd_fusion", "modality": "depth"},
        {"model": "rgbd_fusion:fusion=sum:depth_backbone=mobilenet", "depth": "relief"},
    ],
)
def test_what_the_settings_hold_already_is_left_as_it_is(given):
    config = StageConfig(**given)
    space = default_space(config, stage_is_flat=True)
    assert not set(given) & set(space)
    for values in points(space):
        settings, _ = settings_of(values, config)
        assert accepted(settings)
        assert all(getattr(settings, key) == value for key, value in given.items() if key != "model")
        assert settings.model.startswith(config.model)


def test_the_models_own_settings_and_what_hangs_on_them_are_not_searched():
    fixed = default_space(StageConfig(model="compact_resnet:dropout=0.3"), stage_is_flat=False)
    assert "model.dropout" not in fixed
    assert "model.widths" in fixed
    heads = default_space(StageConfig(model="vit_b16:heads=16"), stage_is_flat=False)
    assert not {"model.dim", "model.heads"} & set(heads)
    assert "model.depth" in heads


@pytest.mark.parametrize("keyword", ["activation", "kernel_size"])
def test_builders_that_take_an_activation_or_a_kernel_size_are_searched_for_it(keyword):
    taking = {name for name in registry.list_models() if keyword in registry.builder(name).__kwdefaults__}
    searched = {
        name
        for name in registry.list_models()
        if f"model.{keyword}" in default_space(StageConfig(model=name), stage_is_flat=False)
    }
    assert searched == taking


def test_trained_weights_keep_their_shape_and_size_and_get_a_lower_rate():
    fresh = default_space(StageConfig(model="resnet18"), stage_is_flat=True)
    tuned = default_space(StageConfig(model="resnet18:stem=imagenet", weights="imagenet"), stage_is_flat=True)
    assert [key for key in tuned if key.startswith("model.")] == ["model.dropout"]
    assert "image_size" not in tuned
    assert tuned["learning_rate"].high < fresh["learning_rate"].high


def test_only_a_stage_alone_with_its_faces_is_searched_for_their_size():
    assert "image_size" in default_space(PLAIN, stage_is_flat=True)
    assert "image_size" not in default_space(PLAIN, stage_is_flat=False)


def test_without_augmentation_none_of_its_strengths_is_searched():
    space = default_space(StageConfig(augment=False), stage_is_flat=True)
    assert not {"shift", "rotation", "zoom", "erase", "brightness"} & set(space)


@pytest.mark.parametrize("name", registry.list_models())
def test_default_spaces_survive_a_study_file(name):
    space = default_space(StageConfig(model=name), stage_is_flat=True)
    record = json.loads(json.dumps({key: value.to_json() for key, value in space.items()}))
    assert {key: Dimension.from_json(key, value, "study.json") for key, value in record.items()} == space
