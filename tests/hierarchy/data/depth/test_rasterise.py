"""The z-buffer: what is drawn where, which surface is in front, and that neither seams nor strays appear."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.depth import rasterise

SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def grid(rows, columns, step):
    """Vertices of a regular grid and its triangles."""
    y, x = np.mgrid[0:rows, 0:columns] * step
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    return np.stack([x.ravel(), y.ravel()], axis=1), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def test_a_slope_is_linear_and_only_inside():
    drawn = rasterise.render(SQUARE + 1, SQUARE[:, 0] * 10 + SQUARE[:, 1], HALVES, (8, 7))
    rows, columns = np.mgrid[0:8, 0:7]
    inside = (rows >= 1) & (rows <= 5) & (columns >= 1) & (columns <= 5)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(drawn), inside)
    np.testing.assert_allclose(drawn[inside], ((columns - 1) * 10 + rows - 1)[inside], atol=1e-5)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 3, 0, 1]])
def test_the_nearest_surface_is_seen_whatever_the_order(order):
    vertices = np.concatenate([SQUARE, SQUARE / 2])
    z = np.array([9.0] * 4 + [3.0] * 4)
    drawn = rasterise.render(vertices, z, np.concatenate([HALVES, HALVES + 4])[order], (5, 5))
    assert (drawn[:3, :3] == 3).all()
    assert (drawn[3:] == 9).all()


def test_turning_direction_does_not_matter():
    front = rasterise.render(SQUARE, SQUARE[:, 0], HALVES, (6, 6))
    np.testing.assert_array_equal(front, rasterise.render(SQUARE, SQUARE[:, 0], HALVES[:, ::-1], (6, 6)))


@pytest.mark.parametrize("step", [0.3, 1.0, 1.7, 23.0])
def test_no_seam_between_neighbours(step):
    vertices, triangles = grid(int(40 / step) + 2, int(30 / step) + 2, step)
    drawn = rasterise.render(vertices, np.full(len(vertices), 5.0), triangles, (41, 31))
    assert (drawn == 5).all()


def test_the_result_does_not_depend_on_how_work_is_cut(monkeypatch):
    vertices, triangles = grid(9, 9, 5.3)
    z = np.sin(vertices.sum(axis=1))
    whole = rasterise.render(vertices, z, triangles, (40, 50))
    monkeypatch.setattr(rasterise, "_PIXELS_AT_ONCE", 100)
    np.testing.assert_array_equal(whole, rasterise.render(vertices, z, triangles, (40, 50)))


def test_what_lies_outside_is_cut_off():
    far = np.array([[-50.0, -50.0], [90.0, -50.0], [20.0, 300.0]])
    assert (rasterise.render(far, np.ones(3), HALVES[:1], (20, 30)) == 1).all()
    assert np.isnan(rasterise.render(far + 1e4, np.ones(3), HALVES[:1], (20, 30))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vertex_that_is_not_a_place_draws_nothing(value):
    vertices = np.concatenate([SQUARE, [[value, 2.0], [value, 3.0]]])
    assert np.isnan(rasterise.render(vertices, np.ones(6), np.array([[0, 1, 4], [0, 4, 5]]), (5, 5))).all()


def test_triangles_without_area_and_no_triangles_draw_nothing():
    assert np.isnan(rasterise.render(SQUARE, np.ones(4), np.array([[0, 0, 1], [2, 2, 2]]), (5, 5))).all()
    assert np.isnan(rasterise.render(SQUARE, np.ones(4), np.empty((0, 3), int), (5, 5))).all()
    assert np.isnan(rasterise.render(np.empty((0, 2)), np.empty(0), np.empty((0, 3), int), (5, 5))).all()
