import io
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.model import Metadata, gate_of, prepared
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources.given import Content
from tests.conftest import FER_EMOTIONS, draw_face
from tests.inference.stand_ins import SEVEN, BarModel, SquareDetector, facts


def predictor(model=None, *, detector=None):
    return Predictor(model or BarModel(), faces=FaceConfig(cropped=detector is None), detector=detector)


def faces(count=7):
    rng = np.random.default_rng(0)
    return np.stack([draw_face(number % 7, rng) for number in range(count)])


def test_an_array_of_grey_faces_is_a_row_a_face():
    table = predictor().predict(faces())
    assert table["emotion"].tolist() == list(FER_EMOTIONS)
    assert table["image"].tolist() == list(range(7))
    np.testing.assert_allclose(table["probability"], 0.9)
    np.testing.assert_allclose(table.filter(like="p_").sum(axis=1), 1, atol=1e-5)


def test_sizes_and_colours_may_differ_in_one_call():
    grey, large = faces()[3], np.repeat(np.repeat(faces()[4], 3, axis=0), 3, axis=1)
    colour = np.stack([faces()[5]] * 3, axis=-1)
    assert predictor().predict([grey, large, colour])["emotion"].tolist() == ["happy", "sad", "surprise"]
    assert predictor().predict(colour)["emotion"].tolist() == ["surprise"]
    assert predictor().predict(grey)["emotion"].tolist() == ["happy"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_one_picture_is_one_picture_whatever_its_channels(channels):
    grey = faces()[3]
    picture = np.stack([grey] * channels, axis=-1)
    picture[..., 3 if channels == 4 else 1 if channels == 2 else channels :] = 7  # alpha
    (expected,) = predictor().predict(grey, records=True)
    for images in (picture, [picture], picture[None]):
        assert predictor().predict(images, records=True) == [expected]


@pytest.mark.parametrize("shape", [(48, 48), (30, 50, 3), (1, 1)])
def test_a_face_cut_out_already_stays_untouched(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ((face,),) = predictor().find([picture])
    assert face.box == (0, 0, shape[1], shape[0])
    assert face.score is None
    np.testing.assert_array_equal(predictor().crops(picture, [face]), [picture])


@pytest.mark.parametrize("detector", [None, SquareDetector(48)])
def test_a_model_trained_on_aligned_faces_predicts_pictures_that_are_in_no_file(detector):
    table = predictor(BarModel(align=True), detector=detector).predict(faces(3))
    assert len(table) >= 3


def test_a_row_tells_gate_route_and_entropy():
    (row,) = predictor().predict(faces()[3], records=True)
    assert (row["valence"], row["route"]) == ("positive", "positive")
    assert row["gate_positive"] == pytest.approx(0.9 + 2 * 0.1 / 6, abs=1e-6)
    parts = np.array([0.9, *[0.1 / 6] * 6])
    assert row["entropy"] == pytest.approx(-(parts * np.log2(parts)).sum(), abs=1e-5)


def test_faces_of_all_images_are_answered_in_one_batch():
    squares = np.zeros((3, 60, 200), np.uint8)
    for at, (picture, face) in enumerate(zip(squares, faces(3), strict=True)):
        picture[5:53, 10:58] = face
        picture[5:53, 100 : 148 * (at > 0)] = 200 if at else 0
    model, detector = BarModel(), SquareDetector(48)
    table = predictor(model, detector=detector).predict(list(squares))
    assert model.batches == [5]
    assert detector.batches == [3]
    assert table["face"].tolist() == [1, 1, 2, 1, 2]
    first = table.groupby("image")["emotion"].first().tolist()
    assert first == ["angry", "disgust", "fear"]
    assert table.loc[0, ["left", "top", "width", "height"]].tolist() == [10, 5, 48, 48]


def test_no_image_and_no_face_have_no_rows():
    assert len(predictor().predict([])) == 0
    assert predictor(detector=SquareDetector(8)).predict(np.zeros((20, 20), np.uint8), records=True) == []


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 5), np.uint8)[None], np.zeros((0, 4), np.uint8)]
)
def test_an_image_of_another_kind_is_refused_by_its_number(image):
    with pytest.raises(ValueError, match="image 1: got shape"):
        predictor().predict([np.zeros((4, 4), np.uint8), image])


