"""`--blur` as a user runs it."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import cbook
from PIL import Image

from fer_hierarchy.inference.blurring import Blurring
from fer_hierarchy.inference.faces.detectors.blazeface import BlazeFace
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources.inputs import COPIED
from fer_hierarchy.inference.sources.video import VideoReader
from tests.conftest import run_program
from tests.inference.films import sounding_film, tone_of

PHOTO = Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
ORIENTATION, GPS, MAKER = 274, 34853, 271


def telephone_photo(path):
    """A photo that lies on its side in the file, with a place, a maker and a small picture of the face in its EXIF."""
    photo = Image.open(PHOTO)
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 6, "a telephone"
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (48.0, 8.0, 0.0)
    small = io.BytesIO()
    photo.resize((100, 120)).save(small, "jpeg")
    content = exif.tobytes() + small.getvalue()
    photo.transpose(Image.Transpose.ROTATE_90).save(path, exif=content, comment=b"at home")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Working folder, and exit code and output of each command by name."""
    work = tmp_path_factory.mktemp("work")
    album = work / "album"
    album.mkdir()
    telephone_photo(album / "photo.jpg")
    Image.new("RGB", (300, 200), "green").save(album / "meadow.png")
    frames = [Image.open(PHOTO), Image.open(PHOTO).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(album / "moves.gif", save_all=True, append_images=frames[1:])
    shutil.copy(PHOTO, work / "photo.jpg")
    predict = ("--mode", "predict")
    commands = {
        "blur": (*predict, album, "--blur", album / "hidden", "--annotate", work / "marked", "--out", work / "a.csv"),
        "again": (*predict, album, "--blur", album / "hidden"),
        "largest": (*predict, work / "photo.jpg", "--blur", work / "largest", "--min-score", "0.99"),
        "explain": (*predict, album, "--blur", work / "b", "--explain", work / "c"),
        "cropped": (*predict, album, "--blur", work / "b", "--cropped"),
        "same": (*predict, album, "--blur", work / "b", "--annotate", work / "b"),
        "itself": (*predict, album / "photo.jpg", "--blur", album),
        "another": (*predict, work / "photo.jpg", album / "meadow.png", album / "photo.jpg", "--blur", album),
    }
    before = {path: path.read_bytes() for path in album.iterdir()}
    outcomes = dict(zip(commands, run_program(*commands.values(), drawn=True), strict=True))
    return {"work": work, "outcomes": outcomes, "before": before}


def text_of(done, name, code=0):
    got, text = done["outcomes"][name]
    assert got == code, text
    return text


def test_no_copy_shows_a_face_and_all_rows_are_there(done):
    text = text_of(done, "blur")
    detector = BlazeFace(32)
    for folder in (done["work"] / "album" / "hidden", done["work"] / "marked"):
        copies = sorted(folder.iterdir())
        assert [path.name for path in copies] == ["meadow.png", "moves.gif.png", "photo.jpg"]
        assert detector.find([np.asarray(Image.open(path).convert("RGB")) for path in copies]) == [[], [], []]
    rows = pd.read_csv(done["work"] / "a.csv").set_index(pd.Index(["meadow", "moves", "photo"]))
    assert rows["faces"].tolist() == [0, 1, 1]
    assert rows.loc["photo", "emotion"] == rows.loc["moves", "emotion"] == "neutral"
    assert "blurred copies: 3" in text
    assert "1 of them was copied as it is: no face was found there" in text


def test_originals_are_untouched_and_copies_not_taken_for_more(done):
    assert "3 files;" in text_of(done, "again")
    assert all(path.read_bytes() == content for path, content in done["before"].items())


def test_a_copy_is_upright_and_tells_nothing_of_its_original(done):
    path = done["work"] / "album" / "hidden" / "photo.jpg"
    copy, original = Image.open(path), Image.open(PHOTO)
    assert copy.size == original.size
    assert not copy.getexif()
    assert set(copy.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}
    content = path.read_bytes()
    assert content.count(b"\xff\xd8\xff") == 1  # no small picture
    assert not any(word in content for word in (b"Exif", b"telephone", b"home"))


def test_a_copy_of_an_animation_is_its_first_picture_alone(done):
    with Image.open(done["work"] / "album" / "hidden" / "moves.gif.png") as copy:
        assert getattr(copy, "n_frames", 1) == 1


def test_a_score_that_is_given_decides_what_is_blurred(done):
    assert "no face was found there" in text_of(done, "largest")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("explain", "--blur does not go with --explain"),
        ("cropped", "--blur does not go with --cropped"),
        ("same", "--blur and --annotate both name"),
        ("itself", "photo.jpg would replace it"),
        ("another", "album/photo.jpg; name another folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(done, name, words):
    last = text_of(done, name, code=2).rstrip().splitlines()[-1]
    assert last.startswith("tf_model.py: error: ")
    assert words in last
    assert not (done["work"] / "b").exists()


def test_faces_that_are_not_predicted_are_blurred_as_well(tmp_path):
    finder = Blurring(tmp_path, FaceConfig(faces="largest", max_faces=1)).finder
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    assert len(finder.find([np.hstack([photo, photo])])[0]) == 2


def test_kinds_of_copies_are_those_that_can_be_written():
    from fer_hierarchy.inference.output.drawing import PICTURES

    assert tuple(PICTURES) == COPIED


def test_without_pyav_one_note_names_it(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        sounding_film(tmp_path / name)
    films = ("--mode", "predict", tmp_path / "a.mp4", tmp_path / "b.mp4")
    without = (*films, "--blur", tmp_path / "silent")
    ((code, text),) = run_program(without, setup="import sys; sys.modules['av'] = None")
    assert code == 0
    assert text.count("pip install av") == 1
    ((_, text),) = run_program((*films, "--blur", tmp_path / "sounding"))
    assert "pip install av" not in text
    for name in ("a.mp4", "b.mp4"):
        with VideoReader(tmp_path / "silent" / name) as reader:
            assert len(list(reader)) == 30
        with pytest.raises(StopIteration):
            tone_of(tmp_path / "silent" / name)
        assert tone_of(tmp_path / "sounding" / name)[0] == pytest.approx(0.5, abs=0.06)
