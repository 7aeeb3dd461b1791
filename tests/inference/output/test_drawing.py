import cv2
import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.palette import EMOTION_COLOURS
from fer_hierarchy.inference.output import drawing
from fer_hierarchy.inference.output.drawing import annotated, save_picture, text_size
from tests.conftest import FER_EMOTIONS

NEGATIVE = ("angry", "disgust", "fear", "sad")
GROUND = 120


def row(box, emotion="happy", *, share=0.83, uncertain=False):
    shares = {name: share if name == emotion else (1 - share) / 6 for name in FER_EMOTIONS}
    negative = sum(shares[name] for name in NEGATIVE)
    return {
        **dict(zip(("left", "top", "width", "height"), box, strict=True)),
        "emotion": "uncertain" if uncertain else emotion,
        "probability": share,
        **{f"p_{name}": shares[name] for name in FER_EMOTIONS},
        "p_contempt": None,  # another model's
        "gate_positive": 1 - negative,
        "gate_negative": negative,
    }


def plain(height=480, width=640):
    return np.full((height, width, 3), GROUND, np.uint8)


def rgb(name):
    return np.array([int(EMOTION_COLOURS[name][place : place + 2], 16) for place in (1, 3, 5)], np.uint8)


def where(picture, colour):
    """(rows, columns) of the pixels of exactly this colour."""
    return np.nonzero((picture == colour).all(axis=-1))


