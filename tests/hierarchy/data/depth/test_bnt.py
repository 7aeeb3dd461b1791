"""Range files: the planes are found whatever their order, and the surface lies where the picture shows the face."""

import struct

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth.bnt import read_bnt, surface

MARK = -1e9
ROWS, COLUMNS = 40, 30
PICTURE = (100, 80)  # height, width
NOSE = (60, 30)  # row, column in the picture


def face():
    """Planes x, y, z, u, v of a bulging face with a nose; the first row is the highest. (5, rows, columns)"""
    v, u = np.meshgrid(np.linspace(0.1, 0.9, ROWS), np.linspace(0.15, 0.85, COLUMNS), indexing="ij")
    x, y = (u - 0.5) * 160, (0.5 - v) * 200
    nose = np.hypot(x - (NOSE[1] / PICTURE[1] - 0.5) * 160, y - (0.5 - NOSE[0] / PICTURE[0]) * 200)
    z = 60 - (x**2 + y**2) / 150 + 25 * np.exp(-((nose / 12) ** 2))
    return np.stack([x, y, z, u, v])


def with_holes(planes):
    planes = planes.copy()
    planes[:, 10:13, 6:9] = MARK
    planes[:, 0, :4] = MARK
    return planes


def content(planes, *, rows=None, columns=None, count=None, name=b"bs000_N_N_0.png", mark=MARK):
    rows, columns = rows or planes.shape[1], columns or planes.shape[2]
    count = planes.size if count is None else count
    header = struct.pack("<HHdH", rows, columns, mark, len(name)) + name + struct.pack("<I", count)
    return header + planes.astype("<f8").tobytes()


@pytest.fixture
def write(tmp_path):
    def make(planes, **changes):
        path = tmp_path / "face.bnt"
        path.write_bytes(planes if isinstance(planes, bytes) else content(planes, **changes))
        return path

    return make


def test_the_nose_is_nearest_and_where_the_picture_shows_it(write):
    distance = surface(read_bnt(write(face())), PICTURE)
    assert distance.shape == PICTURE
    assert distance.dtype == np.float32
    row, column = np.unravel_index(np.nanargmin(distance), PICTURE)
    assert abs(row - NOSE[0]) <= 2
    assert abs(column - NOSE[1]) <= 2


def test_heights_become_distances_between_the_points_too(write):
    planes = face()
    planes[2] = 30 - np.hypot(planes[0], 0.3 * planes[1])
    distance = surface(read_bnt(write(planes)), PICTURE)
    row, column = 37, 20
    x, y = ((column + 0.5) / PICTURE[1] - 0.5) * 160, (0.5 - (row + 0.5) / PICTURE[0]) * 200
    assert distance[row, column] == pytest.approx(np.hypot(x, 0.3 * y) - 30, abs=0.1)
    assert np.isfinite(distance[12:88, 14:66]).all()


