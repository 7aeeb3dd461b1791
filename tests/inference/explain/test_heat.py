import numpy as np
import pytest

from fer_hierarchy.inference.explain.heat import enlarged, is_blank, mean_heat, thirds


def corner(strength):
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = strength
    return heat


def test_enlarging_keeps_the_place_and_ends_at_one():
    heat = enlarged(corner(7), (32, 24))
    assert heat.shape == (32, 24)
    assert heat.max() == 1
    assert heat[:8, :6].sum() > 0.5 * heat.sum()
    assert not heat[16:].any()


def test_a_map_without_heat_stays_so():
    assert not enlarged(np.zeros((4, 4)), (16, 16)).any()
    assert is_blank(np.stack([corner(1), np.zeros((4, 4))])).tolist() == [False, True]


def test_every_map_counts_alike_in_a_mean_and_blank_ones_do_not_count():
    lower = corner(100)[::-1]
    mean = mean_heat([corner(0.01), lower, np.zeros((4, 4))], (16, 16))
    np.testing.assert_allclose(mean, mean[::-1], atol=1e-6)
    assert mean.max() == pytest.approx(0.5)
    assert not mean_heat([], (16, 16)).any()


@pytest.mark.parametrize("rows", [15, 16, 17, 48])
def test_even_heat_falls_on_all_thirds_alike(rows):
    np.testing.assert_allclose(thirds(np.ones((rows, 5))), 1 / 3)


def test_thirds_follow_the_heat():
    heat = np.zeros((30, 30))
    heat[25:] = 1
    np.testing.assert_allclose(thirds(heat), [0, 0, 1])
    heat[0] = 5
    np.testing.assert_allclose(thirds(heat), [0.5, 0, 0.5])
    assert np.isnan(thirds(np.zeros((30, 30)))).all()
