"""read_source finds the kind and the place of a data set by itself, and says clearly why not."""

import subprocess
import sys
import zipfile

import pytest

from fer_hierarchy.hierarchy.data.sources import expected_size, read_source, source_names
from fer_hierarchy.hierarchy.errors import UserError

HEADER = "emotion,pixels,Usage"


def test_names_need_no_imports_beyond_the_standard_library():
    code = "import sys, fer_hierarchy.hierarchy.data.sources as s; s.source_names(); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert {"fer2013", "ck48", "ckextended", "rafdb", "affectnet", "folder"} <= set(source_names())
    assert source_names()[-1] == "folder"


def test_expected_sizes():
    assert expected_size("fer2013") == expected_size("ck48") == expected_size("ckextended") == (48, 48)
    assert expected_size("folder") is None
    with pytest.raises(UserError, match="unknown data set 'fer2012'; known: "):
        expected_size("fer2012")


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (["train/angry/Training_1.jpg", "test/angry/PublicTest_2.jpg"], "fer2013"),
        (["train/angry/1.jpg", "test/angry/2.jpg"], "folder"),
        (["anger/S010_004_00000017.png"], "ck48"),
        (["anger/me.png"], "folder"),
        (["DATASET/train/1/train_00001_aligned.jpg", "DATASET/test/1/test_0001_aligned.jpg"], "rafdb"),
        (["train_set/0/1.jpg", "val_set/7/2.jpg"], "affectnet"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "archive/", "a/b/c/d/e/"])
def test_the_kind_is_recognised_from_the_content(place, files, source, wrapper):
    root = place(*(wrapper + file for file in files))
    assert set(read_source(root)["source"]) == {source}


def test_a_zip_is_unpacked_and_read_like_a_folder(place, tmp_path):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("wrapper/train/happy/Training_7.jpg", b"")
        file.writestr("__MACOSX/wrapper/train/happy/._Training_7.jpg", b"")
    manifest = read_source(path)
    assert manifest["id"].tolist() == ["Training_7"]
    assert manifest["split"].tolist() == ["train"]


def test_a_zip_with_a_csv_is_read_like_the_csv(tmp_path):
    path = tmp_path / "challenge.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("fer2013/fer2013.csv", f"{HEADER}\n3,0 0,Training\n")
    assert read_source(path)["id"].tolist() == ["fer0000000"]


def test_several_data_sets_in_one_folder_are_not_guessed_between(place):
    root = place("a/happy/1.png", "b/happy/S010_004_00000017.png")
    with pytest.raises(UserError, match=r"several data sets: a \(folder\), b \(ck48\)"):
        read_source(root)


def test_the_users_word_decides(place):
    root = place("happy/S010_004_00000017.png")
    assert set(read_source(root, dataset="folder")["source"]) == {"folder"}


@pytest.mark.parametrize("dataset", ["fer2013", "ckextended", "rafdb", "affectnet"])
def test_a_forced_kind_that_does_not_fit_names_what_it_should_be(place, dataset):
    root = place("odd/x.png")
    with pytest.raises(UserError, match=f"does not look like {dataset}, which is ") as caught:
        read_source(root, dataset=dataset)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_the_path_that_would_work(place, tmp_path):
    root = place("archive/faces/train/happy/1.png")
    with pytest.raises(UserError, match=f"does not look like ck48, .*; {root}/archive/faces looks like folder"):
        read_source(root, dataset="ck48")
    (tmp_path / "download").mkdir()
    zipfile.ZipFile(tmp_path / "download" / "faces.zip", "w").close()
    with pytest.raises(UserError, match=r"an archive; give that: .*/download/faces\.zip"):
        read_source(tmp_path / "download")


@pytest.mark.parametrize("dataset", [None, "folder"])
def test_what_lies_beside_a_wrapped_data_set_is_told(place, caplog, dataset):
    assert len(read_source(place("a/happy/1.png", "more/b/happy/2.png", "3.png", "LICENSE"), dataset=dataset)) == 1
    assert "only a is read; left out beside it: 'more', '3.png'." in caplog.text


def test_of_two_that_fit_the_users_word_none_is_guessed(place):
    with pytest.raises(UserError, match=r"several data sets: a \(folder\), b \(folder\)"):
        read_source(place("a/happy/1.png", "b/happy/2.png"), dataset="folder")


def test_bad_places(place, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        read_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder is empty"):
        read_source(tmp_path / "empty")
    with pytest.raises(UserError, match=r"no folder names an emotion \(found 'cats', 'dogs'\)"):
        read_source(place("cats/1.png", "dogs/1.png"))
    with pytest.raises(UserError, match=r"no folder names an emotion \(it holds no folder"):
        read_source(place("cats/1.png") / "cats")


def test_a_kind_without_a_place_is_refused():
    with pytest.raises(UserError, match="--dataset rafdb needs the place of the data"):
        read_source(None, dataset="rafdb")


def test_ferplus_belongs_to_fer2013_only(place, tmp_path, write):
    votes = write("fer2013new.csv", "x")
    with pytest.raises(UserError, match="belong to fer2013, but the data set is folder"):
        read_source(place("happy/1.png"), ferplus=votes)
    csv = write("fer2013.csv", HEADER, "3,0,Training")
    with pytest.raises(UserError, match=r"absent\.csv is not a file"):
        read_source(csv, ferplus=tmp_path / "absent.csv")
