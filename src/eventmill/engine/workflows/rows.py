"""Rows: the timers of a workflow, which say what is outstanding. Pure.

A step, a pause, a wait and the limit of the whole are one row each, written and removed by the commits
of the workflow's turns. They are never sent as commands: the runner acts on them (`runtime.workflows`).
Names of one kind have a common beginning, so that they can be paged through. A workflow's id may be as
long as two index keys; in names of waits it is a hash.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec

from eventmill.model import codec, limits
from eventmill.model.commit import Timer
from eventmill.model.entry import COMMANDS, Entry
from eventmill.model.orders import DUE
from eventmill.model.progress import Run

STEP_ROWS: Final = "$step/"
STEP: Final = "step"
PAUSE: Final = "pause"
WAIT: Final = "wait"
DEADLINE: Final = "deadline"
NEVER: Final = limits.TIME_MICROSECONDS_MAX


class Due(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a row says, as JSON in its command's payload."""

    kind: str
    number: int = 0
    attempt: int = 0
    at: int = 0
    """When the attempt may begin; the row is due when it should have ended."""
    key: str = ""
    types: tuple[str, ...] = ()
    where: dict[str, Any] = {}
    """Which events are waited for."""


class Owner(msgspec.Struct, frozen=True):
    """Whose rows they are."""

    component: str
    id: str
    shard: int


_decode = msgspec.json.Decoder(Due).decode


def read(timer: Timer) -> tuple[str, str, Due]:
    """Return component, id and what the row says."""
    component, _, id = timer.command.subject.partition("/")
    return component, id, _decode(timer.command.payload)


def step_name(owner: Owner, branch: int) -> str:
    """Return the name of a step's row: the next step of the branch takes the place of the last."""
    return f"{STEP_ROWS}{owner.component}/{branch}/{owner.id}"


def step_row(owner: Owner, run: Run, seconds: float, now: int) -> Timer:
    """Make the row of an outstanding step. It is due when the attempt may begin, if that is later;
    otherwise when it must have ended."""
    end = now + round((seconds + limits.STEP_GRACE_SECONDS) * 1e6)
    due = Due(STEP, run.number, run.attempt, run.at)
    return _row(owner, step_name(owner, run.branch), run.at if run.at > now else end, due, now)


def pause_name(owner: Owner) -> str:
    return f"$pause/{owner.component}/{owner.id}"


def pause_row(owner: Owner, number: int, at: int, now: int) -> Timer:
    """Make the row that ends a pause."""
    return _row(owner, pause_name(owner), at, Due(PAUSE, number), now)


def deadline_name(owner: Owner) -> str:
    return f"$deadline/{owner.component}/{owner.id}"


def deadline_row(owner: Owner, at: int, now: int) -> Timer:
    """Make the row that ends a workflow which takes too long."""
    return _row(owner, deadline_name(owner), at, Due(DEADLINE), now)


def waits_of(component: str, source: str) -> str:
    """Return what the names of all waits of a component for a source begin with."""
    source = source.replace("/", ":")  # in no id: those of "stock" are not those of "stock/public"
    return f"$wait/{component}/{source}/"


def waits_for(component: str, source: str, key: str) -> str:
    """Return what the names of waits for one key begin with."""
    return f"{waits_of(component, source)}{_hash(key)}/"


def wait_name(owner: Owner, source: str, key: str) -> str:
    return f"{waits_for(owner.component, source, key)}{_hash(owner.id)}"


def wait_row(owner: Owner, source: str, at: int, now: int, due: Due) -> Timer:
    """Make the row of a wait, due at its time-out."""
    return _row(owner, wait_name(owner, source, due.key), at, due, now)


def _row(owner: Owner, name: str, at: int, due: Due, now: int) -> Timer:
    subject, payload = f"{owner.component}/{owner.id}", codec.encode(due)
    command = Entry(COMMANDS, subject, 0, DUE, 1, now, payload, None, None, owner.shard)
    return Timer(name, at, command)


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()
