import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, Taxonomy

SEVEN = {name: taxonomy.exclude(["contempt"]) for name, taxonomy in TAXONOMIES.items()}
ALONE = Taxonomy(
    name="each alone", gate="gate", groups=(("up", ("happy",)), ("down", ("sad",)), ("none", ("neutral",)))
)
EVERY = [*SEVEN.values(), ALONE]


def random_stages(taxonomy, rows=40, seed=0):
    draw = np.random.default_rng(seed)
    gate = draw.dirichlet(np.ones(len(taxonomy.groups)), rows)
    return gate, {g: draw.dirichlet(np.ones(len(taxonomy.members(g))), rows) for g in taxonomy.specialists}


@pytest.mark.parametrize("taxonomy", EVERY, ids=lambda t: t.name)
def test_every_routing_gives_probabilities(taxonomy):
    gate, specialists = random_stages(taxonomy)
    true_groups = np.arange(len(gate)) % len(taxonomy.groups)
    for routing in ("soft", "hard", "oracle"):
        answer = HierarchicalClassifier(taxonomy).compose(gate, specialists, routing, true_groups=true_groups)
        assert answer.shape == (len(gate), len(taxonomy.emotions))
        assert (answer >= 0).all()
        np.testing.assert_allclose(answer.sum(axis=1), 1)


def test_soft_is_the_product_along_the_path():
    taxonomy = SEVEN["valence-neutral-apart"]
    specialists = {"positive": [[0.9, 0.1]], "negative": [[0.4, 0.3, 0.2, 0.1]]}
    answer = HierarchicalClassifier(taxonomy).compose([[0.5, 0.2, 0.3]], specialists)
    expected = {"happy": 0.45, "surprise": 0.05, "neutral": 0.2, "angry": 0.12, "disgust": 0.09, "fear": 0.06}
    named = dict(zip(taxonomy.emotions, answer[0], strict=True))
    assert named == pytest.approx({**expected, "sad": 0.03})


@pytest.mark.parametrize("taxonomy", EVERY, ids=lambda t: t.name)
def test_hard_equals_soft_when_the_gate_is_certain(taxonomy):
    _, specialists = random_stages(taxonomy)
    certain = np.eye(len(taxonomy.groups))[np.arange(40) % len(taxonomy.groups)]
    classifier = HierarchicalClassifier(taxonomy)
    hard, soft = (classifier.compose(certain, specialists, routing) for routing in ("hard", "soft"))
    np.testing.assert_allclose(hard, soft)


@pytest.mark.parametrize("taxonomy", EVERY, ids=lambda t: t.name)
def test_composing_what_a_flat_answer_implies_gives_it_back(taxonomy):
    flat = np.random.default_rng(1).dirichlet(np.ones(len(taxonomy.emotions)), 30)
    flat[0] = np.eye(len(taxonomy.emotions))[0]  # leaves other groups without any probability
    classifier = HierarchicalClassifier(taxonomy)
    gate, specialists = classifier.imply(flat)
    assert set(specialists) == set(taxonomy.specialists)
    np.testing.assert_allclose(classifier.compose(gate, specialists), flat, atol=1e-12)


def test_hard_asks_only_the_likeliest_group_and_the_first_of_equals():
    taxonomy = SEVEN["valence"]
    specialists = {"positive": [[1, 0, 0]] * 2, "negative": [[0.25] * 4] * 2}
    answer = HierarchicalClassifier(taxonomy).compose([[0.4, 0.6], [0.5, 0.5]], specialists, "hard")
    positive = [taxonomy.emotions.index(e) for e in taxonomy.members("positive")]
    np.testing.assert_allclose(answer[:, positive].sum(axis=1), [0, 1])


def test_oracle_ignores_the_gate():
    taxonomy = SEVEN["valence"]
    specialists = {"positive": [[0.7, 0.2, 0.1]], "negative": [[0.4, 0.3, 0.2, 0.1]]}
    classifier = HierarchicalClassifier(taxonomy)
    by_name = classifier.compose([[0.99, 0.01]], specialists, "oracle", true_groups=["negative"])
    by_index = classifier.compose([[0.01, 0.99]], specialists, "oracle", true_groups=[1])
    np.testing.assert_allclose(by_name, by_index)
    assert by_name[0, taxonomy.emotions.index("angry")] == pytest.approx(0.4)


def test_conditional_columns_sum_to_one_in_each_group():
    taxonomy = SEVEN["valence-neutral-apart"]
    given = HierarchicalClassifier(taxonomy).conditional(random_stages(taxonomy)[1])
    for group in taxonomy.group_names:
        columns = [taxonomy.emotions.index(e) for e in taxonomy.members(group)]
        np.testing.assert_allclose(given[:, columns].sum(axis=1), 1)


def test_conditional_needs_rows_where_no_group_needs_a_specialist():
    assert HierarchicalClassifier(ALONE).conditional({}, rows=3).tolist() == [[1, 1, 1]] * 3
    with pytest.raises(UserError, match="give rows"):
        HierarchicalClassifier(ALONE).conditional({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"specialists": {"positive": [[1, 0, 0]]}}, "specialist 'negative'; needed: positive, negative"),
        ({"specialists": {"positive": [[1, 0, 0]], "negative": [[1, 0, 0, 0]], "odd": [[1]]}}, "unknown .*'odd'"),
        ({"specialists": {"positive": [[1, 0, 0]] * 2, "negative": [[1, 0, 0, 0]]}}, "'positive': got 2 faces"),
        ({"specialists": {"positive": [[1, 0]], "negative": [[1, 0, 0, 0]]}}, r"shape \(1, 2\); needed \(faces, 3\)"),
        ({"gate": [[0.5, 0.4]]}, "row 0 sums to 0.9"),
        ({"gate": [[1.5, -0.5]]}, "negative or non-finite"),
        ({"gate": [[np.nan, 1]]}, "negative or non-finite"),
        ({"routing": "firm"}, "'firm'; known: soft, hard, oracle"),
        ({"routing": "oracle"}, "needs true_groups"),
        ({"routing": "oracle", "true_groups": ["cheerful"]}, "none of positive, negative"),
        ({"routing": "oracle", "true_groups": [0, 1]}, "for 1 faces"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    good = {"gate": [[0.5, 0.5]], "specialists": {"positive": [[1, 0, 0]], "negative": [[1, 0, 0, 0]]}}
    with pytest.raises(UserError, match=message) as error:
        HierarchicalClassifier(SEVEN["valence"]).compose(**{**good, **change})
    assert "\n" not in str(error.value)


def test_rounded_rows_are_brought_to_sum_to_one():
    table = as_probabilities(np.float32([[0.3333, 0.3333, 0.3333]]), 3, "rounded")
    assert table.sum() == pytest.approx(1, abs=1e-15)
