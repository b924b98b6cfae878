"""Cursors: how far a reader of several shards has come, as one text.

`0:17` is position 17 of shard 0; several shards are separated by commas. Readers hand it back, as
`Last-Event-ID` for example, and go on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from eventmill.errors import InvalidPayload

_PART = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


def write(positions: Mapping[int, int]) -> str:
    """Return positions by shard as a text."""
    return ",".join(f"{shard}:{position}" for shard, position in positions.items())


def read(text: str) -> dict[int, int]:
    """Return the positions that a text names.

    Raises `InvalidPayload`.
    """
    parts = [_PART.fullmatch(part) for part in text.split(",")]
    found = {int(part[1]): int(part[2]) for part in parts if part is not None}
    if len(found) < len(parts):
        raise InvalidPayload(f"{text[:40]!r} is no place to start from")
    return found
