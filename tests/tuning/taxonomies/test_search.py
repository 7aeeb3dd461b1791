"""Searching taxonomies: what is trained, how it is evaluated and resumed, and what is refused."""

import dataclasses
import json
import logging
import shutil
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import ANNOUNCED
from fer_hierarchy.hierarchy.runs.run import split_table
from fer_hierarchy.hierarchy.taxonomy import load_taxonomy
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.tuning.search.study import kind_of
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.taxonomies import search as taxonomy_search
from fer_hierarchy.tuning.taxonomies.search import resume_taxonomies, search_taxonomies
from fer_hierarchy.tuning.taxonomies.study import read_flat, read_taxonomy_study
from tests.composed_runs import posterior, write_run

COMMAND = "python tf_model.py --mode tune --stage taxonomy flat"
THREE = ("angry", "happy", "neutral")
SMALL = "shallow_cnn:widths=4+4+4:dense_width=8"


@dataclasses.dataclass(kw_only=True)
class NearestMean(Stage):
    """Knows the mean upper half of a face of each class: a real learner that takes no time and mixes some up."""

    framework = "keras"
    checkpoint = "checkpoint.npz"
    fitted: ClassVar[list] = []  # every training, as (stage, faces, epochs)
    interrupt_at = None  # trainings after which the user presses Ctrl-C
    refuses = ()  # stages whose loss becomes NaN

    @classmethod
    def prepare(cls, config):
        pass

    @classmethod
    def native_size(cls, config):
        return 16

    @classmethod
    def check(cls, config, shape):
        pass

    @classmethod
    def planned_work(cls, config, shape, num_classes, labels):
        return float(len(labels) * config.epochs)

    @classmethod
    def blank_prediction(cls, stages, shape):
        return lambda: None

    with_mirror_image = core = None

    @classmethod
    def load_network(cls, folder):
        return np.array(json.loads((folder / "model.json").read_text()))

    def fit(self, train, validation, config, *, folder, logs, seed, progress, until=None, since=0):
        if self.name in self.refuses:
            raise UserError(f"stage {self.name}: the loss became NaN")
        if len(self.fitted) == type(self).interrupt_at:
            raise KeyboardInterrupt
        self.fitted.append((self.name, len(train.rows), config.epochs))
        faces = train.pixels[train.rows, :8].reshape(len(train.rows), -1) / 255
        means = [faces[train.labels == label].mean(axis=0).tolist() for label in range(len(self.classes))]
        (folder / "model.json").write_text(json.dumps(means))
        self.network = np.array(means)
        costs = dict.fromkeys(("cpu_seconds", "wall_seconds", "parameters", "multiply_adds"), 1.0)
        self.record = {"levels_prior": False, "drawn_rows": len(train.rows), "epochs_run": config.epochs, **costs}
        return self

    def outputs(self, pixels, rows):
        faces = pixels[rows, :8].reshape(len(rows), 1, -1) / 255
        return -0.05 * ((faces - self.network) ** 2).sum(axis=2)

    def features(self, pixels, rows):
        return np.zeros((len(rows), 1))


@pytest.fixture
def learner(monkeypatch):
    """The quick learner, with an empty memory; pages are not drawn."""
    monkeypatch.setattr(taxonomy_search.gc, "collect", lambda: 0)  # few networks are made, so none need be collected
    monkeypatch.setattr(taxonomy_search, "write_taxonomy_report", lambda _: None)
    monkeypatch.setattr(NearestMean, "fitted", [])
    monkeypatch.setattr(NearestMean, "interrupt_at", None)
    monkeypatch.setattr(NearestMean, "refuses", ())
    return NearestMean


def settings(fer_folder, **data):
    return RunConfig(
        mode="flat",
        name="flat",
        data=DataConfig(data=str(fer_folder), image_size=16, channels=1, **data),
        stage=StageConfig(epochs=2, model=SMALL, batch_size=16),
        evaluation=dataclasses.replace(RunConfig().evaluation, resamples=100),
    )


def write_flat(folder, config):
    """A flat run whose test predictions are a folder, so that reading them fails."""
    faces = read_faces(config)
    rows, emotions = faces.split("validation"), faces.taxonomy.emotions
    labels = np.array(faces.taxonomy.stage_labels("flat", rows["emotion"]))
    probabilities = posterior(labels, np.random.default_rng(0), classes=len(emotions))
    write_run(folder, rows, probabilities, mode="flat", taxonomy=faces.taxonomy)
    split_table(faces).to_csv(folder / "splits.csv", index=False)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return folder


@pytest.fixture(scope="module")
def flat(fer_folder, tmp_path_factory):
    """A finished flat run over seven emotions."""
    return write_flat(tmp_path_factory.mktemp("results") / "flat", settings(fer_folder))


