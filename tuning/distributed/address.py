"""Where the chief of a search listens: HOST:PORT, read from text; standard library only."""

import re
from dataclasses import dataclass
from typing import Self

from fer_hierarchy.hierarchy.errors import UserError

LAST_PORT = 65535

_HOST = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<name>[\w.-]+))"
_ADDRESS = re.compile(rf"{_HOST}:(?P<port>\d+)")


@dataclass(frozen=True)
class Address:
    """A host by name or number, and a port of it."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Read HOST:PORT; an IPv6 number stands in brackets.

        Args:
            text: What the user gave.
            where: What errors call it.

        Raises:
            UserError: The host or the port is missing, or the port is out of range.
        """
        found = _ADDRESS.fullmatch(text.strip())
        if not found:
            example = "HOST:PORT, for example 127.0.0.1:8700 or [::1]:8700"
            raise UserError(f"{where}: expected {example}; {_what_is_wrong(text.strip())}, got {text!r}")
        if not 1 <= int(found["port"]) <= LAST_PORT:
            raise UserError(f"{where}: expected a port from 1 to {LAST_PORT}, got {text!r}")
        return cls(found["v6"] or found["name"], int(found["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _what_is_wrong(text: str) -> str:
    host, _, port = text.rpartition(":")
    if "/" in text:
        return "neither http:// nor a path belongs to it"
    if ":" in host and "[" not in host:
        return "an IPv6 number stands in brackets"
    if not port.isdecimal():
        return "the port is missing or no number"
    return "the host is missing" if not host else f"{host!r} is no host"
