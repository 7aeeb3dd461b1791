"""AffectNet's layouts."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.errors import UserError

COLUMNS = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


@pytest.fixture
def annotate(place, tmp_path):
    """Make <set>/images/<number>.jpg and its annotation."""

    def make(folder, number, value):
        root = place(f"{folder}/images/{number}.jpg", f"{folder}/annotations/{number}_aro.npy")
        np.save(root / folder / "annotations" / f"{number}_exp.npy", value, allow_pickle=value.dtype == object)
        return root

    return make


def test_class_folders_by_name_or_number(place, caplog):
    root = place("train_set/Neutral/1.jpg", "train_set/6/2.jpg", "train_set/8/3.jpg", "val_set/7/4.jpg")
    manifest = read_source(root).set_index("id")
    assert set(manifest["source"]) == {"affectnet"}
    assert manifest["emotion"].to_dict() == {
        "train_set/6/2.jpg": "angry",
        "train_set/Neutral/1.jpg": "neutral",
        "val_set/7/4.jpg": "contempt",
    }
    assert manifest.loc["val_set/7/4.jpg", "split"] == "validation"
    assert "1 of 4 faces left out" in caplog.text


def test_plain_class_folders_need_the_users_word(place):
    root = place("train/0/1.jpg", "val/1/2.jpg")
    assert read_source(root, dataset="affectnet")["emotion"].tolist() == ["neutral", "happy"]
    with pytest.raises(UserError, match="no folder names an emotion"):
        read_source(root)


def test_the_lists_of_the_old_release(write, caplog):
    face = "{},1,1,9,9,1;2,{},0.1,0.2"
    lists = "data/Manually_Annotated_file_lists"
    write(f"{lists}/training.csv", COLUMNS, face.format("689/a.jpg", 1), face.format("689/b.JPG", 10))
    csv = write(f"{lists}/validation.csv", face.format("12/c.jpg", 5))  # without a header line
    write("data/Manually_Annotated_Images/12/d.jpg")
    manifest = read_source(csv.parents[1])
    assert manifest["id"].tolist() == ["Manually_Annotated_Images/689/a.jpg", "Manually_Annotated_Images/12/c.jpg"]
    assert manifest["emotion"].tolist() == ["happy", "disgust"]
    assert manifest["split"].tolist() == ["train", "validation"]
    assert manifest["path"][0] == str(csv.parents[1] / "Manually_Annotated_Images/689/a.jpg")
    assert "1 of 3 faces left out, they have no emotion (1 no-face)" in caplog.text
    assert "holds 1 images that the table of labels does not name" in caplog.text


def test_broken_lists(write):
    csv = write("data/Manually_Annotated_file_lists/training.csv", "path,valence", "a,1")
    with pytest.raises(UserError, match="the column 'subDirectory_filePath' is missing; found 'path', 'valence'"):
        read_source(csv.parents[1])
    write("data/Manually_Annotated_file_lists/training.csv", COLUMNS, "1/a.jpg,1,1,9,9,1;2,11,0,0")
    with pytest.raises(UserError, match="unknown expression '11' in data row 0"):
        read_source(csv.parents[1])
    csv.unlink()
    with pytest.raises(UserError, match=r"neither training.csv nor validation.csv"):
        read_source(csv.parents[1])


def test_the_annotations_of_the_later_release(annotate, place, caplog):
    annotate("train_set", 1, np.array("3"))
    annotate("train_set", 2, np.array(9))
    place("train_set/images/3.jpg")
    root = annotate("val_set", 1, np.array(7.0))
    manifest = read_source(root)
    assert manifest["id"].tolist() == ["train_set/images/1.jpg", "val_set/images/1.jpg"]
    assert manifest["emotion"].tolist() == ["surprise", "contempt"]
    assert manifest["split"].tolist() == ["train", "validation"]
    assert "1 images of train_set left out, they have no annotation" in caplog.text
    assert "1 of 3 faces left out, they have no emotion (1 uncertain)" in caplog.text


@pytest.mark.parametrize("value", [np.array("x"), np.array(11), np.array(2.5), np.arange(3), np.array({"a": 1})])
def test_annotations_that_are_none_are_refused(annotate, value):
    root = annotate("train_set", 1, value)
    with pytest.raises(UserError, match=r"1_exp.npy: holds no expression from 0 to 10"):
        read_source(root)


def test_a_damaged_annotation_is_refused(annotate):
    root = annotate("train_set", 1, np.array(1))
    (root / "train_set/annotations/1_exp.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"1_exp.npy: holds no expression"):
        read_source(root)
