import pytest

from fer_hierarchy.models.checks import (
    check_choice,
    check_counts,
    check_positive,
    check_shares,
    check_stages,
    checked_request,
)


def test_possible_settings_pass():
    check_shares(dropout=0.0, drops=(0.1, 0.99))
    check_counts(width=1, widths=[3, 4])
    check_positive(factor=0.1)
    check_stages(widths=(1, 2), blocks=[3, 4], most=2)
    check_choice("stem", "small", ("small", "large"))


@pytest.mark.parametrize(
    ("check", "settings", "message"),
    [
        (check_shares, {"dropout": 1.0}, r"dropout is 1.0; it must lie in \[0, 1\)"),
        (check_shares, {"dropout": float("nan")}, "dropout is nan"),
        (check_shares, {"drops": (0.1, -0.1)}, r"drops is \(0.1, -0.1\)"),
        (check_counts, {"widths": (4, 0)}, r"widths is \(4, 0\); it must be 1 or more"),
        (check_positive, {"factor": float("nan")}, "factor is nan; it must be above 0"),
        (check_stages, {"widths": ()}, r"widths is \(\); it must have 1 or more entries"),
        (check_stages, {"widths": (1, 2), "blocks": (1,)}, "widths has 2, blocks has 1 entries"),
    ],
)
def test_impossible_settings_are_named(check, settings, message):
    with pytest.raises(ValueError, match=message):
        check(**settings)


def test_channels_are_those_of_the_model():
    assert checked_request("net", [20, 20, 4], 2, smallest=16, channels=(4, 2)) == (20, 20, 4)
    assert checked_request("net", (20, 20, 9), 2, smallest=16, channels=None) == (20, 20, 9)
    for shape, channels, words in (((20, 20, 3), (4, 2), "4 or 2"), ((20, 20, 2), (1, 3), "1 or 3")):
        with pytest.raises(ValueError, match=f"net needs .* at least 16x16 pixels and {words} channels"):
            checked_request("net", shape, 2, smallest=16, channels=channels)
