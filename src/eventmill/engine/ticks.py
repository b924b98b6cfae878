"""Ticks of schedules as timers and entries. Pure.

The next tick of a schedule is a timer `$tick/<id>`, in the home shard of the schedule's id. When it
fires, each run is a call of the schedule's action, keyed by its tick, and the timer moves on to
the tick after it: one commit, so that a tick has one run however many nodes there are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from eventmill.model import codec
from eventmill.model.action import CALLS
from eventmill.model.commit import Commit, Timer
from eventmill.model.entry import COMMANDS, Entry
from eventmill.model.schedule import EPOCH, Schedule

TICK: Final = "$tick"
"""Type of a schedule's run, and of the command of its timer, which is never sent itself."""

TICKS: Final = f"{TICK}/"
"""Begins the names of all their timers."""


def name_of(id: str) -> str:
    """Return the name of a schedule's timer."""
    return TICKS + id


def fire(
    id: str, schedule: Schedule, due: int, now: int, home: int, commit: Commit, *, paused: bool
) -> int:
    """Let a tick that was due become true; return how many runs that are."""
    ticks = [] if paused else schedule.runs(due, now)
    commit.entries += [run(id, tick, now, home) for tick in ticks]
    plan(id, schedule, now, home, commit)
    return len(ticks)


def plan(id: str, schedule: Schedule, now: int, home: int, commit: Commit) -> None:
    """Set the timer of the next tick."""
    due = schedule.next_after(now)
    # Its subject is as an entity's, so that it finds its home when it moves to another store.
    command = Entry(COMMANDS, f"{id}/{id}", 0, TICK, 1, now, schedule.fingerprint, None, None, home)
    name = name_of(id)
    commit.timers[name] = Timer(name, due, command) if due is not None else None


def run(id: str, tick: int, now: int, home: int) -> Entry:
    """Make the entry that lets a schedule's function run."""
    time = (EPOCH + timedelta(microseconds=tick)).isoformat().replace("+00:00", "Z")
    return Entry(CALLS + id, time, 0, TICK, 1, now, codec.encode({"tick": time}), None, None, home)