@pytest.mark.parametrize("order", ["xyzuv", "vuzyx", "uvxyz", "zyxvu", "yxzvu", "uxvyz"])
@pytest.mark.parametrize(("down", "right"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_neither_the_order_of_the_planes_nor_of_rows_and_columns_matters(write, order, down, right):
    planes = with_holes(face())
    planes[2, 22, 20] += 15
    usual = surface(read_bnt(write(planes)), PICTURE)
    other = planes[["xyzuv".index(plane) for plane in order]][:, ::down, ::right]
    np.testing.assert_array_equal(usual, surface(read_bnt(write(other)), PICTURE))


def test_missing_points_stay_holes(write):
    whole, holed = (surface(read_bnt(write(planes)), PICTURE) for planes in (face(), with_holes(face())))
    column, row = np.round(face()[3:, 11, 7] * [PICTURE[1], PICTURE[0]] - 0.5).astype(int)
    assert np.isnan(holed[row, column])
    assert 20 < (np.isnan(holed) & np.isfinite(whole)).sum() < 80
    measured = np.isfinite(holed)
    np.testing.assert_allclose(holed[measured], whole[measured], atol=0.5)


def test_a_point_counts_as_missing_if_only_its_depth_is_marked(write):
    planes, marked = face(), face()
    planes[:, 11, 7] = MARK
    marked[2, 11, 7] = MARK
    expected = surface(read_bnt(write(planes)), PICTURE)
    np.testing.assert_array_equal(expected, surface(read_bnt(write(marked)), PICTURE))


@pytest.mark.parametrize("height", [10, 40, -20])
def test_a_spike_becomes_a_hole_and_leaves_its_neighbours(write, height):
    planes = face()
    clean = surface(read_bnt(write(planes)), PICTURE)
    planes[2, 16, 17] += height
    distance = surface(read_bnt(write(planes)), PICTURE)
    measured = np.isfinite(distance)
    assert 1 <= (~measured & np.isfinite(clean)).sum() <= 25
    np.testing.assert_allclose(distance[measured], clean[measured], atol=1e-4)


def test_no_skin_is_drawn_across_a_step(write):
    planes = face()
    planes[2, :, :8] -= 60
    distance = surface(read_bnt(write(planes)), PICTURE)
    left, right = planes[3, 0, 7:9] * PICTURE[1] - 0.5
    between = slice(int(np.floor(left)) + 1, int(np.ceil(right)))
    assert between.stop > between.start
    assert np.isnan(distance[20:80, between]).all()
    assert np.isfinite(distance[20:80, 20:60]).mean() > 0.95


def changed(plane, values):
    planes = face()
    planes["xyzuv".index(plane)] = values(planes)
    return planes


def kept(rows):
    planes = face()
    planes[:, rows:] = MARK
    return planes


METRES = face() * [[[0.001]], [[0.001]], [[0.001]], [[1]], [[1]]] + 0.1


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        (changed("u", lambda planes: 0.5 + 0 * planes[3]), "places in the picture are all the same"),
        (changed("u", lambda planes: planes[4]), "do not follow the grid's columns and rows"),
        (changed("z", lambda planes: -planes[2]), "middle of the face lies behind its rim"),
        (changed("x", lambda planes: -planes[0]), "x must grow with u and y fall with v"),
        (changed("v", lambda planes: 1 - planes[4]), "x must grow with u and y fall with v"),
        (changed("z", lambda planes: 2 * planes[0]), "do not distinguish x, y and z"),
        (changed("z", lambda planes: np.where(planes[0] == planes[0, 5, 5], np.nan, planes[2])), "no finite numbers"),
        (METRES, "5 of its 5 planes lie within 0..1, expected 2"),
        (kept(0), "0 of 1200 points are measured, at least 100"),
        (kept(1), "30 of 1200 points are measured"),
    ],
)
def test_points_that_make_no_sense_are_refused(write, planes, reason):
    with pytest.raises(BadImageError, match=reason):
        read_bnt(write(planes))


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"", "empty file"),
        (b"\x01\x02\x03", "3 bytes, too short for a range file's header"),
        (content(face())[:20], "cut off within the header: 20 bytes, a name of 15 letters promised"),
        (content(face())[:20000], "cut off: 20000 of 48033 bytes"),
        (content(face(), count=7), "header promises 7 numbers for 40x30 points, expected 5 a point"),
        (content(face(), rows=65535, columns=65535, count=2**32 - 1), "4294967295 numbers for 65535x65535 points"),
        (content(face(), rows=20000, columns=20000, count=2_000_000_000), "cut off: 48033 of 16000000033 bytes"),
        (content(face()[:, :0]), "header promises 0 numbers"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "header"),
    ],
)
def test_damaged_files_are_refused_before_anything_large_is_made(write, damaged, reason):
    with pytest.raises(BadImageError, match=reason):
        read_bnt(write(damaged))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadImageError, match="missing"):
        read_bnt(tmp_path / "none.bnt")


def test_points_with_nothing_between_them_are_refused(write):
    planes = face()
    planes[:, 1::2] = MARK
    planes[:, :, 1::2] = MARK
    with pytest.raises(BadImageError, match="no two neighbouring points"):
        read_bnt(write(planes))
