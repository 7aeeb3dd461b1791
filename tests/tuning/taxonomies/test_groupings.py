"""Groupings: what confusion suggests, what is drawn at random, and what a flat prediction implies for each."""

import json

import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, Taxonomy, load_taxonomy
from fer_hierarchy.tuning.taxonomies.groupings import (
    affinity,
    all_partitions,
    built_in_groupings,
    confusion_groupings,
    grouping,
    implied,
    in_words,
    merged,
    partition,
    random_groupings,
    sizes_of,
    with_controls,
)

SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIX = SEVEN[:6]
VALENCE = TAXONOMIES["valence"].exclude(["contempt"])


def mixed_up(blocks, emotions, *, faces=20, stray=0.02):
    """Labels, and predictions that share the probability among the emotions of the true one's block."""
    block = {emotion: members for members in blocks for emotion in members}
    rows = [[stray + (e in block[true]) + (e == true) for e in emotions] for true in emotions for _ in range(faces)]
    table = np.array(rows)
    return np.repeat(np.arange(len(emotions)), faces), table / table.sum(axis=1, keepdims=True)


def as_sets(*groups):
    return frozenset(frozenset(group.split()) for group in groups)


def test_clustering_puts_together_what_is_mixed_up():
    blocks = [("angry", "sad", "neutral"), ("disgust", "happy"), ("fear", "surprise")]
    labels, table = mixed_up(blocks, SEVEN)
    found = confusion_groupings(labels, table, SEVEN, groups=(3,))
    assert [taxonomy.name for taxonomy in found] == ["spectral-3", "linkage-3"]
    assert {partition(taxonomy) for taxonomy in found} == {
        as_sets("angry sad neutral", "disgust happy", "fear surprise")
    }


def test_the_same_groups_by_two_methods_are_one_grouping_that_can_be_used_as_a_file(tmp_path):
    labels, table = mixed_up([SEVEN[:4], SEVEN[4:]], SEVEN)
    both = confusion_groupings(labels, table, SEVEN, groups=(2,))
    (candidate,) = merged([("confusion", taxonomy) for taxonomy in both])
    found = candidate.taxonomy
    assert (found.name, found.gate) == ("spectral-2", "confusion")
    assert found.group_names == ("angry-disgust-fear-happy", "sad-surprise-neutral")
    (tmp_path / "found.json").write_text(json.dumps(found.to_dict()))
    assert load_taxonomy(str(tmp_path / "found.json")) == found


def test_emotions_may_come_in_any_order_and_names_stay_the_same():
    blocks = [("surprise", "fear"), ("angry", "sad", "happy", "disgust")]
    names = set()
    for order in (SIX, SIX[::-1], ("sad", "fear", "happy", "disgust", "surprise", "angry")):
        labels, table = mixed_up(blocks, order)
        names |= {taxonomy.group_names for taxonomy in confusion_groupings(labels, table, order, groups=(2,))}
    assert names == {("angry-disgust-happy-sad", "fear-surprise")}


def test_affinity_is_the_mean_of_both_directions():
    table = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0]])
    likeness = affinity(["angry", "disgust", "fear"], table, SEVEN[:3])
    assert likeness == pytest.approx(np.array([[1, 0.35, 0.05], [0.35, 1, 0.05], [0.05, 0.05, 1]]))


def test_a_faultless_model_still_gives_groupings():
    table = np.eye(7)[np.repeat(np.arange(7), 3)]
    found = confusion_groupings(np.repeat(np.arange(7), 3), table, SEVEN)
    assert {len(taxonomy.groups) for taxonomy in found} == {2, 3}


def test_there_are_never_as_many_groups_as_emotions():
    labels, table = mixed_up([("angry", "fear"), ("happy",)], ("angry", "fear", "happy"))
    found = confusion_groupings(labels, table, ("angry", "fear", "happy"), groups=(2, 3, 4))
    assert {in_words(taxonomy) for taxonomy in found} == {"angry fear | happy"}


def test_an_emotion_without_a_face_is_refused_by_name():
    labels, table = mixed_up([SEVEN], SEVEN)
    with pytest.raises(UserError, match="no validation face shows fear"):
        confusion_groupings(labels[labels != 2], table[labels != 2], SEVEN)


@pytest.mark.parametrize(("sizes", "count"), [((3, 4), 35), ((2, 5), 21), ((2, 2, 3), 105), ((1, 6), 7)])
def test_every_partition_of_some_sizes_is_listed_once(sizes, count):
    parts = [frozenset(map(frozenset, parts)) for parts in all_partitions(sizes, SEVEN)]
    assert len(parts) == len(set(parts)) == count
    assert all(sorted(map(len, groups)) == sorted(sizes) for groups in parts)


