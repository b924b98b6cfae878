"""What one transaction writes: the closed list of everything that can become true.

Filled by turns and reactions, written whole by a store's `commit`, or not at all. Adding a field
is an architectural decision (docs/adr/0002).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from eventmill.errors import Conflict
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """An entity's encoded state after its entry `sequence`. Only the newest is kept."""

    source: str
    subject: str
    sequence: int
    time: int
    schema: str
    """Fingerprint of the state's fields: another one means fold the events instead."""
    state: bytes
    marks: dict[str, int] = {}
    """Dedupe marks: per shard the position of the last sent command that had an effect."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """First answer to a keyed request, given again to every repetition."""

    source: str
    subject: str
    key: bytes
    expires: int
    """Microseconds since the epoch."""
    reply: bytes
    rejection: str | None = None
    """Code of the rejection; `reply` then holds its problem as JSON."""

    @property
    def made(self) -> int:
        """When it was made: all outcomes live equally long."""
        return self.expires - limits.IDEMPOTENCY_SECONDS * 1_000_000


class Timer(msgspec.Struct, frozen=True, gc=False):
    """A command to be sent when it is due; the same name replaces it."""

    name: str
    due: int
    """Microseconds since the epoch."""
    command: Entry
    """The `$commands` entry that is appended when the timer fires."""


class Offset(msgspec.Struct, frozen=True, gc=False):
    """How far a subscription has come in one shard. Offset and fence in one: if the stored
    position is not `expected`, somebody else moved it and the whole commit is refused."""

    subscription: str
    shard: int
    expected: int
    position: int


class LetterStatus(StrEnum):
    """State of a parked letter."""

    RETRYING = "retrying"
    """At the head of its key and due for another attempt."""
    WAITING = "waiting"
    """Behind another letter of its key."""
    DEAD = "dead"
    """Its policy is spent: it blocks its key until it is redriven or discarded."""
    REFUSED = "refused"
    """A sent command that the component rejected: kept for people, blocks nobody."""


class Letter(msgspec.Struct, frozen=True, gc=False):
    """An entry that a subscription could not handle yet, in its original form."""

    subscription: str
    key: str
    entry: Entry
    status: LetterStatus
    attempts: int = 0
    due: int = 0
    """When to try again, microseconds since the epoch; of a refused one, when it may go."""
    parked: int = 0
    """When it was parked, microseconds since the epoch."""
    code: str = ""
    error: str = ""
    traceback: str = ""


class LetterKey(msgspec.Struct, frozen=True, gc=False):
    """Identity of a letter."""

    subscription: str
    shard: int
    position: int


class Rows(msgspec.Struct, gc=False):
    """Changes of one view table; `table` is the physical name."""

    table: str
    upserts: list[tuple[Any, ...]]
    """Key first, then the columns in the table's order."""
    deletes: list[str]
    """Keys."""


class Commit(msgspec.Struct):
    """One transaction."""

    entries: list[Entry] = []
    snapshots: list[Snapshot] = []
    outcomes: list[Outcome] = []
    timers: dict[str, Timer | None] = {}
    """Timers to put or replace, by name; None removes the name. The last request wins, also when
    two commands of one commit schedule and cancel the same name."""
    fired: list[tuple[str, int]] = []
    """(name, due) of timers to remove; one that is not there any more, or was replaced since, refuses
    the commit, unless it sets or cancels that timer itself."""
    offsets: list[Offset] = []
    letters: list[Letter] = []
    """Letters to put or replace."""
    settled: list[LetterKey] = []
    """Letters to remove."""
    rows: list[Rows] = []
    compacted: list[tuple[str, str, int]] = []
    """(source, subject, sequence): entries of the subject below the sequence are removed. Beside an
    entry of the subject it is that one's, and a stored one above shows a stale writer and refuses the
    commit. Without one it does nothing where all are below: the entity was removed, and has begun anew."""
    purged: list[tuple[str, str]] = []
    """(source, subject): the entity is removed, with its entries and its snapshot. Outcomes of keyed
    requests stay until they expire: a repetition gets the first answer, not a second life."""
    forgotten: list[str] = []
    """Subscriptions that ended for good: their offsets and letters are removed."""
    registry: dict[str, bytes | None] = {}
    """Durable facts: subscriptions, pauses, view versions. None removes the name."""
    expected: dict[str, bytes | None] = {}
    """What facts that this commit changes must be before, None for not there; otherwise it is refused:
    two nodes may want to change one."""
    bytes: int = 0
    """Not written: the bytes of what can be large, counted by whoever adds it."""

    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.entries
            or self.offsets
            or self.rows
            or self.letters
            or self.settled
            or self.snapshots
            or self.outcomes
            or self.timers
            or self.fired
            or self.compacted
            or self.purged
            or self.forgotten
            or self.registry
        )


def changed_by_others(fact: str) -> Conflict:
    """Return the refusal of a commit that expected something else of a fact."""
    return Conflict(f"somebody else changed {fact!r} first; look again", code="conflict.fact")


def homes_of(commit: Commit, placement: Placement) -> set[int]:
    """Return the home shards whose owner alone may write this commit.

    Rows are covered by the offset that comes with them; timers that are only removed have no shard
    here: a store knows it.
    """
    shards, home, entity = placement.shards, placement.home, placement.entity
    found = {entry.shard for entry in commit.entries if entry.shard < shards}
    found.update(home(offset.shard) for offset in commit.offsets)
    found.update(home(letter.entry.shard) for letter in commit.letters)
    found.update(home(key.shard) for key in commit.settled)
    found.update(entity(snapshot.subject) for snapshot in commit.snapshots)
    found.update(home(timer.command.shard) for timer in commit.timers.values() if timer)
    found.update(entity(subject) for _, subject, _ in commit.compacted)
    found.update(entity(subject) for _, subject in commit.purged)
    found.update(entity(o.subject) for o in commit.outcomes if o.source not in placement.topics)
    return found
