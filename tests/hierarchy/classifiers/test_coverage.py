"""What a report holds of guaranteed predictions, and whether the published runs keep their promises."""

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.coverage import (
    band,
    bits_of,
    coverage_record,
    guarantee_of,
    hedged,
    hedging_strength,
    members_of,
    risk_area,
)
from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.data.manifest import people
from fer_hierarchy.hierarchy.data.splits import calibrates
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.stages import half_of_validation
from tests.conftest import CHECKOUT, QUICK, run_program
from tests.hierarchy.evaluation.test_conformal import SEVEN, draw


def tables(seed):
    probabilities, labels = draw(800, seed)
    table = pd.DataFrame(probabilities.round(6), columns=[f"p_{emotion}" for emotion in SEVEN.emotions])
    return table.assign(true=np.array(SEVEN.emotions)[labels])


def test_the_record_tells_coverage_specificity_and_bits_of_every_rule():
    calibration, test = tables(0), tables(1)
    guarantee = guarantee_of(calibration, SEVEN, data="fer2013", apart=True)
    record = coverage_record(calibration, test, SEVEN, guarantee)
    assert (record["n"], record["calibration"]) == (800, 800)
    for row in record["rules"]:
        assert row["each"] or row["rule"] == "hedging" or row["band"][0] <= row["covered"] <= row["band"][1]
        if "emotion" in row:
            assert row["emotion"] + row["group"] + row["any"] == pytest.approx(1)
    shares = pd.DataFrame(record["curve"])
    assert shares["any"].is_monotonic_increasing
    assert shares["emotion"].is_monotonic_decreasing


def test_the_band_holds_nineteen_of_twenty_new_samples():
    rng, low, high = np.random.default_rng(0), *band(200, 300, 0.9)
    thresholds = np.sort(rng.random((4000, 200)), axis=1)[:, 180]  # the 181st of 200
    covered = (rng.random((4000, 300)) <= thresholds[:, None]).mean(axis=1)
    assert ((low <= covered) & (covered <= high)).mean() == pytest.approx(0.95, abs=0.02)
    assert band(5, 100, 0.9) == (0, 1)


def test_hedging_reaches_the_wanted_share_with_the_least_strength():
    probabilities, labels = draw(800, 4)
    strength = hedging_strength(probabilities, labels, SEVEN, 0.9)

    def covered(strength):
        return members_of(hedged(probabilities, SEVEN, strength), SEVEN)[np.arange(800), labels].mean()

    assert covered(strength) >= 0.9 > covered(strength * 0.999)


def test_bits_are_lost_by_a_wrong_set_and_a_large_one():
    sets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]], dtype=bool)
    assert bits_of(sets, np.zeros(4, dtype=int)).tolist() == [2, 1, 0, 0]


def test_the_risk_area_is_small_where_errors_are_the_least_confident():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    assert risk_area(probabilities, np.array([0, 0, 0, 1])) < risk_area(probabilities, np.array([1, 0, 0, 0]))


@pytest.mark.parametrize("name", ["flat", "shared"])
def test_published_runs_cover_their_test_faces_as_promised(name):
    run = Run(CHECKOUT / "results" / "fer2013" / name)
    record = coverage_record(run.calibration_predictions, run.predictions, run.taxonomy, run.guarantee)
    promised = [row for row in record["rules"] if row["coverage"] == 0.9 and row["rule"] == "node"]
    assert promised[0]["band"][0] <= promised[0]["covered"] <= promised[0]["band"][1]
    for one in promised[1]["per_class"]:  # of each emotion: a node holds at least what was promised
        assert one["covered"] >= one["band"][0]


@pytest.mark.slow
def test_calibration_apart_calibrates_on_people_that_did_not_choose_the_epoch(tmp_path):
    call = ["--mode", "flat", "--dataset", "synthetic", "--limit", "300", *QUICK, "--epochs", "1", "--name", "apart"]
    call += ["--results", tmp_path / "r", "--logs", tmp_path / "l", "--calibration-apart"]
    ((code, text),) = run_program(call)
    assert code == 0, text
    run = Run(tmp_path / "r" / "synthetic-apart")
    used, every = run.calibration_predictions, run.validation_predictions
    assert 0.3 * len(every) < len(used) < 0.7 * len(every)
    people = run.subjects
    others = every[~every["row"].isin(used["row"])]
    assert not set(people.get(used["row"])) & set(people.get(others["row"]))
    record = run.metrics["coverage"]
    assert (record["apart"], record["calibration"]) == (True, len(used))
    assert "also chose the epoch" not in (run.folder / "report.md").read_text()


def test_an_emotion_that_one_half_lacks_is_refused():
    emotions = [*SEVEN.emotions] * 6
    emotions[-1] = "fear"  # neutral is on the face of one person five times
    persons = [f"p{number // 7}" if name != "neutral" else "p9" for number, name in enumerate(emotions)]
    manifest = pd.DataFrame({"id": [f"f{n}" for n in range(42)], "emotion": emotions, "subject": persons})
    faces = Faces(images=None, manifest=manifest.assign(split="validation", source="x"), taxonomy=SEVEN)
    half = faces.split("validation")
    chosen = calibrates(half["id"], half["emotion"], people(half, "id"), seed=0)
    lacking = not chosen[(half["emotion"] == "neutral").to_numpy()].any()  # all five are on one side
    with pytest.raises(UserError, match="--calibration-apart: the 5 validation faces of neutral"):
        half_of_validation(faces, RunConfig(calibration_apart=True), calibrating=lacking)
    assert half_of_validation(faces, RunConfig(), calibrating=True) is faces
