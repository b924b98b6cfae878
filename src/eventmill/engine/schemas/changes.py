"""What a release changes in a service's contract, what that breaks, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from eventmill.engine.schemas.contract import Compatibility, Contract, Kept
from eventmill.engine.schemas.differences import Differences
from eventmill.engine.schemas.fit import Cause, Misfit, Path, misfits, told
from eventmill.engine.schemas.lifting import failure
from eventmill.engine.schemas.typed import Schema
from eventmill.model.events import EventType

BACKWARD, FORWARD = Compatibility.BACKWARD, Compatibility.FORWARD


class Change(msgspec.Struct, frozen=True):
    """Something that is different in the code than in the file."""

    schema: str
    change: str
    promised: Compatibility
    at: str = ""
    """Which field; empty: the whole."""
    breaks: list[Compatibility] = []
    """Ways in which the releases no longer read each other."""
    todo: str = ""

    @property
    def broken(self) -> list[Compatibility]:
        """What it breaks although it was promised."""
        return [way for way in self.breaks if self.promised.includes(way)]


def changes(file: Contract, code: Contract, kinds: Mapping[str, EventType]) -> list[Change]:
    """Compare a service with its file; `kinds` are its event types by the names of their schemas."""
    found: list[Change] = []
    known: set[str] = set()
    for name, now in sorted(code.schemas.items()):
        before = _before(file, code, name)
        if before is None:
            found += _added(name, now)
            continue
        known.add(before)
        was = file.schemas[before]
        if now.version:
            found += _renamed(before, name, was, now)
            found += _event(name, was, now, kinds[name])
        else:
            found += _compared(name, was, now)
    gone = sorted(file.schemas.keys() - known)
    return found + [change for name in gone for change in _gone(name, file.schemas[name])]


def renewed(file: Contract, code: Contract) -> Contract:
    """Return the file as it should be now: the code's schemas, with what only the file knows."""
    schemas = {}
    for name, now in code.schemas.items():
        before = _before(file, code, name)
        schemas[name] = now if before is None else _kept(file.schemas[before], now)
    return Contract(code.service, schemas)


def _kept(was: Kept, now: Kept) -> Kept:
    now = msgspec.structs.replace(now, compatibility=was.compatibility)
    if now.version > was.version:
        former = {**was.former, str(was.version): was.schema}
        return msgspec.structs.replace(now, former=former, dropped=was.dropped)
    different = Differences(was.schema, now.schema)
    gone = {told(path) for path in different.removed}
    back = {told(path) for path in different.added}
    former = {v: schema for v, schema in was.former.items() if int(v) < now.version}
    return msgspec.structs.replace(now, former=former, dropped=sorted({*was.dropped} - back | gone))


def _before(file: Contract, code: Contract, name: str) -> str | None:
    """Return what a schema is called in the file: a renamed event has its alias there."""
    if name in file.schemas:
        return name
    source = name.rpartition("/")[0]
    for alias in code.schemas[name].aliases:
        former = f"{source}/{alias}"
        if former in file.schemas and former not in code.schemas:
            return former
    return None


def _added(name: str, now: Kept) -> Iterator[Change]:
    if not name.startswith("events/"):
        yield Change(name, "added", now.compatibility)
        return
    todo = "" if not now.compatibility.includes(FORWARD) else _ADVICE["events", "new"]
    yield Change(name, "added", now.compatibility, breaks=[FORWARD], todo=todo)


def _gone(name: str, was: Kept) -> Iterator[Change]:
    kind = _kind(name)
    if kind in ("reply", "rows", "windows"):
        yield Change(name, "removed", was.compatibility)
        return
    yield Change(
        name, "removed", was.compatibility, breaks=[BACKWARD], todo=_ADVICE[kind, "removed"]
    )


def _renamed(before: str, name: str, was: Kept, now: Kept) -> Iterator[Change]:
    new, old = name.rpartition("/")[2], before.rpartition("/")[2]
    if new != old:
        text = f"called {old} before"
        yield Change(name, text, was.compatibility, breaks=[FORWARD], todo=_ADVICE["events", "new"])
    for alias in sorted({*was.aliases} - {*now.aliases, new}):
        todo = f"what is stored under that name is read by nobody: name it in aliases= of {new}"
        text = f"alias {alias} is gone"
        yield Change(name, text, was.compatibility, breaks=[BACKWARD], todo=todo)


def _event(name: str, was: Kept, now: Kept, kind: EventType) -> Iterator[Change]:
    promised = was.compatibility
    if now.version == was.version:
        yield from _compared(name, was, now)
        yield from _written(name, was, now)
    elif now.version < was.version:
        todo = f"what is stored as version {was.version} is read by nobody: go back to it"
        text = f"version {was.version} → {now.version}"
        yield Change(name, text, promised, breaks=[BACKWARD], todo=todo)
    else:
        yield from _raised(name, was, now)
        yield from _lifted(name, promised, was.version, was.schema, kind)
    for version, schema in sorted(was.former.items(), key=lambda item: int(item[0])):
        if int(version) < now.version:
            yield from _lifted(name, promised, int(version), schema, kind)


def _written(name: str, was: Kept, now: Kept) -> Iterator[Change]:
    if now.stored > was.stored:
        text = f"version {now.stored} is written, {was.stored} before"
        yield Change(name, text, was.compatibility)  # the release before knows it
    elif now.stored < was.stored:
        yield Change(name, f"version {now.stored} is written again", was.compatibility)