def test_random_groupings_differ_keep_their_sizes_and_follow_the_seed():
    drawn = [random_groupings((3, 4), SEVEN, count=10, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({partition(taxonomy) for taxonomy in drawn[0]}) == 10
    assert {sizes_of(taxonomy) for taxonomy in drawn[0]} == {(3, 4)}
    assert {taxonomy.gate for taxonomy in drawn[0]} == {"random"}


def test_random_groupings_are_never_what_they_are_to_be_compared_with_and_fewer_where_there_are_no_more():
    first = grouping([SEVEN[:1], SEVEN[1:]], name="one", gate="gate")
    drawn = random_groupings((1, 6), SEVEN, count=99, rng=np.random.default_rng(0), apart={partition(first)})
    assert len(drawn) == 6
    assert partition(first) not in {partition(taxonomy) for taxonomy in drawn}
    with pytest.raises(UserError, match=r"sizes \[3, 3\].*7 emotions"):
        random_groupings((3, 3), SEVEN, count=1, rng=np.random.default_rng(0))


def test_random_groupings_are_drawn_evenly():
    rng = np.random.default_rng(0)
    drawn = [partition(random_groupings((1, 2), SEVEN[:3], count=1, rng=rng)[0]) for _ in range(600)]
    assert min(drawn.count(one) for one in set(drawn)) > 150
    assert len(set(drawn)) == 3


def test_a_grouping_found_twice_is_one_candidate_with_both_origins():
    again = grouping([VALENCE.members("negative"), VALENCE.members("positive")], name="spectral-2", gate="confusion")
    (candidate,) = merged([("built-in", VALENCE), ("confusion", again)])
    assert candidate.taxonomy == VALENCE
    assert candidate.origins == (("built-in", "valence"), ("confusion", "spectral-2"))
    assert candidate.suggested
    assert candidate.kind == "built-in"


def test_controls_have_the_sizes_of_what_confusion_suggests_first():
    found = grouping([SEVEN[:1], SEVEN[1:]], name="linkage-2", gate="confusion")
    candidates = merged([("built-in", VALENCE), ("confusion", found)])
    both = with_controls(candidates, SEVEN, count=3, rng=np.random.default_rng(0))
    assert both[:2] == candidates
    assert [candidate.name for candidate in both[2:]] == ["random-1", "random-2", "random-3"]
    assert [sizes_of(candidate.taxonomy) for candidate in both[2:]] == [(1, 6), (1, 6), (3, 4)]
    assert len({partition(candidate.taxonomy) for candidate in both}) == 5


def test_built_in_groupings_follow_the_emotions_and_tell_why_one_is_left_out():
    possible, left_out = built_in_groupings(("angry", "disgust", "happy", "neutral"))
    assert [taxonomy.name for taxonomy in possible] == list(TAXONOMIES)
    possible, left_out = built_in_groupings(("angry", "happy", "neutral"))
    assert [taxonomy.name for taxonomy in possible] == ["valence", "valence-neutral-negative", "arousal"]
    assert "gate alone" in left_out["valence-neutral-apart"]
    possible, left_out = built_in_groupings(("angry", "fear", "disgust"))
    assert not possible
    assert "positive" in left_out["valence"]


def test_what_a_flat_prediction_implies_is_counted_right():
    pair = Taxonomy(name="pair", gate="gate", groups=(("ab", ("angry", "disgust")), ("c", ("fear",))))
    table = np.array([[0.35, 0.25, 0.4], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [0.1, 0.3, 0.6]])
    look = implied(table, ["angry", "angry", "fear", "disgust"], pair)
    assert look["gate_accuracy"] == 0.75
    assert look["gate_balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert look["specialists"] == {"ab": pytest.approx(2 / 3)}
    assert look["oracle_accuracy"] == 0.75
    assert look["hard_accuracy"] == 0.5  # flat says fear of the first face; its group says angry
    assert look["n"] == 4


def test_hard_routing_equals_the_flat_prediction_where_it_is_certain():
    labels = np.random.default_rng(0).integers(0, 7, 60)
    table = np.eye(7)[np.random.default_rng(1).integers(0, 7, 60)]
    flat = (table.argmax(axis=1) == labels).mean()
    looks = [implied(table, labels, one)["hard_accuracy"] for one in built_in_groupings(SEVEN)[0]]
    assert looks == pytest.approx([flat] * len(looks))