@pytest.fixture(scope="module")
def flat_of_three(fer_folder, tmp_path_factory):
    """A finished flat run over three emotions, which make three groupings only."""
    return write_flat(tmp_path_factory.mktemp("three") / "flat", settings(fer_folder, emotions=THREE))


def search(run, stage_type, tmp_path, config=None, **changes):
    name, chosen = changes.pop("name", None), SearchConfig(**{"stage": "taxonomy", "controls": 1, **changes})
    config = config or dataclasses.replace(
        RunConfig.from_dict(json.loads((run / "config.json").read_text())), name=None
    )
    studies = tmp_path / "logs" / "tuning"
    return search_taxonomies(run, stage_type, config=config, search=chosen, name=name, studies=studies, command=COMMAND)


def read(folder, name="best.json"):
    return json.loads((folder / name).read_text())


def announced(caught_logs):
    return "\n".join(record.getMessage() for record in caught_logs.records if hasattr(record, ANNOUNCED))


def table_of(folder):
    return pd.read_csv(folder / "trials.csv", keep_default_na=False).set_index("candidate")


@pytest.fixture(scope="module")
def searched(flat, tmp_path_factory):
    """The folder of a finished search with its page, and its trainings."""
    NearestMean.fitted.clear()
    log = logging.getLogger("fer_hierarchy")
    level = log.level
    log.setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taxonomy_search.gc, "collect", lambda: 0)
        folder = search(flat, NearestMean, tmp_path_factory.mktemp("searched"), controls=3)
    log.setLevel(level)
    return folder, list(NearestMean.fitted)


def test_every_grouping_is_trained_on_equal_terms_and_beside_a_flat_network(searched):
    folder, fitted = searched
    table = table_of(folder)
    assert folder.name == "taxonomy-flat"
    assert list(table.index)[:4] == ["valence", "valence-neutral-negative", "valence-neutral-apart", "arousal"]
    assert list(table.index)[-4:] == ["random-1", "random-2", "random-3", "flat"]
    assert set(table["status"]) == {"completed"}
    assert {epochs for _, _, epochs in fitted} == {2}
    assert len(fitted) == table["stages"].sum()
    gates = [faces for name, faces, _ in fitted if name in ("valence", "confusion", "random", "flat")]
    assert set(gates) == {112}  # all train faces, and no other
    row = table.loc["valence"]
    assert (row["stages"], row["faces_shown"]) == (3, 2 * 112 * 2)
    assert row["difference"] == ""  # it is what the others are compared with
    assert float(table.loc["arousal", "difference_low"]) <= float(table.loc["arousal", "difference"])
    log = (folder / "run.log").read_text()
    assert "candidate 2 of" in log
    assert "left]" in log
    assert "random groupings do better" in log
    ranking = table.sort_values("score", ascending=False, kind="stable").index.str.replace("flat", "flat network")
    rows = [line for line in log.split(" candidate  ")[1].splitlines() if "  " in line][1:]
    assert [name in row for name, row in zip(ranking, rows, strict=True)] == [True] * len(table)


def test_scores_are_those_of_the_validation_faces_and_test_is_not_read(searched):
    folder, _ = searched
    place = folder / "candidates" / "arousal"
    table = pd.read_csv(place / "predictions_validation.csv")
    splits = pd.read_csv(folder / "splits.csv").set_index("row")
    assert set(splits.loc[table["row"], "split"]) == {"validation"}
    scores = read(place, "scores.json")
    assert scores["split"] == "validation"
    assert scores["answers"]["soft"]["top1"] == pytest.approx((table["true"] == table["predicted"]).mean())
    assert float(table_of(folder).loc["arousal", "accuracy"]) == pytest.approx(scores["answers"]["soft"]["top1"])


def test_the_best_is_no_control_and_can_be_used_as_a_taxonomy(flat, searched):
    folder, _ = searched
    best, table = read(folder), table_of(folder)
    serious = table[~table["kind"].isin(["random", "flat"])]
    assert float(best["score"]) == pytest.approx(serious["score"].astype(float).max())
    random = table[table["kind"] == "random"]["score"].astype(float)
    assert (best["random"]["count"], best["random"]["better"]) == (3, int((random > best["score"]).sum()))
    assert best["random"]["same_sizes"] <= 3
    assert (best["format"], best["kind"], best["trained"]) == (1, "taxonomy", True)
    assert set(best["choice"]["chosen"].values()) <= set(serious.index)
    assert best["choice"]["low"] <= best["choice"]["difference"] <= best["choice"]["high"]
    for name in table.index.drop("flat"):
        assert load_taxonomy(str(folder / "taxonomies" / f"{name}.json")).emotions == read_flat(flat).classes
    assert read(folder / "taxonomies", f"{best['candidate']}.json") == best["taxonomy"]
    assert kind_of(folder) == "taxonomy"


