"""VRML meshes: every spelling of the same surface is read alike, and everything else has a reason."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth import wrl

SQUARE = "0 0 1, 4 0 1, 4 4 1, 0 4 1"
POINTS = np.array([[0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]], float)
HALVES = "0, 1, 2, -1, 0, 2, 3, -1"


def shape(points=SQUARE, faces=HALVES, extra=""):
    return f"""Shape {{ geometry IndexedFaceSet {{
        coord Coordinate {{ point [ {points} ] }}
        coordIndex [ {faces} ] {extra}
    }} }}"""


@pytest.fixture
def save(tmp_path):
    def write(text, header="#VRML V2.0 utf8\n"):
        path = tmp_path / "face.wrl"
        path.write_bytes((header + text).encode())
        return path

    return write


@pytest.fixture
def reason(save):
    """The reason for which a mesh of this text is refused."""

    def read(text, **header):
        with pytest.raises(BadImageError) as caught:
            wrl.read_mesh(save(text, **header))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return read


@pytest.mark.parametrize(
    "text",
    [
        shape(),
        shape(faces="0 1 2 3"),
        shape(faces="0, 1, 2, 3, -1, 1, 2, -1"),
        shape(points=SQUARE.replace(", ", ",\n"), faces="0 1 2 -1\r\n0 2 3 -1"),
        "# a comment with ] and }\n" + shape(points=SQUARE.replace("4 4", "4 # 9 9 [\n 4")),
        'WorldInfo { info "a ] and # } of a \\" string" }' + shape(),
        shape().replace("coord Coordinate", "coord DEF all Coordinate"),
        "Transform { translation 0 0 0 scale 1 1 1 children [" + shape() + "] }",
        "Transform { rotation 0 1 0 0 }" + shape(),
    ],
)
def test_spellings_of_a_square(save, text):
    mesh = wrl.read_mesh(save(text))
    np.testing.assert_array_equal(mesh.points, POINTS)
    np.testing.assert_array_equal(mesh.triangles, [[0, 1, 2], [0, 2, 3]])
    assert mesh.texture is None


def test_polygons_become_fans(save):
    ring = ", ".join(f"{np.cos(a):.3f} {np.sin(a):.3f} 0" for a in np.arange(5))
    mesh = wrl.read_mesh(save(shape(points=ring, faces="0 1 2 3 4 -1 4 3 -1 -1 1 2 3 -1")))
    np.testing.assert_array_equal(mesh.triangles, [[0, 1, 2], [0, 2, 3], [0, 3, 4], [1, 2, 3]])


def test_several_shapes_are_one_mesh(save):
    mesh = wrl.read_mesh(save(shape() + shape(points="0 0 5, 1 0 5, 0 1 5", faces="0 1 2 -1")))
    assert len(mesh.points) == 7
    np.testing.assert_array_equal(mesh.triangles[-1], [4, 5, 6])
    np.testing.assert_array_equal(mesh.points[mesh.triangles[-1], 2], [5, 5, 5])


def test_texture_coordinates_belong_to_corners(save):
    places = "texCoord TextureCoordinate { point [ 0 0, 1 0, 1 1, 0 1 ] }"
    shared = wrl.read_mesh(save(shape(extra=places)))
    np.testing.assert_array_equal(shared.texture[0], [[0, 0], [1, 0], [1, 1]])
    own = wrl.read_mesh(save(shape(extra=places + " texCoordIndex [ 3 2 1 -1 3 1 0 -1 ]")))
    np.testing.assert_array_equal(own.texture, [[[0, 1], [1, 1], [1, 0]], [[0, 1], [1, 0], [0, 0]]])
    assert wrl.read_mesh(save(shape(extra=places) + shape())).texture is None


def test_pictures_are_named_without_their_folders(save):
    picture = 'appearance Appearance { texture ImageTexture { url "..\\\\a/F0001_AN01WH_F2D.bmp" } }'
    assert wrl.read_mesh(save(picture + shape())).pictures == ("F0001_AN01WH_F2D.bmp",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no faces"),
        ("Shape { geometry Sphere { radius 80 } }", "no faces"),
        (shape(faces=""), "no faces"),
        (shape(faces="0 1 -1"), "no faces"),
        (shape()[: shape().index("4 4 1")], "truncated within its list 'point'"),
        (shape()[: shape().index("-1, 0")], "truncated within its list 'coordIndex'"),
        (shape()[: shape().index("coordIndex")], "truncated or damaged: 3 nodes begin, 1 end"),
        (shape(points="0 0 1, 4 0 1, 4 4"), "8 numbers in the list 'point', which needs 3"),
        (shape(points=SQUARE.replace("4 4", "4 1.#QNAN")), "'1.#QNAN' in the mesh's list 'point' is not a number"),
        (shape(points=SQUARE.replace("4 4", "nan 4")), "1 of 4 vertices are not finite"),
        (shape(points=SQUARE.replace("4 4", "4 1e999")), "1 of 4 vertices are not finite"),
        (shape(points=SQUARE.replace("4 4", "-1e300 4")), "1 of 4 vertices are not finite, or beyond 1e+06"),
        (shape(faces="0 1 4 -1"), "'coordIndex' names vertex 4, the mesh has 4"),
        (shape(faces="0 1 -7 -1"), "'coordIndex' names vertex -7"),
        (shape(faces="0 1 2.5 -1"), "'2.5' in the mesh's list 'coordIndex' is not a number that fits"),
        (shape(extra="texCoord TextureCoordinate { point [ 0 0 ] }"), "'texCoordIndex' names vertex 1, the mesh has 1"),
        ("Transform { translation 0 0 9 children [" + shape() + "] }", r"moved by a Transform (translation 0 0 9)"),
        ("Transform { scale 1 -1 1}" + shape(), "moved by a Transform (scale 1 -1 1)"),
    ],
)
def test_reasons(reason, text, expected):
    assert expected in reason(text)


def test_a_number_of_many_digits_is_one_line(reason):
    assert "is not a number that fits there" in reason(shape(faces=f"0, 1, {'9' * 30}, -1, x"))


@pytest.mark.parametrize("header", ["ply\nformat ascii 1.0\n", "#VRML V1.0 ascii\n", "\x00\x01\x02", "<X3D>"])
def test_other_formats_are_no_vrml(reason, header):
    assert reason(shape(), header=header).startswith("not a VRML 2 file: it starts with ")


def test_missing_empty_and_enormous_files(save, reason, tmp_path, monkeypatch):
    with pytest.raises(BadImageError, match="file is missing"):
        wrl.read_mesh(tmp_path / "absent.wrl")
    assert reason("", header="") == "empty file (0 bytes)"
    monkeypatch.setattr(wrl, "MAX_BYTES", 100)
    assert "mesh of 0 MB, more than" in reason(shape() + " " * 100)


def test_a_picture_of_unclosed_strings_does_not_take_for_ever(reason):
    assert "no faces" in reason('\\" ' * 200_000)


def front(save, text, size=(6, 8)):
    mesh = wrl.read_mesh(save(text))
    return wrl.front_view(mesh, mesh.points[mesh.triangles, :2], size)


def test_the_front_view_is_the_distance_and_keeps_holes(save):
    seen = front(save, shape(faces="0 1 2 -1", points="0 0 1, 4 0 1, 4 4 1, 0 4 1"))
    covered = np.zeros((6, 8), bool)
    for row in range(4):
        covered[row, row:4] = True
    np.testing.assert_array_equal(np.isfinite(seen), covered)
    assert (seen[covered] == -1).all()


def test_the_nearest_surface_is_seen(save):
    near = shape(points="1 1 9, 3 1 9, 3 3 9, 1 3 9")
    for text in (shape() + near, near + shape()):
        seen = front(save, text)
        assert (seen[1:3, 1:3] == -9).all()
        assert seen[0, 0] == -1


@pytest.mark.filterwarnings("error")
def test_triangles_without_area_show_nothing(save):
    edge_on = shape(points="0 2 50, 4 2 50, 4 2 0, 1 1 70", faces="0 1 2 -1 0 0 1 -1 3 3 3 -1")
    np.testing.assert_array_equal(front(save, shape() + edge_on), front(save, shape()))


def test_triangles_that_cover_the_picture_hundreds_of_times_are_refused(save):
    faces = "0 1 2 -1 " * 700
    with pytest.raises(BadImageError, match=r"no face: its 700 triangles cover the picture 233 times"):
        front(save, shape(faces=faces))
