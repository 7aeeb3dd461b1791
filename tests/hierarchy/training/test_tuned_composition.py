"""A tuned composition at work: an evaluation predicts with it beside the soft composition, and refuses what is not its.

The stages here know faces by their bright bar, so that no network is trained.
"""

import json
import re
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner
from fer_hierarchy.hierarchy.config import DataConfig, EvaluationConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.reports.tuned_section import tuned_section
from fer_hierarchy.hierarchy.training import pipeline
from fer_hierarchy.hierarchy.training.tuned_composition import predictions_fingerprint, read_tuned
from tests.composed_runs import SEVEN, faces, posterior, write_run
from tests.conftest import FER_EMOTIONS

LABELS = np.arange(28) % 7


class BarStage:
    """Predicts by where the bar of `tests.conftest.draw_face` is; the flat one is surer than those of the hierarchy."""

    framework = "keras"
    seen: ClassVar[dict] = {}  # stage -> shape of the pictures that it saw
    record: ClassVar[dict] = {}
    mirror = False

    def __init__(self, classes, sharpness):
        self.classes, self.sharpness, self.network = classes, sharpness, object()

    @classmethod
    def load_all(cls, folder, names):
        return {name: cls.load(folder / name) for name in names}

    @classmethod
    def load(cls, folder):
        name = folder.name
        stage = cls(SEVEN.stage_classes(name), 0.03 if name == "flat" else 0.004)
        stage.name = name
        return stage

    def takes(self, shape):
        return True

    def predict_proba(self, pixels, rows):
        return self.calibrated(self.outputs(pixels, rows))

    def calibrated(self, outputs):
        return outputs

    def outputs(self, pixels, rows):
        BarStage.seen[self.name] = pixels.shape[1:]
        size = pixels.shape[1]
        lines = pixels[rows].mean(axis=(2, 3))
        bars = [
            lines[:, round((5 + 6 * i) * size / 48) : round((9 + 6 * i) * size / 48)].mean(axis=1) for i in range(7)
        ]
        table = np.exp(self.sharpness * np.stack(bars, axis=1))
        shares = pd.DataFrame(table, columns=FER_EMOTIONS)
        members = [SEVEN.members(c) if c in SEVEN.group_names else (c,) for c in self.classes]
        held = np.stack([shares[list(m)].sum(axis=1) for m in members], axis=1)
        return held / held.sum(axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def draws(request, monkeypatch):
    """Pages are drawn only where a test asks for `page`."""
    if "page" not in request.fixturenames:
        monkeypatch.setattr(pipeline, "write_run_report", lambda folder, **_: (folder / "report.md").write_text(""))


@pytest.fixture
def page():
    """Asks for the page."""


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def tree(results):
    return write_run(results / "tree", faces(LABELS), posterior(LABELS, np.random.default_rng(0)))


@pytest.fixture
def flat(results):
    return write_run(results / "flat", faces(LABELS), posterior(LABELS, np.random.default_rng(1)), mode="flat")


def best_json(tree, made, flat=None, **changes):
    """The file that a search leaves."""
    fingerprints = {"run": predictions_fingerprint(tree), **({"flat": predictions_fingerprint(flat)} if flat else {})}
    record = {
        "format": 1,
        "kind": "composition",
        "study": "composition-tree",
        "recomposition": made.to_dict(),
        "run": tree.name,
        "objective": "macro_f1",
        "score": 0.5,
        "cross_validated": {"tuned": 0.4},
        "fingerprints": fingerprints,
        **changes,
    }
    path = tree.parent.parent / "best.json"
    path.write_text(json.dumps(record))
    return path


def evaluate(tree, fer_folder, composition):
    data, evaluation = DataConfig(data=str(fer_folder)), EvaluationConfig(resamples=100)
    folder = pipeline.evaluate_run(
        "tree",
        BarStage,
        data=data,
        evaluation=evaluation,
        name="evaluated",
        results=tree.parent,
        command="python tf_model.py --mode evaluate tree",
        composition=composition,
    )
    return json.loads((folder / "metrics.json").read_text()), (folder / "report.md").read_text()


def test_the_tuned_composition_stands_beside_the_soft_one(tree, flat, fer_folder, page, caught_logs):
    made = Combiner(temperatures={"valence": 1.2}, blend=0.8, flat="flat")
    record, report = evaluate(tree, fer_folder, best_json(tree, made, flat))
    assert record["headline"] == "soft"
    *table, first, second = (record.getMessage() for record in caught_logs.records if hasattr(record, "announced"))
    assert [re.split(" {2,}", row)[0] for row in table[1:]] == [
        "soft composition",
        "hard routing",
        "oracle (upper bound)",
        "tuned composition",
    ]
    assert first.startswith("evaluated (soft): top-1")
    assert second.startswith("tuned by composition-tree, against soft: top-1")
    assert set(record["answers"]) == {"soft", "hard", "oracle", "tuned"}
    assert record["answers"]["tuned"]["nll"] < record["answers"]["soft"]["nll"]  # the flat run is the surer one
    assert record["answers"]["tuned"]["n"] == record["answers"]["soft"]["n"] == 42
    assert set(record["paired"]["tuned"]) == {"against", "differences", "mcnemar"}
    assert record["composition"]["recomposition"] == made.to_dict()
    assert "tuned composition" in report
    assert "McNemar p" in report
    assert "the search composition-tree, which used validation faces only" in report


def test_neutral_values_and_none_at_all_give_the_soft_composition(tree, fer_folder):
    record, _ = evaluate(tree, fer_folder, best_json(tree, Combiner()))
    assert record["answers"]["tuned"]["confusion"] == record["answers"]["soft"]["confusion"]
    assert record["answers"]["tuned"]["nll"] == record["answers"]["soft"]["nll"]
    assert record["paired"]["tuned"]["differences"]["top1"] == {"difference": 0, "low": 0, "high": 0}


def test_without_a_composition_there_is_none_in_the_record_and_no_section(tree, fer_folder):
    record, _ = evaluate(tree, fer_folder, None)
    assert "tuned" not in record["answers"]
    assert not {"paired", "composition"} & record.keys()
    assert not tuned_section(record).blocks


def test_a_flat_run_sees_its_own_picture_size(tree, results, fer_folder):
    answer = posterior(LABELS, np.random.default_rng(1))
    flat = write_run(results / "flat", faces(LABELS), answer, mode="flat", image_size=24)
    evaluate(tree, fer_folder, best_json(tree, Combiner(blend=0.5, flat="flat"), flat))
    assert BarStage.seen["flat"] == (24, 24, 1)
    assert BarStage.seen["valence"] == (16, 16, 1)


def test_faces_that_the_flat_run_trained_on_are_left_out(tree, flat, fer_folder):
    every, _ = evaluate(tree, fer_folder, None)
    table = pd.read_csv(tree.parent / "evaluated" / "splits.csv", dtype=str, keep_default_na=False)
    trained = pd.read_csv(flat / "splits.csv", dtype=str, keep_default_na=False)
    trained.loc[:4, "pixel_hash"] = table["pixel_hash"][:5].to_numpy()
    trained.to_csv(flat / "splits.csv", index=False)
    (tree.parent / "evaluated").rename(tree.parent / "before")
    record, _ = evaluate(tree, fer_folder, best_json(tree, Combiner(blend=0.5, flat="flat"), flat))
    assert record["answers"]["soft"]["n"] == every["answers"]["soft"]["n"] - 5
    assert "5 faces that the flat run flat trained on or chose by were left out." in record["notes"]


def test_a_composition_of_another_run_is_refused(tree, flat, results):
    path = best_json(tree, Combiner())
    with pytest.raises(UserError, match="was searched for run tree, not for flat"):
        read_tuned(path, flat, results)
    blended = best_json(tree, Combiner(blend=0.5, flat="flat"), flat)
    table = (flat / "predictions_validation.csv").read_text()
    (flat / "predictions_validation.csv").write_text(table.replace("0.1", "0.2"))
    with pytest.raises(UserError, match="is not the flat run that"):
        read_tuned(blended, tree, results)
    (flat / "config.json").unlink()
    with pytest.raises(UserError, match="flat"):
        read_tuned(blended, tree, results)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "stage"}, "is no composition but of kind 'stage'"),
        ({"format": 9}, "format 9 is not the 1"),
        ({"fingerprints": None}, "is damaged"),
        ({"recomposition": {"blend": 2}}, "is damaged: a recomposition holds"),
        ({"recomposition": {**Combiner().to_dict(), "temperatures": {"valence": 0}}}, "a number above 0"),
    ],
)
def test_damaged_files_are_named(tree, results, changes, message):
    path = best_json(tree, Combiner(), **changes)
    with pytest.raises(UserError, match=r"best\.json") as caught:
        read_tuned(path, tree, results)
    assert message in str(caught.value)
    path.write_text("{")
    with pytest.raises(UserError, match=r"best\.json is missing or damaged"):
        read_tuned(path, tree, results)


def test_a_stage_that_the_run_has_not_is_refused(tree, fer_folder):
    path = best_json(tree, Combiner(temperatures={"arousal": 2.0}))
    with pytest.raises(UserError, match="unknown stage 'arousal'"):
        evaluate(tree, fer_folder, path)
    assert not (tree.parent / "evaluated").exists()
