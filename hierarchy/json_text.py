"""JSON that somebody else wrote, parsed so that whatever is wrong with it is a ValueError."""

import json
from typing import Any


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