def test_the_page_tells_what_must_not_be_compared(searched):
    folder, _ = searched
    text = (folder / "report.md").read_text()
    assert "whatever the grouping" in text
    assert "must not be compared" in text
    assert "Gates may not" in text
    assert "is optimistic" in text
    assert "No test face was used" in text
    assert {path.name for path in (folder / "figures").iterdir()} == {"mixing.png", "scores.png"}
    assert (folder / "report.html").read_text().count("data:image/png") == 2


def test_one_emotion_more_or_less_makes_other_groupings(flat_of_three, learner, tmp_path):
    folder = search(flat_of_three, learner, tmp_path, controls=5)
    study = read_taxonomy_study(folder)
    assert [one.text for one in study.candidates] == [
        "happy neutral | angry",
        "happy | angry neutral",
        "angry happy | neutral",
    ]
    assert list(study.left_out) == ["valence-neutral-apart"]
    assert any(len(one.origins) > 1 for one in study.candidates)  # what confusion suggests is one of them


def test_an_interrupted_search_is_resumed(flat_of_three, learner, tmp_path, monkeypatch, caught_logs):
    monkeypatch.setattr(learner, "interrupt_at", 4)
    with pytest.raises(KeyboardInterrupt, match=r"--resume taxonomy-flat"):
        search(flat_of_three, learner, tmp_path)
    folder = tmp_path / "logs" / "tuning" / "taxonomy-flat"
    assert not (folder / "best.json").exists()
    monkeypatch.setattr(learner, "interrupt_at", None)
    assert resume_taxonomies(folder, learner) == folder
    whole = [(name, faces) for name, faces, _ in learner.fitted]
    assert len(whole) == 7  # the flat network, and a gate and a specialist for each grouping, each once
    assert "finished already" in announced(caught_logs)
    first = read(folder)
    resume_taxonomies(folder, learner)
    assert len(learner.fitted) == 7
    assert read(folder) == first


def test_a_grouping_that_cannot_be_trained_does_not_end_the_search(flat_of_three, learner, tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "refuses", ("arousal",))
    folder = search(flat_of_three, learner, tmp_path)
    table = table_of(folder)
    assert table.loc["arousal", "status"] == "failed"
    assert "NaN" in table.loc["arousal", "message"]
    assert read(folder)["candidate"] in ("valence", "valence-neutral-negative")
    monkeypatch.setattr(learner, "refuses", ())
    resume_taxonomies(folder, learner)
    assert set(table_of(folder)["status"]) == {"completed"}


def test_no_grouping_that_can_be_trained_is_one_clear_line(flat_of_three, learner, tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "refuses", ("valence", "arousal", "flat"))
    with pytest.raises(UserError, match=r"no grouping could be trained.*NaN"):
        search(flat_of_three, learner, tmp_path)


def test_a_share_of_the_train_faces_is_the_same_for_all_stages(flat_of_three, learner, tmp_path):
    folder = search(flat_of_three, learner, tmp_path, fraction=0.5)
    faces = {name: count for name, count, _ in learner.fitted}
    assert (faces["flat"], faces["valence"], faces["arousal"]) == (24, 24, 24)
    study = read(folder, "study.json")
    assert study["data"]["train_used"] == 24
    assert any("50 %" in note for note in study["notes"])


def test_settings_of_the_flat_stage_become_those_of_all(flat_of_three, fer_folder, learner, tmp_path):
    config = settings(fer_folder, emotions=THREE)
    search(flat_of_three, learner, tmp_path, dataclasses.replace(config, stages={"flat": {"epochs": 3}}))
    assert {epochs for _, _, epochs in learner.fitted} == {3}
    hierarchical = dataclasses.replace(config, mode="hierarchical", stages={"valence": {"epochs": 3}})
    with pytest.raises(UserError, match="trains all stages alike; leave out the settings of stage valence"):
        search(flat_of_three, learner, tmp_path, hierarchical)


def test_nothing_is_trained_where_only_the_implied_is_requested(flat, learner, tmp_path):
    folder = search(flat, learner, tmp_path, implied=True, name="look")
    table, best = table_of(folder), read(folder)
    assert learner.fitted == []
    assert "flat" not in table.index
    assert not (folder / "candidates").exists()
    assert not best["trained"]
    assert best["score"] == pytest.approx(table.loc[best["candidate"], "implied_hard_macro_f1"].astype(float))
    assert table.loc["valence", "implied_of"] == 35
    assert 1 <= table.loc["valence", "implied_rank"] <= 35
    assert resume_taxonomies(folder, learner) == folder


