import warnings

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import (
    bootstrap_intervals,
    confusion_figures,
    corrected_t,
    difference_over_seeds,
    mcnemar,
    mean_std,
    paired_bootstrap,
)


def noisy_predictions(rows=600, classes=4, right=0.7, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, rows)
    return truth, np.where(draw.random(rows) < right, truth, draw.integers(0, classes, rows))


def plain_bootstrap(truth, predicted, score, resamples=400):
    draw = np.random.default_rng(9)
    picks = draw.integers(0, len(truth), (resamples, len(truth)))
    return np.percentile([score(truth[pick], predicted[pick]) for pick in picks], [2.5, 97.5])


def test_figures_agree_with_scikit_learn():
    truth, predicted = noisy_predictions()
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (truth, predicted), 1)
    figures = confusion_figures(confusion)
    assert figures["top1"] == pytest.approx(accuracy_score(truth, predicted))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert figures["weighted_f1"] == pytest.approx(f1_score(truth, predicted, average="weighted"))


def test_a_class_without_faces_is_left_out_of_the_averages():
    figures = confusion_figures([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert figures["balanced_accuracy"] == pytest.approx((0.75 + 1) / 2)
    assert figures["macro_f1"] == pytest.approx((6 / 7 + 8 / 9) / 2)
    assert figures["weighted_f1"] == pytest.approx((6 / 7 + 8 / 9) / 2), "both have four faces"


def test_drawing_cells_has_the_spread_of_drawing_faces():
    truth, predicted = noisy_predictions()
    drawn = bootstrap_intervals(truth, predicted, 4)
    plain = plain_bootstrap(truth, predicted, balanced_accuracy_score)
    np.testing.assert_allclose(drawn["balanced_accuracy"], plain, atol=0.008)
    assert set(drawn) == {"top1", "balanced_accuracy", "macro_f1", "weighted_f1"}


def test_interval_covers_the_figure_and_repeats_by_seed():
    truth, predicted = noisy_predictions()
    first, again, other = (bootstrap_intervals(truth, predicted, 4, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    low, high = first["top1"]
    assert low < (truth == predicted).mean() < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.775 * 0.225 / 600), rel=0.15)


def test_frames_of_one_person_widen_the_interval():
    draw = np.random.default_rng(2)
    truth = np.zeros(600, dtype=int)
    predicted = np.repeat(draw.integers(0, 2, 30), 20)  # all twenty frames of a person are right, or all wrong
    people = np.repeat([f"S{i}" for i in range(30)], 20)
    faces = bootstrap_intervals(truth, predicted, 2)["top1"]
    subjects = bootstrap_intervals(truth, predicted, 2, groups=people)["top1"]
    assert subjects[1] - subjects[0] > 3 * (faces[1] - faces[0])


def test_unknown_subjects_count_as_one_each():
    truth, predicted = noisy_predictions(100)
    unknown = np.array([None, "", np.nan, ""] * 25, dtype=object)
    assert bootstrap_intervals(truth, predicted, 4, groups=unknown) == bootstrap_intervals(truth, predicted, 4)


def test_many_subjects_are_drawn_in_blocks(monkeypatch):
    truth, predicted = noisy_predictions(200)
    people = np.arange(200) // 2
    whole = bootstrap_intervals(truth, predicted, 4, groups=people)
    monkeypatch.setattr("fer_hierarchy.hierarchy.evaluation.significance._BLOCK", 350)
    assert bootstrap_intervals(truth, predicted, 4, groups=people) == whole


def test_a_single_face_has_an_interval():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_intervals([1], [1], 3)["macro_f1"] == [1.0, 1.0]


def test_mcnemar_counts_only_disagreements():
    correct_a = np.array([True] * 10 + [False] * 0 + [True] * 50)
    correct_b = np.array([False] * 10 + [True] * 50)
    assert mcnemar(correct_a, correct_b) == {"a_only": 10, "b_only": 0, "p": pytest.approx(2 * 0.5**10)}
    assert mcnemar(correct_a, correct_a)["p"] == 1.0


def test_paired_differences_are_b_minus_a_and_tighter_than_unpaired():
    truth, worse = noisy_predictions(2000, right=0.6)
    better = worse.copy()
    better[:60] = truth[:60]
    result = paired_bootstrap(truth, worse, better, 4)
    top1 = result["top1"]
    assert top1["difference"] == pytest.approx((better == truth).mean() - (worse == truth).mean())
    assert 0 < top1["low"] < top1["difference"] < top1["high"]
    alone = bootstrap_intervals(truth, worse, 4)["top1"]
    assert top1["high"] - top1["low"] < (alone[1] - alone[0]) / 2


def test_equal_models_differ_by_nothing():
    truth, predicted = noisy_predictions(50)
    for figure in paired_bootstrap(truth, predicted, predicted, 4, groups=np.arange(50) // 5).values():
        assert figure == {"difference": 0, "low": 0, "high": 0}


def test_mean_and_sample_deviation_over_seeds():
    assert mean_std([0.6, 0.7, 0.8]) == {"mean": pytest.approx(0.7), "std": pytest.approx(0.1), "n": 3}
    assert mean_std([0.5]) == {"mean": 0.5, "std": None, "n": 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_intervals([], [], 2), "the same faces"),
        (lambda: bootstrap_intervals([0, 1], [0], 2), "the same faces"),
        (lambda: bootstrap_intervals([0, 2], [0, 1], 2), "outside 0 to 1"),
        (lambda: bootstrap_intervals([0], [0], 2, resamples=0), "got 0 resamples"),
        (lambda: bootstrap_intervals([0, 1], [0, 1], 2, groups=["a"]), "1 subjects for 2 faces"),
        (lambda: mcnemar([True], [True, False]), "the same faces"),
        (lambda: mean_std([]), "no values"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def trainings(truth, rights, draw, classes=4):
    """Predictions of one configuration, a training for each share of right ones."""
    wrong = (truth + draw.integers(1, classes, (len(rights), len(truth)))) % classes
    return list(np.where(draw.random((len(rights), len(truth))) < np.array(rights)[:, None], truth, wrong))


def test_a_difference_over_seeds_covers_the_true_one_as_often_as_it_says():
    draw, covered, faces_alone = np.random.default_rng(0), 0, 0
    for trial in range(150):
        truth = draw.integers(0, 2, 400)
        first, second = (trainings(truth, draw.normal(mean, 0.03, 3), draw, classes=2) for mean in (0.60, 0.64))
        found = difference_over_seeds(truth, first, second, 2, resamples=100, seed=trial)["top1"]
        covered += found["low"] <= 0.04 <= found["high"]
        single = paired_bootstrap(truth, first[0], second[0], 2, resamples=100, seed=trial)["top1"]
        faces_alone += single["low"] <= 0.04 <= single["high"]
    assert covered >= 139, "95 % of 150 are 142"
    assert faces_alone < 135, "an interval of one training each, which knows nothing of seeds, promises too much"


def test_seeds_that_agree_leave_the_uncertainty_of_the_faces():
    truth, predicted = noisy_predictions(seed=1)
    other = noisy_predictions(right=0.8, seed=1)[1]
    found = difference_over_seeds(truth, [predicted] * 3, [other] * 2, 4)["top1"]
    expected = paired_bootstrap(truth, predicted, other, 4)["top1"]
    assert found["difference"] == pytest.approx(expected["difference"])
    assert [found["low"], found["high"]] == pytest.approx([expected["low"], expected["high"]], abs=0.005)
    same = difference_over_seeds(truth, [predicted] * 2, [predicted] * 2, 4)["top1"]
    assert same == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_seeds_that_scatter_make_a_clear_difference_unclear():
    draw, truth = np.random.default_rng(0), noisy_predictions(3000)[0]
    steady = difference_over_seeds(
        truth, trainings(truth, (0.6, 0.6, 0.6), draw), trainings(truth, (0.65, 0.65, 0.65), draw), 4
    )
    shaky = difference_over_seeds(
        truth, trainings(truth, (0.5, 0.6, 0.7), draw), trainings(truth, (0.55, 0.65, 0.75), draw), 4
    )
    assert steady["top1"]["low"] > 0
    assert steady["top1"]["p"] < 0.05
    assert shaky["top1"]["low"] < 0 < shaky["top1"]["high"]
    assert shaky["top1"]["p"] > 0.3


def test_one_training_has_no_spread_over_seeds():
    truth, predicted = noisy_predictions()
    with pytest.raises(UserError, match="needed at least two of each"):
        difference_over_seeds(truth, [predicted], [predicted, predicted], 4)


def test_the_corrected_test_is_more_careful_than_the_plain_one():
    """For five folds the error is 1.5 times as wide: 1/5 + 1/4 instead of 1/5."""
    differences = [0.01, 0.03, 0.02, 0.04, 0.005]
    plain = ttest_1samp(differences, 0)
    assert corrected_t(differences, folds=5) == pytest.approx(2 * student.sf(plain.statistic / 1.5, 4))
    assert corrected_t(differences, folds=5) > plain.pvalue
    assert corrected_t([0.1, 0.1], folds=2) is None
    assert corrected_t([0.1], folds=2) is None
