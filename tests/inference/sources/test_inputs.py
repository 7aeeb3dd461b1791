import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.sources.inputs import find_items
from fer_hierarchy.inference.sources.video import VideoReader


def files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def found(*words, listed=b"", made=()):
    return [item.name for item in find_items([str(word) for word in words], io.BytesIO(listed), made)]


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
    assert found("-", listed=f"{tmp_path}/1.jpg\n\n{tmp_path}/gone.jpg\n".encode()) == [
        f"{tmp_path}/1.jpg",
        f"{tmp_path}/gone.jpg",
    ]


@pytest.mark.parametrize(
    "listed",
    [
        "a.jpg\nü b.jpg\n".encode(),
        "a.jpg\r\nü b.jpg".encode(),
        "a.jpg\0ü b.jpg\0".encode(),
        "\ufeffa.jpg\nü b.jpg\n".encode(),
        "a.jpg\r\nü b.jpg\r\n".encode("utf-16"),
        "\ufeffa.jpg\r\nü b.jpg\r\n".encode("utf-16-be"),
        "a.jpg\r\nü b.jpg\r\n".encode("utf-16-le"),
    ],
)
def test_lists_of_every_shell_are_read(listed):
    assert found("-", listed=listed) == ["a.jpg", "ü b.jpg"]


def test_names_are_bytes():
    assert found("-", listed=b"\xff.jpg\na\rb.jpg\n") == ["\udcff.jpg", "a\rb.jpg"]
    assert found("-", listed=b" a\n.jpg\0b\r\0") == [" a\n.jpg", "b\r"]


def test_a_list_that_is_no_text_is_refused():
    with pytest.raises(UserError, match="-: the list on stdin is no text"):
        found("-", listed=b"\xff\xfea")


@pytest.mark.parametrize("word", [".", "**/*", "*", "album"])
def test_what_a_call_makes_is_not_searched(tmp_path, monkeypatch, word):
    files(tmp_path / "album", "1.jpg", "marked/1.jpg", "marked/deep/2.jpg", "film-emotions.png")
    monkeypatch.chdir(tmp_path)
    made = [Path("album/marked"), tmp_path / "album" / "film-emotions.png"]
    assert [Path(name) for name in found(word, made=made)] == [Path("album/1.jpg")]
    assert found("album/marked/1.jpg", made=made) == ["album/marked/1.jpg"]  # whoever names it means it


def test_no_name_is_a_formula_of_a_spreadsheet(tmp_path, monkeypatch):
    files(tmp_path, "=1+1.jpg", "@a.jpg", "-b.jpg", "+c.jpg", "d=1.jpg")
    monkeypatch.chdir(tmp_path)
    assert found("*.jpg") == ["./+c.jpg", "./-b.jpg", "./=1+1.jpg", "./@a.jpg", "d=1.jpg"]


def test_a_file_that_is_named_twice_is_looked_at_once(tmp_path, monkeypatch):
    files(tmp_path, "1.jpg")
    monkeypatch.chdir(tmp_path)
    assert found("1.jpg", tmp_path, tmp_path / "1.jpg") == ["1.jpg"]


def test_copies_of_files_of_one_name_get_places_of_their_own(tmp_path):
    files(tmp_path, "a/1.jpg", "b/1.jpg", "c/a/1.jpg")
    items = find_items([str(tmp_path / "a" / "1.jpg"), str(tmp_path / "b"), str(tmp_path / "c")], io.BytesIO())
    assert [item.below for item in items] == ["1.jpg", "1-2.jpg", str(Path("a", "1.jpg"))]


VIDEO_HEADS = {
    "a.mts": b"\0\0\0\0" + (b"\x47" + bytes(191)) * 3,
    "a.ts": (b"\x47" + bytes(187)) * 3,
    "a.flv": b"FLV\x01\x05",
    "a.asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "a.3gp": b"\0\0\0\x1cftyp3gp4",
    "no-suffix": b"\0\0\0\x1cftypisom",
    "misnamed.jpg": b"RIFF\0\0\0\0AVI LIST",
}


def test_a_video_is_known_by_its_content(tmp_path):
    for name, head in VIDEO_HEADS.items():
        (tmp_path / name).write_bytes(head)
    items = find_items([str(tmp_path)], io.BytesIO())
    assert sorted(Path(item.name).name for item in items) == sorted(VIDEO_HEADS)
    assert all(item.is_video for item in items)


