import json

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import (
    EMOTIONS,
    FLAT,
    TAXONOMIES,
    Taxonomy,
    canonical_emotion,
    is_emotion,
    load_taxonomy,
)

ALL = list(TAXONOMIES.values())
FER_2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def written(tmp_path, record):
    path = tmp_path / "mine.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return str(path)


def one_line(error):
    text = str(error.value)
    return text if text and "\n" not in text else pytest.fail(f"not one line: {text!r}")


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_every_built_in_grouping_partitions_all_emotions(taxonomy):
    members = [e for group in taxonomy.group_names for e in taxonomy.members(group)]
    assert sorted(members) == sorted(EMOTIONS)
    assert taxonomy.emotions == EMOTIONS
    assert all(e in taxonomy.members(taxonomy.group_of(e)) for e in EMOTIONS)


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_stage_labels_and_classes_agree_for_every_stage(taxonomy):
    for stage in (*taxonomy.stages("hierarchical"), *taxonomy.stages("flat")):
        classes = taxonomy.stage_classes(stage)
        for emotion, label in zip(EMOTIONS, taxonomy.stage_labels(stage, EMOTIONS), strict=True):
            if stage == taxonomy.gate:
                assert classes[label] == taxonomy.group_of(emotion)
            elif stage == FLAT or emotion in taxonomy.members(stage):
                assert classes[label] == emotion
            else:
                assert label == -1


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_group_index_points_at_the_group_of_each_emotion(taxonomy):
    groups = [taxonomy.group_names[i] for i in taxonomy.group_index]
    assert groups == [taxonomy.group_of(e) for e in taxonomy.emotions]


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_json_form_reads_back_as_the_same_taxonomy(taxonomy, tmp_path):
    assert load_taxonomy(written(tmp_path, taxonomy.to_dict())) == taxonomy


def test_the_default_groups_are_positive_and_negative():
    valence = TAXONOMIES["valence"].restrict(FER_2013)
    assert valence.members("positive") == ("happy", "surprise", "neutral")
    assert valence.members("negative") == ("angry", "disgust", "fear", "sad")
    assert valence.stages("hierarchical") == ("valence", "positive", "negative")
    assert valence.stages("flat") == ("flat",)


def test_a_group_of_one_emotion_needs_no_specialist():
    apart = TAXONOMIES["valence-neutral-apart"]
    assert apart.group_names == ("positive", "neutral", "negative")
    assert apart.stages("hierarchical") == ("valence", "positive", "negative")


@pytest.mark.parametrize("word", ["emotion", "Error", "x" * 300, "\ud800", "nul", "-first", "b", "../up", "up\x1b[2J"])
def test_a_name_that_is_a_column_or_no_file_is_refused(word):
    with pytest.raises(UserError) as error:
        Taxonomy(name="mine", gate=word, groups=(("A", ("happy",)), ("B", ("sad",))))
    one_line(error)
    with pytest.raises(UserError) as error:
        Taxonomy(name="mine", gate="B", groups=(("A", ("happy",)), (word, ("sad",))))
    one_line(error)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_excluded_emotion_is_absent_everywhere(emotion):
    taxonomy = TAXONOMIES["valence"].exclude([emotion])
    assert emotion not in taxonomy.emotions
    for stage in (*taxonomy.stages("hierarchical"), FLAT):
        assert emotion not in taxonomy.stage_classes(stage)
        assert taxonomy.stage_labels(stage, [emotion]) == [-1]


def test_exclusions_may_use_a_data_sets_own_word():
    assert TAXONOMIES["valence"].exclude(["Happiness"]).members("positive") == ("surprise", "neutral")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["joyless"], "unknown emotion 'joyless'"),
        (["happy", "surprise", "neutral"], "group 'positive'"),
        ([e for e in EMOTIONS if e != "happy"], "at least two"),
    ],
)
def test_impossible_exclusions_are_refused(words, part):
    with pytest.raises(UserError, match=part) as error:
        TAXONOMIES["valence"].exclude(words)
    one_line(error)


