"""Generated faces as a source: recognised by their record, and only as good as what it says."""

import json

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.data.sources import generated, read_source
from fer_hierarchy.hierarchy.errors import UserError


@pytest.fixture
def made(place):
    """A folder as pt_files.gan writes it, of three disgust faces that were learnt from two."""
    root = place(*(f"disgust/generated_{n:05d}.png" for n in (1, 2, 3)), "samples.png")
    pd.DataFrame({"row": ["a", "b"], "pixel_hash": ["11", "22"]}).to_csv(root / "seen.csv", index=False)
    record(root, emotion="disgust")
    return root


def record(root, **changed):
    seen = {"rows": 2, "fingerprint": generated.seen_fingerprint(["11", "22"])}
    (root / "generated.json").write_text(json.dumps({"format": 1, "emotion": "disgust", "seen": seen} | changed))


def one_line(error):
    return "\n" not in str(error.value)


def test_the_folder_is_recognised_and_every_row_is_a_generated_train_row(made):
    manifest = read_source(made)
    assert manifest["id"].tolist() == [f"generated/disgust/generated_{n:05d}.png" for n in (1, 2, 3)]
    assert set(manifest["source"]) == {"generated"}
    assert set(manifest["emotion"]) == {"disgust"}
    assert set(manifest["split"]) == {"train"}
    assert manifest["path"].tolist() == [str(made / "disgust" / f"generated_{n:05d}.png") for n in (1, 2, 3)]


def test_a_face_that_was_taken_out_by_hand_is_no_error(made):
    (made / "disgust" / "generated_00002.png").unlink()
    assert len(read_source(made)) == 2


def test_what_it_was_made_from_is_known(made):
    assert generated.read_seen(made) == {"11", "22"}


def test_the_fingerprint_of_what_was_seen_knows_no_order():
    assert generated.seen_fingerprint(["b", "a", "a"]) == generated.seen_fingerprint(["a", "b"])
    assert generated.seen_fingerprint(["a"]) != generated.seen_fingerprint(["a", "b"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "emotion": "disgust", "seen": 3}'])
def test_a_damaged_record_is_one_clear_line(made, text):
    (made / "generated.json").write_text(text)
    with pytest.raises(UserError, match=r"generated\.json is missing or damaged") as error:
        read_source(made)
    assert one_line(error)


def test_a_record_of_another_format_is_refused(made):
    record(made, format=2)
    with pytest.raises(UserError, match="format 2 is not the 1"):
        read_source(made)


def test_faces_of_another_emotion_than_recorded_are_refused(made, place):
    place("happy/generated_00001.png")
    with pytest.raises(UserError, match="is of disgust, but there are faces of happy too") as error:
        read_source(made)
    assert one_line(error)


def test_without_the_list_of_seen_faces_nothing_is_taken_for_granted(made):
    (made / "seen.csv").unlink()
    with pytest.raises(UserError, match=r"seen\.csv is missing or damaged") as error:
        generated.read_seen(made)
    assert one_line(error)


def test_a_shortened_list_of_seen_faces_is_noticed(made):
    (made / "seen.csv").write_text("row,pixel_hash\na,11\n")
    with pytest.raises(UserError, match=r"does not belong to generated\.json"):
        generated.read_seen(made)
