import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    logit_adjust,
    prior_shift,
    probabilities,
    reliability,
)


def calibrated_logits(rows=4000, classes=4, seed=0):
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(rows, classes)) * 2
    labels = np.array([draw.choice(classes, p=p) for p in probabilities(logits)])
    return logits, labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_scaling_of_calibrated_logits(factor):
    logits, labels = calibrated_logits()
    temperature = fit_temperature(logits * factor, labels)
    assert temperature == pytest.approx(factor, rel=0.1)


def test_temperature_mends_overconfidence_without_changing_an_answer():
    logits, labels = calibrated_logits()
    before = probabilities(5 * logits)
    after = probabilities(5 * logits, fit_temperature(5 * logits, labels))
    assert expected_calibration_error(labels, after) < 0.03 < expected_calibration_error(labels, before)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()


def test_temperature_stays_in_its_bounds_where_every_answer_is_right():
    logits = np.eye(3)
    assert 0.05 <= fit_temperature(logits, [0, 1, 2]) < 0.06
    assert 19 < fit_temperature(logits, [1, 2, 0]) <= 20


def test_temperature_is_fitted_together_with_the_shift():
    logits, labels = calibrated_logits()
    shift = np.log([0.7, 0.1, 0.1, 0.1])
    assert fit_temperature(2 * (logits - shift), labels, shift) == pytest.approx(2, rel=0.1)


def test_prior_shift_turns_a_balanced_answer_into_the_natural_one():
    natural = np.array([0.8, 0.15, 0.05])
    likelihood = np.array([[0.2, 0.5, 0.3]])  # P(x | class), up to a constant
    balanced = np.log(likelihood / likelihood.sum())
    corrected = probabilities(balanced, log_prior_shift=prior_shift([10, 10, 10], 1000 * natural))
    bayes = likelihood * natural
    np.testing.assert_allclose(corrected, bayes / bayes.sum())


def test_probabilities_survive_large_logits():
    assert probabilities([[1e6, 0.0]]).tolist() == [[1.0, 0.0]]


def test_logit_adjustment_divides_by_the_prior():
    p = np.array([[0.6, 0.4], [1.0, 0.0]])
    np.testing.assert_allclose(logit_adjust(p, [0.9, 0.1], 0), p)
    adjusted = logit_adjust(p, [9, 1], 1)
    np.testing.assert_allclose(adjusted[0], np.array([0.6 / 0.9, 4.0]) / (0.6 / 0.9 + 4.0))
    assert adjusted[1].tolist() == [1.0, 0.0]


def test_reliability_counts_every_face_once_and_leaves_empty_bins_undefined():
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.8, 0.2]])
    table = reliability([0, 1, 0], p)
    assert len(table) == 15
    assert sum(row["count"] for row in table) == 3
    assert table[14] == {"lower": 14 / 15, "upper": 1.0, "count": 1, "confidence": 1.0, "accuracy": 1.0}
    assert table[0]["confidence"] is None
    assert table[0]["accuracy"] is None


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1]] * 4 + [[0.3, 0.7]] * 4)
    error = expected_calibration_error([0, 0, 0, 1, 1, 1, 0, 0], p)
    assert error == pytest.approx(0.5 * abs(0.75 - 0.9) + 0.5 * abs(0.5 - 0.7))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_temperature(np.zeros((0, 3)), []), "at least one face"),
        (lambda: fit_temperature(np.zeros((2, 3)), [0]), "2 faces"),
        (lambda: fit_temperature(np.zeros((2, 3)), [0, 3]), "needed 0 to 2"),
        (lambda: fit_temperature([[np.nan, 0]], [0]), "non-finite"),
        (lambda: probabilities([[1.0, 2.0]], 0), "got 0; needed a number above 0"),
        (lambda: probabilities([[1.0, 2.0]], 1.0, [0.0]), "for 2 classes"),
        (lambda: prior_shift([1, 1], [1, 0]), "above 0"),
        (lambda: prior_shift([1, 1], [1, 1, 1]), "2 trained and 3 natural"),
        (lambda: logit_adjust([[0.5, 0.5]], [1, 1, 1]), "for 3 classes"),
        (lambda: logit_adjust([[0.5, 0.5]], [1, 1], float("nan")), "tau nan"),
        (lambda: expected_calibration_error([], np.zeros((0, 2))), "no faces"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
