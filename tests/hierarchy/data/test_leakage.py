"""Faces that a training saw must not evaluate another one."""

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.data.leakage import (
    check_unseen,
    evaluation_hashes,
    note_searched,
    seen_hashes,
    without_seen,
)
from fer_hierarchy.hierarchy.errors import UserError


@pytest.fixture
def splits(tmp_path):
    """splits.csv of the run `first`, which saw faces a (train) and b (validation)."""
    table = {"row": ["1", "2", "3"], "split": ["train", "validation", "test"], "pixel_hash": ["a", "b", "c"]}
    (tmp_path / "first").mkdir()
    pd.DataFrame(table).to_csv(tmp_path / "first" / "splits.csv", index=False)
    return tmp_path / "first" / "splits.csv"


def test_what_has_seen_test_faces_is_refused(splits, caught_logs):
    check_unseen({"--weights w": splits}, {"c", "d"})
    with pytest.raises(UserError, match="--weights w: 2 test faces of this run stand in the train or validation split"):
        check_unseen({"--weights w": splits}, {"a", "b", "d"})
    assert not caught_logs.records
    splits.unlink()
    check_unseen({"--weights w": splits}, {"a"})
    assert "is not recorded" in caught_logs.text


def test_what_was_trained_on_validation_faces_is_noted(splits, caught_logs):
    check_unseen({"--teacher first": splits}, {"c"}, {"b", "d"})
    assert not caught_logs.records, "a training that chose by a validation face was not fitted to it"
    check_unseen({"--teacher first": splits}, {"c"}, {"a", "b"})
    assert "--teacher first: it was trained on 1 of this run's 2" in caught_logs.text


def test_a_search_on_test_faces_is_noted(splits, caught_logs):
    note_searched({"gate": splits}, {"c"})
    assert not caught_logs.records
    note_searched({"gate": splits}, {"b", "c"})
    assert "hyperparameters of gate were searched on 1 faces of this run's test split (study first)" in caught_logs.text
    splits.unlink()
    note_searched({"gate": splits}, {"c"})
    assert "is not recorded" in caught_logs.text


def test_faces_that_a_run_saw_are_left_out(splits, caught_logs):
    rows = pd.DataFrame({"pixel_hash": ["d", "a", "c", "b"]}, index=[4, 5, 6, 7])
    assert without_seen(rows, splits, run="the run").index.tolist() == [4, 6]
    assert "2 faces that the run trained on or chose by were left out." in caught_logs.text
    with pytest.raises(UserError, match="the run has trained on every one of these faces; name other data"):
        without_seen(rows.loc[[5, 7]], splits, run="the run")


def test_a_damaged_table_is_one_line(splits):
    splits.write_text("row,emotion\n1,sad\n")
    with pytest.raises(UserError, match=r"splits.csv is missing or damaged: it needs the columns split and pixel_hash"):
        seen_hashes(splits)


def test_validation_and_test_faces_choose_or_evaluate():
    rows = pd.DataFrame({"split": ["train", "validation", "test"], "pixel_hash": ["a", "b", "c"]})
    assert evaluation_hashes(rows) == {"b", "c"}
