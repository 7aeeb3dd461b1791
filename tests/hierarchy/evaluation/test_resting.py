"""Faces measured against a person's own at rest."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.evaluation.resting import mean_logs, measured, resting_offset

NEUTRAL = np.log([0.1, 0.1, 0.8])
STERN = np.array([[0.5, 0.1, 0.4], [0.48, 0.1, 0.42]])


def test_a_stern_face_at_rest_is_neutral():
    offset = resting_offset(mean_logs(STERN), NEUTRAL)
    assert (STERN.argmax(axis=1) == 0).all()
    assert (measured(STERN, offset).argmax(axis=1) == 2).all()


def test_what_is_much_more_than_the_face_at_rest_stays():
    raging = np.array([[0.98, 0.01, 0.01]])
    assert measured(raging, resting_offset(mean_logs(STERN), NEUTRAL)).argmax() == 0


def test_a_face_at_rest_like_the_mean_neutral_one_changes_nothing():
    np.testing.assert_allclose(measured(STERN, resting_offset(NEUTRAL, NEUTRAL)), STERN)


def test_the_whole_offset_makes_the_face_at_rest_the_mean_neutral_one():
    one = STERN[:1]
    offset = resting_offset(mean_logs(one), NEUTRAL, strength=1)
    np.testing.assert_allclose(measured(one, offset), np.exp(NEUTRAL)[None])


@pytest.mark.parametrize("table", [[[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]])
def test_certain_probabilities_stay_probabilities(table):
    made = measured(table, resting_offset(mean_logs(table), NEUTRAL))
    np.testing.assert_allclose(made, table)
