"""Pictures at addresses, from a server on this machine: no test connects to another."""

import base64
import io
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources import addresses
from fer_hierarchy.inference.sources.addresses import fetch, is_public
from fer_hierarchy.inference.sources.inputs import Item, find_items
from tests.conftest import CHECKOUT, draw_face
from tests.inference.stand_ins import BarModel

FACE = draw_face(3, np.random.default_rng(0))


def png(face=FACE):
    content = io.BytesIO()
    Image.fromarray(face).save(content, "PNG")
    return content.getvalue()


class Pages(BaseHTTPRequestHandler):
    """What the server has, by path; `server.seen` are the headers of each request."""

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        name = self.path.partition("?")[0].strip("/")
        getattr(self, name.replace(".png", ""), self.absent)()

    def reply(self, content=b"", status=200, kind="image/png", **headers):
        self.send_response(status)
        for key, value in {"Content_Type": kind, "Content_Length": len(content), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def photo(self):
        self.reply(png())

    def absent(self):
        self.reply(status=404)

    def page(self):
        self.reply(b"<html>a photo</html>", kind="text/html; charset=utf-8")

    def secret_page(self):
        self.reply(b"\n<!DOCTYPE html><title>a photo</title>")

    def huge(self):
        self.reply(b"\x89PNG", Content_Length=2_000_000_000)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1_000_000))
        except OSError:
            pass

    def slow(self):
        self.reply(b"\x89PNG", Content_Length=1000)
        for _ in range(40):
            time.sleep(0.1)
            self.wfile.write(b"x")

    def slow_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.slow()

    def cut(self):
        self.reply(png()[:60], Content_Length=len(png()))

    def film(self):
        self.reply(b"\x1a\x45\xdf\xa3" + bytes(600), kind="video/webm")

    def text(self):
        self.reply(b"no picture", kind="text/plain")

    def moved(self):
        self.reply(status=302, Location="/photo.png")

    def around(self):
        self.reply(status=301, Location="/around")

    def to_file(self):
        self.reply(status=302, Location="file:///etc/passwd")

    def to_private(self):
        self.reply(status=307, Location="http://me:pass@10.0.0.1/photo.png")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    made.daemon_threads, made.seen = True, []
    made.handle_error = lambda *_: None
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    made.address = f"http://127.0.0.1:{made.server_port}"
    yield made
    made.shutdown()
    made.server_close()


def test_an_ipv6_address_is_read():
    class Six(ThreadingHTTPServer):
        address_family = socket.AF_INET6

    try:
        made = Six(("::1", 0), Pages)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with made:
        made.seen = []
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        assert fetch(f"http://[0:0::1]:{made.server_port}/photo", allow_private=True) == png()
        made.shutdown()
    assert made.seen[0]["Host"] == f"[0:0::1]:{made.server_port}"


def reason(address, **options):
    with pytest.raises(BadImageError) as raised:
        Item.at(address, allow_private=True, **options).pixels()
    return str(raised.value)


def test_a_picture_is_read_behind_its_address_and_behind_a_redirect(server):
    for name in ("photo.png", "moved", "photo.png?width=48#face"):
        np.testing.assert_array_equal(Item.at(f"{server.address}/{name}", allow_private=True).pixels(), FACE)


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "gone.png": "the server responds 404 Not Found",
        "page": "a web page, no picture; name the address of the picture itself",
        "secret_page": "a web page, no picture; name the address of the picture itself",
        "huge": "more than 50 MB",
        "endless": "more than 50 MB",
        "cut": "the response ends after 60 of",
        "film": "a video, which is predicted from a file",
        "text": "not an image that can be read",
        "around": "more than 5 redirects",
        "to_file": "redirects from http to file:///etc/passwd, which is not followed",
    }.items(),
)
def test_what_is_no_picture_is_one_line(server, name, expected):
    told = reason(f"{server.address}/{name}")
    assert told.startswith(expected)
    assert "\n" not in told


@pytest.mark.parametrize("name", ["slow", "slow_headers"])
def test_the_whole_transfer_has_a_limit(server, monkeypatch, name):
    monkeypatch.setattr(addresses, "SECONDS", 0.6)
    began = time.monotonic()
    assert reason(f"{server.address}/{name}") == "no complete response within 0.6 seconds"
    assert time.monotonic() - began < 2


def test_a_server_that_is_not_there_or_silent_is_one_line(monkeypatch):
    monkeypatch.setattr(addresses, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/photo.png"
        assert reason(address) == "no complete response within 0.3 seconds"
    assert reason(address) == "cannot be reached (Connection refused)"
    monkeypatch.setattr(addresses, "SECONDS", 30.0)
    monkeypatch.setattr(addresses, "_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert reason(f"http://127.0.0.1:{silent.getsockname()[1]}/photo.png") == "does not respond"


@pytest.mark.parametrize(
    "address", ["http://[::1/a.png", "http:///a.png", "http://me:se/cret@x/a.png", "http://x:99999/"]
)
def test_a_wrong_address_is_one_line_without_its_password(address):
    assert reason(address) == "no valid address; expected one like https://example.org/photo.jpg"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "10.1.2.3"),
        *("169.254.169.254", "192.168.0.1", "0.0.0.0", "[fe80::1]", "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "[fd00::1]", "[::]"),
    ],
)
def test_private_addresses_are_not_connected_to_however_they_are_written(server, monkeypatch, host):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    with pytest.raises(BadImageError, match=r"leads to the private address .*--allow-private-addresses"):
        fetch(f"http://{host}:{server.server_port}/photo.png")
    assert not server.seen


