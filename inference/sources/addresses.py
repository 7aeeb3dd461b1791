"""Pictures behind http(s) addresses and inside of data URIs: within limits, and from public machines alone."""

import base64
import binascii
import functools
import http.client
import io
import ipaddress
import socket
import ssl
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from fer_hierarchy import __version__
from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.inference.sources.inputs import shown_address

MOST_BYTES = 50_000_000
SECONDS = 30.0  # for all of a picture: redirects, headers and content
REDIRECTS = 5
_SILENCE = 10.0  # seconds for which a machine may send nothing
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses as a network without IPv4 writes them
_PAGES = (b"<!doctype html", b"<html")
_SECURE = "https"


def fetch(address: str, *, allow_private: bool = False) -> bytes:
    """The content behind an address.

    A name is resolved once for each connection, and what was checked is what is connected to. Proxies are not used.

    Args:
        address: http(s), with user and password if need be, or a base64 data URI.
        allow_private: Whether machines of private networks, and this one, may be connected to.

    Raises:
        BadImageError: There is none, it is a web page, too large, too slow, or somewhere that must not be connected to.
    """
    if address[:5].lower() == "data:":
        return _inline(address)
    end = time.monotonic() + SECONDS
    try:
        for _ in range(REDIRECTS + 1):
            content, following = _get(urlsplit(address), end, allow_private=allow_private)
            if following is None:
                return content
            address = _redirected(address, following)
    except TimeoutError as error:
        slow = f"no complete response within {SECONDS:g} seconds"
        raise BadImageError(slow if time.monotonic() >= end else "does not respond") from error
    except ssl.SSLError as error:
        raise BadImageError(f"no secure connection ({error.reason or error})") from error
    except http.client.HTTPException as error:
        raise BadImageError(f"no proper HTTP response ({type(error).__name__})") from error
    except OSError as error:
        raise BadImageError(f"cannot be reached ({error.strerror or error})") from error
    except ValueError as error:  # of urlsplit and the encoding of names; its text may have a password
        raise BadImageError("no valid address; expected one like https://example.org/photo.jpg") from error
    raise BadImageError(f"more than {REDIRECTS} redirects")


def _inline(address: str) -> bytes:
    """The content of a data URI."""
    kind, comma, text = address.partition(",")
    if not comma or not kind.lower().endswith(";base64"):
        raise BadImageError("no base64 data URI, which begins like data:image/jpeg;base64,")
    try:
        text = "".join(unquote(text).split())
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImageError(f"damaged base64 ({error})") from error
    _check_size(len(content))
    return content


def _get(parts: SplitResult, end: float, *, allow_private: bool) -> tuple[bytes, str | None]:
    """The content behind one address, or nothing and the address that the server redirects to."""
    if not parts.hostname:
        raise ValueError("it names no machine")
    host = parts.hostname.encode("idna").decode()
    with _connected(host, parts, end, allow_private=allow_private) as timed:
        connection = http.client.HTTPConnection(host, 80)  # a port, or it takes the end of an IPv6 address for one
        connection.sock = timed  # type: ignore[assignment]  # it has what is used of one
        query = f"?{parts.query}" if parts.query else ""
        target = quote((parts.path or "/") + query, safe=string.punctuation)
        connection.request("GET", target, headers=_headers(host, parts))
        response = connection.getresponse()
        following = response.getheader("Location")
        if response.status in (301, 302, 303, 307, 308) and following:
            return b"", following
        return _content(response), None


def _headers(host: str, parts: SplitResult) -> dict[str, str]:
    name = f"[{host}]" if ":" in host else host
    headers = {"Host": f"{name}:{parts.port}" if parts.port else name, "User-Agent": f"fer-hierarchy/{__version__}"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return headers | {"Accept": "image/*", "Connection": "close"}


def _content(response: http.client.HTTPResponse) -> bytes:
    if response.status != HTTPStatus.OK:
        phrase = http.client.responses.get(response.status, "")
        raise BadImageError(f"the server responds {response.status} {phrase}".rstrip())
    length = response.length  # None where the server does not tell
    _check_size(length or 0)
    if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
        _refuse_page()
    content = response.read(MOST_BYTES + 1)
    _check_size(len(content))
    if content.lstrip()[:20].lower().startswith(_PAGES):
        _refuse_page()
    if length is not None and len(content) < length:
        raise BadImageError(f"the response ends after {len(content)} of {length} bytes")
    return content


def _refuse_page() -> None:
    raise BadImageError("a web page, no picture; name the address of the picture itself")


def _check_size(count: int) -> None:
    if count > MOST_BYTES:
        raise BadImageError(f"more than {MOST_BYTES // 10**6} MB")


def _redirected(address: str, following: str) -> str:
    """Where a server redirects to, as a whole address.

    Raises:
        BadImageError: It is none of http(s), or less secure.
    """
    onward = urljoin(address, quote(following, safe=string.punctuation, encoding="latin-1"))
    before, after = urlsplit(address).scheme, urlsplit(onward).scheme
    if after not in ("http", _SECURE) or (before == _SECURE and after != _SECURE):
        raise BadImageError(f"redirects from {before} to {shown_address(onward)}, which is not followed")
    return onward


@contextmanager
def _connected(host: str, parts: SplitResult, end: float, *, allow_private: bool) -> Iterator["_TimedSocket"]:
    """A connection to the first machine of a name that may be connected to and responds."""
    secure = parts.scheme == _SECURE
    found = socket.getaddrinfo(host, parts.port or (443 if secure else 80), type=socket.SOCK_STREAM)
    places = [place[:2] for *_, place in found if allow_private or is_public(str(place[0]))]
    if not places:
        hint = "allow_private=True, --allow-private-addresses"
        raise BadImageError(f"leads to the private address {found[0][4][0]}, which is not connected to ({hint})")
    connection = _first_connection(places, end)
    try:
        if secure:
            connection.settimeout(_left(end))
            connection = _tls().wrap_socket(connection, server_hostname=host)
        yield _TimedSocket(connection, end)
    finally:
        connection.close()


def _first_connection(places: list[Any], end: float) -> socket.socket:
    for number, place in enumerate(places, start=1):
        try:
            return socket.create_connection(place, timeout=_left(end))
        except OSError:
            if number == len(places):
                raise
    raise OSError("the name has no address")


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public internet, also where it is an IPv4 address inside of an IPv6 one.

    Examples:
        >>> is_public("93.184.215.14"), is_public("192.168.0.1"), is_public("::ffff:127.0.0.1")
        (True, False, False)
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not (address.is_multicast or address.is_reserved)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _left(end: float) -> float:
    """Seconds to wait for the next that a machine sends, if it has any left."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, _SILENCE)


class _TimedSocket(io.RawIOBase):
    """What http.client needs of a connection; it reads and writes until a moment, and no longer."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection, self._end = connection, end

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Bytes received, 0 at the end."""
        self._connection.settimeout(_left(self._end))
        return self._connection.recv_into(buffer)

    def sendall(self, content: bytes) -> None:
        """Send a request."""
        self._connection.settimeout(_left(self._end))
        self._connection.sendall(content)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Itself, with a buffer."""
        return io.BufferedReader(self)

    def close(self) -> None:
        """Nothing: http.client closes a connection before it has read what came through it."""