def test_what_is_no_video_by_its_content_is_none(tmp_path):
    contents = {
        "types.ts": b"export const a = 1\n" * 30,
        "song.m4a": b"\0\0\0\x1cftypM4A ",
        "photo.heic": b"\0\0\0\x1cftypheic",
        "photo-2.mov": b"\0\0\0\x1cftypavif",
        "raw.cr3": b"\0\0\0\x1cftypcrx ",
        "photo.mp4": b"\xff\xd8\xff\xe0",
        "damaged.MOV": b"x",
        "1.jpg": b"x",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    items = find_items([str(tmp_path)], io.BytesIO())
    pictures = dict.fromkeys(["1.jpg", "photo-2.mov", "photo.heic", "photo.mp4"], False)
    assert {Path(i.name).name: i.is_video for i in items} == pictures | {"damaged.MOV": True}


FILMS = {
    **{"webm": "VP80", "mkv": "mp4v", "avi": "MJPG", "mov": "mp4v", "ts": "mp2v", "flv": "FLV1", "ogv": "VP80"},
    **{"nut": "mp4v", "wtv": "mp4v", "dv": "dvsd", "gxf": "dvsd", "mjpeg": "MJPG", "wmv": "WMV2", "mpg": "mpg1"},
    **{"3gp": "mp4v", "mxf": "mp2v", "rm": "RV10", "ivf": "VP80", "m2ts": "mp2v", "y4m": "I420", "m4v": "mp4v"},
}


@pytest.mark.parametrize(("suffix", "codec"), FILMS.items())
def test_films_of_every_container_are_known_whatever_their_names(tmp_path, suffix, codec):
    size = (720, 576) if codec == "dvsd" else (64, 48)
    film = tmp_path / f"film.{suffix}"
    writer = cv2.VideoWriter(str(film), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 25, size)
    for number in range(5):
        writer.write(np.full((size[1], size[0], 3), 40 * number, np.uint8))
    writer.release()
    if not film.is_file():
        pytest.skip(f"this OpenCV writes no .{suffix}")
    if suffix != "mjpeg":  # one JPEG after the other: only its name tells it from a photograph
        film = film.rename(tmp_path / "film")
    (item,) = find_items([str(film)], io.BytesIO())
    assert item.is_video
    assert len(list(VideoReader(item.path))) == 5


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.dat")
    files(tmp_path, "1.jpg")
    assert found(tmp_path) == [str(tmp_path / "1.jpg")]


def test_system_folders_and_what_links_lead_back_to_are_left_out(tmp_path, caught_logs):
    names = ("$RECYCLE.BIN/a.jpg", "@eaDir/1.jpg/thumb.jpg", "__MACOSX/1.jpg", "System Volume Information/a.jpg")
    files(tmp_path / "album", "1.jpg", "sub/2.jpg", "._1.jpg", "Thumbs.db", *names)
    (tmp_path / "album" / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "album" / "twin").symlink_to(tmp_path / "album" / "sub")
    (tmp_path / "other").mkdir()
    files(tmp_path / "other", "3.jpg")
    (tmp_path / "album" / "elsewhere").symlink_to(tmp_path / "other")
    assert found(tmp_path / "album") == [
        str(tmp_path / "album" / name) for name in ("1.jpg", "elsewhere/3.jpg", "sub/2.jpg")
    ]
    assert "Links to folders that are read anyway were left out (2)" in caught_logs.text


@pytest.mark.parametrize("word", ["gone.jpg", "*.jpg", "."])
def test_a_word_that_names_nothing_is_refused(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"gone\.jpg: no such|\*\.jpg: the pattern|no picture and no video"):
        find_items([word], io.BytesIO())


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    files(tmp_path, "1.jpg", "shut/2.jpg")

    def scan(folder):
        raise PermissionError(13, "Permission denied", str(tmp_path / "shut"))

    monkeypatch.setattr("os.scandir", scan)  # root may read everything
    with pytest.raises(UserError, match="shut cannot be read: Permission denied"):
        find_items([str(tmp_path)], io.BytesIO())
