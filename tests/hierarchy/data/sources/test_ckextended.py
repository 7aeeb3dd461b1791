"""ckextended.csv: FER-2013's manner with contempt."""

import pytest

from fer_hierarchy.hierarchy.data.sources import ckextended, read_source
from fer_hierarchy.hierarchy.errors import UserError

ROWS = ("emotion,pixels,Usage", "7,0 0,Training", "6,0 0,PublicTest", "0,0 0,PrivateTest")


@pytest.mark.parametrize("name", ["ckextended.csv", "anything.csv"])
def test_it_is_recognised_by_name_or_by_contempt(write, name, caplog):
    manifest = read_source(write(name, *ROWS))
    assert set(manifest["source"]) == {"ckextended"}
    assert manifest["emotion"].tolist() == ["contempt", "neutral", "angry"]
    assert manifest["split"].tolist() == ["train", "validation", "test"]
    assert manifest["id"].tolist() == ["ck0000000", "ck0000001", "ck0000002"]
    assert "names no subjects" in caplog.text


def test_its_folder_will_do(write):
    assert len(read_source(write("set/ckextended.csv", *ROWS).parent)) == 3


def test_a_csv_named_like_fer2013_stays_fer2013(write):
    with pytest.raises(UserError, match="unknown emotion '7' in data row 0"):
        read_source(write("fer2013.csv", *ROWS))


def test_an_unknown_id_is_named(write):
    with pytest.raises(UserError, match=r"unknown emotion '9' in data row 1 \(line 3\); known: .*7 contempt"):
        ckextended.read(write("ckextended.csv", ROWS[0], ROWS[1], "9,0 0,Training"))