def _raised(name: str, was: Kept, now: Kept) -> Iterator[Change]:
    text = f"version {was.version} → {now.version}"
    if now.stored <= was.version:
        text += f", {now.stored} is still written"
        yield Change(name, text, was.compatibility)
        return
    todo = (
        f"nodes of the release before cannot read version {now.version}: release a @downcast first, "
        f"which goes on writing version {was.version}"
    )
    yield Change(name, text, was.compatibility, breaks=[FORWARD], todo=todo)


def _lifted(
    name: str, promised: Compatibility, version: int, schema: Schema, kind: EventType
) -> Iterator[Change]:
    """Tell why an older version is not read. That no step is missing is seen when a service starts."""
    if reason := failure(kind, version, schema):
        todo = f"mend what @upcast({kind.cls.__name__}, …) makes of version {version}"
        text = f"version {version} is stored: {reason}"
        yield Change(name, text, promised, breaks=[BACKWARD], todo=todo)


def _compared(name: str, was: Kept, now: Kept) -> Iterator[Change]:
    different = Differences(was.schema, now.schema)
    behind = _by_path(misfits(was.schema, now.schema))
    ahead = _by_path(misfits(now.schema, was.schema))
    for path in different.added:
        if told(path) in was.dropped:
            text = "was another field once: what is stored may have it"
            behind.setdefault(path, []).append(Misfit(path, Cause.REFUSED, text))
            different.notes[path].append(text)
    for path in sorted({*different.notes, *behind, *ahead}):
        ways = {BACKWARD: behind.get(path, []), FORWARD: ahead.get(path, [])}
        texts = different.notes.get(path) or [one.text for found in ways.values() for one in found]
        yield Change(
            name,
            "; ".join(dict.fromkeys(texts)),
            was.compatibility,
            told(path),
            [way for way, found in ways.items() if found],
            "; ".join(_todos(name, was, ways)),
        )


def _todos(name: str, was: Kept, ways: dict[Compatibility, list[Misfit]]) -> Iterator[str]:
    """Say what to do about what was promised; else about whatever is broken."""
    kind, event = _kind(name), name.rpartition("/")[2]
    broken = {way: found for way, found in ways.items() if found}
    promised = {way: found for way, found in broken.items() if was.compatibility.includes(way)}
    for way, found in (promised or broken).items():
        cause = found[0].cause.value if way is BACKWARD else way.value
        advice = _ADVICE.get((kind, cause)) or _ADVICE.get((kind, "value"), "")
        yield advice.format(event=event, version=was.version, next=was.version + 1)


def _by_path(found: Iterable[Misfit]) -> dict[Path, list[Misfit]]:
    sorted_out: dict[Path, list[Misfit]] = {}
    for misfit in found:
        sorted_out.setdefault(misfit.path, []).append(misfit)
    return sorted_out


def _kind(name: str) -> str:
    """Return what advice on a schema depends on."""
    kind, _, rest = name.partition("/")
    return rest.rpartition("/")[2] if kind in ("commands", "queries", "actions") else kind


_RAISE: Final = (
    "raise the version, @event_type({event!r}, version={next}), and lift what is stored with "
    "@upcast(…, from_version={version})"
)

_ADVICE: Final = {
    ("events", "missing"): "give it a default, or " + _RAISE,
    ("events", "refused"): _RAISE + "; or give the field another name",
    ("events", "value"): _RAISE,
    ("events", "forward"): "nodes and services of the release before cannot read it: raise the "
    "version, and let a @downcast go on writing version {version} for one release",
    (
        "events",
        "removed",
    ): "what is stored is read by nobody: keep its class and its handler, or name "
    "it in aliases= of its successor",
    (
        "events",
        "new",
    ): "nodes and services of the release before do not know it: release the code that "
    "reads it before the code that writes it",
    ("arguments", "missing"): "give the parameter a default: what waits and older callers do not "
    "send it",
    ("arguments", "refused"): "keep the parameter, with a default: what waits and older callers "
    "still send it",
    ("arguments", "value"): "take what was sent before, too, or keep this one and give the new one "
    "another name",
    ("arguments", "forward"): "nodes of the release before cannot take it: update all nodes before "
    "anybody sends it",
    ("arguments", "removed"): "keep it as long as callers, timers and sent commands use it",
    (
        "reply",
        "value",
    ): "it cannot be read from nodes of the release before: update all nodes before anybody asks",
    ("reply", "forward"): "callers of the release before cannot read it: keep what they expect, or "
    "answer under another name",
    ("steps", "missing"): "give the parameter a default: what was planned before does not have it",
    ("steps", "refused"): "keep the parameter, with a default: what was planned before has it",
    ("steps", "value"): "take what was planned before, too, or keep this step and give the new one "
    "another name",
    (
        "steps",
        "forward",
    ): "nodes of the release before cannot run it: give the new one another name, "
    "and go to it from the next release on",
    (
        "steps",
        "removed",
    ): "workflows that are at it are stuck, and what it undoes stays done: keep it "
    "as long as there are any",
    (
        "windows",
        "value",
    ): "windows that are open cannot be read: give the transform an id of its own, "
    "or begin anew with `eventmill consumers reset`",
    ("windows", "forward"): "nodes of the release before cannot read the windows: stop them before "
    "this one starts",
    ("states", "missing"): "give the field a default",
    ("states", "refused"): "give the field another name",
    ("states", "value"): "take what is stored, too, or give the field another name",
    (
        "states",
        "forward",
    ): "nodes of the release before cannot read it: stop them before this one starts",
    ("states", "removed"): "what is stored is read by nobody: keep the component",
}
