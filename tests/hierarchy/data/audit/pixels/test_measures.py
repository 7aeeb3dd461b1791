import tracemalloc

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.audit.pixels.measures import COLUMN, MEASURES, Meter, measure, middle


def picture(seed=0, side=48):
    """A smooth random picture with fine texture, uint8 (side, side)."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.normal(128, 40, (8, 8)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, (side, side)), 0, 255).astype(np.uint8)


def value(name, pixels):
    return float(measure(np.asarray(pixels)[None])[0, COLUMN[name]])


def test_brightness_and_contrast_are_mean_and_deviation():
    pixels = picture()
    assert value("brightness", pixels) == pytest.approx(pixels.mean(), abs=1e-3)
    assert value("contrast", pixels) == pytest.approx(pixels.std(), abs=1e-3)


def test_clipped_counts_black_and_white():
    pixels = np.full((10, 10), 100, np.uint8)
    pixels[0, :5], pixels[1, :3] = 0, 255
    assert value("clipped", pixels) == pytest.approx(0.08)


def test_empty_levels_are_counted_between_darkest_and_brightest():
    pixels = np.full((10, 10), 10, np.uint8)
    pixels[0, 0], pixels[0, 1] = 14, 12  # of 10 to 14, 11 and 13 are empty
    assert value("empty_levels", pixels) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(5))
def test_evenness_shows_equalised_pictures(seed):
    pixels = picture(seed)
    levels = np.bincount(pixels.ravel(), minlength=256).cumsum() / pixels.size
    assert value("evenness", cv2.equalizeHist(pixels)) > 0.95
    assert value("evenness", (255 * levels).astype(np.uint8)[pixels]) > 0.95  # as scikit-image equalises
    assert value("evenness", (pixels // 3 + 80).astype(np.uint8)) < 0.5


def test_sharpness_falls_with_blur_and_with_enlarging_but_not_with_contrast():
    pixels = picture()
    small = cv2.resize(pixels, (24, 24), interpolation=cv2.INTER_AREA)
    assert value("sharpness", cv2.GaussianBlur(pixels, (5, 5), 0)) < 0.5 * value("sharpness", pixels)
    assert value("sharpness", cv2.resize(small, (48, 48), interpolation=cv2.INTER_CUBIC)) < 0.7 * value(
        "sharpness", pixels
    )
    assert value("sharpness", (pixels // 2 + 60).astype(np.uint8)) == pytest.approx(value("sharpness", pixels), rel=0.1)


def test_blockiness_shows_strong_jpeg_compression():
    pixels = picture()
    coded = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_GRAYSCALE)
    assert value("blockiness", pixels) == pytest.approx(1, abs=0.25)
    assert value("blockiness", coded) > 1.4


def test_likeness_changes_its_sign_when_light_and_dark_are_exchanged():
    pixels = picture(3)
    assert value("likeness", 255 - pixels) == pytest.approx(-value("likeness", pixels), abs=1e-3)


def test_border_counts_constant_rows_and_columns_from_the_edges():
    pixels = picture()
    assert value("border", pixels) == 0
    pixels[:6], pixels[:, -12:] = 0, 0
    assert value("border", pixels) == pytest.approx(18 / 96)
    assert value("border", np.zeros((48, 48), np.uint8)) == 1


def test_colour_cast_and_false_colour():
    grey = picture()
    stored = np.stack([grey] * 3, axis=-1)
    tinted = stored.copy()
    tinted[..., 2] = tinted[..., 2] // 2
    assert [value(name, grey) for name in ("colour", "cast", "false_colour")] == [0, 0, 0]
    assert [value(name, stored) for name in ("colour", "cast", "false_colour")] == [0, 0, 1]
    assert value("colour", tinted) == pytest.approx((grey - grey // 2).mean(), abs=0.01)
    assert value("cast", tinted) == pytest.approx((grey - grey // 2).mean(), abs=0.01)
    assert value("brightness", stored) == pytest.approx(value("brightness", grey), abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (1, 1, 3), (7, 7), (48, 48)])
def test_every_measure_is_a_number_for_the_smallest_and_the_blankest_pictures(shape):
    for level in (0, 128, 255):
        assert np.isfinite(measure(np.full((2, *shape), level, np.uint8))).all()


def test_a_meter_gives_the_same_rows_in_order_whatever_the_shapes():
    pictures = [picture(i, side) for i, side in enumerate((48, 32, 48, 100, 32, 48))]
    meter = Meter()
    for pixels in pictures:
        meter.add(pixels)
    expected = np.concatenate([measure(pixels[None]) for pixels in pictures])
    np.testing.assert_allclose(meter.result(), expected, rtol=1e-5)
    assert Meter().result().shape == (0, len(MEASURES))


def test_the_memory_of_a_meter_does_not_grow_with_the_pictures():
    def peak(n):
        meter = Meter()
        tracemalloc.start()
        for _ in range(n):
            meter.add(np.zeros((64, 64), np.uint8))
        meter.result()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(4000) < peak(1000) + 3000 * 200  # 12 numbers and a place for each, but no picture


def test_of_large_pictures_the_middle_is_measured():
    large = np.zeros((1000, 700, 3), np.uint8)
    large[244:756, 94:606] = 200
    assert (middle(large) == 200).all()
    assert middle(large).base is None  # a view would keep the whole picture in memory
    small = picture()
    assert middle(small) is small
