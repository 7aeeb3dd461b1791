"""Class folders in a user's own words, as emotions and as new classes."""

import json
import re
import unicodedata

import pytest

from fer_hierarchy.hierarchy import palette
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import read_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.own_classes import OwnClasses, read_own_classes
from fer_hierarchy.hierarchy.palette import EMOTION_COLOURS, class_colour
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, Taxonomy

MINE = {
    "gelangweilt": {"group": "negative", "class": "bored"},
    "Bei der Sache": {"group": "positive", "class": "engaged"},
    "verwirrt": {"group": "negative"},
    "\u00fcberm\u00fctig": "happy",
    "unklar": None,
}


def folders(tmp_path, *names):
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(b"")
    return str(tmp_path)


def config(**data):
    return RunConfig(data=DataConfig(**data))


def test_words_become_emotions_and_new_classes_whatever_their_capitals_and_accents(tmp_path, caplog):
    accents = unicodedata.normalize("NFD", "\u00dcberm\u00fctig")
    place = folders(tmp_path / "faces", "Gelangweilt", "bei der sache", "VERWIRRT", accents, "unklar", "Sad")
    manifest = read_manifest(DataConfig(data=place, classes=MINE))
    assert sorted(manifest["emotion"]) == ["bored", "engaged", "happy", "sad", "verwirrt"]
    assert "class folders left out by --classes: 'unklar'" in caplog.text


def test_numbered_folders_mean_what_the_user_writes(tmp_path):
    mine = {"1": "angry", "2": {"group": "positive", "class": "engaged"}, "3": None}
    place = folders(tmp_path / "numbered", "train_set/1", "train_set/2", "train_set/3")
    assert sorted(read_manifest(DataConfig(data=place, classes=mine))["emotion"]) == ["angry", "engaged"]
    place = folders(tmp_path / "rafdb", "train/1", "test/2")
    data = DataConfig(data=place, dataset="rafdb", classes=mine)
    assert sorted(read_manifest(data)["emotion"]) == ["angry", "engaged"]


def test_labels_of_a_csv_mean_what_the_user_writes(tmp_path, caplog):
    place = tmp_path / "mine.csv"
    place.write_text("emotion,pixels,Usage\n0,1,Training\nWut,1,Training\nunklar,1,Training\n3,1,PrivateTest\n")
    mine = {"0": {"group": "negative", "class": "bored"}, "wut": "angry", "unklar": None}
    manifest = read_manifest(DataConfig(data=str(place), classes=mine))
    assert list(manifest["emotion"]) == ["bored", "angry", "happy"]
    assert list(manifest["row"]) == [0, 1, 3]
    assert "1 faces left out by --classes" in caplog.text


def test_new_classes_join_their_groups_behind_the_emotions():
    taxonomy = config(classes=MINE).grouping()
    assert taxonomy.members("positive") == ("happy", "surprise", "neutral", "engaged")
    assert taxonomy.emotions[-3:] == ("bored", "engaged", "verwirrt")
    only = taxonomy.restrict(["bored", "engaged", "verwirrt", "happy"])
    assert only.emotions == ("happy", "bored", "engaged", "verwirrt")
    backwards = config(classes=dict(reversed(MINE.items()))).grouping()
    assert backwards.emotions == taxonomy.emotions
    assert only.stages("hierarchical") == ("valence", "positive", "negative")
    assert only.exclude(["bored"]).emotions == ("happy", "engaged", "verwirrt")


def test_new_classes_can_be_left_out_by_name_and_by_word():
    assert not {"bored", "verwirrt"} & set(config(classes=MINE, exclude=("Bored", "verwirrt")).grouping().emotions)
    kept = config(classes=MINE, emotions="gelangweilt,engaged,joy").grouping()
    assert kept.emotions == ("happy", "bored", "engaged")
    with pytest.raises(UserError, match=r"--exclude: unknown emotion 'board'; known: angry.*, contempt, bored"):
        config(classes=MINE, exclude=("board",))


def test_what_a_taxonomy_has_not_can_be_left_out_as_its_message_says():
    groups = {"groups": {"a": ["happy", "engaged"], "b": ["sad"]}, "own": ["engaged"]}
    with pytest.raises(UserError, match="use --exclude contempt,bored"):
        config(classes=MINE, taxonomy=groups).grouping().restrict(["happy", "sad", "contempt", "bored"])
    kept = config(classes=MINE, taxonomy=groups, exclude=("contempt", "bored")).grouping()
    assert kept.emotions == ("happy", "sad", "engaged")


