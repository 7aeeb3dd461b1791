import pytest

from fer_hierarchy.hierarchy.cli.model_table import model_table, models_text, print_models, short_count
from fer_hierarchy.models.registry import list_models, model_info


@pytest.fixture(scope="module")
def table():
    return model_table()


def test_every_registered_model_is_listed_at_its_own_size(table):
    assert tuple(table["name"]) == list_models()
    by_name = table.set_index("name")
    for name in list_models():
        size, channels = model_info(name).size, model_info(name).channels
        assert by_name.at[name, "input"] == f"{size}x{size}x{1 if 1 in channels else channels[0]}"
    assert by_name.at["rgbd_fusion", "input"] == "64x64x4"
    assert by_name.at["deep_cnn", "parameters"] == 2_395_591
    assert by_name.at["vit_b16", "multiply_adds"] == pytest.approx(17.6e9, rel=0.005)
    assert (table[["parameters", "multiply_adds"]] > 0).all().all()
    assert table["source"].str.len().min() > 0
    for name in ("efficientnet_b0", "mobilenet", "vit_b16"):
        assert by_name.at[name, "pretrained"] == ("imagenet",)
    assert by_name.at["face_resnet", "pretrained"] == ("dlib-face",)


def test_classes_and_channels_count(monkeypatch):
    monkeypatch.setattr("fer_hierarchy.hierarchy.cli.model_table.list_models", lambda: ("compact_resnet",))
    grey, colour = model_table(num_classes=2).iloc[0], model_table(num_classes=2, channels=3).iloc[0]
    assert colour["input"] == "48x48x3"
    assert colour["parameters"] - grey["parameters"] == 2 * 3 * 3 * 32  # two more planes of the first convolution
    assert model_table(num_classes=3).iloc[0]["parameters"] - grey["parameters"] == 160 + 1


def test_text_is_aligned_under_its_headings(table):
    headings, *lines = models_text(table).splitlines()
    assert len(lines) == len(table)
    for heading, column in (("input", "input"), ("source", "source")):
        start = headings.index(heading)
        assert all(line[start:].startswith(value) for line, value in zip(lines, table[column], strict=True))
    end = headings.index("multiply-adds") + len("multiply-adds")
    assert all(line[end - 1] in "kMG" and line[end] == " " for line in lines)


def test_listing_is_printed(monkeypatch, capsys):
    monkeypatch.setattr("fer_hierarchy.hierarchy.cli.model_table.list_models", lambda: ("mini_xception", "mobilenet"))
    print_models()
    printed = capsys.readouterr().out
    assert "mini_xception  64x64x1      58.4 k" in printed
    assert "NAME:key=value" in printed


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (1000, "1.00 k"),
        (58_423, "58.4 k"),
        (888_303, "888 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (9_995_000, "10.0 M"),
        (17_563_065_600, "17.6 G"),
    ],
)
def test_counts_keep_three_digits(count, text):
    assert short_count(count) == text
