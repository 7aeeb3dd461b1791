import math

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.report.trials import (
    axis_of,
    best_so_far,
    busy_seconds,
    completed,
    failed,
    ranked,
    settings_numbers,
    word,
)
from fer_hierarchy.tuning.search.trial_table import read_trials
from fer_hierarchy.tuning.space.dimension import Dimension

HEADER = "trial,status,score,macro_f1,rung,cpu_seconds,started,ended,hp:learning_rate,hp:flip,hp:model.widths,message"
ROWS = (
    "0007,completed,0.5,0.4,,10,,,0.001,True,32+64,",
    "0008,failed,,,,2,,,0.002,False,16+32,the loss became nan",
    "0009,completed,0.7,0.6,,10.5,,,0.0005,,32+64,",
    "0010,running,,,,,,,0.003,True,8,",
    "0011,completed,0.7,0.6,,9,,,0.004,True,32+64,",
)


def write(folder, *rows, header=HEADER, name="trials.csv"):
    (folder / name).write_text("\n".join((header, *rows)) + "\n")
    return folder / name


def axis(table, key, values):
    return axis_of(table, Dimension.from_json(key, values, "space"))


@pytest.fixture
def trials(tmp_path):
    return read_trials(write(tmp_path, *ROWS))


def test_values_keep_their_kind(trials):
    assert trials["trial"].tolist() == ["0007", "0008", "0009", "0010", "0011"]
    assert [word(value) for value in trials["hp:flip"]] == ["on", "off", "none", "on", "on"]
    assert [word(value) for value in trials["hp:model.widths"]] == ["32+64", "16+32", "32+64", "8", "32+64"]
    assert trials["hp:learning_rate"].dtype == "float64"
    assert trials["message"].tolist()[:2] == ["", "the loss became nan"]
    assert trials["rung"].isna().all()


def test_whole_numbers_stay_whole(tmp_path):
    table = read_trials(write(tmp_path, "0,completed,0.5,32", header="trial,status,score,hp:batch_size"))
    assert word(table["hp:batch_size"].iloc[0]) == "32"


def test_only_trials_with_a_score_count(tmp_path):
    rows = (*ROWS, "0012,completed,nan,,,,,,0.1,True,8,", "0013,completed,inf,,,,,,0.1,True,8,")
    table = read_trials(write(tmp_path, *rows))
    assert completed(table)["trial"].tolist() == ["0007", "0009", "0011"]
    assert failed(table)["trial"].tolist() == ["0008", "0012", "0013"]


def test_the_best_is_the_first_of_equals_in_the_objective_s_direction(trials):
    assert ranked(trials, "macro_f1")["trial"].tolist() == ["0009", "0011", "0007"]
    assert ranked(trials, "nll")["trial"].tolist() == ["0007", "0009", "0011"]
    assert ranked(trials[:0], "macro_f1").empty


def test_without_a_file_there_are_no_trials(tmp_path):
    table = read_trials(tmp_path / "trials.csv")
    assert len(table) == len(completed(table)) == len(failed(table)) == 0
    assert "cpu_seconds" in table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No columns"),
        ("trial,status\n0,completed\n", "no column score"),
        ("trial,status,score\n0,completed,good\n", "good"),
        ("trial,status,score\n0,lost,0.5\n", "'lost' is none of completed"),
        ("trial,status,score\n0,completed,1,2,3\n1,failed,1,2,3,4\n", "Expected"),
        ("trial,status,score,epochs\n0,completed,0.5,1.5\n", "cast"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, said):
    (tmp_path / "trials.csv").write_text(text)
    with pytest.raises(UserError, match=r"trials\.csv is damaged") as error:
        read_trials(tmp_path / "trials.csv")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_other_bytes_is_damaged(tmp_path):
    (tmp_path / "trials.csv").write_bytes(b"\xff\xfe\x00trial")
    with pytest.raises(UserError, match="damaged"):
        read_trials(tmp_path / "trials.csv")


def test_best_so_far_follows_the_direction():
    scores = [0.3, 0.5, 0.4]
    assert best_so_far(scores, "accuracy").tolist() == [0.3, 0.5, 0.5]
    assert best_so_far(scores, "nll").tolist() == [0.3, 0.3, 0.3]


def test_time_side_by_side_counts_once_and_pauses_do_not():
    clock = "2026-01-01T10:{}:00+00:00".format
    spans = [("00", "10"), ("02", "05"), ("08", "12"), ("30", "31"), None]
    rows = [dict(zip(("started", "ended"), map(clock, span), strict=True)) if span else {} for span in spans]
    table = pd.DataFrame(rows, columns=["started", "ended"]).fillna("")
    assert busy_seconds(table) == 13 * 60
    assert busy_seconds(table[:0]) == 0


def test_a_range_is_a_scale_and_choices_are_words(trials):
    rate = axis(trials, "learning_rate", {"low": 1e-4, "high": 1e-2, "scale": "log"})
    assert rate.log
    assert rate.words == ()
    assert rate.heights[[0, 2, 4]] == pytest.approx([1 / 3, 0, 1])  # 0.001 of 0.0005 to 0.004
    assert rate.marks == [(0.0, "0.0005"), (1.0, "0.004")]
    widths = axis(trials, "model.widths", ["16+32", "32+64"])
    assert widths.words == ("16+32", "32+64", "8")  # one that the space does not name any more is last
    assert [widths.words[int(place)] for place in widths.places] == ["32+64", "16+32", "32+64", "8", "32+64"]
    flip = axis(trials, "flip", [True, False])
    assert flip.words == ("on", "off", "none")


def test_choices_that_are_numbers_are_in_order_of_size(tmp_path):
    rows = ("0,completed,0.5,128", "1,completed,0.5,32")
    table = read_trials(write(tmp_path, *rows, header="trial,status,score,hp:batch_size"))
    assert axis(table, "batch_size", [128, 32, 64]).words == ("32", "64", "128")
    fixed = axis(table[:1], "batch_size", 128)
    assert fixed.words == ("128",)
    assert not fixed.varied


def test_a_range_with_a_missing_value_still_has_places(tmp_path):
    rows = ("0,completed,0.5,0.25", "1,completed,0.5,")
    table = read_trials(write(tmp_path, *rows, header="trial,status,score,hp:erase"))
    laid = axis(table, "erase", {"low": 0, "high": 1})
    assert np.isfinite(laid.places).all()
    assert set(laid.words) == {"0.25", "none"}


def test_the_same_settings_have_one_number(tmp_path):
    rows = ("0,completed,0.5,1,a", "1,completed,0.6,1,b", "2,completed,0.7,1,a")
    table = read_trials(write(tmp_path, *rows, header="trial,status,score,hp:warmup,hp:loss"))
    first, second, third = settings_numbers(table)
    assert first == third != second


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "on"),
        (False, "off"),
        (None, "none"),
        (math.nan, "none"),
        (pd.NA, "none"),
        (0.1, "0.1"),
        ("32+64", "32+64"),
    ],
)
def test_values_in_words(value, text):
    assert word(value) == text
