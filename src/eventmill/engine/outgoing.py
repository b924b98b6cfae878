"""What leaves a handler besides its own events: messages, sent commands, timers.

All of them are journal entries, or timers that hold the entry they will append, so they are
atomic with whatever caused them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, Final

import msgspec

from eventmill.errors import HandlerFailed, TooLarge
from eventmill.model import codec, limits
from eventmill.model.commit import Timer
from eventmill.model.effect import Cancelling, Outgoing, Publication, Scheduling, Sending
from eventmill.model.entry import COMMANDS, Entry
from eventmill.model.subject import check_subject
from eventmill.model.topic import Topic

EXPIRE: Final = "$expire"
"""Built-in command: delete the entity unless it changed since the timer was set."""

PURGE: Final = "$purge"
"""Built-in command: remove everything about a deleted entity."""


class Expansion(msgspec.Struct):
    """Entries and timers that effects lead to."""

    entries: list[Entry] = []
    timers: dict[str, Timer | None] = {}
    """None cancels."""


_NOTHING = Expansion()


def expand(
    effects: Iterable[Outgoing],
    now: int,
    metadata: dict[str, Any] | None,
    topics: Collection[str] | None = None,
) -> Expansion:
    """Turn outgoing effects into entries and timers; `topics` are those of the service.

    Raises `InvalidPayload` if a topic does not carry an event's type, `TooLarge` for a payload
    beyond its limit, `HandlerFailed` for a topic that is not the service's.
    """
    if not effects:
        return _NOTHING
    expansion = Expansion()
    for effect in effects:
        match effect:
            case Publication(topic, events, own):
                check_topic(topic, topics)
                extra = {**(metadata or {}), **own} if own else metadata
                for event in events:
                    expansion.entries.append(message_entry(topic, event, now, extra))
            case Sending():
                expansion.entries.append(command_entry(effect, now, metadata))
            case Scheduling(name, after, at, sending):
                due = _due(after, at.timestamp() if at else 0.0, now)
                command = command_entry(sending, now, metadata)
                expansion.timers[name] = Timer(timer_name(name), due, command)
            case Cancelling(name):
                expansion.timers[timer_name(name)] = None
    return expansion


def check_topic(topic: Topic[Any], known: Collection[str] | None) -> None:
    """Raise `HandlerFailed` for a topic that nobody could follow; None knows all."""
    if known is not None and topic.id not in known:
        raise HandlerFailed(
            f"topic {topic.id!r} is not part of the service, so nobody could read what is "
            f"published to it: add it to topics= of the Service; it has "
            f"{', '.join(known) or 'none'}"
        )


def message_entry(
    topic: Topic[Any], event: Any, now: int, metadata: dict[str, Any] | None
) -> Entry:
    """Make the entry of an event that is published to a topic."""
    kind, key, payload = topic.encode(event)
    check_subject(f"a key of topic {topic.id!r}", key, least=0)
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise TooLarge(
            f"an event of topic {topic.id!r} has {len(payload)} bytes, "
            f"{limits.PAYLOAD_BYTES_MAX} are possible"
        )
    extra = codec.encode(metadata) if metadata else None
    return Entry(topic.id, key, 0, kind.name, kind.version, now, payload, extra)


def command_entry(sending: Sending, now: int, metadata: dict[str, Any] | None) -> Entry:
    """Make the entry of a command that is sent."""
    handler = sending.handler
    if not handler.component:
        raise HandlerFailed(
            f"{handler.place}: its class has no @component id, so it has no address"
        )
    check_subject("an entity id", sending.id)
    extra = codec.encode(metadata) if metadata else None
    return Entry(
        COMMANDS,
        f"{handler.component}/{sending.id}",
        0,
        handler.name,
        1,
        now,
        handler.encode_arguments(sending.arguments),
        extra,
    )


def timer_name(name: str) -> str:
    """Return the stored name of a user's timer."""
    check_subject("a timer's name", name)
    if name.startswith("$"):
        raise HandlerFailed(f"timer name {name!r}: names that begin with '$' are the platform's")
    return name


def expire_timer(component: str, id: str, sequence: int, due: int, now: int) -> Timer:
    """Make the timer that deletes an entity unless its sequence has moved on."""
    payload = codec.encode({"sequence": sequence})
    entry = Entry(COMMANDS, f"{component}/{id}", 0, EXPIRE, 1, now, payload)
    return Timer(expire_name(component, id), due, entry)


def expire_name(component: str, id: str) -> str:
    """Return the name of the timer that deletes an entity."""
    return f"{EXPIRE}/{component}/{id}"


def purge_timer(component: str, id: str, due: int, now: int) -> Timer:
    """Make the timer that removes a deleted entity."""
    entry = Entry(COMMANDS, f"{component}/{id}", 0, PURGE, 1, now, b"{}")
    return Timer(f"{PURGE}/{component}/{id}", due, entry)


def _due(after: timedelta | None, at_seconds: float, now: int) -> int:
    if after is not None:
        return now + round(after.total_seconds() * 1e6)
    return round(at_seconds * 1e6)
