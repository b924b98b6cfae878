"""What the operating surface's JSON looks like: times as text, payloads as the JSON they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from eventmill.model.commit import Letter, Timer
from eventmill.model.entry import STEP, Entry
from eventmill.model.progress import told
from eventmill.runtime.control.acts import letter_id
from eventmill.runtime.operating.inspection import Comparison, State
from eventmill.runtime.operating.reading import Lifted
from eventmill.runtime.operating.workflows import Details, Line, Summary
from eventmill.runtime.schedules import ScheduleStatus


def entry(value: Entry) -> dict[str, Any]:
    """Show an event, message or sent command."""
    return {
        "id": value.id,
        "source": value.source,
        "subject": value.subject,
        "sequence": value.sequence,
        "type": value.type,
        "version": value.version,
        "time": time(value.time),
        "data": embedded(told(value.payload) if value.type == STEP else value.payload),
        "metadata": embedded(value.metadata) if value.metadata else {},
    }


def letter(value: Letter, *, full: bool = False, lifted: Lifted | None = None) -> dict[str, Any]:
    """Show a letter; `full` adds the traceback, `lifted` how its handler gets the entry."""
    shown: dict[str, Any] = {
        "id": letter_id(value),
        "subscription": value.subscription,
        "key": value.key,
        "status": value.status.value,
        "attempts": value.attempts,
        "due": time(value.due) if value.due else None,
        "parked": time(value.parked),
        "code": value.code,
        "error": value.error,
        "entry": entry(value.entry),
    }
    if full:
        shown["traceback"] = value.traceback
    if lifted is not None:
        shown["lifted"] = lifted
    return shown


def state(value: State) -> dict[str, Any]:
    """Show an entity."""
    return {
        "component": value.component,
        "id": value.id,
        "sequence": value.sequence,
        "deleted": value.deleted,
        "time": time(value.time),
        "state": value.state,
    }


def comparison(value: Comparison) -> dict[str, Any]:
    """Show two states of an entity, and where they differ."""
    return {
        "component": value.before.component,
        "id": value.before.id,
        "from": _moment(value.before),
        "to": _moment(value.after),
        "differences": value.differences,
        "whole": value.is_whole,
    }


def _moment(value: State) -> dict[str, Any]:
    return {"sequence": value.sequence, "deleted": value.deleted, "time": time(value.time)}


def timer(value: Timer) -> dict[str, Any]:
    """Show a timer and the command it will send."""
    component, _, id = value.command.subject.partition("/")
    return {
        "name": value.name,
        "due": time(value.due),
        "component": component,
        "id": id,
        "command": value.command.type,
        "arguments": embedded(value.command.payload),
    }


def schedule(value: ScheduleStatus) -> dict[str, Any]:
    """Show a schedule."""
    return {
        "name": value.name,
        "schedule": value.schedule,
        "missed": value.missed,
        "paused": value.paused,
        "next": time(value.next) if value.next is not None else None,
    }


def time(microseconds: int) -> str:
    """Show a time as RFC 3339 text in UTC, exact: it may be given back to ask for the past."""
    shown = datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="microseconds")
    return shown.replace("+00:00", "Z")


def embedded(payload: bytes) -> Any:
    """Embed JSON as it is; what is no JSON, as text."""
    try:
        msgspec.json.decode(payload, type=msgspec.Raw)
    except msgspec.DecodeError:
        return payload.decode(errors="replace")
    return msgspec.Raw(payload)


def workflow(value: Summary | Details) -> dict[str, Any]:
    """Show a workflow."""
    shown = msgspec.structs.asdict(value)
    return shown | {"began": _when(value.began), "ended": _when(value.ended)}


def line(value: Line) -> dict[str, Any]:
    """Show a line of a workflow's history."""
    did = value.did
    shown: dict[str, Any] = {
        "sequence": value.sequence,
        "time": time(value.time),
        "what": did.what,
        "name": did.name,
        "next": did.next,
        "result": did.result,
    }
    if did.number:
        shown |= {"number": did.number, "input": did.input}
    if did.attempt:
        shown |= {"attempt": did.attempt, "seconds": did.seconds}
    if did.error:
        shown |= {"code": did.code, "error": did.error}
    return shown


def _when(microseconds: int) -> str | None:
    return time(microseconds) if microseconds else None
