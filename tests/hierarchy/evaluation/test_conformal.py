"""Predictions with a guarantee: what the scores mean, whether the promise is kept, and what is refused."""

import json
import math

import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation import conformal
from fer_hierarchy.hierarchy.evaluation.conformal import Guarantee, Promise, node_level, node_name
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
ALONE = TAXONOMIES["valence-neutral-apart"].exclude(["contempt"])


def draw(n, seed, classes=7):
    """Faces whose labels follow their probabilities."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(classes, 0.5), n)
    return table, (table.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def guarantee(n=1500, seed=0, taxonomy=SEVEN):
    table, labels = draw(n, seed)
    return Guarantee.fit(table, labels, taxonomy, data="fer2013", apart=True)


def held(nodes, labels, taxonomy):
    groups = np.array(taxonomy.group_index)
    emotions = len(groups)
    return (nodes == labels) | (nodes == emotions + groups[labels]) | (nodes == emotions + len(taxonomy.groups))


@pytest.mark.parametrize("taxonomy", [SEVEN, ALONE], ids=lambda taxonomy: taxonomy.name)
def test_a_node_score_is_the_least_threshold_whose_deepest_node_holds_the_class(taxonomy):
    table, _ = draw(200, 3)
    scores, groups = conformal.node_scores(table, taxonomy), np.array(taxonomy.group_index)
    for threshold in (0.0, 0.2, 0.5, 0.8, 0.99):
        for row, own in zip(table, scores, strict=True):
            likeliest = row.argmax()
            inside = groups == groups[likeliest]
            node = np.eye(7, dtype=bool)[likeliest] if row[likeliest] > threshold else inside
            node = node if row[node].sum() > threshold else np.ones(7, dtype=bool)
            assert ((own <= threshold) == node).all()


@pytest.mark.parametrize("each", [False, True])
def test_new_faces_are_covered_as_often_as_promised(each):
    covered, by_class = [], []
    for seed in range(40):
        thresholds, (table, labels) = guarantee(600, seed), draw(600, 1000 + seed)
        promise = Promise(coverage=0.9, each=each)
        right = held(thresholds.nodes(table, SEVEN, promise), labels, SEVEN)
        sets = thresholds.sets(table, SEVEN, promise)[np.arange(600), labels]
        covered.append((right.mean(), sets.mean()))
        by_class.append([sets[labels == number].mean() for number in range(7)])
    nodes, sets = np.mean(covered, axis=0)
    assert nodes >= 0.895
    assert sets >= 0.895
    if each:
        assert min(np.mean(by_class, axis=0)) >= 0.885
    else:
        assert nodes <= 0.91
        assert sets <= 0.91


def test_a_higher_coverage_gives_the_same_or_a_larger_node():
    table, _ = draw(300, 5)
    thresholds = guarantee()
    sizes = [
        [
            {"emotion": 1, "group": 4, "any": 7}[node_level(node, SEVEN)]
            for node in thresholds.nodes(table, SEVEN, Promise(coverage=coverage))
        ]
        for coverage in (0.5, 0.7, 0.9, 0.95, 0.99)
    ]
    assert (np.diff(sizes, axis=0) >= 0).all()
    assert np.ptp(sizes) == 6


def test_nodes_have_the_names_of_emotions_groups_and_any():
    sets = np.zeros((4, 7), dtype=bool)
    sets[0, 2] = sets[1, [0, 4]] = sets[2, [0, 3]] = sets[3, 6] = True
    nodes = conformal.nodes_of(sets, ALONE)
    assert [node_name(node, ALONE) for node in nodes] == ["fear", "negative", "any", "neutral"]
    assert [node_level(node, ALONE) for node in nodes] == ["emotion", "group", "any", "emotion"]


def test_sets_of_lac_are_those_of_mapie():  # whose APS draws at random, and cannot be equal
    mapie = pytest.importorskip("mapie.classification")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(7)

        def fit(self, _faces, _labels):
            return self

        def predict_proba(self, faces):
            return faces

        def predict(self, faces):
            return faces.argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    (table, labels), (new, _) = draw(400, 0), draw(300, 1)
    model = mapie.SplitConformalClassifier(Given(), confidence_level=0.9, conformity_score="lac", prefit=True)
    theirs = model.conformalize(table, labels).predict_set(new)[1][:, :, 0]
    threshold = conformal.conformal_threshold(conformal.lac_scores(table)[np.arange(400), labels], 0.9)
    assert (theirs == (conformal.lac_scores(new) <= threshold)).all()


def test_too_few_faces_of_an_emotion_let_nothing_be_ruled_out():
    table, labels = draw(300, 0)
    few = np.concatenate([np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)[:5]])
    thresholds = Guarantee.fit(table[few], labels[few], SEVEN, data="x", apart=True)
    each = thresholds.at("lac", Promise(coverage=0.9, each=True))
    assert math.isinf(each[1])
    assert np.isfinite(np.delete(each, 1)).all()
    new, _ = draw(50, 9)
    assert thresholds.sets(new, SEVEN, Promise(coverage=0.9, each=True))[:, 1].all()
    assert Guarantee.from_dict(json.loads(json.dumps(thresholds.to_dict())), classes=7) == Guarantee.from_dict(
        thresholds.to_dict(), classes=7
    )


def test_stored_thresholds_predict_as_those_that_were_fitted():
    table, _ = draw(400, 2)
    fitted = guarantee()
    stored = Guarantee.from_dict(json.loads(json.dumps(fitted.to_dict())), classes=7)
    for each in (False, True):
        promise = Promise(coverage=0.93, each=each, sets="aps")
        assert (fitted.nodes(table, SEVEN, promise) == stored.nodes(table, SEVEN, promise)).all()
        assert (fitted.sets(table, SEVEN, promise) == stored.sets(table, SEVEN, promise)).all()


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 1.5, 0.3, 0.995, math.nan])
def test_a_coverage_that_cannot_be_promised_is_refused(coverage):
    with pytest.raises(UserError, match="coverage: expected"):
        Promise(coverage=coverage)


def test_no_calibration_faces_are_refused():
    with pytest.raises(UserError, match="no calibration faces"):
        Guarantee.fit(np.zeros((0, 7)), [], SEVEN, data="x", apart=True)
