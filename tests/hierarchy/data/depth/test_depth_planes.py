"""Depth planes: holes stay holes, and what a face's distance to the camera is does not change its relief."""

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.depth import depth_planes


@pytest.fixture
def slope() -> np.ndarray:
    """A tilted plane, 500 to 531 mm away, with a hole of 4x4 pixels."""
    distance = np.tile(500 + np.arange(32, dtype=np.float32), (32, 1))
    distance[10:14, 20:24] = np.nan
    return distance


def test_a_plane_keeps_distances_to_a_fortieth_of_a_millimetre_and_holes_as_holes(slope):
    plane = depth_planes.to_plane(slope)
    assert plane.dtype == np.uint16
    assert (plane[10:14, 20:24] == 0).all()
    assert np.nanmax(np.abs(depth_planes.to_distance(plane) - slope)) <= 0.025
    assert np.isnan(depth_planes.to_distance(plane)).sum() == 16


def test_distances_beyond_the_range_never_become_holes():
    plane = depth_planes.to_plane(np.array([[0.0, 1e6, np.nan]]))
    assert plane.tolist() == [[1, 65535, 0]]


@pytest.mark.parametrize("size", [16, 64])
def test_a_hole_takes_no_part_in_resizing(slope, size):
    small = depth_planes.resized(slope, size)
    assert small.shape == (size, size)
    assert np.nanmin(small) >= 500  # a hole read as 0 mm would pull its neighbours to the camera
    assert np.isnan(small).any()
    centre = small[int(11.5 / 32 * size), int(21.5 / 32 * size)]
    assert np.isnan(centre)


def test_a_hole_moves_with_the_warp_and_stays_as_large(slope):
    matrix = np.float64([[1, 0, 0], [0, 1, 5]])
    moved = depth_planes.warped(slope, matrix, (32, 32), flags=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
    assert np.isnan(moved[15:19, 20:24]).all()
    assert np.isnan(moved[:5]).all()  # nothing was measured there
    np.testing.assert_allclose(moved[6:14], slope[1:9], atol=1e-3)


def test_relief_grows_towards_the_camera_and_does_not_know_the_distance(slope):
    near, far = depth_planes.to_plane(slope), depth_planes.to_plane(slope + 300)
    heights = depth_planes.relief(np.stack([near, far]))
    np.testing.assert_allclose(heights[0], heights[1], atol=0.06)
    assert heights[0, 0, 0] > heights[0, 0, 31]
    assert abs(np.nanmean(heights[0])) < 0.1
    assert np.isnan(heights[0, 11, 21])


def test_statistics_leave_holes_and_other_rows_out(slope):
    faces = np.zeros((3, 32, 32, 4), np.uint16)
    faces[0, ..., -1] = depth_planes.to_plane(slope)
    faces[1, ..., -1] = depth_planes.to_plane(slope + 100)
    faces[2, ..., -1] = depth_planes.to_plane(slope * 3)  # not among the train rows
    mean, deviation = depth_planes.depth_statistics(faces, np.array([1, 0]), reading="distance")
    both = np.concatenate([slope[~np.isnan(slope)], slope[~np.isnan(slope)] + 100])
    assert mean == pytest.approx(both.mean(), abs=0.05)
    assert deviation == pytest.approx(both.std(), abs=0.05)
    mean, deviation = depth_planes.depth_statistics(faces, np.array([0, 1]), reading="relief")
    assert mean == pytest.approx(0, abs=0.05)
    assert deviation == pytest.approx(np.nanstd(slope), abs=0.05)


def test_faces_without_any_depth_have_harmless_statistics():
    empty = np.zeros((2, 8, 8, 4), np.uint16)
    assert depth_planes.depth_statistics(empty, np.arange(2), reading="relief") == (0.0, 1.0)


def test_a_shape_without_camera_stands_at_the_nominal_distance(slope):
    assert np.nanmedian(depth_planes.at_nominal(slope - 700)) == pytest.approx(depth_planes.NOMINAL_MM)
