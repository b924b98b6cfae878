"""Whether this code can take what waits beside the journal: changes of replicated entities that are in
no stored state yet, and letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventmill.cli.surface.output import counted
from eventmill.cli.topology.judging import decoder, failure, undeliverable, unfit
from eventmill.engine.ticks import TICK
from eventmill.model.action import CALLS
from eventmill.model.commit import Letter, LetterStatus
from eventmill.model.definition import ServiceDefinition
from eventmill.model.entry import COMMANDS, DELETED, DELTAS, Entry
from eventmill.node.offline import StoredType


def unfit_deltas(service: ServiceDefinition, deltas: Iterable[Entry]) -> Iterator[str]:
    """Name the changes that could not be joined into their entity's state, each reason once."""
    found: dict[str, int] = {}
    for delta in deltas:
        if reason := _unfit_delta(service, delta):
            found[reason] = found.get(reason, 0) + 1
    for reason, count in found.items():
        yield f"{counted(count, 'change')} waiting to be joined: {reason}"


def unread(service: ServiceDefinition, letters: Iterable[Letter]) -> tuple[list[str], list[str]]:
    """Name the letters that this code cannot read, each reason once: first those that are tried again
    soon and stand nowhere else (commands, calls, changes), then all others."""
    lost: dict[tuple[str, str], int] = {}
    useless: dict[tuple[str, str], int] = {}
    for letter in letters:
        if reason := _unfit(service, letter.entry):
            is_tried = letter.status in (LetterStatus.RETRYING, LetterStatus.WAITING)
            found = lost if is_tried and letter.entry.source.startswith("$") else useless
            key = letter.subscription, reason
            found[key] = found.get(key, 0) + 1
    return (
        [f"{_letters(name, n)} soon to be tried again: {why}" for (name, why), n in lost.items()],
        [f"{_letters(name, n)} cannot be redriven: {why}" for (name, why), n in useless.items()],
    )


def _letters(subscription: str, count: int) -> str:
    return f"{counted(count, 'letter')} of {subscription}"


def _unfit(service: ServiceDefinition, entry: Entry) -> str:
    if entry.source == DELTAS:
        return _unfit_delta(service, entry)
    if entry.source == COMMANDS:
        return next(undeliverable(service, [(entry.subject, entry)]), "")
    if entry.source.startswith(CALLS):
        action = service.actions.get(entry.source.removeprefix(CALLS))
        if action is None or entry.type == TICK:
            return ""
        return next(unfit(entry.source, action.handler, entry), "")
    known = (service.entities, service.topics, service.foreign)
    if entry.type == DELETED or not any(entry.source in ids for ids in known):
        return ""  # what is not part of the service any more is told of elsewhere
    at = entry.position
    kind = StoredType(entry.source, entry.type, entry.version, False, 1, at, at, [])
    decode = decoder(service, kind)
    reason = decode if isinstance(decode, str) else failure(decode, entry.payload)
    return f"{entry.source} {entry.type} v{entry.version}: {reason}" if reason else ""


def _unfit_delta(service: ServiceDefinition, delta: Entry) -> str:
    """Judge a change as a state in which nothing else is."""
    entity = service.entities.get(delta.type)
    if entity is None or entity.replicated is None:
        return f"no replicated entity {delta.type!r} is part of the service; give it back its id"
    decode, show = entity.decode_state, entity.show_state
    reason = failure(lambda payload: show(decode(payload)), delta.payload)
    return f"{delta.type}: {reason}" if reason else ""
