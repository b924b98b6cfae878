"""Entities, purely: stored entries → state, effect → entries.

Place on the road: the turn. `runtime.turns.turn` loads, calls the user's handler and hands its effect to
`decide`; what comes back goes into the commit.

Invariants: events are encoded before any of them is folded, and what is folded is decoded from
these bytes: memory is exactly what a reload makes of the journal, and nothing is stored that could
not be read again (docs/adr/0010); the sequence grows by one per entry without gaps; a reply is
encoded at once, on the state right after its own events.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from eventmill.engine import outgoing
from eventmill.engine.outgoing import Author
from eventmill.errors import DataMisfit, HandlerFailed, InternalError, InvalidPayload, TooLarge
from eventmill.model import codec, limits
from eventmill.model.commit import Commit, Snapshot
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect
from eventmill.model.entry import DELETED, STATE, STEP, Entry, with_members
from eventmill.model.events import MISFITS, event_type_of
from eventmill.model.handler import Handler
from eventmill.model.identity import Identity
from eventmill.model.placement import EMBEDDED, Placement
from eventmill.model.progress import Progress, decode_moved, decode_whole

NULL: Final = b"null"

_NONE: Final[frozenset[int]] = frozenset()

_LARGEST_FITTING: Final = limits.EFFECT_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
"""So many events are never too much together."""


class Live:
    """An entity in memory."""

    __slots__ = (
        "bytes",
        "definition",
        "deleted",
        "fresh",
        "id",
        "identity",
        "marks",
        "placement",
        "progress",
        "shard",
        "since",
        "state",
    )

    def __init__(
        self, definition: EntityDefinition, id: str, placement: Placement = EMBEDDED
    ) -> None:
        self.definition = definition
        self.id = id
        self.placement = placement
        self.shard = placement.entity(id)
        self.identity = Identity(id)
        self.marks: dict[str, int] = {}
        """Per shard, the position of the last sent command that had an effect."""
        self.deleted = False
        self.since = 0
        """Entries since the snapshot."""
        self.bytes = 0
        """Encoded size, measured when restored and at snapshots, grown by payloads between."""
        self.progress = None if definition.workflow is None else Progress()
        """Where a workflow is."""
        self.fresh: Set[int] = _NONE
        """Its runs that were decided in this memory and have not begun."""
        self.state: Any = None
        self.renew(definition.cls())

    def __repr__(self) -> str:
        end = "deleted" if self.deleted else f"sequence {self.identity.sequence}"
        return f"<{self.definition.id}/{self.id} [{end}]>"

    def renew(self, state: Any) -> None:
        """Take a state as the current one."""
        self.state = state
        state.bind(self.identity)

    def begin_at(self, snapshot: Snapshot) -> bool:
        """Take a snapshot's state; False if it is of no use and every entry has to be folded.

        It may be of another schema, or hold a value that a fold put into a field of another type.
        """
        if snapshot.schema != self.definition.schema:
            return False
        try:
            if self.progress is not None:
                self._begin_workflow(snapshot.state)
            else:
                self.renew(self.definition.decode_state(snapshot.state))
        except MISFITS:
            return False
        self.identity.sequence = snapshot.sequence
        self.identity.now = snapshot.time
        self.marks = dict(snapshot.marks)
        self.bytes = len(snapshot.state)
        return True

    def apply(self, entry: Entry) -> None:
        """Fold one stored entry.

        Raises `InternalError` for a gap, `DataMisfit` for an unknown type or a payload that does
        not decode: the entity then cannot be used until its code or its data is mended.
        """
        if entry.sequence != self.identity.sequence + 1 and not self.definition.is_key_value:
            raise InternalError(
                f"{self!r}: entry {entry.sequence} follows {self.identity.sequence}; "
                "the journal has a gap",
                code="journal.gap",
            )
        self.identity.sequence = entry.sequence
        self.identity.now = entry.time
        self.since += 1
        self.bytes += len(entry.payload)
        if entry.origin is not None:
            self.mark(entry.origin)
        if entry.type == DELETED:
            self.deleted = True
        elif entry.type == STATE:
            self.renew(self._stored_state(entry.payload))
            self.bytes = len(entry.payload)
        elif entry.type == STEP:
            self.progress = decode_moved(entry.payload).progress
            self.identity.status = self.progress.status
        else:
            self._fold_stored(entry)

    def _begin_workflow(self, snapshot: bytes) -> None:
        whole = decode_whole(snapshot)
        self.renew(self._stored_state(bytes(whole.state)))
        self.progress = whole.progress
        self.identity.status = whole.progress.status

    def _stored_state(self, payload: bytes) -> Any:
        try:
            return self.definition.decode_state(payload)
        except MISFITS as error:
            raise DataMisfit(
                f"{self!r}: its stored state does not fit {self.definition.cls.__qualname__}: {error}; "
                "let the class take what was stored, with defaults for new fields",
                code="journal.state",
            ) from error

    def _fold_stored(self, entry: Entry) -> None:
        kind = self.definition.event_types.get(entry.type)
        if kind is None:
            raise DataMisfit(
                f"{self!r}: stored event type {entry.type!r} is unknown; keep an @on handler for "
                "every type ever stored, or name it in aliases= of its successor",
                code="journal.unknown_type",
            )
        try:
            event = kind.decode(entry.payload, entry.version)
        except InvalidPayload as error:  # the caller's request is fine
            advice = (
                "; if the class was changed: raise its version with @event_type and lift the older "
                "ones with @upcast"
            )
            text = f"{self!r}: {error.message}{advice if entry.version <= kind.version else ''}"
            raise DataMisfit(text, code="journal.payload") from error
        self.definition.folds[kind.cls](self.state, event)

    def mark(self, origin: str) -> None:
        """Remember the sent commands that an entry names as its origin."""
        for part in origin.split(","):
            shard, position = part.split(":")
            self.marks[shard] = int(position)

    def origin_of(self, origin: str | None) -> str | None:
        """Return what an entry stores as its origin.

        An event names the command that caused it. A key-value entity keeps a single entry, so it
        names the latest command of every shard.
        """
        if not self.definition.is_key_value or not self.marks:
            return origin
        if origin is not None:
            shard, position = origin.split(":")
            return _joined({**self.marks, shard: int(position)})
        return _joined(self.marks)

    def knows(self, origin: str) -> bool:
        """Whether this sent command already had its effect."""
        shard, position = origin.split(":")
        return int(position) <= self.marks.get(shard, 0)


def _joined(marks: dict[str, int]) -> str:
    return ",".join(f"{shard}:{position}" for shard, position in marks.items())


def decide(
    live: Live,
    handler: Handler[Any, Any],
    effect: Effect[Any],
    now: int,
    metadata: bytes | None,
    origin: str | None,
    commit: Commit,
) -> bytes:
    """Add what an effect causes to `commit`, fold it into the state, return the encoded reply.

    Raises `HandlerFailed` or `TooLarge` for an effect that cannot be; nothing is added then. If a
    fold raises, the state is torn and the caller throws the entity out of memory.
    """
    try:
        entries, events = _entries_of(live, handler, effect, now, metadata, origin)
        later = None
        if effect.outgoing:
            author = Author(handler.place, live.definition.topics, live.placement, live.shard)
            later = outgoing.expand(effect.outgoing, now, metadata, author)
        expires = _expiry_of(live, effect, now)
    except InvalidPayload as error:  # the handler's fault, not its caller's
        raise HandlerFailed(f"{handler.place}: {error.message}", code="guard.event") from error
    if events:
        folds, state = live.definition.folds, live.state
        for event in events:
            live.identity.sequence += 1
            folds[type(event)](state, event)
    if effect.changes is not None:
        live.renew(live.definition.decode_state(entries[0].payload))
    if entries:
        live.identity.sequence = entries[-1].sequence
    if effect.function is not None:
        reply = codec.encode(effect.function(live.state))
    else:
        reply = NULL if effect.value is None else codec.encode(effect.value)
    if entries:
        _settle(live, effect, entries, now, expires, origin, commit)
    if later is not None:
        later.add_to(commit)
        commit.bytes += later.bytes
    return reply


def _entries_of(
    live: Live,
    handler: Handler[Any, Any],
    effect: Effect[Any],
    now: int,
    metadata: bytes | None,
    origin: str | None,
) -> tuple[list[Entry], list[Any]]:
    """Return the entries, and the events as they will be read back."""
    definition, sequence = live.definition, live.identity.sequence
    extra = extra_of(handler, effect, metadata) if metadata or effect.metadata else None
    if len(effect.events) > limits.EVENTS_PER_EFFECT_MAX:
        raise _too_many(effect.events, handler)
    if definition.is_key_value:
        origin = live.origin_of(origin)
    entries, events = [], []
    for event in effect.events:
        sequence += 1
        cls = type(event)
        if cls not in definition.folds:
            raise _without_fold(cls, definition, handler)
        kind = event_type_of(cls)
        payload, event_read = kind.stored(event)
        if len(payload) > limits.PAYLOAD_BYTES_MAX:
            raise _too_large(payload, handler)
        events.append(event_read)
        entries.append(
            Entry(
                definition.id,
                live.id,
                sequence,
                kind.name,
                kind.written,
                now,
                payload,
                extra,
                origin,
                live.shard,
            )
        )
    if len(entries) > _LARGEST_FITTING:
        _check_size(entries, handler)
    if effect.changes is not None:
        sequence += 1
        payload = changed_state(live, handler, effect.changes)
        entries.append(built_in(live, sequence, STATE, now, payload, extra, origin))
    if effect.deleted:
        entries.append(built_in(live, sequence + 1, DELETED, now, b"{}", extra, origin))
    return entries, events


def built_in(
    live: Live,
    sequence: int,
    type: str,
    now: int,
    payload: bytes,
    extra: bytes | None,
    origin: str | None,
) -> Entry:
    source, shard = live.definition.id, live.shard
    return Entry(source, live.id, sequence, type, 1, now, payload, extra, origin, shard)


def _expiry_of(live: Live, effect: Effect[Any], now: int) -> int | None:
    after = effect.expire_after
    if after is None:
        after = live.definition.expire_after
        if after is None:
            return None
    return outgoing.due_after(f"the expiry of {live.definition.id}", after, now)


def extra_of(
    handler: Handler[Any, Any], effect: Effect[Any], metadata: bytes | None
) -> bytes | None:
    """Return the metadata of all entries of an effect. Raises `TooLarge`."""
    extra = with_members(metadata, effect.metadata)
    if extra is not None and len(extra) > limits.METADATA_BYTES_MAX:
        raise TooLarge(
            f"metadata of {handler.component}.{handler.name} has {len(extra)} bytes, "
            f"{limits.METADATA_BYTES_MAX} are possible"
        )
    return extra


def changed_state(live: Live, handler: Handler[Any, Any], changes: dict[str, Any]) -> bytes:
    definition = live.definition
    unknown = changes.keys() - set(definition.cls.__struct_fields__)  # type: ignore[attr-defined]
    if unknown:
        raise HandlerFailed(
            f"{handler.place} updates {', '.join(sorted(unknown))}, but "
            f"{definition.cls.__qualname__} has no such field"
        )
    fields = {f: getattr(live.state, f) for f in definition.cls.__struct_fields__}  # type: ignore[attr-defined]
    payload = codec.encode({**fields, **changes})
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise _too_large(payload, handler)
    return payload


def _without_fold(
    cls: type, definition: EntityDefinition, handler: Handler[Any, Any]
) -> HandlerFailed:
    return HandlerFailed(
        f"{handler.place} persists {cls.__qualname__}, but {definition.cls.__qualname__} has no "
        f"@on({cls.__qualname__}) handler",
        code="guard.fold_missing",
    )


def _too_many(events: tuple[Any, ...], handler: Handler[Any, Any]) -> TooLarge:
    return TooLarge(
        f"{handler.place} persists {len(events)} events at once, "
        f"{limits.EVENTS_PER_EFFECT_MAX} are possible: do it in several commands"
    )


def _too_large(payload: bytes, handler: Handler[Any, Any]) -> TooLarge:
    return TooLarge(
        f"{handler.place} makes a payload of {len(payload)} bytes; "
        f"{limits.PAYLOAD_BYTES_MAX} are possible: store a reference instead"
    )


def _check_size(entries: list[Entry], handler: Handler[Any, Any]) -> None:
    size = sum(len(entry.payload) for entry in entries)
    if size > limits.EFFECT_BYTES_MAX:
        raise TooLarge(
            f"{handler.place} persists {size} bytes at once, {limits.EFFECT_BYTES_MAX} are "
            "possible: do it in several commands, or store references instead"
        )


def _settle(
    live: Live,
    effect: Effect[Any],
    entries: list[Entry],
    now: int,
    expires: int | None,
    origin: str | None,
    commit: Commit,
) -> None:
    definition = live.definition
    live.since += len(entries)
    size = 0
    for entry in entries:
        size += len(entry.payload)
    live.bytes += size
    commit.bytes += size
    if (metadata := entries[0].metadata) is not None:  # the same in all
        commit.bytes += len(entries) * len(metadata)
    if origin is not None:
        live.mark(origin)
    # None of a deletion: a snapshot has no word for it, and there is nothing to come back to.
    is_due = 0 < definition.snapshot_every <= live.since and not effect.deleted
    if is_due and not definition.is_key_value:
        commit.snapshots.append(_snapshot(live, now))
        commit.bytes += live.bytes
    # Nothing raises from here on: either all of the effect is in the commit, or nothing.
    commit.entries += entries
    if effect.deleted:
        _remove_later(live, now, commit)
    elif expires is not None:
        sequence = live.identity.sequence
        timer = outgoing.expire_timer(definition.id, live.id, sequence, expires, now, live.shard)
        commit.timers[timer.name] = timer
    if definition.is_whole:
        live.bytes = len(entries[0].payload)
        if definition.keep_history is None and live.identity.sequence > 1:
            commit.compacted.append((definition.id, live.id, live.identity.sequence))


def mark_deleted(
    live: Live, now: int, extra: bytes | None, origin: str | None, commit: Commit
) -> None:
    """Add a deletion to `commit`, after everything else of an effect."""
    live.identity.sequence += 1
    sequence = live.identity.sequence
    commit.entries.append(built_in(live, sequence, DELETED, now, b"{}", extra, origin))
    _remove_later(live, now, commit)


def _remove_later(live: Live, now: int, commit: Commit) -> None:
    definition, sequence = live.definition, live.identity.sequence
    live.deleted = True
    due = now + round(definition.retention.total_seconds() * 1e6)
    timer = outgoing.purge_timer(definition.id, live.id, sequence, due, now, live.shard)
    commit.timers[timer.name] = timer
    # An expiry of this life must not end the next one of the same id.
    commit.timers[outgoing.expire_name(definition.id, live.id)] = None


def _snapshot(live: Live, now: int) -> Snapshot:
    state = live.definition.encode_state(live.state)
    live.since = 0
    live.bytes = len(state)
    return Snapshot(
        live.definition.id,
        live.id,
        live.identity.sequence,
        now,
        live.definition.schema,
        state,
        dict(live.marks),
    )
