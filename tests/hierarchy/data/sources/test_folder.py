"""Any folder of class folders."""

import os

import pytest

from fer_hierarchy.hierarchy.data.sources import folder, read_source
from fer_hierarchy.hierarchy.errors import UserError


def test_folder_words_become_canonical_emotions(place):
    root = place(
        "Anger/1.png", "HAPPINESS/2.JPG", "sad/deep/er/3.webp", ".hidden/x/4.png", "sad/notes.txt", "sad/._3.png"
    )
    manifest = folder.read(root)
    assert manifest["id"].tolist() == ["Anger/1.png", "HAPPINESS/2.JPG", "sad/deep/er/3.webp"]
    assert manifest["emotion"].tolist() == ["angry", "happy", "sad"]
    assert manifest["path"].tolist() == [str(root / name) for name in manifest["id"]]
    assert set(manifest["split"]) == {""}


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_split_folders_become_splits(place, validation):
    root = place("Train/happy/1.png", f"{validation}/happy/2.png", "test/happy/3.png")
    found = folder.read(root).set_index("id")["split"]
    assert found["Train/happy/1.png"] == "train"
    assert found[f"{validation}/happy/2.png"] == "validation"
    assert found["test/happy/3.png"] == "test"


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff", "PNG", "Jpg"])
def test_images_are_known_by_suffix(place, suffix):
    assert len(folder.read(place(f"happy/1.{suffix}", "happy/1.gif.txt"))) == 1


def test_unknown_words_are_listed_with_the_known(place):
    root = place("happy/1.png", "hungry/2.png")
    with pytest.raises(UserError, match="class folder 'hungry' names no emotion; known: angry, disgust, fear, happy"):
        folder.read(root)


def test_class_folders_beside_split_folders_are_refused(place):
    root = place("train/happy/1.png", "sad/2.png")
    with pytest.raises(UserError, match="'sad' lies beside split folders"):
        folder.read(root)


def test_class_folders_without_images(place):
    with pytest.raises(UserError, match=r"no image in its class folders; looked for \.png"):
        folder.read(place("happy/readme.txt"))


def test_a_link_that_leads_back_up_does_not_hang(place):
    root = place("happy/1.png")
    (root / "happy" / "loop").symlink_to(root, target_is_directory=True)
    assert len(folder.read(root)) == 1


def test_training_reads_every_kind_of_image_that_predict_reads(place):
    assert sorted(folder.read(place("happy/a.gif", "sad/a.jfif", "fear/a.pgm"))["emotion"]) == ["fear", "happy", "sad"]
    assert len(folder.read(place("happy/b.heic", "happy/b.avif", "happy/b.HIF"))) == 6


def test_the_split_words_of_fer2013_name_folders_too(place):
    found = folder.read(place("Training/sad/1.png", "PublicTest/sad/1.png", "PrivateTest/sad/1.png"))
    assert sorted(found["split"]) == ["test", "train", "validation"]


def test_what_is_left_out_is_counted(place, caplog):
    root = place("train/happy/1.png", "train/sad/2.png", "train/sad/notes.txt", "test/3.png", "test/4.png", "5.png")
    (root / "train" / "happy" / "again").symlink_to(root / "train" / "sad", target_is_directory=True)
    assert len(folder.read(root)) == 2
    assert "test holds 2 images outside of class folders; they have no label and are left out" in caplog.text
    assert f"{root} holds 1 images outside of class folders" in caplog.text
    assert "no images by their names were left out (1 .txt;" in caplog.text
    assert "Links to folders that are read anyway were left out (1)" in caplog.text


def test_system_folders_are_counted(place, caplog):
    assert len(folder.read(place("happy/1.png", "happy/@eaDir/1.png", "sad/2.png", ".thumbnails/3.png"))) == 2
    assert "Hidden folders and folders of the operating system were left out (2)" in caplog.text


@pytest.mark.parametrize(("folders", "link", "to"), [("", "anger", "sad"), ("train/", "test", "train")])
def test_links_that_make_two_class_folders_one_are_refused(place, folders, link, to):
    root = place(f"{folders}sad/1.png", f"{folders}happy/2.png")
    (root / link).symlink_to(root / to, target_is_directory=True)
    with pytest.raises(UserError, match="are one folder, by a link; remove one"):
        folder.read(root)


def test_a_class_folder_without_an_image_is_an_error(place):
    with pytest.raises(
        UserError, match=r"class folder 'sad' holds no image \(2 .psd; images are .*; fill it or remove"
    ):
        folder.read(place("happy/1.png", "sad/1.psd", "sad/2.psd"))


def test_a_linked_folder_is_read_once(place):
    root = place("happy/1.png", ".elsewhere/2.png")
    for link in ("sad", "happy/more"):
        (root / link).symlink_to(root / ".elsewhere", target_is_directory=True)
    assert folder.read(root)["id"].tolist() == ["happy/1.png", "sad/2.png"]


def test_a_name_that_is_not_utf8_is_one_line(place):
    root = place("happy/1.png", "sad/2.png")
    (root / "sad" / os.fsdecode(b"f\xfcr.png")).write_bytes(b"")
    with pytest.raises(UserError, match=r"sad/f\\udcfcr.png: the name is not UTF-8; rename it"):
        folder.read(root)
    below = root / os.fsdecode(b"M\xfcller")
    below.mkdir()
    (root / "happy").rename(below / "happy")
    with pytest.raises(UserError, match="the name is not UTF-8"):
        read_source(below)


@pytest.mark.parametrize("name", ["faces.csv", "faces.zip", "faces"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is a pipe or a device; give a folder, a csv or a zip"):
        read_source(tmp_path / name)
