"""CK+48: subjects from the file names."""

import pytest

from fer_hierarchy.hierarchy.data.sources import ck48, read_source
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "ck48"


def test_subjects_and_ids_come_from_the_file_names(place):
    root = place("anger/S010_004_00000017.png", "contempt/S138_008_00000007.png")
    manifest = ck48.read(root)
    assert manifest["id"].tolist() == ["S010_004_00000017", "S138_008_00000007"]
    assert manifest["subject"].tolist() == ["S010", "S138"]
    assert manifest["emotion"].tolist() == ["angry", "contempt"]
    assert set(manifest["split"]) == {""}


def test_a_name_without_subject_is_refused(place):
    root = place("anger/S010_004_00000017.png", "happy/me.png")
    with pytest.raises(UserError, match=r"1 file names lack the subject \(first: happy/me.png\)"):
        ck48.read(root)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real CK+48 folder is not beside the checkout")
def test_the_real_set():
    manifest = read_source(REAL)
    assert set(manifest["source"]) == {"ck48"}
    assert manifest["emotion"].value_counts().to_dict() == {
        "surprise": 249,
        "happy": 207,
        "disgust": 177,
        "angry": 135,
        "sad": 84,
        "fear": 75,
        "contempt": 54,
    }
    assert manifest["subject"].nunique() == 118
