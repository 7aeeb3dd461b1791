from collections.abc import Sequence

import pytest

from fer_hierarchy.models.settings import Count, Factor, Share, Stem, check_stages
from fer_hierarchy.models.spec import check_limits, checked_request


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (0.0, Share),
        ((0.1, 0.99), Sequence[Share]),
        ([[1, 4], [2]], Sequence[Sequence[Count]]),
        (0.1, Factor),
        (None, Count | None),
        ("small", Stem),
        (-1, int),
    ],
)
def test_possible_settings_pass(value, hint):
    check_limits("setting", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (1.0, Share, r"setting is 1.0; it must lie in \[0, 1\)"),
        (float("nan"), Share, "setting is nan"),
        ((0.1, -0.1), Sequence[Share], r"setting is \(0.1, -0.1\)"),
        ((4, 0), Sequence[Count], r"setting is \(4, 0\); it must be 1 or more"),
        (((4, 1), (2, 0)), Sequence[Sequence[Count]], "it must be 1 or more"),
        (0, Count | None, "setting is 0; it must be 1 or more"),
        (float("nan"), Factor, "setting is nan; it must be above 0"),
        ("large", Stem, "setting is 'large'; it must be small or imagenet"),
    ],
)
def test_impossible_settings_are_named(value, hint, message):
    with pytest.raises(ValueError, match=message):
        check_limits("setting", value, hint)


def test_each_stage_needs_its_settings():
    check_stages(widths=(1, 2), blocks=[3, 4], most=2)
    for settings, message in (
        ({"widths": ()}, r"widths is \(\); it must have 1 or more entries"),
        ({"widths": (1, 2), "most": 1}, r"widths is \(1, 2\); it must have 1 to 1 entries"),
        ({"widths": (1, 2), "blocks": (1,)}, "widths has 2, blocks has 1 entries"),
    ):
        with pytest.raises(ValueError, match=message):
            check_stages(**settings)


def test_channels_are_those_of_the_model():
    assert checked_request("net", [20, 20, 4], 2, smallest=16, channels=(4, 2)) == (20, 20, 4)
    assert checked_request("net", (20, 20, 9), 2, smallest=16, channels=None) == (20, 20, 9)
    for shape, channels, words in (((20, 20, 3), (4, 2), "4 or 2"), ((20, 20, 2), (1, 3), "1 or 3")):
        with pytest.raises(ValueError, match=f"net needs .* at least 16x16 pixels and {words} channels"):
            checked_request("net", shape, 2, smallest=16, channels=channels)
