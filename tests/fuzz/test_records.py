"""JSON that the program reads again, called in this process: sound records with values changed, gone and added."""

import copy
import hashlib
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.data.sources.generated import read_seen
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.grid import read_grid
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import load_taxonomy
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.tuned_composition import read_tuned
from fer_hierarchy.inference.export.metadata import read_from_saved_model
from fer_hierarchy.inference.model import Metadata
from fer_hierarchy.inference.priors import Prior
from fer_hierarchy.tuning.search.study import read_best, read_study
from fer_hierarchy.tuning.space.dimension import Dimension
from fer_hierarchy.tuning.space.spaces import read_space
from fer_hierarchy.tuning.taxonomies.study import read_taxonomy_study
from tests.fuzz.test_parsers import FUZZ, JSON
from tests.tuning.search.test_study import study_of

TAXONOMY = load_taxonomy("valence")
FACTS = Metadata(
    run="run", mode="flat", taxonomy=TAXONOMY, image_size=48, channels=1, align=False, synthetic=False, prior=(0.5,) * 8
)
COMBINER = Combiner(temperatures={"valence": 2.0}, prior_strengths={"positive": 0.5}).to_dict()
START = {"learning_rate": Dimension.from_json("learning_rate", [0.001, 0.01], "test")}
CANDIDATES = [{"taxonomy": TAXONOMY.to_dict(), "origins": [["fixed", "valence"]]}]
CELL = {"name": "a", "values": {"seed": "0"}, "config": RunConfig().to_dict()}
TUNED = {
    **{"kind": "composition", "format": 1, "study": "study", "run": "run", "recomposition": COMBINER},
    **{"objective": "macro_f1", "score": 0.5, "cross_validated": 0.4},
    "fingerprints": {"run": hashlib.sha256(b"").hexdigest()[:16]},  # of an empty table
}


class NoNetwork(KerasStage):
    """A stage whose network is not read."""

    @classmethod
    def load_network(cls, folder: Path) -> object:
        return SimpleNamespace(output_shape=(None, 2))

    @classmethod
    def with_mirror_image(cls, network: object) -> object:
        return network


def in_stage(path: Path) -> None:
    for home in (path.parent, path.parent.parent / "trunk"):
        home.mkdir(exist_ok=True)
        with zipfile.ZipFile(home / "model.keras", "w") as archive:
            archive.writestr("classes.json", json.dumps(STAGE["classes"]))
    NoNetwork.load(path.parent)


def in_run(path: Path) -> None:
    path.with_name("config.json").write_text("{}")
    run = Run(path.parent)
    assert run.metrics
    assert run.taxonomy


def in_composition(path: Path) -> None:
    path.with_name("predictions_validation.csv").touch()
    read_tuned(path, path.parent, path.parent)


def of_generator(path: Path) -> None:
    face = path.parent / "happy" / "generated_0.png"
    face.parent.mkdir(exist_ok=True)
    face.touch()
    read_source(path.parent)
    path.with_name("seen.csv").write_text("pixel_hash\n")
    with suppress(UserError):
        read_seen(path.parent)