def grid(count, side, gap, width):
    columns = width // (side + gap)
    return [
        (gap // 2 + (n % columns) * (side + gap), gap + (n // columns) * (side + gap), side, side) for n in range(count)
    ]


def test_the_picture_that_came_in_stays_as_it_was():
    picture = plain()
    before = picture.copy()
    drawn = annotated(picture, [row((220, 140, 200, 200))], synthetic=True, headline="24 FPS")
    np.testing.assert_array_equal(picture, before)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
    assert (drawn != picture).any()


def test_a_grey_picture_becomes_colour():
    drawn = annotated(plain()[..., 0], [row((220, 140, 200, 200))])
    assert drawn.shape == (480, 640, 3)
    assert len(where(drawn, rgb("happy"))[0]) > 500


def test_a_picture_without_faces_is_a_copy():
    picture = plain()
    drawn = annotated(picture, [])
    np.testing.assert_array_equal(drawn, picture)
    assert not np.shares_memory(drawn, picture)


def test_the_face_itself_stays_visible():
    drawn = annotated(plain(), [row((220, 140, 200, 200))])
    assert (drawn[150:330, 230:410] == GROUND).all()


@pytest.mark.parametrize("emotion", FER_EMOTIONS)
def test_box_name_and_bar_have_the_emotions_colour(emotion):
    drawn = annotated(plain(), [row((220, 140, 200, 200), emotion)])
    rows, columns = where(drawn, rgb(emotion))
    assert ((rows < 138) & (columns < 420)).sum() > 200  # the name above
    assert (columns > 430).sum() > 50  # the bar on the right
    assert 218 <= columns[(rows > 150) & (columns < 300)].min() <= 221  # the box


def test_a_longer_bar_for_what_is_likelier():
    lengths = [
        (where(annotated(plain(), [row((220, 140, 200, 200), share=share)]), rgb("happy"))[1] > 430).sum()
        for share in (0.3, 0.6, 0.9)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_what_is_uncertain_has_no_emotions_colour_but_its_bars():
    drawn = annotated(plain(), [row((220, 140, 200, 200), uncertain=True)])
    rows, columns = where(drawn, rgb("happy"))
    assert len(rows)
    assert columns.min() > 430


def test_letters_grow_with_the_picture():
    sizes = [text_size(np.zeros((side, side), np.uint8)) for side in (200, 480, 1080, 4000)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] >= 10
    assert sizes[-1] / 4000 > 0.015  # still a letter when the picture is shown on a screen


@pytest.mark.parametrize("side", [1, 48, 200, 640, 4000])
@pytest.mark.parametrize("place", ["whole", "corner", "outside"])
def test_any_face_in_any_picture_can_be_drawn(side, place):
    box = {
        "whole": (0, 0, side, side),
        "corner": (side // 2, side // 2, side, side),
        "outside": (-side // 3, -side // 3, side // 2 + 1, side // 2 + 1),
    }[place]
    drawn = annotated(plain(side, side), [row(box)], synthetic=True, headline="24 FPS   recording   paused")
    assert drawn.shape[0] == drawn.shape[1]
    assert (drawn != GROUND).any()


def test_small_pictures_are_enlarged_until_letters_can_be_read():
    drawn = annotated(plain(48, 48), [row((0, 0, 48, 48))])
    assert drawn.shape == (240, 240, 3)
    assert annotated(plain(200, 300), []).shape == (200, 300, 3)


def plates(monkeypatch, picture, faces, **options):
    """(names, panels and other plates) that were drawn, as rectangles."""
    names, others = [], []
    real = drawing._plate

    def spy(canvas, rect, colour, **more):
        (names if more.get("opacity", 1) == 1 else others).append(rect)
        real(canvas, rect, colour, **more)

    monkeypatch.setattr(drawing, "_plate", spy)
    annotated(picture, faces, **options)
    return names, others


def words(monkeypatch):
    """Texts that are drawn from now on, as they come."""
    written = []
    real = drawing._write
    monkeypatch.setattr(
        drawing, "_write", lambda canvas, text, *more: (written.append(text), real(canvas, text, *more))
    )
    return written


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def test_forty_faces_have_forty_names_that_can_be_read(monkeypatch):
    boxes = grid(40, 60, 20, 640)
    names, others = plates(monkeypatch, plain(), [row(box, FER_EMOTIONS[n % 7]) for n, box in enumerate(boxes)])
    assert len(names) == 40
    assert not others  # no room for bars
    assert not any(overlap(a, b) for place, a in enumerate(names) for b in names[:place])
    assert all(x >= 0 and y >= 0 and x + w <= 640 and y + h <= 480 for x, y, w, h in names)


def test_bars_stand_where_they_cover_no_face_no_name_and_no_edge(monkeypatch):
    boxes = [(30, 40, 120, 120), (420, 60, 150, 150), (40, 330, 110, 110), (500, 340, 100, 100)]
    names, panels = plates(monkeypatch, plain(), [row(box) for box in boxes], headline="24 FPS")
    assert len(panels) >= 4
    for place, panel in enumerate(panels):
        assert not any(overlap(panel, other) for other in [*boxes, *names, *panels[:place]])
        assert panel[0] >= 0
        assert panel[1] >= 0
        assert panel[0] + panel[2] <= 640
        assert panel[1] + panel[3] <= 480


def test_where_bars_have_no_room_the_gates_verdict_stands_alone(monkeypatch):
    written = words(monkeypatch)
    annotated(plain(), [row((120, 60, 400, 330))])
    assert written == ["happy 83 %", "positive 89 %"]


def test_banner_and_headline_say_what_they_are_for(monkeypatch):
    written = words(monkeypatch)
    annotated(plain(), [], synthetic=True, headline="24 FPS")
    assert written == ["synthetic: the model learned from drawn faces", "24 FPS"]
    written.clear()
    annotated(plain(200, 200), [], synthetic=True)
    assert written == ["synthetic model"]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".PNG"])
@pytest.mark.parametrize("shape", [(60, 80, 3), (60, 80)])
def test_pictures_are_saved_in_their_colours(tmp_path, suffix, shape):
    picture = np.full(shape, 120, np.uint8)
    picture[:30] = (200, 40, 20) if len(shape) == 3 else 200
    path = tmp_path / f"a{suffix}"
    save_picture(path, picture)
    with Image.open(path) as saved:
        read = np.asarray(saved.convert("RGB" if len(shape) == 3 else "L"))
    assert np.abs(read.astype(int) - picture)[:28].max() < 12
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["a.tiff", "a", "gone/a.png"])
def test_a_picture_that_cannot_be_saved_is_one_line(tmp_path, name):
    with pytest.raises(UserError, match=name):
        save_picture(tmp_path / name, plain())


def test_a_picture_too_large_for_its_kind_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"try \.png$"):
        save_picture(tmp_path / "a.webp", np.zeros((2, 16_400, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_the_text_is_drawn_smoothly():
    drawn = annotated(plain(), [], headline="24 FPS")
    greys = np.unique(cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY))
    assert len(greys) > 20  # not ink and ground alone
