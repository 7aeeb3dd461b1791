"""The manifest holds its columns, and refuses what later steps could not use."""

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.data.manifest import MANIFEST_COLUMNS, make_manifest
from fer_hierarchy.hierarchy.errors import UserError


def build(**changes):
    values = {"ids": ["a", "b"], "paths": ["/x/a.png", "/x/b.png"], "emotions": ["happy", "sad"], "source": "folder"}
    return make_manifest(**(values | changes))


def test_a_manifest_has_all_columns_and_sensible_defaults():
    manifest = build()
    assert tuple(manifest.columns) == MANIFEST_COLUMNS
    assert manifest["row"].tolist() == [-1, -1]
    assert str(manifest["row"].dtype) == "int64"
    assert manifest["split"].tolist() == ["", ""]
    assert manifest["subject"].tolist() == ["", ""]
    assert isinstance(manifest.index, pd.RangeIndex)


def test_columns_are_lined_up_by_position_and_not_by_a_series_index():
    emotions = pd.Series(["happy", "sad"], index=[7, 3])
    manifest = build(emotions=emotions, rows=emotions.index, paths="/x/faces.csv")
    assert manifest["emotion"].tolist() == ["happy", "sad"]
    assert manifest["row"].tolist() == [7, 3]
    assert manifest["path"].tolist() == ["/x/faces.csv"] * 2


def test_soft_labels_follow_as_float32():
    manifest = build(soft=pd.DataFrame({"soft_happy": [1.0, 0.25], "soft_sad": [0.0, 0.75]}))
    assert manifest["soft_sad"].tolist() == [0.0, 0.75]
    assert str(manifest["soft_sad"].dtype) == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ["train", "holdout"]}, "image 'b': unknown split 'holdout'; known: train"),
        ({"emotions": ["happy", "joy"]}, "image 'b': unknown emotion 'joy'; known: angry"),
        ({"ids": ["a", "a"]}, "id 'a' stands for 2 images .*/x/a.png, /x/b.png"),
        ({"ids": [], "paths": [], "emotions": []}, "folder: no image found"),
        ({"paths": ["/x/a.png", "/x/\udcff.png"]}, "not valid UTF-8"),
    ],
)
def test_what_no_run_could_use_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)
