"""Exports that predict as their run does, and those that do not."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.export import verify
from fer_hierarchy.inference.model import Model
from tests.inference.stand_ins import SEVEN, facts

COUNT = 140  # faces, of which each emotion has the same share
CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()  # before any test


class Table(Model):
    """Reads from a face's first pixel which row of a table to predict."""

    def __init__(self, source, table, *, size=16):
        self.facts = facts(run="first", size=size)
        self.source = str(source)
        self.table = table

    def emotions(self, faces):
        return self.table[faces[:, 0, 0, 0]]


@pytest.fixture
def faces():
    pixels = np.zeros((COUNT, 16, 16, 1), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(COUNT)
    rows = pd.DataFrame({"emotion": [SEVEN.emotions[i % 7] for i in range(COUNT)], "split": "test"})
    return SimpleNamespace(images=SimpleNamespace(pixels=pixels), split=lambda name: rows[rows["split"] == name])


@pytest.fixture
def probabilities():
    """(140, 7) probabilities of the run, which is always right."""
    return np.full((COUNT, 7), 0.05) + 0.65 * np.eye(7)[np.arange(COUNT) % 7]


@pytest.fixture
def compared(faces, probabilities, tmp_path, monkeypatch):
    """Compares exports that predict these tables with the run."""
    stage = tmp_path / "first" / "stages" / "flat"
    stage.mkdir(parents=True)
    (stage / "model.keras").write_bytes(bytes(3_000_000))

    def compare(**tables):
        paths = {name.replace("_int8", "-int8"): tmp_path / name for name in tables}
        for path in paths.values():
            path.write_bytes(bytes(500_000))
        opened = {str(path): Table(path, tables[path.name]) for path in paths.values()}
        monkeypatch.setattr(verify, "open_model", lambda run, results: opened[run])
        return verify.compare(Table(tmp_path / "first", probabilities), paths, faces)

    return compare


def wrong(table: np.ndarray, count: int) -> np.ndarray:
    """The table with another emotion for the first faces."""
    return np.concatenate([np.roll(table[:count], 1, axis=1), table[count:]])


def test_the_run_comes_first_and_exports_that_agree_are_well(compared, probabilities):
    run, lite = compared(tflite=probabilities).itertuples()
    assert (run.format, run.faces, run.top1, run.megabytes) == ("keras", COUNT, 1, 3)
    assert (lite.format, lite.agreement, lite.top1, lite.megabytes) == ("tflite", 1, 1, 0.5)
    assert lite.largest_difference < 1e-12
    assert lite.ok
    assert min(lite.faces_per_second, lite.faces_per_second_64) > 0


@pytest.mark.parametrize(("shift", "ok"), [(5e-5, True), (2e-4, False), (np.nan, False)])
def test_a_float_format_may_differ_by_a_ten_thousandth(compared, probabilities, shift, ok):
    off = probabilities.copy()
    off[3, 0] += shift
    off[3, 1] -= shift
    row = compared(onnx=off).iloc[1]
    assert row.ok == ok
    assert ok or row.complaint.startswith("onnx differs from the run by")


@pytest.mark.parametrize(("count", "ok"), [(0, True), (1, True), (2, False)])
def test_int8_may_lose_a_face_in_a_hundred(compared, probabilities, count, ok):
    row = compared(tflite_int8=wrong(probabilities, count)).iloc[1]
    assert row.agreement == pytest.approx(1 - count / COUNT)
    assert row.top1 == pytest.approx(1 - count / COUNT)
    assert row.ok == ok
    assert ok or "names 98.6% of 140 faces right, the run 100.0%" in row.complaint


def test_a_model_of_another_run_is_one_line(compared, probabilities, faces, tmp_path, monkeypatch):
    other = Table("other.tflite", probabilities, size=32)
    monkeypatch.setattr(verify, "open_model", lambda run, results: other)
    with pytest.raises(UserError, match=r"other\.tflite is not of run first"):
        verify.compare(Table(tmp_path / "first", probabilities), {"tflite": Path("other.tflite")}, faces)


def test_what_does_not_hold_is_printed_and_written(compared, probabilities, faces, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "first"
    (folder / "config.json").write_text("{}")
    table = compared(tflite=probabilities, onnx=wrong(probabilities, 5))
    monkeypatch.setattr(verify, "RunModel", lambda run: Table(run.folder, probabilities))
    monkeypatch.setattr(verify, "_test_faces", lambda *_: faces)
    monkeypatch.setattr(verify, "compare", lambda *_: table)
    complaints = verify.verify(
        "first", {"tflite": tmp_path / "tflite", "onnx": tmp_path / "onnx"}, data=None, results=tmp_path
    )
    assert complaints == [table.iloc[2].complaint]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["keras", "tflite", "onnx"]
    assert lines[3].endswith("ok")
    assert lines[4].endswith("NOT AS THE RUN")
    written = pd.read_csv(tmp_path / "verify.csv")
    assert written["ok"].tolist() == [True, True, False]
    record = json.loads((tmp_path / "verify.json").read_text())
    assert record["run"] == "first"
    assert [row["format"] for row in record["formats"]] == ["keras", "tflite", "onnx"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can be chosen on Linux only")
def test_timing_on_one_core_gives_the_others_back(compared, probabilities):
    seen = []

    class Watched(Table):
        def emotions(self, faces):
            seen.append(os.sched_getaffinity(0))
            return super().emotions(faces)

    verify._speeds(lambda: Watched("x", probabilities), np.zeros((3, 16, 16, 1), np.uint8))
    assert {len(cores) for cores in seen} == {1}
    assert os.sched_getaffinity(0) == CORES
