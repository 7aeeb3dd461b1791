import cv2
import numpy as np
import pytest

from fer_hierarchy.inference.output.blur import blurred


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(200, 200), (200, 200, 3)])
def test_all_detail_is_lost_in_the_box_and_none_far_from_it(shape):
    picture = noise(*shape)
    hidden = blurred(picture, [(60, 60, 80, 80)])
    face = hidden[60:140, 60:140].astype(np.float32)
    # What four means along a side have at most: nothing changes much from a pixel to the next.
    assert np.abs(np.diff(face, axis=0)).max() < 4
    assert np.abs(np.diff(face, axis=1)).max() < 4
    assert (hidden[:10] == picture[:10]).all()
    assert (hidden[:, 180:] == picture[:, 180:]).all()
    assert (picture == noise(*shape)).all()  # the original is not touched


def test_faces_that_differ_only_in_detail_become_the_same():
    plain = np.full((160, 160), 128, np.uint8)
    detailed = plain.copy()
    detailed[::2] += 60  # stripes: eyes and mouths are as narrow in a face
    detailed[1::2] -= 60
    box = (50, 50, 60, 60)
    before = np.abs(detailed.astype(int) - plain)[50:110, 50:110]
    after = np.abs(blurred(detailed, [box]).astype(int) - blurred(plain, [box]))[50:110, 50:110]
    assert before.min() == 60
    assert after.max() <= 4


@pytest.mark.parametrize(
    ("box", "changed"),
    [
        ((-30, -30, 60, 60), True),
        ((180, 150, 60, 90), True),
        ((90.4, 90.6, 8, 8), True),
        ((500, 500, 40, 40), False),
    ],
)
def test_boxes_at_and_beyond_the_border(box, changed):
    picture = noise(200, 200, 3)
    hidden = blurred(picture, [box])
    assert hidden.shape == picture.shape
    assert (hidden != picture).any() == changed


def test_a_turned_face_is_covered_to_its_chin():
    """A face whose box is drawn around its upright middle, turned by 45 degrees: its corners are hidden as well."""
    picture = noise(300, 300)
    corners = cv2.boxPoints(((150, 150), (80, 80), 45)).astype(int)
    hidden = blurred(picture, [(110, 110, 80, 80)])
    for column, row in corners:
        inner = slice(row - 4, row + 4), slice(column - 4, column + 4)
        assert hidden[inner].std() < picture[inner].std() / 4
