"""16-bit depth pictures: the stored numbers, or why there are none."""

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth.png import read_units

UNITS = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10) * 500


def test_the_numbers_are_the_stored_ones(tmp_path):
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), UNITS)
    units = read_units(path, (12, 10))
    assert units.dtype == np.uint16
    np.testing.assert_array_equal(units, UNITS)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ((UNITS // 256).astype(np.uint8), "8-bit depth: its units are lost; 16 bits are needed"),
        (np.dstack([UNITS] * 3), "a picture with colours"),
        (UNITS[:6], "6x10 pixels, its picture has 12x10"),
    ],
)
def test_other_pictures(tmp_path, pixels, reason):
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), pixels)
    with pytest.raises(BadImageError, match=reason):
        read_units(path, (12, 10))


@pytest.mark.parametrize("kept", [0, 7, 20, 60, 0.7])
def test_a_file_that_was_cut_off(tmp_path, kept):
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), UNITS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(BadImageError, match=r"truncated|not a PNG|empty file"):
        read_units(path, (12, 10))


def test_no_file_and_no_picture(tmp_path):
    with pytest.raises(BadImageError, match="file is missing"):
        read_units(tmp_path / "absent.png", (12, 10))
    (tmp_path / "text.png").write_text("not depth")
    with pytest.raises(BadImageError, match="not a PNG"):
        read_units(tmp_path / "text.png", (12, 10))
