"""RAF-DB: official lists, numbered folders, and csv labels."""

import pytest

from fer_hierarchy.hierarchy.data.sources import rafdb, read_source
from fer_hierarchy.hierarchy.errors import UserError

LIST = "data/basic/EmoLabel/list_patition_label.txt"


@pytest.mark.parametrize("start", ["", "basic"])
def test_the_official_layout_uses_the_aligned_faces(place, write, start):
    root = place("basic/Image/aligned/train_00001_aligned.jpg", "basic/Image/original/train_00001.jpg")
    write(LIST, "train_00001.jpg 5", "test_0001.jpg 7")
    manifest = read_source(root / start)
    assert set(manifest["source"]) == {"rafdb"}
    assert manifest["id"].tolist() == ["Image/aligned/train_00001_aligned.jpg", "Image/aligned/test_0001_aligned.jpg"]
    assert manifest["emotion"].tolist() == ["sad", "neutral"]
    assert manifest["split"].tolist() == ["train", "test"]
    assert manifest["path"][0] == str(root / "basic/Image/aligned/train_00001_aligned.jpg")


def test_the_originals_will_do(place, write):
    root = place("basic/Image/original/train_00001.jpg", "basic/Image/aligned/readme.txt")
    write(LIST, "train_00001.jpg 1")
    assert rafdb.read(root)["id"].tolist() == ["Image/original/train_00001.jpg"]


@pytest.mark.parametrize("line", ["train_00001.jpg 8", "train_00001.jpg", "face.jpg 3", "train_00001.jpg happy"])
def test_a_bad_line_is_named(place, write, line):
    root = place("basic/Image/aligned/train_00001_aligned.jpg")
    write(LIST, "train_00001.jpg 1", line)
    with pytest.raises(UserError, match=f"line 2 is '{line}'; lines like"):
        rafdb.read(root)


def test_lists_without_images_or_lines(place, write):
    root = place("basic/Image/aligned/readme.txt")
    write(LIST, "train_00001.jpg 1")
    with pytest.raises(UserError, match="neither aligned/ nor original/ holds an image"):
        rafdb.read(root)
    write(LIST, "")
    with pytest.raises(UserError, match="is empty"):
        rafdb.read(root)


def test_numbered_folders(place):
    root = place("DATASET/train/4/train_00001_aligned.jpg", "DATASET/test/6/test_0001_aligned.jpg", "train_labels.csv")
    manifest = read_source(root).set_index("split")
    assert manifest["emotion"].to_dict() == {"train": "happy", "test": "angry"}
    assert manifest.loc["train", "id"] == "train/4/train_00001_aligned.jpg"


def test_numbers_alone_are_not_taken_for_rafdb_unless_the_user_names_it(place):
    root = place("train/1/a.jpg", "test/2/b.jpg")
    with pytest.raises(UserError, match="no folder names an emotion"):
        read_source(root)
    assert read_source(root, dataset="rafdb")["emotion"].tolist() == ["fear", "surprise"]


def test_labels_from_csv(place, write):
    root = place("DATASET/train/train_00001_aligned.jpg", "DATASET/test/test_0001_aligned.jpg")
    write("data/train_labels.csv", "image,label", "train_00001_aligned.jpg,3")
    write("data/test_labels.csv", "image,label", "test_0001_aligned.jpg,2")
    manifest = read_source(root)
    assert manifest["emotion"].tolist() == ["disgust", "fear"]
    assert manifest["path"][0] == str(root / "DATASET/train/train_00001_aligned.jpg")
    write("data/test_labels.csv", "image,label", "test_0001_aligned.jpg,0")
    with pytest.raises(UserError, match="unknown label '0' in data row 0"):
        read_source(root)


def test_images_that_no_list_names_are_counted(place, write, caplog):
    root = place("basic/Image/aligned/train_00001_aligned.jpg", "basic/Image/aligned/train_00002_aligned.jpg")
    write(LIST, "train_00001.jpg 5")
    assert len(read_source(root)) == 1
    assert "aligned holds 1 images that the table of labels does not name" in caplog.text
