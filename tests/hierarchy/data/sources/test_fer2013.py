"""FER-2013 as folders and as csv: the official split, whatever the layout."""

import importlib.util
import sys

import pytest

from fer_hierarchy.hierarchy.data.sources import fer2013, read_source
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "fer2013"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the real FER-2013 folder is not beside the checkout")

HEADER = "emotion,pixels,Usage"
ICML = "emotion, Usage, pixels"


def test_the_split_of_the_folder_copy_comes_from_the_file_names(place):
    root = place("train/angry/Training_1.jpg", "test/angry/PublicTest_2.jpg", "test/happy/PrivateTest_3.jpg")
    manifest = fer2013.read(root).set_index("id")
    assert manifest["split"].to_dict() == {"Training_1": "train", "PublicTest_2": "validation", "PrivateTest_3": "test"}
    assert manifest.loc["PrivateTest_3", "emotion"] == "happy"
    assert manifest.loc["PrivateTest_3", "path"] == str(root / "test/happy/PrivateTest_3.jpg")


def test_two_faces_of_one_name_keep_distinct_ids(place):
    root = place("train/angry/Training_1.jpg", "train/sad/Training_1.jpg", "train/sad/Training_2.jpg")
    assert fer2013.read(root)["id"].tolist() == ["Training_1_angry", "Training_1_sad", "Training_2"]


def test_a_stray_file_name_is_refused(place):
    root = place("train/angry/Training_1.jpg", "train/angry/selfie.jpg")
    with pytest.raises(UserError, match=r"first: train/angry/selfie.jpg.*--dataset folder"):
        read_source(root)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("fer2013.csv", (HEADER, "0,1 2,Training", "6,1 2,PublicTest", "3,1 2,PrivateTest")),
        ("icml_face_data.csv", (ICML, "0,Training,1 2", "6,PublicTest,1 2", "3,PrivateTest,1 2")),
        ("fer2013.csv", ("\ufeff" + HEADER, "0,1 2,Training", "6,1 2,PublicTest", "3,1 2,PrivateTest")),
        ("faces.csv", (HEADER, "0,1 2,Training", "6,1 2,PublicTest", "3,1 2,PrivateTest")),
    ],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_csv_variants_give_the_same_manifest(write, name, rows, as_folder):
    csv = write(f"set/{name}", *rows)
    manifest = read_source(csv.parent if as_folder else csv)
    assert set(manifest["source"]) == {"fer2013"}
    assert manifest["id"].tolist() == ["fer0000000", "fer0000001", "fer0000002"]
    assert manifest["row"].tolist() == [0, 1, 2]
    assert manifest["emotion"].tolist() == ["angry", "neutral", "happy"]
    assert manifest["split"].tolist() == ["train", "validation", "test"]
    assert set(manifest["path"]) == {str(csv)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("emotion,Usage", "0,Training"), "the column 'pixels' is missing; found 'emotion', 'Usage'; needed are"),
        (("emotion,pixels", "0,1"), "the column 'Usage' is missing; found 'emotion', 'pixels'"),
        (("pixels,Usage", "1,Training"), "the column 'emotion' is missing"),
        ((HEADER, "0,1,Training", "9,1,Training"), r"unknown emotion '9' in data row 1 \(line 3\); known: 0 angry"),
        ((HEADER, "-1,1,Training"), "unknown emotion '-1' in data row 0"),
        ((HEADER, "2.5,1,Training"), "unknown emotion '2.5' in data row 0 .line 2.; known: 0 angry"),
        ((HEADER, "happy,1,Training"), "emotion 'happy' in data row 0"),
        ((HEADER, ",1,Training"), "emotion '' in data row 0"),
        ((HEADER, "inf,1,Training"), "emotion 'inf' in data row 0"),
        (
            (HEADER, "0,1,Training", "0,1,Holdout"),
            "unknown Usage 'Holdout' in data row 1 .* known: Training, PublicTest",
        ),
        ((HEADER, "0,1,Training", "0,1"), "unknown Usage '' in data row 1"),
        ((HEADER,), "holds a header but no data row"),
        ((HEADER, '0,"1 2,Training'), "is no proper csv"),
        (("",), "is empty"),
    ],
)
@pytest.mark.parametrize("dataset", [None, "fer2013"])
def test_broken_csv_files_are_named_in_one_line(write, rows, message, dataset):
    with pytest.raises(UserError, match=message) as caught:
        read_source(write("fer2013.csv", *rows), dataset=dataset)
    assert "\n" not in str(caught.value)
    assert "fer2013.csv" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\x00\x00", "emotion,pixels,Usage\n".encode("utf-16"), b"\xff\xfe"]
)
def test_a_csv_that_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"fer2013.csv: is not text"):
        read_source(tmp_path / "fer2013.csv")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "fer2013.csv").touch()
    with pytest.raises(UserError, match=r"fer2013.csv: is empty"):
        read_source(tmp_path / "fer2013.csv")


@pytest.mark.real_data
@needs_real_data
def test_the_real_folder_copy():
    manifest = read_source(REAL)
    counts = manifest.groupby(["split", "emotion"]).size()
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert manifest["split"].value_counts().to_dict() == {"train": 28709, "validation": 3589}
    assert [counts["train", name] for name in names] == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert [counts["validation", name] for name in names] == [467, 56, 496, 895, 653, 415, 607]
    assert manifest["id"].is_unique


@pytest.mark.real_data
@needs_real_data
@pytest.mark.parametrize("options", [[], ["--icml"]])
def test_the_real_faces_as_csv(tmp_path, monkeypatch, options):
    script = REAL.parent / "make_fer2013_csv.py"
    spec = importlib.util.spec_from_file_location("make_fer2013_csv", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    csv = tmp_path / "faces.csv"
    monkeypatch.setattr(sys, "argv", [str(script), str(csv), "--rows", "200", *options])
    module.main()
    manifest = read_source(csv)
    assert len(manifest) == 200
    assert set(manifest["split"]) == {"train", "validation"}
    assert manifest["emotion"].nunique() == 7
