"""Which faces of other data a run is evaluated on."""

import json

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.runs.evaluated_faces import as_trained, evaluated_faces
from fer_hierarchy.hierarchy.runs.run import Run
from tests.composed_runs import faces, posterior, write_run


@pytest.fixture
def run(tmp_path):
    """A run that has trained on nothing so far."""
    folder = write_run(tmp_path / "run", faces([0, 1]), posterior([0, 1], np.random.default_rng(0)))
    table = pd.read_csv(folder / "splits.csv")
    table.iloc[:0].to_csv(folder / "splits.csv", index=False)
    settings = RunConfig(data=DataConfig(image_size=16, channels=1))
    (folder / "config.json").write_text(json.dumps(settings.to_dict()))
    return Run(folder)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ((), {"PrivateTest": 42}),
        (("validation",), {"PublicTest": 42}),
        (("validation", "test"), {"PublicTest": 42, "PrivateTest": 42}),
    ],
)
def test_a_run_is_evaluated_on_the_official_splits_that_are_requested(splits, expected, run, fer_folder):
    found = evaluated_faces(as_trained(DataConfig(data=str(fer_folder)), run), run, splits=splits)
    assert found.manifest["id"].str.partition("_")[0].value_counts().to_dict() == expected
    assert set(found.manifest["split"]) == {"test"}
    assert found.images.pixels.shape[1:] == (16, 16, 1)


def test_a_limit_is_one_of_each_split(run, fer_folder):
    data = as_trained(DataConfig(data=str(fer_folder), limit=21), run)
    found = evaluated_faces(data, run, splits=("validation", "test"))
    assert found.manifest["official"].value_counts().to_dict() == {"validation": 21, "test": 21}