def test_a_taxonomy_of_the_run_is_a_candidate_too(fer_folder, learner, tmp_path):
    own = {"name": "valence", "gate": "mine", "groups": {"a": ["angry", "happy"], "b": ["fear", "neutral", "sad"]}}
    config = settings(fer_folder, taxonomy=own, emotions=("angry", "fear", "happy", "sad", "neutral"))
    folder = search(write_flat(tmp_path / "results" / "mine", config), learner, tmp_path, implied=True)
    table = table_of(folder)
    assert table.loc["own", "groups"] == "angry happy | fear sad neutral"
    assert table.loc["own", "kind"] == "own"


def test_other_data_is_noted_and_changed_data_is_refused(flat_of_three, fer_folder, learner, tmp_path):
    config = dataclasses.replace(settings(fer_folder, emotions=THREE, limit=12), name=None)
    folder = search(flat_of_three, learner, tmp_path, config)
    assert any("other faces" in note for note in read(folder, "study.json")["notes"])
    run = tmp_path / "results" / "flat"
    shutil.copytree(flat_of_three, run)
    splits = pd.read_csv(run / "splits.csv")
    splits.iloc[1:].to_csv(run / "splits.csv", index=False)
    with pytest.raises(UserError, match="the data has changed since flat was started"):
        search(run, learner, tmp_path)
    with pytest.raises(UserError, match="which taxonomy 'valence' has in no group"):
        search(flat_of_three, learner, tmp_path, settings(fer_folder))


def test_data_of_fewer_emotions_is_refused(flat, fer_folder, learner, tmp_path):
    with pytest.raises(UserError, match=r"flat tells angry, disgust.*but the data angry, happy, neutral"):
        search(flat, learner, tmp_path, settings(fer_folder, emotions=THREE))


def test_runs_that_cannot_be_used_are_refused(flat, learner, tmp_path):
    run = tmp_path / "results" / "flat"
    shutil.copytree(flat, run)
    with pytest.raises(UserError, match="takes macro_f1, balanced_accuracy, accuracy, got 'nll'"):
        search(run, learner, tmp_path, objective="nll")
    (run / "config.json").write_text(json.dumps({**read(run, "config.json"), "mode": "hierarchical"}))
    with pytest.raises(UserError, match="flat is hierarchical; name a flat RUN"):
        search(run, learner, tmp_path, config=RunConfig())
    (run / "config.json").write_text(json.dumps({**read(run, "config.json"), "mode": "flat"}))
    predictions = run / "predictions_validation.csv"
    predictions.write_text(predictions.read_text().replace("p_sad", "sad"))
    with pytest.raises(UserError, match="damaged: column 'p_sad' is missing"):
        search(run, learner, tmp_path)
    (run / "metrics.json").unlink()
    with pytest.raises(UserError, match="flat is not finished"):
        search(run, learner, tmp_path)
    assert not (tmp_path / "logs" / "tuning").exists()


def test_a_damaged_study_is_one_clear_line(flat, learner, tmp_path):
    folder = search(flat, learner, tmp_path, implied=True)
    record = read(folder, "study.json")
    for broken, words in (
        ({"kind": "stage"}, "search of a stage"),
        ({"candidates": 3}, "damaged"),
        ({"format": 9}, "9"),
    ):
        (folder / "study.json").write_text(json.dumps({**record, **broken}))
        with pytest.raises(UserError, match=words):
            resume_taxonomies(folder, learner)


def test_synthetic_faces_are_called_so(flat, learner, tmp_path):
    run = tmp_path / "results" / "flat"
    shutil.copytree(flat, run)
    (run / "metrics.json").write_text(json.dumps({**read(run, "metrics.json"), "synthetic": True}))
    folder = search(run, learner, tmp_path, implied=True)
    assert folder.name == "synthetic-taxonomy-flat"
    assert read(folder, "study.json")["synthetic"]


@pytest.mark.slow
def test_a_tiny_search_with_networks(flat_of_three, tmp_path):
    config = settings(read(flat_of_three, "config.json")["data"]["data"], emotions=THREE)
    config = dataclasses.replace(config, stage=dataclasses.replace(config.stage, epochs=1))
    folder = search(flat_of_three, KerasStage, tmp_path, config)
    table = table_of(folder)
    assert set(table["status"]) == {"completed"}
    assert len(table) == 4
    assert (folder / "candidates" / "arousal" / "stages" / "high" / "model.keras").is_file()
    assert float(table.loc["valence", "parameters"]) > float(table.loc["flat", "parameters"])
