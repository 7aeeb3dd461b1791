"""Searching a composition on made-up validation predictions: what is found, how it is reported, what is refused."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import ANNOUNCED
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.tuning.composition import fit as fitting
from fer_hierarchy.tuning.composition.fit import Parameter, measure, search_factors
from fer_hierarchy.tuning.composition.runs import faces_of, read_runs
from fer_hierarchy.tuning.composition.search import search_composition
from tests.composed_runs import SEVEN, faces, posterior, write_run

FACES = 280
COMMAND = "python tf_model.py --mode tune --stage composition tree"


@pytest.fixture(autouse=True)
def quick_search(monkeypatch):
    monkeypatch.setattr(fitting, "_GENERATIONS", 4)
    monkeypatch.setattr(fitting, "_GENERATIONS_BEFORE_POLISH", 2)
    monkeypatch.setattr(fitting, "_POPULATION", 3)
    monkeypatch.setattr(fitting, "RESAMPLES", 200)


def truth(seed=0, n=FACES):
    return np.random.default_rng(seed).permutation(np.arange(n) % 7)


def leaning_gate(table, strength):
    """A gate that favours the positive group by a factor, as one trained on other priors would."""
    gate = table @ np.eye(2)[list(SEVEN.group_index)]
    gate = gate * [strength, 1.0]
    return gate / gate.sum(axis=1, keepdims=True)


@pytest.fixture
def tree(tmp_path):
    """A hierarchical run whose gate sends far too many faces to the positive group."""
    labels = truth()
    table = posterior(labels, np.random.default_rng(1))
    return write_run(tmp_path / "results" / "tree", faces(labels), table, gate=leaning_gate(table, 30))


@pytest.fixture
def flat(tmp_path):
    """A flat run that is much better than the hierarchy."""
    labels = truth()
    table = posterior(labels, np.random.default_rng(2), strength=3.0)
    return write_run(tmp_path / "results" / "flat", faces(labels), table, mode="flat")


def search(tmp_path, *runs, objective="macro_f1", seed=0, name=None):
    studies = tmp_path / "studies"
    return search_composition(runs, objective=objective, seed=seed, name=name, studies=studies, command=COMMAND)


def announced(caught_logs):
    return "\n".join(record.getMessage() for record in caught_logs.records if hasattr(record, ANNOUNCED))


def read(folder, name="best.json"):
    return json.loads((folder / name).read_text())


def test_a_leaning_gate_is_found_and_its_gain_holds_on_faces_that_were_not_fitted(tmp_path, tree, caught_logs):
    folder = search(tmp_path, tree)
    best = read(folder)
    worth = best["cross_validated"]
    assert worth["better"]
    assert worth["low"] > 0.02
    assert worth["tuned"] - worth["neutral"] == pytest.approx(worth["difference"])
    assert best["score"] > worth["neutral"]
    assert (worth["n"], worth["folds"]) == (FACES, 5)
    *table, line = announced(caught_logs).splitlines()
    assert [row.split("  ")[0] for row in table[1:]] == [
        "soft composition (neutral)",
        "temperatures only",
        "prior strengths only",
        "all together (chosen)",
    ]
    assert f"{100 * worth['tuned']:.1f}  {100 * worth['difference']:+.1f} (" in re.sub(" {2,}", "  ", table[-1])
    assert f"n = {FACES} validation faces" in line
    assert "more than noise" in line


def test_best_json_holds_what_can_be_applied(tmp_path, tree):
    folder = search(tmp_path, tree)
    best = read(folder)
    combiner = Combiner.from_dict(best["recomposition"], where="best.json")
    evaluated = faces_of(*read_runs([tree]), seed=0)
    assert measure(combiner.mix(evaluated.logs), evaluated.labels, "macro_f1") == pytest.approx(best["score"])
    assert (best["format"], best["kind"], best["run"], best["flat"]) == (1, "composition", "tree", None)
    assert set(combiner.temperatures) == set(combiner.prior_strengths) == {"valence", "positive", "negative"}
    assert combiner.flat is None


def test_the_study_tells_what_it_was_made_from(tmp_path, tree, flat):
    folder = search(tmp_path, tree, flat)
    assert folder.name == "composition-tree-with-flat"
    study = read(folder, "study.json")
    assert (study["format"], study["kind"], study["n"], study["by"]) == (1, "composition", FACES, "face")
    assert study["command"] == COMMAND
    assert {role: run["run"] for role, run in study["runs"].items()} == {"tree": "tree", "flat": "flat"}
    assert study["fingerprints"]["run"] != study["fingerprints"]["flat"]
    assert set(study["space"]) >= {"temperature valence", "prior negative", "blend", "temperature flat"}


def test_each_factor_is_tried_alone(tmp_path, tree, flat):
    table = pd.read_csv(search(tmp_path, tree, flat) / "trials.csv").set_index("factor")
    assert list(table.index) == ["none", "flat alone", "temperatures", "priors", "blend", "all"]
    assert table.loc["priors", ["temperature valence", "blend"]].isna().all()
    assert table.loc["temperatures", "temperature valence":"temperature negative"].notna().all()
    assert table.loc["blend", "difference"] > 0.1
    assert table.loc["none", "difference"] == 0
    assert table.loc["all", "searched"] == 8
    alone = pd.read_csv(search(tmp_path, tree) / "trials.csv")["factor"].tolist()
    assert alone == ["none", "temperatures", "priors", "all"]


def test_a_much_better_flat_run_gets_a_large_share(tmp_path, tree, flat):
    best = read(search(tmp_path, tree, flat))
    assert best["recomposition"]["blend"] > 0.3
    assert best["recomposition"]["flat"] == "flat"
    assert best["cross_validated"]["flat"]["score"] > best["cross_validated"]["neutral"]


def test_a_flat_run_elsewhere_is_named_by_its_path(tmp_path, tree):
    labels = truth()
    table = posterior(labels, np.random.default_rng(2), strength=3.0)
    other = write_run(tmp_path / "elsewhere" / "flat", faces(labels), table, mode="flat")
    assert faces_of(*read_runs([tree, other]), seed=0).flat == str(other.resolve())


def test_nothing_to_gain_is_called_noise(tmp_path, caught_logs):
    labels = truth(3)
    table = posterior(labels, np.random.default_rng(4), strength=2.0)
    folder = search(tmp_path, write_run(tmp_path / "results" / "fine", faces(labels), table))
    assert not read(folder)["cross_validated"]["better"]
    assert "no more than noise" in announced(caught_logs)
    assert "No more than noise" in (folder / "report.md").read_text()


def test_the_likelihood_finds_a_stage_that_is_too_sure_of_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "FACTORS", {})  # all together only
    labels = truth(5, 420)
    table = posterior(labels, np.random.default_rng(6))
    shares = table @ np.eye(2)[list(SEVEN.group_index)]
    sure = shares**3 / (shares**3).sum(axis=1, keepdims=True)
    run = write_run(tmp_path / "results" / "sure", faces(labels), table, gate=sure)
    best = read(search(tmp_path, run, objective="nll"))
    assert best["recomposition"]["temperatures"]["valence"] == pytest.approx(3, rel=0.2)
    worth = best["cross_validated"]
    assert worth["better"]
    assert worth["high"] < 0
    assert worth["tuned"] < worth["neutral"]


def test_the_seed_decides_and_repeats_the_search(tmp_path, tree):
    first, again = (read(search(tmp_path, tree, seed=3)) for _ in range(2))
    assert again["study"] == "composition-tree-2"
    assert {**again, "study": ""} == {**first, "study": ""}


def test_the_labels_of_a_fold_do_not_change_the_values_that_it_is_evaluated_with(tree, flat):
    evaluated = faces_of(*read_runs([tree, flat]), seed=0)
    inside = evaluated.folds == 2
    relabelled = dataclasses.replace(evaluated, labels=np.where(inside, (evaluated.labels + 1) % 7, evaluated.labels))
    kept, changed = (search_factors(one, objective="macro_f1", seed=0)[-1] for one in (evaluated, relabelled))
    assert kept.folds[2] == changed.folds[2]
    assert kept.folds[1] != changed.folds[1]
    np.testing.assert_array_equal(kept.predictions[:, inside], changed.predictions[:, inside])


@pytest.mark.parametrize("order", ["macro_f1", "balanced_accuracy", "accuracy", "nll"])
def test_scores_are_those_of_scikit_learn(order):
    labels = truth(7)
    table = posterior(labels, np.random.default_rng(8))
    predicted = table.argmax(axis=1)
    expected = {
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "accuracy": (labels == predicted).mean(),
        "nll": log_loss(labels, table),
    }
    assert measure(np.log(table).T, labels, order) == pytest.approx(expected[order])


def test_people_stay_whole_in_folds_and_intervals(tmp_path):
    labels = truth(9)
    people = [f"S{i // 4:02d}" for i in range(FACES)]
    table = posterior(labels, np.random.default_rng(1))
    run = write_run(tmp_path / "results" / "people", faces(labels, subjects=people), table)
    evaluated = faces_of(*read_runs([run]), seed=0)
    assert pd.Series(evaluated.folds).groupby(people).nunique().max() == 1
    assert len(set(evaluated.persons)) == FACES // 4
    assert read(search(tmp_path, run), "study.json")["by"] == "subject"


def test_rare_emotions_get_fewer_folds(tmp_path):
    labels = np.array([*truth(0, 140), *[0] * 20])
    labels = labels[(labels != 1) | (np.cumsum(labels == 1) <= 3)]
    run = write_run(tmp_path / "results" / "rare", faces(labels), posterior(labels, np.random.default_rng(0)))
    assert set(faces_of(*read_runs([run]), seed=0).folds) == {1, 2, 3}


def test_the_report_stands_alone_and_states_what_was_read(tmp_path, tree, flat):
    folder = search(tmp_path, tree, flat)
    page = (folder / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/png") == 1
    text = (folder / "report.md").read_text()
    for message in (
        "Test predictions were not read",
        "the flat run alone",
        "without the face that is evaluated",
        COMMAND,
    ):
        assert message in text
    assert "--composition composition-tree-with-flat" in text
    folds = pd.read_csv(folder / "folds.csv")
    assert folds.groupby("factor")["faces"].sum().eq(FACES).all()


def test_synthetic_faces_are_called_synthetic(tmp_path, caught_logs):
    labels = truth()
    table = posterior(labels, np.random.default_rng(1))
    drawn = write_run(tmp_path / "results" / "drawn", faces(labels), table, synthetic=True)
    folder = search(tmp_path, drawn)
    assert folder.name == "synthetic-composition-drawn"
    assert read(folder, "study.json")["synthetic"]
    assert "SYNTHETIC faces" in announced(caught_logs)
    assert "SYNTHETIC FACES" in (folder / "report.md").read_text()


def test_values_at_the_end_of_their_range_are_known():
    strength, share = Parameter(kind="prior", stage="valence"), Parameter(kind="blend", stage="flat")
    assert strength.at_bound(Combiner(prior_strengths={"valence": 1.5}))
    assert not strength.at_bound(Combiner(prior_strengths={"valence": 1.2}))
    assert not share.at_bound(Combiner())  # no blend is no end, it is neutral
    assert share.at_bound(Combiner(blend=1.0, flat="f"))


def refusals(tmp_path, tree, flat):
    """Message -> runs that are refused with it."""
    labels = truth()
    table = posterior(labels, np.random.default_rng(1))

    def made(name, rows, predictions=table, **facts):
        return write_run(tmp_path / "results" / name, rows, predictions, **facts)

    relabelled = np.roll(labels, 1)
    other = TAXONOMIES["valence"].exclude(["contempt", "disgust"])
    few = np.arange(FACES) % 6
    fewer = posterior(few, np.random.default_rng(1), classes=6)
    judging = made("judging", faces(labels), trained_on={"run": "tree"}, mode="evaluation")
    (judging / "stages").rmdir()
    begun = made("begun", faces(labels))
    (begun / "metrics.json").unlink()
    return {
        "got 0 runs": [],
        "got 3 runs": [tree, flat, tree],
        "flat is flat, without stages to compose": [flat],
        "the second run, tree, is not flat": [tree, tree],
        "judging is an evaluation; name the run that it evaluated: tree": [judging],
        "begun is not finished": [begun],
        "differ in label or picture of": [tree, made("swapped", faces(relabelled), mode="flat")],
        "have different validation faces (280 and 140, 140 in common)": [
            tree,
            made("half", faces(labels)[:140], table[:140], mode="flat"),
        ],
        "know different emotions": [
            tree,
            made("six", faces(few, taxonomy=other), fewer, taxonomy=other, mode="flat"),
        ],
    }


def test_runs_that_do_not_fit_are_refused_in_one_line(tmp_path, tree, flat):
    for message, runs in refusals(tmp_path, tree, flat).items():
        with pytest.raises(UserError) as caught:
            search(tmp_path, *runs)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.drop(columns="given_sad"), "column 'given_sad' is missing"),
        (lambda t: t.assign(gate_positive="high"), "column 'gate_positive' holds something other than numbers"),
        (lambda t: t.assign(true="bored"), "true 'bored' is none of"),
        (lambda t: pd.concat([t, t[:1]]), "row 'face0000' stands there twice"),
        (lambda t: t[:-1], "tell different validation faces"),
        (lambda t: t.assign(gate_positive=0.9, gate_negative=0.9), "sums to 1.8"),
        (lambda t: t[:0], "it holds no rows"),
    ],
)
def test_damaged_predictions_are_named(tmp_path, tree, damage, message):
    path = tree / "predictions_validation.csv"
    damage(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"predictions_validation\.csv") as caught:
        search(tmp_path, tree)
    assert message in str(caught.value)


def test_a_name_that_is_taken_is_refused(tmp_path, tree):
    search(tmp_path, tree, name="mine")
    with pytest.raises(UserError, match="exists already"):
        search(tmp_path, tree, name="mine")
    with pytest.raises(UserError, match="--objective: expected one of macro_f1"):
        search(tmp_path, tree, objective="f1")
