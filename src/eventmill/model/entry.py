"""The journal's entry: the one shape of everything durable that flows.

An entity's event, a key-value entity's new state, a topic's message and a sent command are all
entries of one journal, told apart by `source`. Made at the turn (payload encoded there), written by
the commit, read by dispatch, forwarded as they are.

Invariants: `payload` is JSON and never changes after it was made; `sequence` counts an entity's
entries from 1 without gaps and is 0 for messages and sent commands, which only `position` orders;
`position` grows per shard in commit order and is 0 until the entry is committed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

COMMANDS: Final = "$commands"
"""Source of sent commands; the courier delivers them."""

DELETED: Final = "$deleted"
"""Type of a deleted entity's last entry."""

STATE: Final = "$state"
"""Type of a key-value entity's entry: its payload is the whole state."""


class Entry(msgspec.Struct, gc=False):
    """One row of the journal."""

    source: str
    """Component id, topic id or `COMMANDS`."""
    subject: str
    """Entity id or message key; order is kept per subject."""
    sequence: int
    """Number of this entry within its entity, from 1; 0 for messages and sent commands."""
    type: str
    """Stored type name: an event type's name, `STATE`, `DELETED` or a command's name."""
    version: int
    """Version of the type's schema."""
    time: int
    """Wall clock of the turn, microseconds since the epoch."""
    payload: bytes
    """JSON."""
    metadata: bytes | None = None
    """JSON object: correlation, causation, trace context, CloudEvents attributes, user metadata."""
    origin: str | None = None
    """`shard:position` of the sent command that caused it: the entity's dedupe mark. In a
    key-value entity, those of all shards, separated by commas."""
    shard: int = 0
    position: int = 0

    @property
    def id(self) -> str:
        """Deterministic id: the same at every delivery, for ever."""
        return f"{self.shard}:{self.position}"


def metadata_of(entry: Entry) -> dict[str, Any]:
    """Return the entry's metadata as a dict of the caller's own."""
    if entry.metadata is None:
        return {}
    return msgspec.json.decode(entry.metadata, type=dict[str, Any])