def test_loading_without_arguments_is_quick(tmp_path):
    program = (
        "import sys, numpy; from fer_hierarchy import Predictor; predictor = Predictor.load(cropped=True);"
        "print(predictor.predict(numpy.zeros((48, 48), 'u1'), records=True)[0]['emotion']);"
        "print(*sorted({'tensorflow', 'keras', 'pandas', 'matplotlib'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    emotion, loaded = done.stdout.split("\n")[:2]
    assert emotion in FER_EMOTIONS
    assert loaded == ""


def encoded(face, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(face).save(content, kind)
    return content.getvalue()


@pytest.fixture
def album(tmp_path):
    """Faces of all emotions as files, and a text among them."""
    for number, face in enumerate(faces()):
        (tmp_path / f"{number}.png").write_bytes(encoded(face))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x1cftypisom")
    return tmp_path


@pytest.mark.parametrize(
    "form", [str, Path, Path.read_bytes, lambda path: bytearray(path.read_bytes()), Image.open, lambda p: [p], iter]
)
def test_one_picture_in_every_form_is_the_same_prediction(album, form):
    path = album / "3.png"
    (expected,) = predictor().predict(faces()[3], records=True)
    (row,) = predictor().predict(iter([path]) if form is iter else form(path), records=True)
    assert {name: value for name, value in row.items() if name not in ("file", "error")} == expected
    assert row["error"] is None


def test_kinds_are_mixed_and_keep_their_order(album):
    given = [album / "0.png", faces()[1], encoded(faces()[2]), str(album / "[34].png"), Image.open(album / "5.png")]
    table = predictor().predict(given)
    assert table["emotion"].tolist() == list(FER_EMOTIONS)[:6]
    assert table["image"].tolist() == list(range(6))
    assert table["file"].isna().tolist() == [False, True, True, False, False, True]


@pytest.mark.parametrize("form", [str, Path, lambda folder: str(folder / "*"), lambda folder: sorted(folder.iterdir())])
def test_what_cannot_be_read_among_several_is_a_row_with_its_error(album, form):
    table = predictor().predict(form(album)).set_index("file")
    assert len(table) == 9
    failed = table[table["error"].notna()]["error"]
    assert failed[str(album / "text.png")].startswith("not an image that can be read")
    assert failed[str(album / "film.mp4")].startswith("a video, which is predicted from a file")
    assert table["emotion"].notna().sum() == 7


def test_a_picture_by_itself_that_cannot_be_read_is_refused(album):
    for given, reason in {
        album / "text.png": r"text\.png: not an image that can be read",
        "gone.png": r"^gone\.png: file is missing$",
        b"no picture": "^image 0: not an image",
        "x" * 5000: "cannot be read",
        "a\0b.png": "no name of a file",
        str(album / "*.jpg"): "the pattern matches no file",
    }.items():
        with pytest.raises(UserError, match=reason):
            predictor().predict(given)


def test_many_pictures_are_not_all_in_memory_at_once(album):
    model = BarModel()
    assert len(predictor(model).predict([album / "3.png"] * 600)) == 600
    assert model.batches == [256, 256, 88]


def test_floats_are_refused_with_what_is_right():
    for image, right in {
        (0, 1): r"(255 * image).round()",
        (0, 200): "(perhaps image.round()",
        (-1, 1): "-1 to 1; right is",
    }.items():
        with pytest.raises(ValueError, match=re.escape(right)):
            predictor().predict(np.array([image], np.float32))


def test_transparent_pictures_of_pillow_lie_on_white():
    clear = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    ((white,),) = [predictor().crops(one, [None]) for one in [Content(clear).pixels()]]
    assert (white == 255).all()


def test_threads_share_a_predictor():
    class Careful(BarModel):
        busy = False

        def emotions(self, faces):
            assert not Careful.busy
            Careful.busy = True
            table = super().emotions(faces)
            Careful.busy = False
            return table

    shared, found = predictor(Careful()), {}

    def ask(number):
        found[number] = [shared.predict(faces()[number % 7])["emotion"][0] for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [FER_EMOTIONS[number % 7]] * 20 for number in range(8)}


def test_facts_survive_their_json():
    assert Metadata.from_dict(facts(align=True).to_dict(), source="x") == facts(align=True)


def test_the_gate_is_the_sum_of_its_groups():
    table = np.random.default_rng(0).dirichlet(np.ones(7), size=5)
    gate = gate_of(table, SEVEN)
    for index, group in enumerate(SEVEN.group_names):
        members = [SEVEN.emotions.index(emotion) for emotion in SEVEN.members(group)]
        np.testing.assert_allclose(gate[:, index], table[:, members].sum(axis=1))


def test_faces_are_prepared_to_the_models_size_and_colours():
    ready = prepared([np.zeros((9, 30, 3), np.uint8), np.zeros((70, 70), np.uint8)], facts(size=24, channels=3))
    assert ready.shape == (2, 24, 24, 3)
    assert prepared([], facts()).shape == (0, 48, 48, 1)
