import io
from pathlib import Path

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.sources.inputs import find_items


def files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def found(*words, listed=""):
    return [item.name for item in find_items([str(word) for word in words], io.StringIO(listed))]


def test_folders_are_gone_through_in_order_and_other_files_left_out(tmp_path, caught_logs):
    files(tmp_path, "b.jpg", "a/z.PNG", "a/deep/c.mp4", "notes.txt", ".hidden.png", ".git/x.png")
    assert found(tmp_path) == [str(tmp_path / name) for name in ("b.jpg", "a/z.PNG", "a/deep/c.mp4")]
    assert "no pictures or videos by their names were left out (2)" in caught_logs.text


def test_a_pattern_that_the_shell_left_alone_is_expanded(tmp_path):
    files(tmp_path, "1.jpg", "2.jpg", "sub/3.jpg", "4.png")
    assert found(tmp_path / "*.jpg") == [str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]
    assert str(tmp_path / "sub" / "3.jpg") in found(tmp_path / "**" / "*.jpg")


def test_a_list_on_stdin_may_name_what_is_missing(tmp_path):
    files(tmp_path, "1.jpg")
    assert found("-", listed=f"{tmp_path}/1.jpg\n\n{tmp_path}/gone.jpg\n") == [
        f"{tmp_path}/1.jpg",
        f"{tmp_path}/gone.jpg",
    ]


def test_a_file_that_is_named_twice_is_looked_at_once(tmp_path, monkeypatch):
    files(tmp_path, "1.jpg")
    monkeypatch.chdir(tmp_path)
    assert found("1.jpg", tmp_path, tmp_path / "1.jpg") == ["1.jpg"]


def test_copies_of_files_of_one_name_get_places_of_their_own(tmp_path):
    files(tmp_path, "a/1.jpg", "b/1.jpg", "c/a/1.jpg")
    items = find_items([str(tmp_path / "a" / "1.jpg"), str(tmp_path / "b"), str(tmp_path / "c")], io.StringIO())
    assert [item.below for item in items] == ["1.jpg", "1-2.jpg", str(Path("a", "1.jpg"))]


def test_a_picture_is_what_is_no_video_by_its_name(tmp_path):
    files(tmp_path, "film.MOV", "strange.xyz")
    items = find_items([str(tmp_path / "film.MOV"), str(tmp_path / "strange.xyz")], io.StringIO())
    assert [item.is_video for item in items] == [True, False]


@pytest.mark.parametrize("word", ["gone.jpg", "*.jpg", "."])
def test_a_word_that_names_nothing_is_refused(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"gone\.jpg: no such|\*\.jpg: the pattern|no picture and no video"):
        find_items([word], io.StringIO())


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    files(tmp_path, "1.jpg", "shut/2.jpg")

    def walk(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "shut")))
        yield from ()

    monkeypatch.setattr("os.walk", walk)  # root may read everything
    with pytest.raises(UserError, match="shut cannot be read: Permission denied"):
        find_items([str(tmp_path)], io.StringIO())
