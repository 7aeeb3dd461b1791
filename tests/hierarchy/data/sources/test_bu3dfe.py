"""BU-3DFE: names, intensities, and depth that lies where the picture shows the face."""

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.data.sources import bu3dfe, read_source
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "rgbd"
SIDE = 40  # pixels of the made pictures
MM = bu3dfe.WIDTH_MM / SIDE  # of one pixel


def mesh_text(points, texture=None, picture="F0001_AN01WH_F2D.bmp"):
    """A mesh of two triangles over four points."""
    places = "" if texture is None else f"texCoord TextureCoordinate {{ point [ {numbers(texture)} ] }}"
    return f"""#VRML V2.0 utf8
        Shape {{
            appearance Appearance {{ texture ImageTexture {{ url "{picture}" }} }}
            geometry IndexedFaceSet {{
                coord Coordinate {{ point [ {numbers(points)} ] }} {places}
                coordIndex [ 0 1 2 -1 0 2 3 -1 ]
            }}
        }}"""


def numbers(rows):
    return ", ".join(" ".join(f"{value:.4f}" for value in row) for row in rows)


def rectangle(left, top, right, bottom, z=(10, 10, 10, 10)):
    """Corners in millimetres of what covers these pixels' edges."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return [((x - SIDE / 2) * MM, (SIDE / 2 - y) * MM, height) for (x, y), height in zip(corners, z, strict=True)]


@pytest.fixture
def face(tmp_path):
    """Write a mesh and its picture, which shows pixels [10:30, 12:24]; returns the mesh's path."""

    def write(text, shown=(slice(10, 30), slice(12, 24)), background=0):
        folder = tmp_path / "F0001"
        folder.mkdir(exist_ok=True)
        picture = np.full((SIDE, SIDE, 3), background, np.uint8)
        picture[shown] = 150
        cv2.imwrite(str(folder / "F0001_AN01WH_F2D.bmp"), picture)
        (folder / "F0001_AN01WH_F3D.wrl").write_text(text)
        return str(folder / "F0001_AN01WH_F3D.wrl")

    return write


FITTING = rectangle(12, 10, 24, 30)


@pytest.mark.parametrize("around", ["", "BU_3DFE/"])
def test_everything_but_the_depth_is_in_the_names(place, around):
    files = ("F0001/F0001_AN01WH_F2D.bmp", "F0001/F0001_AN01WH_F3D.wrl", "M0044/M0044_NE00AM_F2D.png")
    root = place(*(around + file for file in files), around + "F0001/F0001_AN01WH_F3D_depth.png")
    manifest = read_source(root)
    assert manifest["source"].tolist() == ["bu3dfe"] * 2
    assert manifest["id"].tolist() == ["F0001_AN01WH", "M0044_NE00AM"]
    assert manifest["subject"].tolist() == ["F0001", "M0044"]
    assert manifest["emotion"].tolist() == ["angry", "neutral"]
    assert manifest["intensity"].tolist() == [1, 0]
    assert manifest["depth_kind"].tolist() == ["relative", ""]
    assert manifest["depth_path"].tolist() == [str(root / around / files[1]), ""]


def test_a_name_without_an_emotion_stops(place):
    with pytest.raises(UserError, match=r"1 pictures have no emotion in their names .first: F0001/F0001_XX01"):
        read_source(place("F0001/F0001_AN01WH_F2D.bmp", "F0001/F0001_XX01WH_F2D.bmp"))


def test_meshes_without_picture_and_pictures_in_two_formats_are_reported(place, caplog):
    files = ("F0001_AN01WH_F2D.bmp", "F0001_AN01WH_F2D.jpeg", "F0001_FE02WH_F3D.wrl")
    assert len(read_source(place(*(f"F0001/{file}" for file in files)))) == 1
    assert "1 meshes without a picture are ignored (first: F0001/F0001_FE02WH_F3D.wrl)" in caplog.text
    assert "1 pictures are there in several formats" in caplog.text


def test_a_face_in_another_subjects_folder_is_a_bad_one():
    assert bu3dfe.problem("/data/F0001/F0001_AN01WH_F2D.bmp", "") is None
    assert bu3dfe.problem("/data/F0001/F0002_AN01WH_F2D.bmp", "").startswith(
        "file name begins with 'F0002', the folder F0001"
    )


