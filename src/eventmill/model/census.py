"""What a store holds, seen from outside: what is stored under which names, and who has read it."""

from __future__ import annotations

import msgspec


class StoredType(msgspec.Struct):
    """Entries of one source, type and version, those from outside apart."""

    source: str
    type: str
    version: int
    is_outside: bool
    """Messages that clients published; the others were written by handlers."""
    count: int
    first: int
    """Positions."""
    last: int
    samples: list[tuple[int, bytes]]
    """Position and payload of some, the first and the last among them."""
    of_entity: bool = False
    """An entity's, not a topic's: entries have sequences."""


class Subscriber(msgspec.Struct, frozen=True):
    """What a subscription has left in the store."""

    name: str
    position: int
    letters: int
