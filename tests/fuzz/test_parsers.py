"""Readers that need no program around them, called in this process: thousands of damaged files and made-up records."""

import io
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.data.depth.bnt import read_bnt
from fer_hierarchy.hierarchy.data.depth.wrl import read_mesh
from fer_hierarchy.hierarchy.data.sources.affectnet import _annotation
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.grid import parse_axes
from fer_hierarchy.hierarchy.json_text import read_written
from fer_hierarchy.hierarchy.own_classes import OwnClasses
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.hierarchy.training.callbacks import CHECKPOINT, read_checkpoint
from tests.fuzz.damage import damaged
from tests.hierarchy.data.depth.test_bnt import content, face, with_holes
from tests.hierarchy.data.depth.test_wrl import shape

SECONDS = float(os.environ.get("FER_FUZZ_SECONDS", "0"))  # of all kinds together; 0 for one batch of each
SEED = int(os.environ.get("FER_FUZZ_SEED", "0"))
BATCH = 300
FUZZ = settings(
    max_examples=20_000 if SECONDS else 200,
    derandomize=not SECONDS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def checkpoint() -> bytes:
    file = io.BytesIO()
    np.savez(file, history=np.array(json.dumps([{"epoch": 1, "loss": 1.0}])), m0=np.ones((3, 4)), o0=np.ones(2))
    return file.getvalue()


def annotation() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array("3"))
    return file.getvalue()


READERS: dict[str, tuple[str, bytes, Callable]] = {
    "bnt": ("face.bnt", content(with_holes(face())), read_bnt),
    "wrl": ("face.wrl", ("#VRML V2.0 utf8\n" + shape(extra="texCoord TextureCoordinate { }")).encode(), read_mesh),
    "npy": ("1_exp.npy", annotation(), _annotation),
    "npz": (CHECKPOINT, checkpoint(), lambda path: read_checkpoint(path.parent)),
    "json": ("a.json", json.dumps(RunConfig().to_dict()).encode(), lambda path: read_written(path, "a.json")),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path):
    file, sound, read = READERS[name]
    rng, end, number = np.random.default_rng(SEED), time.monotonic() + SECONDS / len(READERS), 0
    (tmp_path / file).write_bytes(sound)
    read(tmp_path / file)
    while number < BATCH or time.monotonic() < end:
        number += 1
        (tmp_path / file).write_bytes(damaged(sound, rng))
        with suppress(UserError, BadImageError):
            read(tmp_path / file)


WORDS = st.text(max_size=12) | st.sampled_from(
    ["happy", "sad", "angry", "positive", "negative", "flat", "group", "own"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
GROUPS = st.dictionaries(WORDS, st.lists(WORDS, max_size=4) | JSON, max_size=3)
TAXONOMIES = JSON | st.fixed_dictionaries({"groups": GROUPS | JSON}, optional={"own": JSON, "name": JSON, "gate": JSON})
MEANINGS = st.none() | WORDS | st.dictionaries(st.sampled_from(["group", "class", "x"]), WORDS | JSON, max_size=2)
SETTINGS = JSON | st.fixed_dictionaries(
    {}, optional={"mode": JSON, "seed": JSON, "data": JSON, "stage": JSON, "stages": JSON, "evaluation": JSON}
)
PARSERS: dict[str, tuple[st.SearchStrategy, Callable]] = {
    "taxonomy": (TAXONOMIES, lambda record: Taxonomy.from_dict(record, name="mine")),
    "classes": (JSON | st.dictionaries(WORDS, MEANINGS, max_size=4), OwnClasses.from_dict),
    "settings": (SETTINGS, RunConfig.from_dict),
    "axes": (st.lists(st.builds("{}={}".format, WORDS, WORDS) | WORDS, max_size=3), parse_axes),
}


@pytest.mark.parametrize("name", PARSERS)
def test_any_record_is_taken_or_refused_in_one_line(name):
    strategy, parse = PARSERS[name]

    @FUZZ
    @given(strategy)
    def holds(record):
        with suppress(UserError):
            parse(record)

    holds()
