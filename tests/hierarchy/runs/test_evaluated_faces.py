"""Which faces of other data a run is judged on."""

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.runs.evaluated_faces import evaluated_faces
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])


@pytest.fixture
def run(tmp_path):
    """A run that has learned from nothing so far."""
    columns = ["row", "emotion", "split", "source", "subject", "pixel_hash"]
    pd.DataFrame(columns=columns).to_csv(tmp_path / "splits.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ((), {"PrivateTest": 42}),
        (("validation",), {"PublicTest": 42}),
        (("validation", "test"), {"PublicTest": 42, "PrivateTest": 42}),
    ],
)
def test_the_official_splits_that_were_asked_for_judge(splits, expected, run, fer_folder):
    data = DataConfig(data=str(fer_folder), image_size=16, channels=1)
    faces = evaluated_faces(data, SEVEN, run, with_depth=False, seed=0, splits=splits)
    assert faces.manifest["id"].str.partition("_")[0].value_counts().to_dict() == expected
    assert set(faces.manifest["split"]) == {"test"}
