"""CalD3r & MenD3s: pairs by name, subjects that do not collide, and depth in millimetres or a reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.sources import cald3rmend3s, read_source
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "rgbd"


def pair(part, folder, stem):
    return [f"{part}/{folder}/RGB/{stem}_Color.png", f"{part}/{folder}/DEPTH/{stem}_Depth.png"]


@pytest.fixture
def depth(tmp_path):
    """Write depth of the given stored units; returns its path."""

    def write(units):
        path = tmp_path / "F_001_1000_anger_Depth.png"
        cv2.imwrite(str(path), units)
        return str(path)

    return write


BOTH = pair("CalD3r", "Anger", "F_001_1120_anger") + pair("MenD3s", "Happiness", "M_01_1120_happiness")


def test_pairs_subjects_and_emotions_come_from_the_names(place):
    root = place(*BOTH)
    manifest = read_source(root)
    assert manifest["source"].tolist() == ["cald3rmend3s"] * 2
    assert manifest["id"].tolist() == ["CalD3r/Anger/F_001_1120_anger", "MenD3s/Happiness/M_01_1120_happiness"]
    assert manifest["subject"].tolist() == ["CalD3r-001", "MenD3s-01"]
    assert manifest["emotion"].tolist() == ["angry", "happy"]
    assert manifest["path"].tolist() == [str(root / file) for file in BOTH[::2]]
    assert manifest["depth_path"].tolist() == [str(root / file) for file in BOTH[1::2]]
    assert set(manifest["depth_kind"]) == {"metric"}


@pytest.mark.parametrize("around", ["", "CalD3rMenD3s/", "CalD3RMenD3s/"])
def test_the_data_set_and_the_folder_around_it(place, around):
    assert len(read_source(place(*(around + file for file in BOTH)))) == 2


@pytest.mark.parametrize("folder", ["CalD3r", "download"])
def test_one_part_alone_has_the_same_ids_and_subjects(place, folder):
    root = place(*pair(folder, "Anger", "F_001_1120_anger"))
    manifest = read_source(root / folder)
    assert manifest["id"].tolist() == ["CalD3r/Anger/F_001_1120_anger"]
    assert manifest["subject"].tolist() == ["CalD3r-001"]


def test_a_picture_without_depth_stays_a_face(place):
    manifest = read_source(place(*BOTH[:3]))
    assert manifest["depth_kind"].tolist() == ["metric", ""]
    assert manifest["depth_path"].iloc[1] == ""


def test_depth_without_picture_is_reported(place, caplog):
    manifest = read_source(place(*BOTH, *pair("CalD3r", "Anger", "F_002_7_anger")[1:]))
    assert len(manifest) == 2
    assert "1 of 3 depth files have no colour picture and are ignored (first: CalD3r/Anger/DEPTH/F_002" in caplog.text


@pytest.mark.parametrize(
    "file", ["DEPTH/F_002_7_fear_Depth.png", "RGB/F_002_7_fear_Color.cr2", "F_002_7_fear_Color.png"]
)
def test_an_emotion_without_a_colour_picture_is_refused(place, file):
    with pytest.raises(UserError, match="CalD3r/Fear/RGB holds no image; fill it, or remove the folder CalD3r/Fear"):
        read_source(place(*BOTH, f"CalD3r/Fear/{file}"))


def test_a_picture_in_a_deeper_folder_is_one_bad_face_and_not_lost(place):
    deeper = "CalD3r/Anger/RGB/more/F_002_7_anger_Color.png"
    root = place(*BOTH, deeper)
    assert str(root / deeper) in set(read_source(root)["path"])
    assert cald3rmend3s.problem(str(root / deeper), "") == "file name has 'anger', the folder RGB"


def test_depth_that_never_fits_a_picture_stops(place):
    lonely = [pair("CalD3r", "Fear", f"F_00{n}_7_fear")[1] for n in range(1, 4)]
    with pytest.raises(UserError, match="3 of 3 depth files have no colour picture"):
        read_source(place("CalD3r/Fear/RGB/F_009_7_fear_Color.png", *lonely))


def test_of_an_aligned_and_a_plain_pair_one_is_taken(place, caplog):
    files = BOTH[:2] + pair("CalD3r", "Anger", "aligned_F_001_1120_anger")
    files += pair("CalD3r", "Fear", "F_001_7_fear") + pair("CalD3r", "Fear", "aligned_F_001_7_fear")[:1]
    manifest = read_source(place(*files))
    names = [(Path(row.path).name, Path(row.depth_path).name) for row in manifest.itertuples()]
    assert names == [
        ("aligned_F_001_1120_anger_Color.png", "aligned_F_001_1120_anger_Depth.png"),
        ("F_001_7_fear_Color.png", "F_001_7_fear_Depth.png"),
    ]
    assert "2 faces are there twice" in caplog.text


def test_a_folder_that_names_no_emotion(place):
    with pytest.raises(UserError, match="folder 'Boredom' names no emotion"):
        read_source(place(*BOTH, *pair("CalD3r", "Boredom", "F_001_7_boredom")))


@pytest.mark.parametrize(
    ("folder", "stem", "reason"),
    [
        ("Anger", "F_001_1120_anger", None),
        ("Happiness", "aligned_M_01_1_Happiness", None),
        ("Happy", "M_01_1_happiness", None),
        ("Joy", "M_01_1_joy", None),
        ("Happiness", "F_904_1000_joyful", "file name has 'joyful', the folder Happiness"),
        ("Happiness", "F_904_1000_sadness", "file name has 'sadness', the folder Happiness"),
        ("Happiness", "me", "file name is not like F_001_1120_anger_Color.png"),
    ],
)
def test_a_name_that_contradicts_its_folder_is_one_bad_face(place, folder, stem, reason):
    manifest = read_source(place(*BOTH, *pair("CalD3r", folder, stem)[:1]))
    row = manifest[manifest["path"].str.endswith(f"{stem}_Color.png") & manifest["path"].str.contains(folder)].iloc[0]
    found = cald3rmend3s.problem(row["path"], row["depth_path"])
    assert found is None if reason is None else found.startswith(reason)


def test_depth_is_millimetres_with_holes(depth):
    units = np.full((20, 20), 4800, np.uint16)
    units[:5] = 0
    units[5] = 65535  # farther than the sensor sees
    distance = cald3rmend3s.read_depth(depth(units), (20, 20))
    assert distance.dtype == np.float32
    assert np.isnan(distance[:6]).all()
    assert (distance[6:] == 600).all()


@pytest.mark.parametrize(
    ("units", "reason"),
    [
        (np.zeros((20, 20), np.uint16), "all holes: 0 of 400 pixels"),
        (np.pad(np.full((1, 3), 4800, np.uint16), ((0, 19), (0, 17))), "all holes: 3 of 400 pixels"),
        (np.full((20, 20), 4800, np.uint16)[:9], "9x20 pixels, its picture has 20x20"),
        (np.full((20, 20), 99, np.uint8), "8-bit depth: its units are lost"),
        (
            np.full((20, 20), 600, np.uint16),
            "median of 600 in units of 0.125 mm is 75 mm, but the sensor measures 200 to 1500 mm; "
            "in units of 1 mm it would be 600 mm",
        ),
        (np.full((20, 20), 60000, np.uint16), "is 7500 mm, .* in units of 0.01 mm it would be 600 mm"),
        (np.full((20, 20), 100, np.uint16), "is 12 mm, but the sensor measures 200 to 1500 mm$"),
    ],
)
def test_depth_that_cannot_be_used(depth, units, reason):
    path = depth(units)
    with pytest.raises(BadImageError, match=reason):
        cald3rmend3s.read_depth(path, (20, 20))


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the rendered RGB-D folders are not beside the checkout")
class TestRendered:
    def test_the_whole_set(self):
        manifest = read_source(REAL / "CalD3rMenD3s")
        assert manifest["emotion"].value_counts().to_dict() == {
            "neutral": 95,
            "happy": 80,
            "disgust": 78,
            "sad": 75,
            "surprise": 75,
            "angry": 70,
            "fear": 66,
        }
        assert manifest["subject"].nunique() == 24 + 16
        assert (manifest["depth_path"] != "").all()
        for row in manifest.iloc[::50].itertuples():
            assert cald3rmend3s.problem(row.path, row.depth_path) is None
            assert 350 < np.nanmedian(cald3rmend3s.read_depth(row.depth_path, (224, 224))) < 1100

    def test_the_broken_ones_each_have_their_reason(self):
        manifest = read_source(REAL / "broken" / "CalD3rMenD3s").set_index("emotion")
        assert len(manifest) == 5
        happy = manifest.loc["happy"]
        assert cald3rmend3s.problem(happy["path"], happy["depth_path"]).startswith("file name has 'joyful'")
        assert manifest.loc["sad", "depth_path"] == ""
        with pytest.raises(BadImageError, match=r"8-bit depth: its units are lost"):
            cald3rmend3s.read_depth(manifest.loc["fear", "depth_path"], (224, 224))
        with pytest.raises(BadImageError, match=r"112x112 pixels, its picture has 224x224"):
            cald3rmend3s.read_depth(manifest.loc["surprise", "depth_path"], (224, 224))
