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
    """When the attempt may begin; the row is due when it should have ended. Of a wait that looks back,
    its time-out; the row is due at once."""
    key: str = ""
    types: tuple[str, ...] = ()
    where: dict[str, Any] = {}
    """Which events are waited for."""
    looks: bool = False
    """It may have come before the wait was durable: somebody has to look."""
    since: int = 0
    """Sequence of the workflow's own entry since which an event counts; 0: all behind `after` do."""
    after: int = 0
    """Position of the last event that was taken of this source and key."""
    store: str = ""
    """Identity of the store in which that is its position."""

    def took(self, position: int, store: str) -> bool:
        """Whether what is at a position of a store was taken before there was this wait."""
        return position <= self.after and store == self.store


class Owner(msgspec.Struct, frozen=True):
    """Whose rows they are."""

    component: str
    id: str
    shard: int
    store: str = ""
    """Identity of the store."""


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


def wait_row(owner: Owner, source: str, now: int, due: Due) -> Timer:
    """Make the row of a wait: due at its time-out, or at once if it has to look back first."""
    return _row(owner, wait_name(owner, source, due.key), now if due.looks else due.at, due, now)


def looked_back(timer: Timer, due: Due) -> Timer:
    """Return the row of a wait that has looked back, and found nothing."""
    due = msgspec.structs.replace(due, looks=False)
    command = msgspec.structs.replace(timer.command, payload=codec.encode(due))
    return Timer(timer.name, due.at, command)


def _row(owner: Owner, name: str, at: int, due: Due, now: int) -> Timer:
    subject, payload = f"{owner.component}/{owner.id}", codec.encode(due)
    command = Entry(COMMANDS, subject, 0, DUE, 1, now, payload, None, None, owner.shard)
    return Timer(name, at, command)


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()
