import json

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.data.audit.pixels.measure_published import main
from fer_hierarchy.hierarchy.data.audit.pixels.measures import MEASURES
from tests.hierarchy.data.audit.pixels.test_measures import picture


@pytest.fixture
def place(tmp_path):
    """A tiny CK+48 and a table that knows its counts."""
    folder = tmp_path / "CK+48" / "happy"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.fromarray(picture(number)).save(folder / f"S01{number}_001_00000001.png")
    record = {"sources": ["ck48"], "counts": {"": {"happy": 5}}, "quantiles": {}}
    (tmp_path / "table.json").write_text(json.dumps({"ck48": record}))
    return tmp_path


def run(place, name="ck48", table="table.json", data="CK+48"):
    return main([name, "--data", str(place / data), "--table", str(place / table)])


def test_the_quantiles_of_a_true_set_are_written(place):
    assert run(place) == 0
    record = json.loads((place / "table.json").read_text())["ck48"]
    assert set(record["quantiles"]) == set(MEASURES)
    means = sorted(picture(number).mean() for number in range(5))
    lowest, *_, highest = record["quantiles"]["brightness"]["happy"]
    np.testing.assert_allclose([lowest, highest], [means[0], means[-1]], atol=1e-3)


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"name": "nobody"}, "'nobody' is not in"),
        ({"table": "missing.json"}, "missing.json is not readable as JSON"),
        ({"data": "nowhere"}, "no such file or folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_the_table(place, capsys, given, phrase):
    before = (place / "table.json").read_bytes()
    assert run(place, **given) == 2
    assert phrase in capsys.readouterr().err
    assert (place / "table.json").read_bytes() == before


def test_other_counts_than_published_are_refused(place, capsys):
    (place / "CK+48" / "happy" / "S010_001_00000001.png").unlink()
    assert run(place) == 2
    assert "published are {'happy': 5}" in capsys.readouterr().err
