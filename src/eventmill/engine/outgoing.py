"""What leaves a handler besides its own events: messages, sent commands, timers.

All of them are journal entries, or timers that hold the entry they will append, so they are
atomic with whatever caused them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from eventmill.engine.causation import of_command
from eventmill.errors import HandlerFailed, InvalidPayload, TooLarge
from eventmill.model import codec, limits
from eventmill.model.action import CALLS
from eventmill.model.commit import Commit, Timer
from eventmill.model.effect import Cancelling, Outgoing, Publication, Scheduling, Sending
from eventmill.model.entry import COMMANDS, Entry, with_members
from eventmill.model.orders import EXPIRE, PURGE
from eventmill.model.placement import EMBEDDED, Placement
from eventmill.model.subject import check_subject
from eventmill.model.topic import Topic, not_ours

LEAST_WEIGHT: Final = limits.COMMIT_BYTES_MAX // limits.COMMIT_ENTRIES_MAX
"""What an entry or a timer takes of a commit, be it ever so small."""


class Expansion(msgspec.Struct):
    """Entries and timers that effects lead to."""

    entries: list[Entry] = []
    timers: dict[str, Timer | None] = {}
    """None cancels."""
    bytes: int = 0
    """Of all payloads and metadata."""
    weight: int = 0
    """Share of a commit, in bytes: few large things fill it, or many small ones."""

    def add_to(self, commit: Commit) -> None:
        """Let them become true with a commit; it counts the bytes of entries itself."""
        commit.entries += self.entries
        if self.timers:
            commit.timers.update(self.timers)


class Author(msgspec.Struct, frozen=True):
    """Whose effects they are."""

    place: str
    """Where the handler is written, for messages."""
    topics: Collection[str] | None = None
    """Those of its service; None knows all."""
    placement: Placement = EMBEDDED
    home: int = 0
    """The shard of what the handler reacts to: sent commands and timers belong to it, whomever they
    are for; messages to the shard of their key."""


def expand(
    effects: Sequence[Outgoing], now: int, metadata: bytes | None, author: Author
) -> Expansion:
    """Turn the outgoing effects of a handler into entries and timers.

    Raises `InvalidPayload` if a topic does not carry an event's type or a value does not fit its
    field, `TooLarge` for a payload beyond its limit, or for too many of them, `HandlerFailed` for a
    topic that is not the service's.
    """
    count = 0
    for effect in effects:
        count += len(effect.events) if isinstance(effect, Publication) else 1
    if count > limits.OUTGOING_PER_EFFECT_MAX:
        raise TooLarge(
            f"{author.place} publishes, sends and schedules {count} things at once, "
            f"{limits.OUTGOING_PER_EFFECT_MAX} are possible: do it in several steps"
        )
    expansion = Expansion()
    for effect in effects:
        match effect:
            case Sending():
                expansion.entries.append(command_entry(effect, now, metadata, author.home))
            case Publication(topic, events, own, key):
                check_topic(topic, author.topics)
                extra = with_members(metadata, own)
                for event in events:
                    expansion.entries.append(
                        message_entry(topic, event, now, extra, author.placement, key)
                    )
            case Scheduling(name, after, at, sending):
                due = due_at(f"timer {name!r}", after, at, now)
                command = command_entry(sending, now, metadata, author.home)
                expansion.timers[name] = Timer(timer_name(name), due, command)
            case Cancelling(name):
                expansion.timers[timer_name(name)] = None
    _weigh(expansion, author.place)
    return expansion


def messages(
    events: Sequence[tuple[Topic[Any], Any]],
    now: int,
    metadata: bytes | None,
    placement: Placement,
    place: str,
) -> Expansion:
    """Turn events for topics, which are known to be the service's, into entries.

    Raises as `expand`.
    """
    expansion = Expansion(
        [message_entry(topic, event, now, metadata, placement) for topic, event in events]
    )
    _weigh(expansion, place)
    return expansion


def check_topic(topic: Topic[Any], known: Collection[str] | None) -> None:
    """Raise `HandlerFailed` for a topic that nobody could follow; None knows all."""
    if known is not None and topic.id not in known:
        if topic.service:
            raise HandlerFailed(not_ours(topic))
        raise HandlerFailed(
            f"topic {topic.id!r} is not part of the service, so nobody could read what is "
            f"published to it: add it to topics= of the Service; it has "
            f"{', '.join(known) or 'none'}"
        )


def message_entry(
    topic: Topic[Any],
    event: Any,
    now: int,
    metadata: bytes | None,
    placement: Placement = EMBEDDED,
    own_key: str | None = None,
) -> Entry:
    """Make the entry of an event that is published to a topic, under `own_key` if the topic shall
    not make it."""
    kind, key, payload = topic.encode(event)
    if own_key is not None:
        key = own_key
    check_subject(f"a key of topic {topic.id!r}", key, least=0)
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise _too_large(f"an event of topic {topic.id!r}", payload)
    shard = placement.message(topic.id, key)
    return Entry(topic.id, key, 0, kind.name, kind.written, now, payload, metadata, None, shard)


def command_entry(sending: Sending, now: int, metadata: bytes | None, home: int = 0) -> Entry:
    """Make the entry of a command that is sent.

    Raises `InvalidPayload` for arguments that could not be read when it is delivered: a struct
    inside them may hold a value that does not fit its field.
    """
    handler = sending.handler
    if not handler.component:
        raise HandlerFailed(
            f"{handler.function.__qualname__}: its class has no @component id, so it has no address"
        )
    check_subject("an entity id", sending.id)
    payload = handler.encode_arguments(sending.arguments)
    if not handler.is_exact:
        handler.decode_arguments(payload)
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise _too_large(f"the command {handler.component}.{handler.name}", payload)
    subject = f"{handler.component}/{sending.id}"
    return Entry(COMMANDS, subject, 0, handler.name, 1, now, payload, metadata, None, home)


def call_of(command: Entry) -> Entry:
    """Make the entry that calls an action of the command that a timer sent for it."""
    action, _, key = command.subject.partition("/")
    return Entry(
        CALLS + action,
        key,
        0,
        command.type,
        command.version,
        command.time,
        command.payload,
        of_command(command),
        None,
        command.shard,
    )


def timer_name(name: str) -> str:
    """Return the stored name of a user's timer."""
    check_subject("a timer's name", name)
    if name.startswith("$"):
        raise HandlerFailed(f"timer name {name!r}: names that begin with '$' are the platform's")
    return name


