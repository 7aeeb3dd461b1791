"""Zips are unpacked whole, once, and never outside of their folder."""

import errno
import io
import stat
import zipfile
from pathlib import Path

import pytest

from fer_hierarchy.hierarchy.data import archive
from fer_hierarchy.hierarchy.data.archive import extract
from fer_hierarchy.hierarchy.errors import UserError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FER_CACHE", str(folder))
    return folder


def write_zip(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def leftovers(cache):
    return [str(path) for path in cache.rglob("*")] if cache.exists() else []


def assert_refused(path, message, cache):
    with pytest.raises(UserError, match=message) as caught:
        extract(path)
    assert "\n" not in str(caught.value)
    assert [place for place in leftovers(cache) if not place.endswith("archives")] == []


def test_content_is_unpacked_and_the_second_call_does_no_work(tmp_path, cache, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {"train/happy/a.jpg": b"face", "__MACOSX/train/._a.jpg": b"", "b/": b""})
    folder = extract(path)
    assert (folder / "train/happy/a.jpg").read_bytes() == b"face"
    assert not (folder / "__MACOSX").exists()
    monkeypatch.setattr(archive, "_unpack", None)
    assert extract(path) == folder


def test_a_changed_archive_is_unpacked_anew(tmp_path, cache):
    path = write_zip(tmp_path / "set.zip", {"a.txt": b"1"})
    first = extract(path)
    write_zip(path, {"a.txt": b"22"})
    assert (extract(path) / "a.txt").read_bytes() == b"22"
    assert (first / "a.txt").read_bytes() == b"1"


@pytest.mark.parametrize("content", [b"", b"no archive at all"])
def test_a_file_that_is_no_zip_is_refused(tmp_path, cache, content):
    path = tmp_path / "set.zip"
    path.write_bytes(content)
    assert_refused(path, "not a complete zip archive", cache)


def test_a_truncated_zip_is_refused(tmp_path, cache):
    path = write_zip(tmp_path / "set.zip", {"a.bin": bytes(range(256)) * 64})
    path.write_bytes(path.read_bytes()[:-40])
    assert_refused(path, "not a complete zip archive", cache)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_entry_leaves_nothing_behind(tmp_path, cache, compression):
    path = write_zip(tmp_path / "set.zip", {"good.txt": b"x", "bad.bin": bytes(range(256)) * 64}, compression)
    content = bytearray(path.read_bytes())
    at = content.index(b"bad.bin") + 60
    content[at : at + 20] = b"\xff" * 20
    path.write_bytes(content)
    assert_refused(path, "not a complete zip archive", cache)


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_paths_that_lead_outside_are_refused(tmp_path, cache, name):
    path = write_zip(tmp_path / "set.zip", {"good.txt": b"x", name: b"evil"})
    assert_refused(path, "points outside of the archive; it is refused as unsafe$", cache)
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_are_refused(tmp_path, cache):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr(entry, "/etc")
    assert_refused(tmp_path / "set.zip", "symbolic link", cache)


def test_encrypted_archives_are_refused(tmp_path, cache):
    path = write_zip(tmp_path / "set.zip", {"a.txt": b"x"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert_refused(path, "is encrypted", cache)


def test_two_entries_of_one_name_are_refused(tmp_path, cache):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("a.txt", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.txt", "2")
    assert_refused(tmp_path / "set.zip", "two files of the same name", cache)


def test_unbounded_expansion_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archive, "RATIO_MATTERS_FROM", 2**16)
    path = write_zip(tmp_path / "set.zip", {"zeros.bin": bytes(2**20)}, zipfile.ZIP_DEFLATED)
    assert_refused(path, "decompression bomb", cache)


def test_too_many_bytes_or_files_are_refused(tmp_path, cache, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {"a": b"1234", "b": b"5678"})
    monkeypatch.setattr(archive, "MAX_BYTES", 7)
    assert_refused(path, "would unpack to", cache)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 1)
    assert_refused(path, "holds 2 files", cache)


def test_an_entry_that_grows_beyond_its_promise_is_stopped_while_writing(tmp_path, cache, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {"a": b"1234"})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_args, **_kwargs: io.BytesIO(bytes(2**21)))
    assert_refused(path, "more than its directory promises", cache)


def test_too_little_room_is_noticed_before_writing(tmp_path, cache, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {"a": b"1234"})
    monkeypatch.setattr(archive, "SPARE_BYTES", 2**62)
    assert_refused(path, "MB free", cache)


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, cache, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {"a": b"1234", "b": b"5678"})
    real_open = Path.open

    def full(self, mode="r", *args, **kwargs):
        if mode == "xb" and self.name == "b":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    assert_refused(path, "No space left on device; FER_CACHE", cache)


def test_an_interruption_leaves_nothing_behind(tmp_path, cache, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {"a": b"1234"})

    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "_write_entries", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract(path)
    assert [place for place in leftovers(cache) if not place.endswith("archives")] == []
