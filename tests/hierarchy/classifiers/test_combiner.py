"""Tuning a composition: neutral values change nothing, each value does what its name says."""

import json

import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner, log_probabilities, stage_logs, stage_priors
from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import logit_adjust
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, Taxonomy

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
APART = TAXONOMIES["valence-neutral-apart"].exclude(["contempt"])
ALONE = Taxonomy(name="alone", gate="gate", groups=(("up", ("happy",)), ("down", ("sad",)), ("none", ("neutral",))))
FACES = 30


def probabilities(taxonomy, seed=0):
    """Gate, specialists, priors and a flat model's probabilities."""
    rng = np.random.default_rng(seed)
    gate = rng.dirichlet(np.ones(len(taxonomy.groups)), FACES)
    specialists = {g: rng.dirichlet(np.ones(len(taxonomy.members(g))), FACES) for g in taxonomy.specialists}
    priors = stage_priors({e: 10 + 7 * i for i, e in enumerate(taxonomy.emotions)}, taxonomy)
    return gate, specialists, taxonomy, priors, rng.dirichlet(np.ones(len(taxonomy.emotions)), FACES)


def group_shares(mixed, taxonomy):
    return mixed @ np.eye(len(taxonomy.groups))[list(taxonomy.group_index)]


def softened(table, temperature):
    powered = table ** (1 / temperature)
    return powered / powered.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("taxonomy", [SEVEN, APART, ALONE], ids=lambda t: t.name)
def test_neutral_values_give_exactly_the_soft_composition(taxonomy):
    gate, specialists, _, priors, flat = probabilities(taxonomy)
    expected = HierarchicalClassifier(taxonomy).compose(gate, specialists)
    spelled = Combiner(temperatures={taxonomy.gate: 1.0}, prior_strengths={taxonomy.gate: 0.0})
    for made in (Combiner(), spelled, Combiner(flat="other", flat_temperature=3.0)):
        np.testing.assert_array_equal(made.apply(gate, specialists, taxonomy, priors, flat), expected)


@pytest.mark.parametrize("taxonomy", [SEVEN, APART, ALONE], ids=lambda t: t.name)
def test_every_prediction_is_a_row_of_probabilities(taxonomy):
    stages = (taxonomy.gate, *taxonomy.specialists)
    made = Combiner(
        temperatures=dict.fromkeys(stages, 0.3),
        prior_strengths=dict.fromkeys(stages, 1.2),
        blend=0.4,
        flat="f",
        flat_temperature=2.0,
    )
    mixed = made.apply(*probabilities(taxonomy))
    assert mixed.shape == (FACES, len(taxonomy.emotions))
    np.testing.assert_allclose(mixed.sum(axis=1), 1)
    assert (mixed > 0).all()


