import json
import time
import warnings

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, top_k_accuracy_score

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import (
    class_indices,
    emotion_scores,
    hierarchical_scores,
    scores,
    stage_scores,
    top_shares,
)
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES

VALENCE = TAXONOMIES["valence"].exclude(["contempt"])
APART = TAXONOMIES["valence-neutral-apart"].exclude(["contempt"])
SCORE_KEYS = {
    *("n", "classes", "top1", "top2", "top3", "balanced_accuracy", "macro_f1", "weighted_f1", "nll", "ece"),
    *("intervals", "per_class", "confusion", "reliability"),
}


def random_faces(taxonomy, rows=300, seed=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, len(taxonomy.emotions), rows)
    table = draw.dirichlet(np.ones(len(taxonomy.emotions)), rows) + np.eye(len(taxonomy.emotions))[labels] * 0.3
    return np.array(taxonomy.emotions)[labels], table / table.sum(axis=1, keepdims=True)


def test_scores_agree_with_scikit_learn_and_go_into_json():
    names, table = random_faces(VALENCE)
    result = scores(names, table, VALENCE.emotions, resamples=50)
    labels = class_indices(names, VALENCE.emotions)
    assert set(result) == SCORE_KEYS
    assert result["n"] == 300
    assert result["top2"] == pytest.approx(top_k_accuracy_score(labels, table, k=2))
    assert result["top3"] == pytest.approx(top_k_accuracy_score(labels, table, k=3))
    assert result["weighted_f1"] == pytest.approx(f1_score(labels, table.argmax(axis=1), average="weighted"))
    assert result["nll"] == pytest.approx(log_loss(labels, table))
    assert np.sum(result["confusion"]) == 300
    assert np.trace(result["confusion"]) / 300 == pytest.approx(result["top1"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_names_and_indices_are_the_same_labels():
    names, table = random_faces(VALENCE, 40)
    by_index = scores(class_indices(names, VALENCE.emotions), table, VALENCE.emotions, resamples=20)
    assert scores(names, table, VALENCE.emotions, resamples=20) == by_index


def test_undefined_figures_are_none_and_left_out_of_the_averages():
    table = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = scores(["happy", "happy", "sad"], table, ("happy", "sad", "fear"), resamples=20)
    unseen = result["per_class"][2]
    assert unseen == {"class": "fear", "precision": None, "recall": None, "f1": None, "support": 0}
    assert result["balanced_accuracy"] == result["macro_f1"] == 1
    json.dumps(result, allow_nan=False)


def test_a_class_never_predicted_has_recall_and_f1_zero():
    result = scores([0, 1], [[0.9, 0.1], [0.8, 0.2]], ("a", "b"), resamples=20)
    assert result["per_class"][1] == {"class": "b", "precision": None, "recall": 0, "f1": 0, "support": 1}


def test_top2_and_top3_need_as_many_classes():
    two = scores([0, 1], [[0.1, 0.9], [0.9, 0.1]], ("a", "b"), resamples=5)
    assert (two["top2"], two["top3"]) == (1, None)
    assert scores([0], [[1.0]], ("a",), resamples=5)["top2"] is None


def test_equal_probabilities_count_in_class_order():
    assert top_shares([2, 3], [[0.25] * 4, [0.25] * 4]) == {"top2": 0.0, "top3": 0.5}


def test_a_ruled_out_true_class_keeps_the_likelihood_finite():
    assert 30 < scores([1], [[1.0, 0.0]], ("a", "b"), resamples=5)["nll"] < 40


def test_emotion_scores_add_the_group_level():
    names, table = random_faces(APART)
    result = emotion_scores(names, table, APART, resamples=20)
    assert set(result) == SCORE_KEYS | {"hierarchical", "group"}
    group_of = np.array([APART.group_of(name) for name in names])
    summed = HierarchicalClassifier(APART).imply(table)[0]
    assert result["group"] == scores(group_of, summed, APART.group_names, resamples=20)


def test_emotion_scores_use_the_gate_when_given_one():
    names, table = random_faces(VALENCE, 30)
    gate = np.eye(2)[[VALENCE.group_names.index(VALENCE.group_of(name)) for name in names]]
    assert emotion_scores(names, table, VALENCE, gate=gate, resamples=20)["group"]["top1"] == 1


def test_hierarchical_figures_are_the_mean_of_both_levels_where_groups_are_large():
    names, table = random_faces(VALENCE)
    result = emotion_scores(names, table, VALENCE, resamples=20)
    groups = np.array(VALENCE.group_index)
    labels, predicted = class_indices(names, VALENCE.emotions), table.argmax(axis=1)
    both = ((labels == predicted).mean() + (groups[labels] == groups[predicted]).mean()) / 2
    assert result["hierarchical"] == pytest.approx({"precision": both, "recall": both, "f1": both})


def test_a_group_of_one_emotion_counts_as_one_node():
    happy, surprise, neutral = (APART.emotions.index(e) for e in ("happy", "surprise", "neutral"))
    # Nodes: true {positive, happy} twice and {neutral}; predicted {positive, surprise}, {neutral}, {neutral}; shared 2.
    result = hierarchical_scores([happy, happy, neutral], [surprise, neutral, neutral], APART)
    assert result == pytest.approx({"precision": 2 / 4, "recall": 2 / 5, "f1": 4 / 9})


def test_specialists_are_scored_on_every_face_of_their_group():
    names, table = random_faces(VALENCE)
    _, specialists = HierarchicalClassifier(VALENCE).imply(table)
    always_wrong = 1 - np.eye(2)[[VALENCE.group_names.index(VALENCE.group_of(name)) for name in names]]
    result = stage_scores(names, always_wrong, specialists, VALENCE, resamples=20)
    assert list(result) == ["valence", "positive", "negative"]
    assert result["valence"]["top1"] == 0
    for group in VALENCE.group_names:
        rows = np.isin(names, VALENCE.members(group))
        expected = scores(names[rows], specialists[group][rows], VALENCE.members(group), resamples=20)
        assert result[group] == expected


def test_a_specialist_without_faces_is_left_out():
    names, table = random_faces(VALENCE, 60)
    rows = np.isin(names, VALENCE.members("positive"))
    gate, specialists = HierarchicalClassifier(VALENCE).imply(table[rows])
    assert set(stage_scores(names[rows], gate, specialists, VALENCE, resamples=20)) == {"valence", "positive"}


def test_subjects_reach_the_intervals():
    names, table = random_faces(VALENCE, 60)
    people = np.arange(60) // 10
    gate, specialists = HierarchicalClassifier(VALENCE).imply(table)
    plain, grouped = (emotion_scores(names, table, VALENCE, groups=groups) for groups in (None, people))
    assert plain["intervals"] != grouped["intervals"]
    assert plain["top1"] == grouped["top1"]
    assert stage_scores(names, gate, specialists, VALENCE, groups=people, resamples=20)


def test_a_full_test_split_takes_no_time():
    names, table = random_faces(VALENCE, 3589)
    start = time.process_time()
    emotion_scores(names, table, VALENCE)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("labels", "table", "message"),
    [
        (["happy"], [[0.5, 0.5]], "'happy' is none of the classes sad, fear"),
        ([2], [[0.5, 0.5]], "'2' is none of the classes"),
        ([-1], [[0.5, 0.5]], "'-1' is none of the classes"),
        ([0, 1], [[0.5, 0.5]], "2 labels and 1 predictions"),
        ([], np.zeros((0, 2)), "at least one"),
        ([0], [[0.5, 0.6]], "sums to 1.1"),
        ([0], [[0.5, 0.3, 0.2]], "shape"),
        ([[0]], [[0.5, 0.5]], "one label a face"),
    ],
)
def test_bad_input_is_one_clear_line(labels, table, message):
    with pytest.raises(UserError, match=message) as error:
        scores(labels, table, ("sad", "fear"))
    assert "\n" not in str(error.value)
