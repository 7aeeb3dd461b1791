import io
import logging
import os
import subprocess
import sys

import pytest

from fer_hierarchy.hierarchy.cli.console import notes_on_screen, run_program
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.printing import printable, show, table_lines, without_password
from fer_hierarchy.hierarchy.progress import Progress, announce
from fer_hierarchy.hierarchy.reports.page import Section, Table, Text, report, to_markdown, write_page
from fer_hierarchy.hierarchy.runs.run_folder import log_to
from fer_hierarchy.inference.sources.video import VideoReader
from tests.conftest import CHECKOUT

HARMFUL = "\x1b[2Jred\x9b31m\u202egpj.\x07\r\udcff"
SHOWN = r"\x1b[2Jred\x9b31m\u202egpj.\x07\r\udcff"


@pytest.mark.parametrize("name", ["Тест.jpg", "顔 😀.jpg", "a\\b.png", "שלום.png", "[x] 100%.jpg"])
def test_names_of_any_language_stay(name):
    assert printable(name) == name


def test_what_a_terminal_obeys_is_escaped():
    assert printable(HARMFUL) == SHOWN
    assert printable("a\nb") == r"a\nb"
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:secret@127.0.0.1:9/stream", "rtsp://user:***@127.0.0.1:9/stream"),
        ("video rtsp://user:se@cr/et@cam/1 ends", "video rtsp://user:***@cam/1 ends"),
        ("HTTP://:secret@cam", "HTTP://:***@cam"),
        ("http://cam/a?user=me&password=secret&size=2", "http://cam/a?user=me&password=***&size=2"),
        ("http://cam/a?access_token=secret", "http://cam/a?access_token=***"),
        ("http://cam:80/a", "http://cam:80/a"),
        ("user:secret@somewhere.jpg", "user:secret@somewhere.jpg"),
    ],
)
def test_passwords_of_addresses_are_hidden(address, shown):
    assert without_password(address) == printable(address) == shown


def test_a_camera_that_does_not_respond_is_named_without_its_password():
    with pytest.raises(UserError, match=r"rtsp://user:\*\*\*@127.0.0.1:9/stream gives no video"):
        VideoReader("rtsp://user:secret@127.0.0.1:9/stream")


def test_errors_notes_announcements_progress_and_lines_are_printable(tmp_path, capsys):
    def call():
        with notes_on_screen(), log_to(tmp_path):
            logging.getLogger("fer_hierarchy").warning("%s is odd", HARMFUL)
            announce(f"best: {HARMFUL}")
            show(f"saved {HARMFUL}")
            print(Progress(1).line(HARMFUL))
        raise UserError(f"{HARMFUL} is missing")

    assert run_program("program", call) == 2
    written = capsys.readouterr()
    assert not {"\x1b", "\x9b", "\u202e", "\x07", "\r"} & set(written.out + written.err)
    assert f"note: {SHOWN} is odd" in written.err
    assert f"best: {SHOWN}" in written.out
    assert f"saved {SHOWN}" in written.out
    assert "\x1b" not in (tmp_path / "run.log").read_text()


def test_reports_are_printable(tmp_path):
    blocks = [Text(HARMFUL), Table(["name"], [[HARMFUL]])]
    page = report(HARMFUL, HARMFUL, [Section("Files", "", blocks)], synthetic=False)
    write_page(page, tmp_path)
    for text in (to_markdown(page, tmp_path), (tmp_path / "report.html").read_text(encoding="utf-8")):
        assert not {"\x1b", "\x9b", "\u202e", "\x07", "\r", "\udcff"} & set(text)


@pytest.mark.parametrize("width", [60, 100])
def test_tables_fit_the_terminal_and_their_rows_stay_apart(width, monkeypatch):
    names = [f"fer2013-{'wide_' * 18}resnet-augment_{way}-seed{seed}" for way in ("on", "off") for seed in (0, 1)]
    figures = "+19.0 (+13.4 to +24.4)"
    rows = [("run", "top-1 %", "kind"), *((name, figures, f"evaluation of {name}") for name in names)]
    monkeypatch.setenv("COLUMNS", str(width))
    full = table_lines(rows)
    assert all(name in line for name, line in zip(names, full[1:], strict=True))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = table_lines(rows)
    assert max(map(len, lines)) <= width
    assert len({line.split("  ")[0] for line in lines}) == len(rows)
    assert all(figures in line for line in lines[1:])
    alike = [("run",), ("a" * 70 + "b" + "a" * 70,), ("a" * 70 + "c" + "a" * 70,)]
    assert len(set(table_lines(alike))) == 3  # wider than the terminal rather than the same
    assert table_lines([("run", "top-1 %"), ("short", "63.4")]) == ["run    top-1 %", "short  63.4"]


def test_output_of_another_encoding_shows_escapes(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", out)
    assert run_program("program", lambda: show("Тест.jpg")) == 0
    assert out.buffer.getvalue().decode("cp1252").strip() == "\\u0422\\u0435\\u0441\\u0442.jpg"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_end_nothing_and_no_file_gets_their_number(tmp_path, closed):
    program = (
        "import os, sys; from fer_hierarchy.hierarchy.cli.console import run_program; from fer_hierarchy import "
        "UserError\n"
        "def call():\n"
        f"    number = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "    print(sys.stdin.read()); print('x', file=sys.stderr)\n"
        "    if number < 3: os.write(number, b'taken')\n"
        "    raise UserError('refused')\n"
        "sys.exit(run_program('program', call))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "file").read_bytes() == b""
