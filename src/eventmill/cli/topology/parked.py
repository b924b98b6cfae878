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
    """Name the letters that this code cannot read, those of a type together: first those that are
    tried again soon and stand nowhere else (commands, calls, changes), then all others."""
    lost: _Reasons = {}
    useless: _Reasons = {}
    for letter in letters:
        entry = letter.entry
        if reason := _unfit(service, entry):
            is_tried = letter.status in (LetterStatus.RETRYING, LetterStatus.WAITING)
            found = lost if is_tried and entry.source.startswith("$") else useless
            key = letter.subscription, entry.source, entry.type, entry.version
            found.setdefault(key, []).append(reason)
    return list(_told(lost, "soon to be tried again")), list(_told(useless, "cannot be redriven"))


_Reasons = dict[tuple[str, str, str, int], list[str]]
"""Why letters cannot be read, by subscription, source, type and version."""


def _told(found: _Reasons, what: str) -> Iterator[str]:
    for (subscription, *_), reasons in found.items():
        yield f"{counted(len(reasons), 'letter')} of {subscription} {what}: {reasons[0]}"


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