def test_depth_lies_on_the_pictured_face(face):
    distance = bu3dfe.read_depth(face(mesh_text(rectangle(12, 10, 24, 30, z=(0, 0, 40, 40)))), (SIDE, SIDE))
    expected = np.zeros((SIDE, SIDE), bool)
    expected[10:30, 12:24] = True
    np.testing.assert_array_equal(np.isfinite(distance), expected)
    assert distance.dtype == np.float32
    assert np.nanmedian(distance) == pytest.approx(600)
    rows = distance[10:30, 15]
    np.testing.assert_allclose(np.diff(rows), -2, atol=1e-3)  # z towards the viewer grows by 40 mm over 20 rows


def test_texture_coordinates_place_the_mesh(face):
    texture = [(12 / SIDE, 1 - 10 / SIDE), (24 / SIDE, 1 - 10 / SIDE), (24 / SIDE, 0.25), (12 / SIDE, 0.25)]
    elsewhere = rectangle(0, 0, 5, 5)
    distance = bu3dfe.read_depth(face(mesh_text(elsewhere, texture)), (SIDE, SIDE))
    assert np.isfinite(distance[10:30, 12:24]).all()
    assert np.isfinite(distance).sum() == 20 * 12


def test_texture_coordinates_of_another_picture_do_not(face):
    other = mesh_text(FITTING, [(0, 0), (1, 0), (1, 1), (0, 1)], picture="F0001_AN01WH_F3D.bmp")
    assert np.isfinite(bu3dfe.read_depth(face(other), (SIDE, SIDE))).sum() == 20 * 12


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            mesh_text(rectangle(45, 10, 60, 30)),
            "out of frame: 100% of it lies outside of its picture .x 134.6 to",
        ),
        (mesh_text(np.multiply(FITTING, 0.001)), r"mesh covers 0.00% of its picture \(x -0.043"),
        (
            mesh_text(rectangle(24, 10, 36, 30)),
            "do not coincide: 0% of the mesh lies on what F0001_AN01WH_F2D",
        ),
        ("", "empty file"),
        (mesh_text(FITTING)[:300], "truncated within its list 'point'"),
    ],
)
def test_a_mesh_that_does_not_fit_has_a_reason(face, text, reason):
    path = face(text)
    with pytest.raises(BadImageError, match=reason):
        bu3dfe.read_depth(path, (SIDE, SIDE))


def test_without_a_black_background_one_warning_is_that_nothing_proves_the_place(face, caplog):
    bu3dfe._warn_unproven.cache_clear()
    path = face(mesh_text(rectangle(24, 10, 36, 30)), background=90)
    for _ in range(2):
        assert np.isfinite(bu3dfe.read_depth(path, (SIDE, SIDE))).any()
    assert caplog.text.count("nothing proves that meshes and pictures coincide") == 1


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the rendered RGB-D folders are not beside the checkout")
class TestRendered:
    def test_the_whole_set(self):
        manifest = read_source(REAL / "BU3DFE")
        assert len(manifest) == 300
        assert manifest["subject"].nunique() == 12
        assert set(manifest.loc[manifest["depth_path"] != "", "subject"]) == {"F0001", "F0002", "M0001", "M0002"}
        assert manifest["intensity"].value_counts().to_dict() == {0: 12, 1: 72, 2: 72, 3: 72, 4: 72}

    def test_meshes_and_pictures_coincide(self):
        manifest = read_source(REAL / "BU3DFE")
        for row in manifest[manifest["depth_path"] != ""].iloc[::9].itertuples():
            shown = read_image(row.path).any(axis=2)
            measured = np.isfinite(bu3dfe.read_depth(row.depth_path, shown.shape))
            assert shown[measured].mean() > 0.99
            assert measured[shown].mean() > 0.9  # eyes and mouths are holes

    def test_the_broken_one(self):
        row = read_source(REAL / "broken" / "BU3DFE").iloc[0]
        with pytest.raises(BadImageError, match=r"empty file"):
            bu3dfe.read_depth(row["depth_path"], (112, 112))
