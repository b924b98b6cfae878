"""Waits: what a wait may name, and how far it looks back. Pure.

A step may ask for something and then return a wait for the answer, and the answer may come before that
wait is durable. So what counts is not when the wait was made, but when the steps that led to it were set
going; and of a source and key that it waits for again, each event that comes after the last one it took.
"""

from __future__ import annotations

import msgspec

from eventmill.engine.workflows.rows import Due
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.definition import WorkflowDefinition
from eventmill.model.progress import Progress, Taken, Wait
from eventmill.model.transition import WaitFor


def check_known(definition: WorkflowDefinition, wait: WaitFor, place: str) -> None:
    """Raise `HandlerFailed` for a wait of which nobody would ever hear."""
    if wait.source not in definition.sources:
        known = ", ".join(definition.sources) or "none"
        raise HandlerFailed(
            f"{place} waits for {wait.source!r}, which nobody reads for it: add it to "
            f"waits_on of the workflow; it has {known}",
            code="guard.waits_on",
        )
    known_types = definition.sources[wait.source].event_types
    if wait.types and not set(wait.types) & known_types.keys():
        raise HandlerFailed(
            f"{place} waits for {wait.types[0]}, but {wait.source!r} has "
            f"{', '.join(known_types) or 'no events'}",
            code="guard.waits_on",
        )


def looking_back(
    due: Due, progress: Progress, source: str, store: str, *, after_steps: bool
) -> Due:
    """Return a wait with what it looks back to.

    What a command waits for where no step was outstanding can only come later, unless it is the end of
    a workflow, which may have come long ago.
    """
    if not due.types:
        return msgspec.structs.replace(due, looks=True)
    last = progress.last_taken(source, due.key, store)
    after = last.position if last is not None else 0
    if last is not None:
        due = msgspec.structs.replace(due, after=after, store=store)
    if not after_steps:
        return due
    is_next = last is not None and progress.by_event and last is progress.taken[-1]
    since = 0 if is_next else progress.since
    return msgspec.structs.replace(due, looks=bool(since or after), since=since)


def take(progress: Progress, wait: Wait, position: int, store: str) -> None:
    """Remember which event was taken."""
    place = wait.source, wait.key
    others = [one for one in progress.taken if (one.source, one.key) != place]
    progress.taken = [*others, Taken(*place, position, store)][-limits.WAIT_TAKEN_MAX :]
