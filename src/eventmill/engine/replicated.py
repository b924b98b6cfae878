"""Decisions of replicated entities: what a command may cause, and how deltas become stored states.

Pure. A change is made as one actor (`Writer`), and is a delta of the lattice in `model.replicated`;
what is stored is an entry of `DELTAS` per entity and commit, and one entry with the whole state per
entity, made of these later on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventmill.engine import outgoing
from eventmill.engine.entity import NULL
from eventmill.engine.outgoing import Author, Expansion
from eventmill.errors import FAILURES, HandlerFailed, InvalidPayload, TooLarge
from eventmill.model import codec, limits
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect, Publication
from eventmill.model.entry import DELETED, DELTAS, STATE, Entry
from eventmill.model.handler import Handler
from eventmill.model.placement import Placement
from eventmill.model.replicated.causal import Causal, Writer, decode, encode


def is_deleted(state: Causal) -> bool:
    """Whether an entity was deleted, as far as this state knows."""
    return "" in state.root


def size_of_effect(handler: Handler[Any, Any], effect: Effect[Any], size: int) -> int:
    """Return how many bytes of values an effect brings to an entity that has `size`.

    Raises `TooLarge`, and `HandlerFailed` for what no replicated entity can cause.
    """
    if effect.events or effect.changes is not None:
        raise HandlerFailed(
            f"{handler.place}: a replicated entity changes with self.update(…) of its operations"
        )
    if effect.expire_after is not None or effect.metadata:
        raise HandlerFailed(
            f"{handler.place}: a replicated entity has no .expiring(…) and no .with_metadata(…)"
        )
    brought = 0
    for one in effect.merged:
        brought += one.size
    if brought + size > limits.REPLICA_BYTES_MAX:
        raise TooLarge(
            f"{handler.place}: the entity would have {brought + size} bytes, "
            f"{limits.REPLICA_BYTES_MAX} are possible: it is stored whole; use several entities"
        )
    return brought


def published(
    handler: Handler[Any, Any],
    effect: Effect[Any],
    now: int,
    metadata: bytes | None,
    author: Author,
) -> Expansion:
    """Return what a command publishes. It can cause nothing else: no node owns a replicated entity, so
    nothing of it can be in the order of a shard.

    Raises `HandlerFailed`, `TooLarge`.
    """
    if any(not isinstance(one, Publication) for one in effect.outgoing):
        raise HandlerFailed(
            f"{handler.place}: a replicated entity publishes, but sends and schedules nothing: it "
            "runs on every node, and these belong to the node that owns an entity; do it in a "
            "consumer that follows it"
        )
    try:
        return outgoing.expand(effect.outgoing, now, metadata, author)
    except InvalidPayload as error:
        raise HandlerFailed(f"{handler.place}: {error.message}", code="guard.event") from error


def decide(writer: Writer, effect: Effect[Any], state: Any, now: int) -> bytes:
    """Make an effect's changes, which the writer's delta has then; return the encoded reply, on the
    state after them.

    If the reply raises, the delta has nothing of them, and the caller throws the state away: what
    the reply was made of never becomes true.
    """
    writer.apply(effect.merged, now)
    try:
        if effect.function is not None:
            return codec.encode(effect.function(state))
        return NULL if effect.value is None else codec.encode(effect.value)
    except FAILURES:
        writer.undo()
        raise


def delta_entry(component: str, id: str, delta: Causal, now: int, placement: Placement) -> Entry:
    """Make the entry of a delta."""
    shard = placement.message(DELTAS, id)
    return Entry(DELTAS, id, 0, component, 1, now, encode(delta), shard=shard)


def delta_of(entry: Entry) -> Causal:
    """Return what an entry of `DELTAS` changes.

    Raises `DataMisfit`.
    """
    return decode(entry.payload, is_delta=True)


def state_entry(
    component: str, id: str, sequence: int, state: Causal, now: int, placement: Placement
) -> Entry:
    """Make the entry that stores an entity whole, in the place of the one before."""
    type = DELETED if is_deleted(state) else STATE
    shard = placement.entity(id)
    return Entry(component, id, sequence, type, 1, now, encode(state), shard=shard)


def shown(definition: EntityDefinition, entry: Entry) -> Entry:
    """Return an entity's entry as others can read it: what a replicated one stores means nothing to
    them, its values do."""
    if definition.replicated is None:
        return entry
    if entry.type == DELETED:
        return msgspec.structs.replace(entry, payload=b"{}")
    values = definition.show_state(definition.decode_state(entry.payload))
    return msgspec.structs.replace(entry, payload=values)