@pytest.mark.parametrize("word", ["\u00c4rger", "\u0916\u093c\u0941\u0936\u0940", "\u6012\u308a"])
def test_names_of_new_classes_may_be_of_any_script(word):
    written = unicodedata.normalize("NFD", word)
    (name,) = config(classes={written: {"group": "negative"}}).grouping().own
    assert name == unicodedata.normalize("NFC", word)


@pytest.mark.parametrize(
    ("own", "message"), [(["sad"], "'sad' is an emotion already"), (["bored"], "'bored' stands in no group")]
)
def test_own_classes_of_a_taxonomy_are_new_and_placed(own, message):
    with pytest.raises(UserError, match=message):
        Taxonomy.from_dict({"groups": {"a": ["happy", "sad"], "b": ["angry"]}, "own": own}, name="mine")


def test_a_taxonomy_with_own_classes_stands_alone_as_json():
    taxonomy = config(classes=MINE).grouping()
    assert Taxonomy.from_dict(json.loads(json.dumps(taxonomy.to_dict())), name="again") == taxonomy
    assert "own" not in TAXONOMIES["valence"].to_dict()
    with pytest.raises(UserError, match="unknown emotion"):
        Taxonomy.from_dict({**taxonomy.to_dict(), "own": []}, name="again")


def test_a_taxonomy_file_may_place_the_new_classes(tmp_path):
    place = tmp_path / "school.json"
    groups = {"with us": ["engaged", "happy"], "away": ["bored", "verwirrt"]}
    record = {"gate": "attention", "groups": {name.replace(" ", "_"): words for name, words in groups.items()}}
    place.write_text(json.dumps({**record, "own": ["engaged", "bored", "verwirrt"]}))
    assert config(classes=MINE, taxonomy=str(place)).grouping().members("with_us") == ("happy", "engaged")
    data = DataConfig(data=folders(tmp_path / "faces", "Bored", "engaged"), taxonomy=str(place), exclude=("bored",))
    assert list(read_manifest(data)["emotion"]) == ["bored", "engaged"]


def test_a_record_of_settings_holds_the_file(tmp_path):
    place = tmp_path / "mine.json"
    place.write_text(json.dumps(MINE))
    written = config(classes=str(place)).to_dict()
    assert written["data"]["classes"] == MINE
    assert RunConfig.from_dict(written).grouping() == config(classes=MINE).grouping()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected words and what they mean"),
        ({}, "expected words and what they mean"),
        ({"a": "hapy"}, "'a' means 'hapy', which is neither an emotion nor a new class"),
        ({"a": 3}, "'a' means 3, which is neither"),
        ({"a": {"grup": "negative"}}, "'a': a new class has a group"),
        ({"a": {"group": 3}}, "'a': a new class has a group"),
        ({"a": {"group": "negative", "class": "Sadness"}}, "'Sadness' is an emotion already; write \"sad\""),
        ({"Wut": "angry", "wut": "sad"}, "'wut' stands twice"),
        ({"a": {"group": "x", "class": "b"}, "c": {"group": "y", "class": "b"}}, "class 'b' stands in two groups"),
        ({"a": {"group": "x", "class": "B"}, "b": {"group": "x"}}, "'B' and 'b' differ in capitals alone"),
        ({"a/b": {"group": "negative"}}, "'a/b' is no usable name"),
        ({"uncertain": {"group": "negative"}}, "'uncertain' means something else in tables"),
        ({"score": {"group": "negative"}}, "'score' means something else in tables"),
        ({"a": None}, "every word is left out"),
    ],
)
def test_what_makes_no_sense_is_one_line(record, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        OwnClasses.from_dict(record)
    assert "\n" not in str(caught.value)


def test_a_group_that_the_taxonomy_has_not_is_one_line():
    with pytest.raises(UserError, match="'bored' has no group; taxonomy 'valence' has positive, negative"):
        config(classes={"bored": {}}).grouping()
    with pytest.raises(UserError, match="'bored' stands in group 'boring'; taxonomy 'valence' has positive, negative"):
        config(classes={"bored": {"group": "boring"}}).grouping()


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), ("{", "not readable as JSON")])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "mine.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_own_classes(str(tmp_path / "mine.json"))


def test_without_classes_unknown_words_point_to_them(tmp_path):
    with pytest.raises(UserError, match="--classes takes your own words"):
        read_manifest(DataConfig(data=folders(tmp_path / "faces", "Wut", "Freude")))


def test_new_classes_have_colours_of_their_own(monkeypatch):
    monkeypatch.setattr(palette, "_taken", {})
    assert class_colour("happy") == EMOTION_COLOURS["happy"]
    own = [class_colour(name) for name in ("bored", "engaged", "verwirrt", "Wut", "Freude", "Trauer", "Ekel", "stolz")]
    assert len({*own, *EMOTION_COLOURS.values()}) == 16
    assert own[0] == class_colour("bored")
