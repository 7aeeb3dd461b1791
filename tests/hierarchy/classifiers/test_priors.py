"""The prior of composed probabilities: what the network saw, less what its calibration has undone."""

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.priors import prior_of, validation_facts
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import fit_biases
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
TRAIN = dict(zip(SEVEN.emotions, (400, 40, 410, 720, 480, 320, 500), strict=True))
NATURAL = np.array(list(TRAIN.values())) / sum(TRAIN.values())


def stages(mode="hierarchical", *, levels=False, corrected=False, shared=False):
    made = {}
    for name in SEVEN.stages(mode):
        classes = SEVEN.stage_classes(name)
        made[name] = KerasStage(
            name=name,
            classes=classes,
            columns=(0, len(classes)) if shared else None,
            log_prior_shift=(0.1,) * len(classes) if corrected else None,
            record={"levels_prior": levels},
        )
    return made


@pytest.mark.parametrize("mode", ["hierarchical", "flat"])
@pytest.mark.parametrize("balance", [{}, {"levels": True, "corrected": True}], ids=["none", "corrected"])
def test_the_shares_of_the_train_faces_where_balancing_was_undone(mode, balance):
    np.testing.assert_allclose(prior_of(stages(mode, **balance), SEVEN, TRAIN), NATURAL)


def test_level_shares_where_balancing_was_not_undone():
    np.testing.assert_allclose(prior_of(stages("flat", levels=True), SEVEN, TRAIN), np.full(7, 1 / 7))
    np.testing.assert_allclose(prior_of(stages(levels=True, shared=True), SEVEN, TRAIN), np.full(7, 1 / 7))


def test_three_networks_level_their_own_classes_each():
    by_emotion = dict(zip(SEVEN.emotions, prior_of(stages(levels=True), SEVEN, TRAIN), strict=True))
    assert by_emotion["happy"] == pytest.approx(1 / 6)
    assert by_emotion["disgust"] == pytest.approx(1 / 8)


def test_stages_of_different_balance_are_multiplied_along_the_path():
    mixed = stages() | {"negative": stages(levels=True)["negative"]}
    by_emotion = dict(zip(SEVEN.emotions, prior_of(mixed, SEVEN, TRAIN), strict=True))
    negative = (400 + 40 + 410 + 480) / sum(TRAIN.values())
    assert by_emotion["disgust"] == pytest.approx(negative / 4)
    assert by_emotion["happy"] == pytest.approx(NATURAL[3])


def test_an_emotion_without_train_faces_has_no_prior():
    with pytest.raises(UserError, match="no train face of 'disgust'"):
        prior_of(stages(), SEVEN, TRAIN | {"disgust": 0})


def biased(count=4000):
    """Labels of natural shares, and probabilities whose slope is halved and whose disgust is lifted."""
    rng = np.random.default_rng(0)
    labels = rng.choice(7, count, p=NATURAL)
    points = 2.0 * np.eye(7)[labels] + rng.standard_normal((count, 7))
    logits = 2 * points + np.log(NATURAL)
    wrong = 0.5 * logits + np.eye(7)[1]
    table = np.exp(wrong)
    return labels, table / table.sum(axis=1, keepdims=True)


def test_biases_undo_what_is_wrong_with_each_class():
    labels, table = biased()
    slope, biases = fit_biases(table, labels)
    assert slope == pytest.approx(2, abs=0.1)
    assert biases.argmin() == 1


def test_calibrated_probabilities_occur_as_often_as_the_emotions():
    labels, table = biased()
    columns = {f"p_{emotion}": table[:, at] for at, emotion in enumerate(SEVEN.emotions)}
    facts = validation_facts(pd.DataFrame({"true": np.array(SEVEN.emotions)[labels], **columns}), SEVEN)
    shares = np.array(facts.counts) / len(labels)
    np.testing.assert_allclose(facts.calibrated(table).mean(axis=0), shares, atol=1e-3)
    assert np.abs(table.mean(axis=0) - shares).max() > 0.02


def test_an_emotion_without_validation_faces_is_refused():
    labels, table = biased(100)
    with pytest.raises(UserError, match="of all 7 classes"):
        fit_biases(table[labels != 3], labels[labels != 3])
