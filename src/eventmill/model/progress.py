"""Progress: where a workflow is, besides its state. Plain data, stored as JSON.

An entry of type `$step` holds the whole progress after a turn and, for people, what happened in it:
so the newest entry says where the workflow is, whatever came before, and no code is run again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from eventmill.model.definition import WorkflowDefinition

EMPTY: Final = msgspec.Raw(b"{}")


class Status(StrEnum):
    """What a workflow does."""

    NEW = "new"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    """For an event, or another workflow's end."""
    COMPENSATING = "compensating"
    SUSPENDED = "suspended"
    """By an operator: nothing begins until it is resumed."""
    STUCK = "stuck"
    """This code does not know its step, or cannot read it. Never stored: found when it is looked at."""
    ENDED = "ended"
    COMPENSATED = "compensated"
    """All that was done has been undone."""
    FAILED = "failed"
    """A step failed, and somebody has to see to it."""
    TERMINATED = "terminated"


FINAL: Final = frozenset({Status.ENDED, Status.COMPENSATED, Status.FAILED, Status.TERMINATED})


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that is to be run, or is running: outstanding until its outcome is committed."""

    number: int
    """Unique within the workflow, stable over attempts: part of idempotency keys."""
    step: str
    input: msgspec.Raw = EMPTY
    """JSON object of its arguments."""
    branch: int = 0
    """0 for the main line, from 1 for steps that run at the same time."""
    attempt: int = 1
    failures: int = 0
    """Attempts that count for its policy."""
    at: int = 0
    """When this attempt begins, microseconds since the epoch."""
    undoes: int = 0
    """Number of the run that this one compensates."""
    error: str = ""
    """Why it came to this: of a failover or a compensation."""


class Undo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that was begun and can be compensated."""

    number: int
    step: str
    """The compensating one."""
    input: msgspec.Raw = EMPTY


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the workflow waits for: an event, or with no source a command."""

    number: int
    source: str = ""
    key: str = ""
    then: str = ""
    on_timeout: str = ""


class Planned(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that comes later: after the branches, or when all is undone."""

    step: str
    input: msgspec.Raw = EMPTY


class Join(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where branches meet."""

    left: list[int]
    """Branches that have not ended."""
    then: Planned
    any: bool = False


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the workflow failed."""

    step: str
    code: str
    error: str
    runs: list[Run] = []
    """What `retry` tries again: the step that failed, and those beside it that were given up."""
    join: Join | None = None


class Child(msgspec.Struct, frozen=True):
    """Another workflow, which this one has started as its own."""

    component: str
    id: str


class Taken(msgspec.Struct, frozen=True):
    """The last event that a workflow took of one source and key: it takes none up to there again."""

    source: str
    key: str
    position: int
    """In the shard of the key."""
    store: str
    """Identity of the store: positions say nothing about another one."""


class Progress(msgspec.Struct, omit_defaults=True):
    """Where a workflow is."""

    status: Status = Status.NEW
    number: int = 0
    """The latest that was given to a run or a wait."""
    runs: list[Run] = []
    wait: Wait | None = None
    join: Join | None = None
    undo: list[Undo] = []
    """What was begun, the latest last."""
    after_undo: Planned | None = None
    children: list[Child] = []
    """Those that are not known to have ended."""
    problem: Problem | None = None
    suspended: bool = False
    has_deadline: bool = False
    began: int = 0
    ended: int = 0
    cause: msgspec.Raw = EMPTY
    """Correlation and trace context of the command that started it."""
    since: int = 0
    """Sequence of the entry that set its steps going, when none was outstanding: what the next wait
    looks back to."""
    by_event: bool = False
    """That was the last event of `taken`."""
    taken: list[Taken] = []
    """Of each source and key one, the latest last."""

    def last_taken(self, source: str, key: str, store: str) -> Taken | None:
        """Return the last event of a source and key that it took, in this store."""
        for taken in self.taken:
            if (taken.source, taken.key, taken.store) == (source, key, store):
                return taken
        return None

    def run(self, number: int) -> Run | None:
        """Return an outstanding run."""
        for run in self.runs:
            if run.number == number:
                return run
        return None

    def unknown_to(self, definition: WorkflowDefinition) -> str:
        """Return a step that is outstanding, or may come next by what is stored, which this code does
        not have; empty if it has them all, or nothing comes by itself any more."""
        if self.status in FINAL:
            return ""
        names = [run.step for run in self.runs] + [undo.step for undo in self.undo]
        if self.wait is not None:
            names += [self.wait.then, self.wait.on_timeout]
        names += [
            planned.step for planned in (self.after_undo, self.join and self.join.then) if planned
        ]
        return next((name for name in names if name and name not in definition.steps), "")

    def shown_in(self, definition: WorkflowDefinition) -> Status:
        """Return the status as people see it, with this code."""
        if self.unknown_to(definition):
            return Status.STUCK
        return Status.SUSPENDED if self.suspended else self.status


class Did(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened in a turn: a line of a workflow's history."""

    what: str
    """`command`, `step`, `compensation`, `timeout`, `event`, or an operator's order."""
    name: str = ""
    """Of the command or step."""
    number: int = 0
    input: msgspec.Raw = EMPTY
    attempt: int = 0
    began: int = 0
    ended: int = 0
    result: msgspec.Raw = EMPTY
    """Fields that were changed."""
    code: str = ""
    error: str = ""
    next: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return round((self.ended - self.began) / 1e6, 6)


class Moved(msgspec.Struct, frozen=True):
    """Payload of a `$step` entry."""

    did: Did
    progress: Progress


class WorkflowMoved(msgspec.Struct, frozen=True):
    """What happened to a workflow, as those who follow it are told: `eventmill.step`."""

    status: Status
    """Where it is now."""
    what: str
    """`command`, `step`, `compensation`, `timeout`, `event`, or an operator's order."""
    name: str
    """Of the command or step; of an event's source."""
    number: int
    """Of the step."""
    attempt: int
    seconds: float
    input: Any
    result: Any
    """Fields that were changed."""
    next: str
    """Steps that come now, or the status."""
    code: str
    error: str


class Whole(msgspec.Struct, frozen=True):
    """Payload of a workflow's snapshot."""

    state: msgspec.Raw
    progress: Progress


_encode = msgspec.json.Encoder().encode
decode_moved = msgspec.json.Decoder(Moved).decode
decode_whole = msgspec.json.Decoder(Whole).decode


def told(payload: bytes) -> bytes:
    """Return what of a `$step` entry's payload is others' business, as JSON of a `WorkflowMoved`."""
    moved = decode_moved(payload)
    did = moved.did
    return _encode(
        WorkflowMoved(
            status=moved.progress.status,
            what=did.what,
            name=did.name,
            number=did.number,
            attempt=did.attempt,
            seconds=did.seconds,
            input=did.input,
            result=did.result,
            next=did.next,
            code=did.code,
            error=did.error,
        )
    )