def expire_timer(
    component: str, id: str, sequence: int, due: int, now: int, home: int = 0
) -> Timer:
    """Make the timer that deletes an entity unless its sequence has moved on."""
    payload = codec.encode({"sequence": sequence})
    entry = Entry(COMMANDS, f"{component}/{id}", 0, EXPIRE, 1, now, payload, None, None, home)
    return Timer(expire_name(component, id), due, entry)


def expire_name(component: str, id: str) -> str:
    """Return the name of the timer that deletes an entity."""
    return f"{EXPIRE}/{component}/{id}"


def purge_timer(component: str, id: str, sequence: int, due: int, now: int, home: int = 0) -> Timer:
    """Make the timer that removes an entity whose deletion has this sequence."""
    payload = codec.encode({"sequence": sequence})
    entry = Entry(COMMANDS, f"{component}/{id}", 0, PURGE, 1, now, payload, None, None, home)
    return Timer(f"{PURGE}/{component}/{id}", due, entry)


def _weigh(expansion: Expansion, place: str) -> None:
    entries = expansion.entries
    if expansion.timers:
        entries = [*entries, *(t.command for t in expansion.timers.values() if t is not None)]
    size = extra = 0
    for entry in entries:
        size += len(entry.payload)
        if entry.metadata is not None:
            extra += len(entry.metadata)
    if size > limits.EFFECT_BYTES_MAX:
        raise TooLarge(
            f"{place} publishes, sends and schedules {size} bytes at once, "
            f"{limits.EFFECT_BYTES_MAX} are possible: do it in several steps"
        )
    expansion.bytes = size + extra
    expansion.weight = max(expansion.bytes, len(entries) * LEAST_WEIGHT)


def _too_large(what: str, payload: bytes) -> TooLarge:
    return TooLarge(
        f"{what} has {len(payload)} bytes, {limits.PAYLOAD_BYTES_MAX} are possible: send a "
        "reference instead"
    )


def due_after(what: str, after: timedelta, now: int) -> int:
    """Return when something is due after a delay.

    Raises `InvalidPayload` for a time that no store could write: it would fail the commit that it
    shares with others.
    """
    return _checked_due(what, now + round(after.total_seconds() * 1e6))


def due_at(what: str, after: timedelta | None, at: datetime | None, now: int) -> int:
    """Return when something is due after a delay, or at a time. Raises as `due_after`."""
    if after is not None:
        return due_after(what, after, now)
    return _checked_due(what, round(at.timestamp() * 1e6) if at else 0)


def _checked_due(what: str, due: int) -> int:
    if not 0 <= due <= limits.TIME_MICROSECONDS_MAX:
        raise InvalidPayload(f"{what} is due outside of the years 1970 to 9999")
    return due