def test_a_stage_with_a_temperature_is_softened_and_the_others_stay():
    gate, specialists, _, priors, _ = probabilities(SEVEN)
    mixed = Combiner(temperatures={"valence": 2.5}).apply(gate, specialists, SEVEN, priors)
    np.testing.assert_allclose(group_shares(mixed, SEVEN), softened(gate, 2.5), rtol=1e-5)
    _, within = HierarchicalClassifier(SEVEN).imply(mixed)
    np.testing.assert_allclose(within["negative"], specialists["negative"], rtol=1e-5)
    mixed = Combiner(temperatures={"negative": 0.5}).apply(gate, specialists, SEVEN, priors)
    _, within = HierarchicalClassifier(SEVEN).imply(mixed)
    np.testing.assert_allclose(within["negative"], softened(specialists["negative"], 0.5), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(within["positive"], specialists["positive"], rtol=1e-5)
    np.testing.assert_allclose(group_shares(mixed, SEVEN), gate, rtol=1e-5)


def test_a_prior_strength_is_logit_adjustment_of_its_stage():
    gate, specialists, _, priors, _ = probabilities(SEVEN)
    mixed = Combiner(prior_strengths={"valence": 0.7, "positive": -0.4}).apply(gate, specialists, SEVEN, priors)
    np.testing.assert_allclose(group_shares(mixed, SEVEN), logit_adjust(gate, priors["valence"], 0.7), rtol=1e-5)
    _, within = HierarchicalClassifier(SEVEN).imply(mixed)
    expected = logit_adjust(specialists["positive"], priors["positive"], -0.4)
    np.testing.assert_allclose(within["positive"], expected, rtol=1e-5)


def test_a_blend_is_a_weighted_geometric_mean():
    gate, specialists, _, priors, flat = probabilities(SEVEN)
    soft = HierarchicalClassifier(SEVEN).compose(gate, specialists)
    half = Combiner(blend=0.3, flat="f").apply(gate, specialists, SEVEN, priors, flat)
    expected = soft**0.7 * flat**0.3
    np.testing.assert_allclose(half, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    whole = Combiner(blend=1.0, flat="f").apply(gate, specialists, SEVEN, priors, flat)
    np.testing.assert_allclose(whole, flat, rtol=1e-4, atol=1e-6)
    cold = Combiner(blend=1.0, flat="f", flat_temperature=0.5).apply(gate, specialists, SEVEN, priors, flat)
    np.testing.assert_allclose(cold, softened(flat, 0.5), rtol=1e-3, atol=1e-6)


def test_stages_that_rule_each_other_out_still_give_probabilities():
    _, specialists, _, priors, _ = probabilities(SEVEN)
    gate = np.tile([1.0, 0.0], (FACES, 1))
    flat = np.tile(np.eye(7)[SEVEN.emotions.index("sad")], (FACES, 1))
    mixed = Combiner(blend=0.5, flat="f").apply(gate, specialists, SEVEN, priors, flat)
    np.testing.assert_allclose(mixed.sum(axis=1), 1)


def test_some_faces_get_the_prediction_that_they_get_among_all():
    logs = stage_logs(*probabilities(SEVEN))
    made = Combiner(temperatures={"positive": 0.6}, prior_strengths={"valence": 1.0}, blend=0.2, flat="f")
    chosen = np.arange(FACES) % 3 == 0
    np.testing.assert_allclose(made.mix(logs.of(chosen)), made.mix(logs)[:, chosen])
    whole = np.exp(log_probabilities(made.mix(logs))).T
    np.testing.assert_allclose(whole, made.apply(*probabilities(SEVEN)))


def test_priors_are_the_shares_of_the_classes_of_each_stage():
    priors = stage_priors(
        {"happy": 30, "surprise": 10, "neutral": 60, "sad": 100},
        APART.restrict(["happy", "surprise", "neutral", "sad"]),
    )
    np.testing.assert_allclose(priors["valence"], [0.2, 0.3, 0.5])
    np.testing.assert_allclose(priors["positive"], [0.75, 0.25])
    assert set(priors) == {"valence", "positive"}
    with pytest.raises(UserError, match="no train row of 'disgust'"):
        stage_priors({"happy": 3}, Taxonomy(name="t", gate="g", groups=(("a", ("disgust",)), ("b", ("happy",)))))


def test_what_does_not_fit_is_refused():
    gate, specialists, _, priors, flat = probabilities(SEVEN)
    with pytest.raises(UserError, match="unknown stage 'arousal'; the run's are valence, positive, negative"):
        Combiner(temperatures={"arousal": 2.0}).apply(gate, specialists, SEVEN, priors)
    with pytest.raises(UserError, match="needs the predictions of the flat run other"):
        Combiner(blend=0.5, flat="other").apply(gate, specialists, SEVEN, priors)
    with pytest.raises(UserError, match="got 4 faces; the stages have 30"):
        Combiner(blend=0.5, flat="other").apply(gate, specialists, SEVEN, priors, flat[:4])
    with pytest.raises(UserError, match="prior of 'negative'"):
        Combiner(temperatures={"valence": 2.0}).apply(gate, specialists, SEVEN, {**priors, "negative": [1, 0]})


def test_json_gives_the_same_values_again():
    made = Combiner(
        temperatures={"valence": 1.31}, prior_strengths={"valence": -0.2}, blend=0.25, flat_temperature=0.8, flat="f"
    )
    assert Combiner.from_dict(json.loads(json.dumps(made.to_dict())), where="best.json") == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperatures": {"valence": 0}}, "temperature of 'valence': expected a number above 0, got 0"),
        ({"temperatures": {"valence": "hot"}}, "got 'hot'"),
        ({"temperatures": [1.0]}, "temperatures: expected an object, got list"),
        ({"prior_strengths": {"valence": float("nan")}}, "expected a finite number, got nan"),
        ({"prior_strengths": {"valence": True}}, "expected a finite number, got True"),
        ({"blend": 1.5}, "blend: expected a number from 0 to 1, got 1.5"),
        ({"blend": 0.5}, "needs flat, the run to blend with"),
        ({"flat_temperature": -1}, "flat_temperature: expected a number above 0"),
        ({"flat": 7}, "flat: expected the name of a run or null, got 7"),
        ({"weights": {}}, "is damaged: a recomposition holds"),
    ],
)
def test_damaged_json_is_named(change, message):
    with pytest.raises(UserError, match=r"best\.json") as caught:
        Combiner.from_dict({**Combiner().to_dict(), **change}, where="best.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("record", [None, [], "text", {}, {"blend": 0.0}])
def test_json_of_another_shape_is_named(record):
    with pytest.raises(UserError, match=r"best\.json is damaged: a recomposition holds temperatures"):
        Combiner.from_dict(record, where="best.json")