STAGE = {
    "name": "flat",
    "classes": ["happy", "sad"],
    "columns": [0, 2],
    "groups": [["happy"], ["sad"]],
    "mirror": True,
    "temperature": 1.5,
    "log_prior_shift": [0.1, -0.1],
    "record": {"model": "convnet", "epochs": 3},
}
METRICS = {
    **{"mode": "flat", "seed": 0, "synthetic": True, "taxonomy": TAXONOMY.to_dict(), "headline": "flat", "cost": None},
    **{"answers": {}, "stages": {}, "data": {}, "training": {}, "format": 1},
}
RECORDS: dict[str, tuple[str, object, Callable[[Path], object]]] = {
    "stage": ("stage.json", STAGE, in_stage),
    "metrics": ("metrics.json", METRICS, in_run),
    "study": ("study.json", study_of().to_dict(), lambda path: read_study(path.parent)),
    "taxonomy study": (
        "study.json",
        {
            **{"format": 1, "kind": "taxonomy", "name": "a", "objective": "macro_f1", "config": RunConfig().to_dict()},
            **{"candidates": CANDIDATES, "emotions": list(TAXONOMY.emotions), "notes": [], "command": "a"},
            **{"run": {}, "controls": 1, "trained": False, "fraction": 1.0, "left_out": {}, "flat": {"n": 3}},
            **{"implied": {}, "spread": {}, "data": {}, "synthetic": True},
        },
        lambda path: read_taxonomy_study(path.parent),
    ),
    "best": (
        "best.json",
        {"kind": "stage", "study": "a", "stage": "flat", "hyperparameters": {"epochs": 3, "image_size": 32}},
        read_best,
    ),
    "tuned": ("tuned.json", TUNED, in_composition),
    "combiner": ("c.json", COMBINER, lambda path: Combiner.from_dict(json.loads(path.read_text()), where="c")),
    "grid": (
        "grid.json",
        {"format": 1, "kind": "grid", "command": "a", "axes": {"seed": ["0"]}, "cells": [CELL]},
        lambda path: read_grid(path.parent),
    ),
    "space": (
        "space.json",
        {"learning_rate": {"low": 0.001, "high": 0.1, "scale": "log"}, "epochs": [1, 2], "*": None},
        lambda path: read_space(path, START, StageConfig()),
    ),
    "prior": ("prior.json", {"happy": 0.5, "sad": 0.5}, lambda path: Prior.of(path)),
    "metadata": ("fer.json", FACTS.to_dict(), lambda path: read_from_saved_model(path.parent.parent)),
    "generated": (
        "generated.json",
        {"format": 1, "emotion": "happy", "seen": {"fingerprint": "f" * 16}},
        of_generator,
    ),
}


def places(value: object, above: tuple = ()) -> list[tuple]:
    """The place of each value in a record, as keys and indices."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, part in inner for place in places(part, (*above, key)))]


VALUES = JSON | st.sampled_from([10**400, -1, 0, "", "..", "a/b", "x" * 300, [[]], {"": {}}, "\0", "\ud800", 1e308])


@st.composite
def changed(draw: st.DrawFn, record: object) -> object:
    """A record with one to three values replaced or taken away."""
    whole = {"": copy.deepcopy(record)}
    for place in draw(st.lists(st.sampled_from(places(record)), min_size=1, max_size=3)):
        with suppress(KeyError, IndexError, TypeError):  # an earlier change took the place away
            inner = whole
            *above, last = ("", *place)
            for key in above:
                inner = inner[key]
            inner[last] = copy.deepcopy(draw(VALUES))
            if place and draw(st.integers(0, 3)) == 0:
                del inner[last]
    return whole[""]


@pytest.mark.parametrize("name", RECORDS)
def test_any_change_of_a_record_is_taken_or_refused_in_one_line(name, tmp_path):
    file, sound, read = RECORDS[name]
    folder = tmp_path / "assets.extra"
    folder.mkdir()
    path = folder / file
    path.write_text(json.dumps(sound))
    read(path)

    @FUZZ
    @given(changed(sound))
    def holds(record: object) -> None:
        path.write_text(json.dumps(record))
        with suppress(UserError):
            read(path)

    holds()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("stage", "temperature", 10**400),
        ("stage", "columns", [2]),
        ("stage", "columns", [None, 2]),
        ("prior", "happy", 10**400),
        ("best", "hyperparameters", {"": 1}),
        ("generated", "emotion", ["happy"]),
    ],
)
def test_what_once_ended_in_a_traceback_is_refused(name, key, value, tmp_path):
    file, sound, read = RECORDS[name]
    path = tmp_path / "folder" / file
    path.parent.mkdir()
    path.write_text(json.dumps({**sound, key: value}))
    with pytest.raises(UserError):
        read(path)


def test_a_prior_for_no_emotion_is_refused():
    with pytest.raises(UserError, match="unknown emotion ''"):
        Prior.of({"": 0.0, **dict.fromkeys(TAXONOMY.emotions, 0.125)}).target(FACTS)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" + "x" * 300, "a\0b"])
@pytest.mark.parametrize("key", ["taxonomy", "classes"])
def test_a_name_that_no_file_can_have_is_refused_in_one_line(key, name):
    record = RunConfig().to_dict()
    record["data"][key] = name
    with pytest.raises(UserError) as caught:
        RunConfig.from_dict(record)
    assert len(str(caught.value).splitlines()) == 1


def test_a_flat_run_that_no_folder_can_be_is_refused_in_one_line(tmp_path):
    combiner = {**COMBINER, "blend": 0.5, "flat": "x" * 5000}
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps({**TUNED, "recomposition": combiner}))
    with pytest.raises(UserError):
        in_composition(path)
