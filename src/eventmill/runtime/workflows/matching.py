"""Matching: whether an entry is what a workflow waits for, and what it is given then.

Place on the road: dispatch, and behind the commit of a wait: who waits is found by what comes
(`waiting`), and what came before by who waits (`looking_back`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventmill.engine.workflows.rows import Due
from eventmill.model import codec
from eventmill.model.definition import Source
from eventmill.model.entry import STEP, Entry
from eventmill.model.progress import FINAL, Progress, decode_moved


def event_of(source: Source, due: Due, entry: Entry) -> bytes | None:
    """Return what a wait is given of an entry with its key, as JSON; None if it waits for others."""
    if due.types:
        return _event(source, due, entry)
    if entry.type != STEP:
        return None
    return end_of(entry.source, entry.subject, decode_moved(entry.payload).progress)


def end_of(component: str, id: str, progress: Progress) -> bytes | None:
    """Return the `WorkflowEnded` of a workflow, as JSON; None if it goes on."""
    if progress.status not in FINAL:
        return None
    error = progress.problem.error if progress.problem is not None else ""
    ended = {"component": component, "id": id, "status": progress.status, "error": error}
    return codec.encode(ended)


def _event(source: Source, due: Due, entry: Entry) -> bytes | None:
    """Return the event in its newest version, if its type and fields are wanted."""
    if entry.type not in due.types:
        return None
    kind = source.event_types.get(entry.type)
    if kind is None:
        return None
    payload = kind.encode(kind.decode(entry.payload, entry.version))
    if due.where:
        fields: dict[str, Any] = msgspec.json.decode(payload)
        if any(fields.get(name) != value for name, value in due.where.items()):
            return None
    return payload