def test_public_addresses_are_public():
    assert all(map(is_public, ["93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]))


def test_a_redirect_to_a_private_network_is_refused(server, monkeypatch):
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.1")
    with pytest.raises(BadImageError, match=r"leads to the private address 10\.0\.0\.1") as raised:
        fetch(f"{server.address}/to_private")
    assert "pass" not in str(raised.value).replace("--allow", "")


def test_a_name_is_resolved_once_and_that_machine_is_connected_to(server, monkeypatch):
    resolved, resolve = [], socket.getaddrinfo

    def rebinding(host, *arguments, **options):
        if host == "photos.example":  # public at first, and this machine afterwards
            resolved.append(host)
            return resolve("127.0.0.1" if len(resolved) == 1 else "10.0.0.1", *arguments, **options)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.1")
    assert fetch(f"http://photos.example:{server.server_port}/photo.png") == png()
    assert resolved == ["photos.example"]
    assert server.seen[0]["Host"] == f"photos.example:{server.server_port}"


def test_user_and_password_reach_the_server_and_nothing_else(server):
    address = server.address.replace("//", "//me:se%40cret@") + "/photo.png?token=abc"
    item = Item.at(address, allow_private=True)
    assert item.name == f"{server.address}/photo.png?token=***"
    assert item.below == "photo.png"
    item.pixels()
    assert server.seen[0]["Authorization"] == f"Basic {base64.b64encode(b'me:se@cret').decode()}"


def test_https_needs_a_certificate_of_the_name(server, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=photos.example -addext"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made.split(), "subjectAltName=DNS:photos.example", *files], check=True, capture_output=True)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate, key)
    server.socket = own.wrap_socket(server.socket, server_side=True)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **options: resolve("127.0.0.1", *rest, **options))
    address = f"https://photos.example:{server.server_port}"
    assert reason(f"{address}/photo.png") == "no secure connection (CERTIFICATE_VERIFY_FAILED)"
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(addresses, "_tls", lambda: trusting)
    assert fetch(f"{address}/photo.png", allow_private=True) == png()
    monkeypatch.setattr(Pages, "moved", lambda self: self.reply(status=302, Location="http://photos.example/a.png"))
    assert reason(f"{address}/moved") == "redirects from https to http://photos.example/a.png, which is not followed"
    other = address.replace("photos", "other")
    assert reason(f"{other}/photo.png") == "no secure connection (CERTIFICATE_VERIFY_FAILED)"


def data_uri(content=None):
    return f"data:image/png;base64,{base64.b64encode(content or png()).decode()}"


def test_a_data_uri_is_a_picture_with_a_short_name():
    item = Item.at(data_uri())
    np.testing.assert_array_equal(item.pixels(), FACE)
    assert len(item.name) < 50
    assert item.name != Item.at(data_uri(png(FACE + 1))).name
    assert reason("data:image/png;base64,a*b=").startswith("damaged base64")


def test_one_bad_address_does_not_end_the_others(server):
    predictor = Predictor(BarModel(), faces=FaceConfig(cropped=True), detector=None)
    table = predictor.predict(
        [f"{server.address}/photo.png", f"{server.address}/gone.png", data_uri(), FACE], allow_private=True
    )
    assert table["image"].tolist() == [0, 1, 2, 3]
    assert table["emotion"].fillna("").tolist() == ["happy", "", "happy", "happy"]
    assert table["error"].fillna("").tolist() == ["", "the server responds 404 Not Found", "", ""]
    assert table["file"][0] == f"{server.address}/photo.png"
    with pytest.raises(UserError, match=r"gone\.png: the server responds 404 Not Found$"):
        predictor.predict(f"{server.address}/gone.png", allow_private=True)


def test_a_list_holds_addresses_and_paths(server, tmp_path):
    lines = f"{server.address}/photo.png\n{tmp_path / 'a.png'}\n{data_uri()}\n{server.address}/photo.png\n"
    items = find_items(["-"], io.BytesIO(lines.encode()))
    assert [item.below for item in items] == ["photo.png", "a.png", "picture"]
    assert [item.address is None for item in items] == [False, True, False]


def test_the_command_line_takes_addresses(server, tmp_path):
    named = (f"{server.address}/photo.png", f"{server.address}/page", data_uri())
    command = ("--mode", "predict", *named, "--cropped", "--annotate", tmp_path / "marked")
    public, private = (*command, "--out", tmp_path / "a.csv"), (*command, "--out", tmp_path / "b.csv")
    for arguments, failed in ((public, "2 files"), ((*private, "--allow-private-addresses"), "1 file")):
        done = subprocess.run([sys.executable, "tf_model.py", *arguments], cwd=CHECKOUT, capture_output=True, text=True)
        assert done.returncode == 1
        assert f"{failed} could not be read" in done.stderr
    errors = pd.read_csv(tmp_path / "a.csv")["error"].fillna("")
    assert errors.str.contains("private address").tolist() == [True, True, False]
    rows = pd.read_csv(tmp_path / "b.csv")
    assert rows["file"][0] == named[0]
    assert rows["error"].fillna("").str.partition(";")[0].tolist() == ["", "a web page, no picture", ""]
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == ["photo.png", "picture.png"]
