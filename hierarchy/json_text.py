"""JSON that somebody else wrote, parsed so that whatever is wrong with it is a ValueError."""

import json
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import require_file


def parse_json(text: str | bytes, **options: Any) -> Any:
    """What `json.loads` gives.

    Args:
        text: The JSON, bytes as UTF-8.
        options: Of `json.loads`.

    Raises:
        ValueError: It is no JSON, or nested more deeply than Python reads.

    Examples:
        >>> parse_json('{"seed": 3}')
        {'seed': 3}
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_file(path: Path, **options: Any) -> Any:
    """What `parse_json` gives of a file's content, which is never waited for.

    Raises:
        OSError: It is missing, not readable, or a folder, a pipe or a device.
        ValueError: It is no JSON in UTF-8.
    """
    require_file(path)
    return parse_json(path.read_text(encoding="utf-8"), **options)


def read_written(path: Path, where: str) -> Any:
    """Parse a JSON file that a person wrote, in which a key that stands twice is a mistake.

    Args:
        path: The file.
        where: What errors call it.

    Raises:
        UserError: It is not readable, no JSON, or holds a key twice in one object.
    """
    try:
        return parse_file(path, object_pairs_hook=_unique_keys)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: not readable as JSON ({error})") from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object for `json.loads`, which would silently keep the last value of a key that stands twice."""
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"key {twice!r} stands twice")
    return dict(pairs)
