"""The exported form of a store: one JSON object a line, the same whatever engine wrote it.

Place on the road: beside it. An adapter writes and reads these lines; the first is `Header`, the
last `End`, which tells how many there were and their digest, so that a torn file is noticed. The
journal is in one order, as in a store of one shard: engines with more bring theirs into it.

Invariant: what is exported, imported and exported again is the same file, byte for byte.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventmill.model.commit import Letter, LetterStatus
from eventmill.model.entry import Entry
from eventmill.model.table import PhysicalTable

FORMAT: Final = 1


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="eventmill"):
    """What follows."""

    format: int
    entries: int


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stored bytes: as the JSON they are if that gives the same bytes back, in base64 otherwise."""

    json: msgspec.Raw = msgspec.Raw()
    raw: bytes = b""


class EntryLine(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="entry"):
    """A journal entry."""

    shard: int
    position: int
    source: str
    subject: str
    type: str
    version: int
    time: int
    payload: Value
    sequence: int = 0
    metadata: Value | None = None
    origin: str | None = None


class SnapshotLine(msgspec.Struct, frozen=True, tag_field="kind", tag="snapshot"):
    """An entity's newest snapshot."""

    source: str
    subject: str
    sequence: int
    time: int
    schema: str
    state: Value
    marks: dict[str, int]


class OutcomeLine(msgspec.Struct, frozen=True, tag_field="kind", tag="outcome"):
    """The first answer to a keyed request."""

    source: str
    subject: str
    key: bytes
    expires: int
    reply: Value
    rejection: str | None


class TimerLine(msgspec.Struct, frozen=True, tag_field="kind", tag="timer"):
    """A timer."""

    name: str
    due: int
    command: EntryLine


class OffsetLine(msgspec.Struct, frozen=True, tag_field="kind", tag="offset"):
    """How far a subscription has come."""

    subscription: str
    shard: int
    position: int


class LetterLine(msgspec.Struct, frozen=True, tag_field="kind", tag="letter"):
    """A parked letter."""

    subscription: str
    key: str
    status: str
    attempts: int
    due: int
    parked: int
    code: str
    error: str
    traceback: str
    entry: EntryLine


class FactLine(msgspec.Struct, frozen=True, tag_field="kind", tag="fact"):
    """A durable fact of the node: the registry."""

    name: str
    value: Value


class TableLine(msgspec.Struct, frozen=True, tag_field="kind", tag="table"):
    """A view's table; its rows follow."""

    table: PhysicalTable


class RowLine(msgspec.Struct, frozen=True, tag_field="kind", tag="row"):
    """A row of a view's table: key first."""

    table: str
    values: tuple[Any, ...]


class End(msgspec.Struct, frozen=True, tag_field="kind", tag="end"):
    """The last line."""

    lines: int
    """Lines before this one."""
    digest: str
    """SHA-256 of them, in hexadecimal."""


Line = (
    Header
    | EntryLine
    | SnapshotLine
    | OutcomeLine
    | TimerLine
    | OffsetLine
    | LetterLine
    | FactLine
    | TableLine
    | RowLine
    | End
)

encode_line = msgspec.json.Encoder().encode
decode_line = msgspec.json.Decoder(Line).decode


def value(stored: bytes) -> Value:
    """Wrap stored bytes."""
    if stored and b"\n" not in stored and stored.strip() == stored:
        try:
            msgspec.json.decode(stored)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Value(raw=stored)
        return Value(json=msgspec.Raw(stored))
    return Value(raw=stored)


def stored(value: Value) -> bytes:
    """Return the bytes as they were stored."""
    return bytes(value.json) or value.raw


def entry_line(entry: Entry) -> EntryLine:
    """Wrap an entry."""
    return EntryLine(
        shard=entry.shard,
        position=entry.position,
        source=entry.source,
        subject=entry.subject,
        type=entry.type,
        version=entry.version,
        time=entry.time,
        payload=value(entry.payload),
        sequence=entry.sequence,
        metadata=None if entry.metadata is None else value(entry.metadata),
        origin=entry.origin,
    )


def entry_of(line: EntryLine) -> Entry:
    """Return the entry as it was stored."""
    return Entry(
        line.source,
        line.subject,
        line.sequence,
        line.type,
        line.version,
        line.time,
        stored(line.payload),
        None if line.metadata is None else stored(line.metadata),
        line.origin,
        line.shard,
        line.position,
    )


def letter_line(letter: Letter) -> LetterLine:
    """Wrap a letter."""
    return LetterLine(
        letter.subscription,
        letter.key,
        str(letter.status),
        letter.attempts,
        letter.due,
        letter.parked,
        letter.code,
        letter.error,
        letter.traceback,
        entry_line(letter.entry),
    )


def letter_of(line: LetterLine) -> Letter:
    """Return the letter as it was stored."""
    return Letter(
        line.subscription,
        line.key,
        entry_of(line.entry),
        LetterStatus(line.status),
        line.attempts,
        line.due,
        line.parked,
        line.code,
        line.error,
        line.traceback,
    )
