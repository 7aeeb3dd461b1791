"""One key of a search: how its values are read, written again, and refused."""

import json
import math
import re

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.space.dimension import Dimension, spelled


@pytest.mark.parametrize(
    ("key", "value", "values"),
    [
        ("loss", ["ce", "focal"], ["ce", "focal"]),
        ("loss", {"choices": ["ce", "focal"]}, ["ce", "focal"]),
        ("label_smoothing", 0.1, [0.1]),
        ("batch_size", {"low": 32, "high": 128, "step": 32}, [32, 64, 96, 128]),
        ("batch_size", {"low": 16, "high": 128, "step": 2, "scale": "log"}, [16, 32, 64, 128]),
        ("epochs", {"low": 4, "high": 6}, [4, 5, 6]),
        ("zoom", {"low": 0, "high": 0.3, "step": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ("learning_rate", {"low": 1e-4, "high": 1e-2, "scale": "log"}, None),
        ("rotation", {"low": 0, "high": 20}, None),
        ("rotation", {"low": 0, "high": 20, "step": 10}, [0, 10, 20]),
        ("flip", [True, "off"], [True, False]),
        ("model.squeeze_from", [None, 2, 3], [None, 2, 3]),
        ("model.width_factor", [0.5, 1], [0.5, 1.0]),
        ("model.dense_width", {"low": 64, "high": 66}, [64, 65, 66]),
        ("model.dropout", {"low": 0.0, "high": 1.0}, None),
        ("model.widths", "32+64+160", ["32+64+160"]),
        ("image_size", [32, 48], [32, 48]),
    ],
)
def test_values_read_as_they_are_meant_and_come_back_the_same(key, value, values):
    read = Dimension.from_json(key, value, "space")
    assert (None if read.values is None else list(read.values)) == values
    record = json.loads(json.dumps(read.to_json()))
    assert Dimension.from_json(key, record, "study.json") == read
    assert json.dumps(read.to_json()) == json.dumps(Dimension.from_json(key, record, "study.json").to_json())


def test_whole_numbers_on_a_log_scale_stay_within_their_range():
    rungs = Dimension.from_json("batch_size", {"low": 8, "high": 128, "scale": "log"}, "space").values
    assert (rungs[0], rungs[-1]) == (8, 128)
    assert sorted(set(rungs)) == list(rungs)
    assert sum(rung < 32 for rung in rungs) / len(rungs) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("zzz", 1, "unknown key 'zzz'; known: model, "),
        ("model.", 1, "unknown key 'model.'"),
        ("seed", [1, 2], "seed cannot be searched: it is a setting of the whole run"),
        ("soft_labels", [True, False], "soft_labels cannot be searched"),
        ("model.weights", ["imagenet"], "model.weights cannot be searched: its key is weights"),
        (
            "weights",
            ["none", "run/valence"],
            "weights: a search takes none or imagenet or dlib-face, got 'run/valence'",
        ),
        ("batch_size", [32, 64, 32], "batch_size: 32 is given twice"),
        ("model.dropout", [0.1, 0.1000001], "model.dropout: 0.1 is given twice"),
        ("batch_size", [0], "batch_size: expected at least 1, got 0"),
        ("batch_size", [32, None], "batch_size: null is no choice"),
        ("batch_size", [32.5], "batch_size: expected a whole number, got 32.5"),
        ("loss", ["ce", "hinge"], "loss: expected one of ce, weighted"),
        ("model.widths", [[32, 64]], 'several numbers in one are written as text: "32+64+160"'),
        ("model.widths", "8+8:dropout=0", "expected a value as in a model's settings, got '8+8:dropout=0'"),
        ("model.dropout", [math.nan], "model.dropout: expected a number, got NaN"),
        ("shift", {"low": 0.3, "high": 0.1}, "shift: the range is empty: low 0.3 is above high 0.1"),
        ("shift", {"low": 0.1, "high": 0.1}, "to keep the key at it, write 0.1 alone"),
        ("shift", {"low": 0.1}, "shift: expected low and high"),
        ("shift", {}, "shift: expected low and high"),
        ("shift", {"min": 0, "max": 0.1}, "choices, got min, max"),
        ("shift", {"choices": [0, 0.1], "step": 1}, "shift: choices are a list and the only key"),
        ("shift", {"choices": 0.1}, "shift: choices are a list and the only key"),
        ("shift", {"low": 0, "high": 0.9}, "shift: high: expected at least 0 and at most 0.5, got 0.9"),
        ("shift", {"low": 0, "high": "0.1"}, 'shift: high: expected a number, got "0.1"'),
        ("shift", {"low": 0, "high": True}, "shift: high: expected a number, got true"),
        ("model.alpha", {"low": 0.1, "high": math.inf}, "model.alpha: high: expected a number, got Infinity"),
        ("shift", {"low": 0, "high": 0.1, "step": 0.2}, "step: expected above 0 and at most 0.1, got 0.2"),
        ("shift", {"low": 0, "high": 0.1, "step": 0}, "step: expected above 0 and at most 0.1, got 0"),
        ("shift", {"low": 0, "high": 0.1, "step": 1e-7}, "makes more than 10,000 values"),
        ("shift", {"low": 0, "high": 0.1, "scale": "log"}, "a log scale needs low above 0, got 0"),
        ("shift", {"low": 0, "high": 0.1, "scale": "ln"}, 'scale: expected linear or log, got "ln"'),
        (
            "batch_size",
            {"low": 16, "high": 64, "step": 1, "scale": "log"},
            "step: expected as a factor above 1 and at most 4, got 1",
        ),
        ("batch_size", {"low": 16, "high": 64, "step": 0.5}, "step: expected a whole number, got 0.5"),
        ("loss", {"low": 1, "high": 2}, "loss: it takes no numbers; give choices"),
    ],
)
def test_what_a_key_cannot_have_is_refused_in_one_line(key, value, message):
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        Dimension.from_json(key, value, "space")
    assert str(raised.value).startswith("space: ")
    assert "\n" not in str(raised.value)


def test_values_are_spelled_as_in_a_models_settings():
    assert " ".join(map(spelled, (None, True, False, 64, 0.30000000000000004, "8+16"))) == "none on off 64 0.3 8+16"
