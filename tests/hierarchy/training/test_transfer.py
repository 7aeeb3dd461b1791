"""First weights of another training: found by name or path."""

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import RunConfig, apply_flags
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.training.transfer import (
    find_weights,
    note_first_weights,
    origins,
    resolve_weights,
)


@pytest.fixture
def results(tmp_path):
    """A results folder with the stage `flat` of the run `first`."""
    stage = tmp_path / "first" / "stages" / "flat"
    stage.mkdir(parents=True)
    (stage / "model.keras").write_bytes(b"weights")
    splits = {"row": ["1", "2", "3"], "split": ["train", "validation", "test"], "pixel_hash": ["a", "b", "c"]}
    pd.DataFrame(splits).to_csv(tmp_path / "first" / "splits.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    "given", ["first/flat", "{}/first/flat", "{}/first/stages/flat", "{}/first/stages/flat/model.keras"]
)
def test_a_stage_is_found_by_name_folder_or_file(given, results):
    assert find_weights(given.format(results), results) == results / "first/stages/flat/model.keras"


def test_a_stage_that_shares_a_trunk_means_that(results):
    (results / "first" / "stages" / "flat").rename(results / "first" / "stages" / "trunk")
    (results / "first" / "stages" / "negative").mkdir()
    for stage in ("negative", "trunk"):
        assert find_weights(f"first/{stage}", results) == results / "first/stages/trunk/model.keras"


@pytest.mark.parametrize("given", ["first", "first/negative", "other/flat", "{}/first/splits.csv"])
def test_what_names_no_stage_is_one_line(given, results):
    with pytest.raises(UserError, match="no such weights; expected none, imagenet, dlib-face, RUN/STAGE"):
        find_weights(given.format(results), results)


def test_every_stage_of_a_configuration_is_resolved(results):
    config = apply_flags(RunConfig(), {"weights": "imagenet,negative=first/flat,positive=dlib-face"})
    resolved = resolve_weights(config, results)
    assert resolved.stage.weights == "imagenet"
    assert resolved.for_stage("positive").weights == "dlib-face"
    assert resolved.for_stage("negative").weights == str(results / "first/stages/flat/model.keras")


def test_the_splits_of_what_a_training_builds_on(results):
    weights = str(results / "first/stages/flat/model.keras")
    splits = results / "first" / "splits.csv"
    found = origins(["none", "imagenet", weights], [str(results / "first")])
    assert found == {f"--weights {weights}": splits, "--teacher first": splits}


def test_the_report_names_first_weights(results, caught_logs):
    stage = results / "first" / "stages" / "flat"
    (stage / "history.csv").write_text("epoch,cpu_seconds\n1,20.5\n2,21\n")
    other = results / "alone.keras"
    other.write_bytes(b"weights")
    file = str(stage / "model.keras")
    note_first_weights({"valence": file, "positive": file, "negative": str(other), "flat": "none"})
    note_first_weights({"valence": "dlib-face", "positive": "none", "negative": "dlib-face"})
    assert [record.message for record in caught_logs.records] == [
        "First weights of valence, positive: first/flat.",
        "First weights of negative: alone.keras.",
        "First weights of valence, negative: dlib-face, trained to tell people apart on about three million faces, "
        "without any label of an emotion.",
    ]