def test_excluding_what_is_gone_already_is_refused():
    with pytest.raises(UserError, match="cannot exclude 'fear'"):
        TAXONOMIES["valence"].exclude(["fear"]).exclude(["fear"])


def test_restrict_keeps_what_the_data_holds():
    ck48 = TAXONOMIES["valence"].restrict([e for e in EMOTIONS if e != "neutral"])
    assert ck48.members("positive") == ("happy", "surprise")
    assert ck48.members("negative") == ("angry", "disgust", "fear", "sad", "contempt")


def test_restrict_refuses_emotions_in_no_group_and_tells_the_way_out():
    without = TAXONOMIES["valence"].exclude(["contempt"])
    with pytest.raises(UserError, match="--exclude contempt") as error:
        without.restrict(EMOTIONS)
    one_line(error)


def test_restrict_refuses_data_that_empties_a_group():
    with pytest.raises(UserError, match="group 'low'"):
        TAXONOMIES["arousal"].restrict(["happy", "fear"])


def test_three_groups_from_a_file(tmp_path):
    groups = {"a": ["joy"], "b": ["fear", "anger"], "c": ["neutral"]}
    taxonomy = load_taxonomy(written(tmp_path, {"gate": "kind", "groups": groups}))
    assert taxonomy.name == "mine"
    assert taxonomy.stages("hierarchical") == ("kind", "b")
    assert taxonomy.emotions == ("angry", "fear", "happy", "neutral")
    assert taxonomy.members("b") == ("angry", "fear")


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ("{", "not readable as JSON"),
        ("[]", "a taxonomy is"),
        ({"groups": ["a", "b"]}, "a taxonomy is"),
        ({"groups": {"a": "happy", "b": ["sad"]}}, "a taxonomy is"),
        ({"groups": {"a": ["happy"], "b": ["sad"]}, "gates": "x"}, "unknown key 'gates'"),
        ({"groups": {"a": ["happy"]}}, "at least two"),
        ({"groups": {"a": ["happy"], "b": []}}, "group 'b' has no emotion"),
        ({"groups": {"a": ["happy", "sad"], "b": ["sadness"]}}, "'sad' stands in 'a' and in 'b'"),
        ({"groups": {"a": ["happy"], "b": ["bored"]}}, "taxonomy 'mine': unknown emotion 'bored'"),
        ({"groups": {"a": ["happy"], "b": [4]}}, "unknown emotion '4'"),
        ({"groups": {"flat": ["happy"], "b": ["sad"]}}, "must differ"),
        ({"groups": {"gate": ["happy"], "b": ["sad"]}}, "must differ"),
        ({"groups": {"a/b": ["happy"], "b": ["sad"]}}, "no usable name"),
        ('{"groups": {"a": ["happy"], "a": ["fear"], "b": ["sad"]}}', "key 'a' stands twice"),
    ],
)
def test_a_bad_taxonomy_file_is_one_clear_line(tmp_path, record, part):
    with pytest.raises(UserError) as error:
        load_taxonomy(written(tmp_path, record))
    assert part in one_line(error)


def test_a_file_that_is_not_there_lists_the_known_names():
    with pytest.raises(UserError, match=r"valence, .*arousal"):
        load_taxonomy("no-such-grouping")


def test_words_are_mapped_by_name():
    assert [canonical_emotion(w) for w in (" Anger", "HAPPINESS", "surprised", "fear")] == [
        "angry",
        "happy",
        "surprise",
        "fear",
    ]
    assert is_emotion("Sadness ")
    assert not is_emotion("train")
    with pytest.raises(UserError, match="known: angry"):
        canonical_emotion("calm")


def test_two_groups_are_the_least():
    with pytest.raises(UserError, match="at least two"):
        Taxonomy(name="one", gate="gate", groups=(("a", ("happy", "sad")),))
