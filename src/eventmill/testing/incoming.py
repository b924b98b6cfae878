"""Events as a source would have stored them: what the unit kits feed to consumers and views."""

from __future__ import annotations

from typing import Any

from eventmill.engine.outgoing import message_entry
from eventmill.model import codec
from eventmill.model.entry import DELETED, STATE, Entry, with_members
from eventmill.model.events import EntityDeleted, event_type_of
from eventmill.model.topic import Topic
from eventmill.sdk.component import id_of
from eventmill.sdk.replicated import ReplicatedEntity, encode_state


def entry_of(
    source: Any,
    event: Any,
    subject: str,
    position: int,
    *,
    now: int,
    metadata: dict[str, Any] | None = None,
) -> Entry:
    """Make the entry of an event of a topic or an entity class, or of a key-value entity's state.

    A topic's own key wins over `subject`; another service's may be known to that service alone.
    """
    extra = with_members(None, metadata)
    if isinstance(source, Topic):
        key = subject if source.service and not source.key else None
        entry = message_entry(source, event, now, extra, own_key=key)
    else:
        type, version, payload = _stored_form(source, event)
        entry = Entry(id_of(source), subject, position, type, version, now, payload, extra)
    entry.position = position
    return entry


def _stored_form(source: Any, event: Any) -> tuple[str, int, bytes]:
    if isinstance(event, EntityDeleted):
        return DELETED, 1, b"{}"
    if isinstance(event, source):
        is_replicated = isinstance(event, ReplicatedEntity)
        return STATE, 1, encode_state(event) if is_replicated else codec.encode(event)
    kind = event_type_of(type(event))
    return kind.name, kind.version, kind.encode(event)
