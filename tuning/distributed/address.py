"""Where the chief of a search listens: HOST:PORT, read from text; standard library only."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from fer_hierarchy.hierarchy.errors import UserError

LAST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """A host by name or number, and a port of it."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Read HOST:PORT; an IPv6 number is written in brackets.

        Args:
            text: What the user gave.
            where: What errors call it.

        Raises:
            UserError: The host or the port is missing, or the port is out of range.
        """
        try:
            place = urlsplit(f"//{text.strip()}")
            host, port, rest = place.hostname, place.port, place.path + place.query + place.fragment
        except ValueError:
            host, port, rest = None, None, ""
        if not host or not port or rest or " " in host:
            raise UserError(
                f"{where}: expected HOST:PORT with a port from 1 to {LAST_PORT}, for example 127.0.0.1:8700 or "
                f"[::1]:8700 (an IPv6 number in brackets), got {text!r}"
            )
        return cls(host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
