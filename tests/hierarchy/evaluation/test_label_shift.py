"""Shares of classes: estimated where the truth is known, and re-weighed alike in a product and in its factors."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.label_shift import (
    estimate_em,
    reweigh,
    reweigh_stages,
)
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from tests.benchmarks.bench_prior import estimate_bbse, estimate_groups_em

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
PRIOR = np.array([0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17])
STREET = np.array([0.06, 0.01, 0.05, 0.25, 0.08, 0.05, 0.50])


def drawn(shares, count, *, seed, spread=1.4):
    """Labels of these shares, and probabilities that are exactly calibrated for `PRIOR`: normal densities by Bayes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), count, p=shares)
    centres = 2.0 * np.eye(len(shares))
    points = centres[labels] + spread * rng.standard_normal((count, len(shares)))
    logs = -((points[:, None] - centres) ** 2).sum(axis=2) / (2 * spread**2) + np.log(PRIOR)
    table = np.exp(logs - logs.max(axis=1, keepdims=True))
    return labels, table / table.sum(axis=1, keepdims=True)


def composed(rng, count=50):
    gate = rng.dirichlet(np.ones(2), count)
    specialists = {group: rng.dirichlet(np.ones(len(SEVEN.members(group))), count) for group in SEVEN.specialists}
    return gate, specialists


@pytest.mark.parametrize("shares", [STREET, PRIOR, np.full(7, 1 / 7)], ids=["street", "training", "uniform"])
def test_em_finds_the_shares_of_calibrated_probabilities(shares):
    _, table = drawn(shares, 20_000, seed=0)
    np.testing.assert_allclose(estimate_em(table, PRIOR), shares, atol=0.02)


def test_bbse_finds_the_shares_of_a_classifier_of_any_calibration():
    labels, table = drawn(PRIOR, 20_000, seed=1)
    confusion = confusion_counts(labels, table.argmax(axis=1), 7)
    _, street = drawn(STREET, 20_000, seed=2)
    np.testing.assert_allclose(estimate_bbse(street.argmax(axis=1), confusion), STREET, atol=0.03)


def test_the_shares_of_the_groups_alone_keep_the_mixture_within_them():
    mixed = PRIOR * np.where(np.array(SEVEN.group_index) == 0, 1.6, 0.0)
    mixed += PRIOR * np.where(np.array(SEVEN.group_index) == 0, 0.0, (1 - mixed.sum()) / PRIOR[[0, 1, 2, 4]].sum())
    _, table = drawn(mixed, 20_000, seed=3)
    np.testing.assert_allclose(estimate_groups_em(table, PRIOR, SEVEN), mixed, atol=0.02)


def test_the_true_shares_and_the_estimated_ones_gain_alike():
    labels, table = drawn(STREET, 5_000, seed=4)
    before = (table.argmax(axis=1) == labels).mean()
    true = (reweigh(table, PRIOR, STREET).argmax(axis=1) == labels).mean()
    estimated = (reweigh(table, PRIOR, estimate_em(table, PRIOR)).argmax(axis=1) == labels).mean()
    assert true > before + 0.03
    assert estimated == pytest.approx(true, abs=0.01)


def test_pseudo_faces_keep_few_faces_near_the_prior():
    _, table = drawn(STREET, 10, seed=5)
    distances = [np.abs(estimate_em(table, PRIOR, pseudo_faces=count) - PRIOR).max() for count in (0, 10, 1e6)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3


def test_sure_faces_of_one_class_are_all_that_there_is():
    np.testing.assert_allclose(estimate_em(np.eye(7)[[6] * 60], PRIOR), np.eye(7)[6], atol=1e-9)
    np.testing.assert_allclose(estimate_bbse([6] * 60, np.diag([9] * 7)), np.eye(7)[6], atol=1e-9)


def test_the_training_prior_changes_nothing_and_back_is_back():
    _, table = drawn(PRIOR, 100, seed=6)
    np.testing.assert_allclose(reweigh(table, PRIOR, PRIOR), table)
    np.testing.assert_allclose(reweigh(reweigh(table, PRIOR, STREET), STREET, PRIOR), table)


def test_a_class_without_a_share_is_ruled_out_and_a_face_of_it_gets_the_shares():
    shares = np.array([0.0, 0, 0, 0.5, 0, 0, 0.5])
    table = np.vstack([np.full(7, 1 / 7), np.eye(7)[1]])
    shifted = reweigh(table, PRIOR, shares)
    assert (shifted[:, shares == 0] == 0).all()
    np.testing.assert_allclose(shifted.sum(axis=1), 1)
    np.testing.assert_allclose(shifted[1], shares)


@pytest.mark.parametrize("target", [STREET, np.array([0, 0, 0, 0.5, 0, 0, 0.5]), np.eye(7)[6]])
def test_the_product_of_re_weighed_stages_is_the_re_weighed_product(target):
    gate, specialists = composed(np.random.default_rng(7))
    whole = HierarchicalClassifier(SEVEN)
    stages = reweigh_stages(gate, specialists, SEVEN, PRIOR, target)
    np.testing.assert_allclose(
        whole.compose(*stages), reweigh(whole.compose(gate, specialists), PRIOR, target), atol=1e-12
    )


def test_the_ratio_of_the_groups_alone_is_not_the_gate_of_other_shares():
    gate, specialists = composed(np.random.default_rng(8))
    index = np.array(SEVEN.group_index)
    ratio = np.bincount(index, STREET) / np.bincount(index, PRIOR)
    simple = gate * ratio / (gate * ratio).sum(axis=1, keepdims=True)
    assert np.abs(simple - reweigh_stages(gate, specialists, SEVEN, PRIOR, STREET)[0]).max() > 0.05


def test_hard_routing_follows_the_re_weighed_gate_and_not_the_first_one():
    gate, specialists = composed(np.random.default_rng(9), 400)
    whole = HierarchicalClassifier(SEVEN)
    late = reweigh(whole.compose(gate, specialists, "hard"), PRIOR, STREET)
    stages = reweigh_stages(gate, specialists, SEVEN, PRIOR, STREET)
    early = whole.compose(*stages, "hard")
    groups = np.array(SEVEN.group_index)
    assert (groups[late.argmax(axis=1)] == gate.argmax(axis=1)).all()
    assert (groups[early.argmax(axis=1)] == stages[0].argmax(axis=1)).all()
    assert (groups[early.argmax(axis=1)] != groups[late.argmax(axis=1)]).any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reweigh(np.ones((1, 2)) / 2, [0.5, 0.0], [0.5, 0.5]), "a share above 0 for each class"),
        (lambda: reweigh(np.ones((1, 2)) / 2, [0.5, 0.5], [1.5, -0.5]), "not negative"),
        (lambda: reweigh(np.ones((1, 2)) / 2, [0.5, 0.5], [np.nan, 1]), "not negative"),
        (lambda: reweigh(np.ones((1, 2)) / 2, [0.5, 0.5], [0, 0]), "one above 0"),
        (lambda: reweigh(np.ones((1, 2)) / 2, [0.2, 0.3, 0.5], [1, 1, 1]), "needed 2 shares"),
        (lambda: estimate_em(np.zeros((0, 2)), [0.5, 0.5]), "no faces"),
        (lambda: estimate_bbse([], np.eye(2)), "no faces"),
        (lambda: estimate_bbse([0], [[3, 0], [0, 0]]), "class 1 has no validation face"),
        (lambda: estimate_bbse([0], [[3, 0], [3, 0]]), "cannot be inverted"),
    ],
)
def test_what_are_no_shares_is_one_line(call, words):
    with pytest.raises(UserError, match=words):
        call()
