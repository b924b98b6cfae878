"""Streams as a client reads them: events, lines, and the changes of an entity."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from eventmill.engine.cloudevent import BUILT_IN, SEQUENCE, VERSION
from eventmill.errors import InternalError
from eventmill.model import cloudevents, codec, limits
from eventmill.model.entry import DELETED, STATE, STEP
from eventmill.model.events import EntityDeleted
from eventmill.model.identity import Identity
from eventmill.model.progress import WorkflowMoved
from eventmill.sdk.reading import define_entity
from eventmill.sdk.reading_replicated import define_replicated
from eventmill.sdk.replicated import ReplicatedEntity

_LARGEST: Final = 2 * limits.VIEW_ANSWER_BYTES_MAX
"""What is held of an event or line that has not come whole."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_decode_moved = codec.decoder(WorkflowMoved).decode


class Frame(NamedTuple):
    """One event of a stream."""

    id: str
    event: str
    data: bytes
    """JSON; empty in a heartbeat."""


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened to an entity."""

    sequence: int
    time: datetime
    event: Any
    """The event; of a key-value entity or workflow its new state, of a replicated entity its values
    as a dict; of a workflow also each `WorkflowMoved`; `EntityDeleted()` if it was deleted."""


async def frames(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[Frame, None]:
    """Yield the events of a stream."""
    async with aclosing(_split(pieces, b"\n\n")) as blocks:
        async for block in blocks:
            fields = {b"id": b"", b"event": b"", b"data": b""}
            for line in block.split(b"\n"):
                name, _, value = line.partition(b": ")
                fields[name] = value  # comments have no name
            yield Frame(fields[b"id"].decode(), fields[b"event"].decode(), fields[b"data"])


async def lines(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a text."""
    async with aclosing(_split(pieces, b"\n")) as found:
        async for line in found:
            yield line


async def _split(pieces: AsyncGenerator[bytes, None], end: bytes) -> AsyncGenerator[bytes, None]:
    held, looked = bytearray(), 0
    async with aclosing(pieces) as coming:
        async for piece in coming:
            held += piece
            begin = 0
            while (found := held.find(end, max(begin, looked - len(end)))) >= 0:
                yield bytes(held[begin:found])
                begin = looked = found + len(end)
            del held[:begin]
            looked = len(held)
            if looked > _LARGEST:
                raise InternalError(f"the service sends more than {_LARGEST} bytes without an end")


def reader_of(entity: type) -> Callable[[bytes], Change]:
    """Return what reads the changes of an entity class.

    Raises `ConfigurationError` for a class that no service would take.
    """
    is_replicated = issubclass(entity, ReplicatedEntity)
    definition = define_replicated(entity) if is_replicated else define_entity(entity)
    decode_state = codec.decoder(dict if is_replicated else entity).decode

    def read(data: bytes) -> Change:
        told = cloudevents.decode_structured(data)
        sequence, time = int(told.extensions[SEQUENCE]), datetime.fromisoformat(told.time or "")
        payload = told.data or b"{}"
        if told.type == BUILT_IN[DELETED]:
            return Change(sequence, time, EntityDeleted())
        if told.type == BUILT_IN[STATE]:
            state = decode_state(payload)
            if not is_replicated:
                now = (time - _EPOCH) // _MICROSECOND
                state.bind(Identity.of_state(told.subject or "", sequence, now))
            return Change(sequence, time, state)
        if told.type == BUILT_IN[STEP]:
            return Change(sequence, time, _decode_moved(payload))
        kind = definition.event_types.get(told.type)
        if kind is None:
            raise InternalError(
                f"{definition.id!r} has an event of type {told.type!r}, which this class does not "
                "know: take a newer version of it"
            )
        return Change(sequence, time, kind.decode(payload, int(told.extensions[VERSION])))

    return read
