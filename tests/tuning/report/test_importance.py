import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.tuning.report import importance as module
from fer_hierarchy.tuning.report.importance import importance
from fer_hierarchy.tuning.space.dimension import Dimension

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "scale": "log"},
    "loss": ["ce", "focal"],
    "erase": {"low": 0.0, "high": 0.5},
    "flip": [True, False],
}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(module, "REPEATS", 3)
    monkeypatch.setattr(module, "_TREES", 25)


def made(count, score, *, seed=0, epochs=None):
    """Trials at random points whose score is a function of the settings."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "hp:learning_rate": 10 ** rng.uniform(-4, -1),
            "hp:loss": str(rng.choice(["ce", "focal"])),
            "hp:erase": rng.uniform(0, 0.5),
            "hp:flip": bool(rng.integers(2)),
        }
        for _ in range(count)
    ]
    table = pd.DataFrame(rows).astype({"hp:flip": object})
    table["trial"] = [f"{number:04}" for number in range(count)]
    table["status"] = "completed"
    table["score"] = [score(row, rng) for row in rows]
    table["rung"] = pd.array([pd.NA] * count if epochs is None else [0] * count, dtype="Int64")
    table["epochs_asked"] = pd.array([5] * count if epochs is None else epochs, dtype="Int64")
    return table


def rate_then_loss(row, rng):
    near = -abs(np.log10(row["hp:learning_rate"]) + 2.5)
    return 0.5 + 0.1 * near + 0.05 * (row["hp:loss"] == "focal") + rng.normal(0, 0.005)


def of(trials, space=SPACE, **changes):
    space = {key: Dimension.from_json(key, values, "space") for key, values in space.items()}
    return importance(trials, space, **{"objective": "macro_f1", "seed": 0, **changes})


def test_what_the_score_depends_on_comes_first():
    table = of(made(60, rate_then_loss))
    assert table["key"].tolist()[:2] == ["learning_rate", "loss"]
    assert table["importance"].iloc[0] > 0.3
    assert (table["low"] <= table["importance"]).all()
    assert (table["importance"] <= table["high"]).all()
    assert table["importance"].iloc[2:].abs().max() < 0.1
    assert table.attrs["skill"] > 0.5


def test_the_same_seed_gives_the_same_figures():
    trials = made(20, rate_then_loss)
    pd.testing.assert_frame_equal(of(trials), of(trials))


def test_diverged_trials_do_not_hide_what_matters():
    trials = made(60, rate_then_loss)
    trials.loc[trials.index[::9], "score"] = 0.02
    assert set(of(trials)["key"].iloc[:2]) == {"learning_rate", "loss"}


def test_nothing_is_claimed_from_few_trials():
    table = of(made(5, rate_then_loss))
    assert table.empty
    assert "at least 8" in table.attrs["why"]
    assert list(table.columns) == ["key", "importance", "low", "high"]


def test_nothing_is_claimed_from_noise():
    table = of(made(40, lambda row, rng: rng.normal()))
    assert table.empty
    assert "hardly more than guessing" in table.attrs["why"]


def test_nothing_is_claimed_from_equal_scores():
    table = of(made(20, lambda row, rng: 0.5))
    assert "same macro_f1" in table.attrs["why"]


def test_failed_and_scoreless_trials_do_not_count():
    trials = made(12, rate_then_loss)
    trials.loc[:2, "status"] = "failed"
    trials.loc[3:4, "score"] = np.nan
    assert "study has 7" in of(trials).attrs["why"]


def test_a_key_with_one_value_has_no_importance():
    trials = made(40, rate_then_loss)
    trials["hp:erase"] = 0.25
    assert "erase" not in of(trials)["key"].tolist()
    fixed = trials.assign(**dict.fromkeys([f"hp:{key}" for key in SPACE], "ce"))
    fixed["hp:warmup"] = range(40)  # of a key that is not searched
    assert "no hyperparameter" in of(fixed).attrs["why"]


def test_epochs_of_the_rungs_do_not_pass_for_a_hyperparameter():
    """Trials that got more epochs score higher; the settings do nothing."""
    epochs = [1] * 30 + [9] * 10
    trials = made(40, lambda row, rng: rng.normal(0, 0.01), epochs=epochs)
    trials["score"] += 0.05 * np.array(epochs)
    assert of(trials).empty


def test_a_trial_that_went_on_does_not_vouch_for_itself():
    """Every setting twice, with a score of its own by pure chance: a cut by trials would find that predictable."""
    half = made(30, lambda row, rng: rng.normal(), epochs=[1] * 30)
    again = half.assign(score=half["score"] + 5, epochs_asked=pd.array([9] * 30, dtype="Int64"))
    assert of(pd.concat([half, again], ignore_index=True)).empty


def test_without_trials_it_says_so():
    assert "study has 0" in of(made(8, rate_then_loss)[:0]).attrs["why"]
