import zipfile
from contextlib import suppress

import pytest

from fer_hierarchy.hierarchy.data.archive import extract
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.errors import UserError


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\x1c", b" \n\x85", b"\xe2\x80\xa8", b"\n\r\n", b""])
def test_a_csv_of_nothing_is_one_line(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv"):
        read_source(tmp_path / "a.csv")


def test_every_byte_of_a_zip_may_be_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("happy/\u00fc.png", b"x" * 20)
    content = (tmp_path / "a.zip").read_bytes()
    for place in range(len(content)):
        (tmp_path / "b.zip").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with suppress(UserError):
            extract(tmp_path / "b.zip")
