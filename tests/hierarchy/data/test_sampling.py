import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.sampling import class_prior, class_weights, draw_rows, draw_shares

LABELS = np.repeat([0, 1, 2], [60, 25, 3])[np.random.default_rng(0).permutation(88)]


@pytest.mark.parametrize("balance", ["none", "class-weight"])
def test_without_oversampling_every_row_is_drawn_once_in_its_order(balance):
    np.testing.assert_array_equal(draw_rows(LABELS, balance, seed=0), np.arange(88))


def test_oversampling_repeats_rows_until_the_classes_are_equal():
    drawn = draw_rows(LABELS, "oversample", seed=0)
    assert drawn.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(LABELS[drawn]), [60, 60, 60])
    assert set(drawn) == set(range(88))
    # The largest class is not touched: each of its faces is seen exactly once.
    np.testing.assert_array_equal(np.sort(drawn[LABELS[drawn] == 0]), np.flatnonzero(LABELS == 0))


def test_oversampling_follows_the_seed():
    first, again, other = (draw_rows(LABELS, "oversample", seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_class_weights_are_n_over_k_n_k():
    weights = class_weights(LABELS, 3)
    assert weights == pytest.approx([88 / (3 * 60), 88 / (3 * 25), 88 / (3 * 3)])
    assert sum(weights[label] for label in LABELS) == pytest.approx(len(LABELS))
    assert class_weights(LABELS, 4)[3] == 0, "a class without rows"


def test_sampler_makes_classes_alike_and_rows_of_a_class_alike():
    shares = draw_shares(LABELS, "sampler")
    np.testing.assert_allclose(np.bincount(LABELS, weights=shares), [1 / 3] * 3)
    assert len(np.unique(shares)) == 3
    np.testing.assert_allclose(draw_shares(np.array([0, 2, 2]), "sampler"), [1 / 2, 1 / 4, 1 / 4])
    np.testing.assert_array_equal(draw_rows(LABELS, "sampler", seed=0), np.arange(88))


@pytest.mark.parametrize("balance", ["none", "oversample", "class-weight"])
def test_no_shares_without_the_sampler(balance):
    assert draw_shares(LABELS, balance) is None


def test_the_prior_counts_every_class_that_the_stage_knows():
    np.testing.assert_allclose(class_prior(LABELS, 4), [60 / 88, 25 / 88, 3 / 88, 0])
