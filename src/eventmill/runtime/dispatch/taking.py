"""What a reaction takes of its source: which entries, and as what.

Place on the road: dispatch, in front of user functions: consumers, views and transforms take events,
states and deletions alike.
"""

from __future__ import annotations

from typing import Any

from eventmill.engine import messages
from eventmill.engine.messages import MALFORMED
from eventmill.errors import InvalidPayload
from eventmill.model.definition import SKIP, Source
from eventmill.model.entry import DELETED, STATE, Entry
from eventmill.model.events import EntityDeleted
from eventmill.model.identity import Identity

_DELETION = EntityDeleted()


def event_of(source: Source, entry: Entry, types: tuple[type, ...], ignore_unknown: bool) -> Any:
    """Decode an entry for a reaction that takes `types` (empty: all); `SKIP` if it does not.

    Raises `InvalidPayload` for a type that the source does not declare, unless ignored, for a
    payload that does not decode, and for what was no event at all.
    """
    kind = source.event_types.get(entry.type)
    if kind is not None:  # the usual case
        if types and kind.cls not in types:
            return SKIP
        return kind.decode(entry.payload, entry.version)
    if entry.type == MALFORMED:
        raise InvalidPayload(messages.reason_of(entry), code="event.malformed")
    if entry.type == DELETED:
        return _DELETION if EntityDeleted in types else SKIP
    if entry.type == STATE and source.decode_state is not None:
        if types and source.state_class not in types:
            return SKIP
        state = source.decode_state(entry.payload)
        state.bind(Identity.of_state(entry.subject, entry.sequence, entry.time, entry.metadata))
        return state
    if entry.type in source.internal or ignore_unknown:
        return SKIP
    raise InvalidPayload(
        f"{source.id!r} declares no event type {entry.type!r}; add it, or set ignore_unknown",
        code="event.unknown_type",
    )


def skipped_by(source: Source, types: tuple[type, ...]) -> frozenset[tuple[str, str]]:
    """Return (source, stored type) of everything that a reaction which takes `types` skips."""
    names = {name for name, kind in source.event_types.items() if types and kind.cls not in types}
    names |= source.internal
    if EntityDeleted not in types:
        names.add(DELETED)
    if source.state_class is not None and types and source.state_class not in types:
        names.add(STATE)
    return frozenset((source.id, name) for name in names)
