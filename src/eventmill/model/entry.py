"""The journal's entry: the one shape of everything durable that flows.

An entity's event, a key-value entity's new state, a topic's message and a sent command are all
entries of one journal, told apart by `source`. Made at the turn (payload encoded there), written by
the commit, read by dispatch, forwarded as they are.

Invariants: `payload` is JSON and never changes after it was made; `sequence` counts an entity's
entries from 1 without gaps and is 0 for messages and sent commands, which only `position` orders;
`position` grows per shard in commit order and is 0 until the entry is committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from eventmill.model import codec

COMMANDS: Final = "$commands"
"""Source of sent commands; the courier delivers them."""

DELTAS: Final = "$deltas"
"""Source of what replicated entities changed, a topic of the platform's own: subject is the entity's
id, type its component."""

TIMER: Final = "timer"
"""Origin of a command that a timer sent."""

DELETED: Final = "$deleted"
"""Type of a deleted entity's last entry."""

STATE: Final = "$state"
"""Type of a key-value entity's entry: its payload is the whole state."""

STEP: Final = "$step"
"""Type of a workflow's entry that says how it moved and where it is now (`model.progress`)."""


class Entry(msgspec.Struct, gc=False):
    """One row of the journal."""

    source: str
    """Component id, topic id, `COMMANDS`, or that of an action's calls."""
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
    key-value entity, those of all shards, separated by commas. Of a command that a timer sent: `TIMER`."""
    shard: int = 0
    position: int = 0

    @property
    def id(self) -> str:
        """Deterministic id: the same at every delivery, for ever, also in another store."""
        metadata = self.metadata
        if metadata is not None and metadata.startswith(_FIRST):
            return metadata[len(_FIRST) : metadata.index(b'"', len(_FIRST))].decode()
        return f"{self.shard}:{self.position}"


_ID: Final = "$id"
"""Metadata member that names an entry which was moved to another store; always the first."""

_FIRST: Final = b'{"%b":"' % _ID.encode()

_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode


def moved(entry: Entry, shard: int, position: int) -> Entry:
    """Return an entry as it is at another place, under the id that it always had: deduplication
    and everything that was made of the id go on."""
    id, metadata = entry.id, without_id(entry.metadata)
    if id != f"{shard}:{position}":
        metadata = _with_id(id, metadata)
    return msgspec.structs.replace(entry, shard=shard, position=position, metadata=metadata)


def renamed(entry: Entry, id: str) -> Entry:
    """Return a copy of an entry under another id."""
    return msgspec.structs.replace(entry, metadata=_with_id(id, without_id(entry.metadata)))


def renewed(entry: Entry, time: int) -> Entry:
    """Return an entry that is to be committed once more, under an id of its own."""
    metadata = without_id(entry.metadata)
    return msgspec.structs.replace(entry, time=time, position=0, metadata=metadata)


def without_id(metadata: bytes | None) -> bytes | None:
    """Return metadata for another entry: they do not name this one."""
    if metadata is None or not metadata.startswith(_FIRST):
        return metadata
    rest = metadata[metadata.index(b'"', len(_FIRST)) + 1 :]
    return None if rest == b"}" else b"{" + rest[1:]


def _with_id(id: str, metadata: bytes | None) -> bytes:
    rest = b"," + metadata[1:] if metadata is not None and metadata != b"{}" else b"}"
    return _FIRST + id.encode() + b'"' + rest


def size_of(entry: Entry) -> int:
    """Return how much of a bound in bytes an entry takes: payload and metadata."""
    metadata = entry.metadata
    return len(entry.payload) + (0 if metadata is None else len(metadata))


def size_of_all(entries: Iterable[Entry]) -> int:
    """Return the size of entries together; on the road, so without a call per entry."""
    size = 0
    for entry in entries:
        size += len(entry.payload)
        if entry.metadata is not None:
            size += len(entry.metadata)
    return size


def metadata_of(entry: Entry) -> dict[str, Any]:
    """Return the entry's metadata as a dict of the caller's own."""
    return read_metadata(entry.metadata)


def read_metadata(metadata: bytes | None) -> dict[str, Any]:
    """Decode metadata, which travel as they are stored, for somebody who looks at them."""
    if metadata is None:
        return {}
    members = _decode_metadata(metadata)
    members.pop(_ID, None)
    return members


def with_members(metadata: bytes | None, own: dict[str, Any] | None) -> bytes | None:
    """Return metadata with members of somebody's own, which win."""
    if not own:
        return metadata
    return codec.encode({**read_metadata(metadata), **own} if metadata is not None else own)
