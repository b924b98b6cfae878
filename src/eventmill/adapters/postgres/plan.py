"""What a commit sends to the server: the parts of its one statement, with their arrays. Pure.

All parts run on what was there before the statement and do not see each other's changes; so what
must not meet in one statement is told apart here: entries that the same commit compacts away are
not even inserted, and purges run before, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from eventmill.adapters.postgres.statements import SQL, numbered
from eventmill.adapters.postgres.text import all_stored, stored
from eventmill.errors import Conflict, NotOwner
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, Offset, Outcome, Snapshot, Timer
from eventmill.model.entry import Entry

encode = msgspec.msgpack.Encoder().encode

Subject = tuple[str, str]
"""(source, subject)."""

_EVENTS = SQL["entries"].replace("INTO entry ", "INTO entry_home ", 1)

LIFETIME = limits.IDEMPOTENCY_SECONDS * 1_000_000


class Plan:
    """The statements of one commit."""

    def __init__(self) -> None:
        self.before: list[str] = []
        """Statements that run first, in the same transaction."""
        self.parts: list[tuple[str, str]] = []
        """Names and texts of what runs in one statement."""
        self.conditions: list[str] = []
        """All of them hold, or nothing of the commit happens."""
        self.values: dict[str, Any] = {}
        """By the names of the statements' parameters."""
        self.after: list[str] = []
        """Statements that run last, in the same transaction."""
        self.shards: list[int] = []
        """Those whose heads move or are checked, in order."""
        self.epochs: dict[int, int | None] = {}
        """What the heads must be at; None where any node may write."""
        self.counts: dict[int, int] = {}
        """New entries of each shard."""
        self.offsets: list[Offset] = []

    def add(self, name: str, rows: Iterable[tuple[Any, ...]] = (), **values: Any) -> None:
        """Add a named statement; rows fill the arrays that are its first parameters."""
        self.parts.append((name, SQL[name]))
        columns = zip(*rows, strict=True)
        self.values.update(zip(numbered(SQL[name])[1], columns, strict=False), **values)

    def demand(self, rows: int, *parts: str) -> None:
        """Refuse everything unless the parts have changed so many rows together."""
        name = f"{parts[0]}_rows"
        found = " + ".join(f"(SELECT count(*) FROM {part})" for part in parts)  # noqa: S608
        self.conditions.append(f"{found} = :{name}::bigint")
        self.values[name] = rows


def plan_of(commit: Commit, homes: Iterable[int], held: Mapping[int, int]) -> Plan:
    """Return what makes a commit true.

    Parameters: `homes` are the home shards that only their owner may write, `held` the epochs that
    this node was given.

    Raises `NotOwner` or `Conflict` where that is known already.
    """
    plan = Plan()
    _heads(plan, commit.entries, homes, held)
    last = {(source, subject): sequence for source, subject, sequence in commit.compacted}
    if commit.entries:
        _entries(plan, commit.entries, last)
    if last:
        _compact(plan, last, commit.entries)
    if commit.offsets:
        _offsets(plan, _chained(commit.offsets))
    if commit.outcomes:
        _outcomes(plan, list({(o.source, o.subject, o.key): o for o in commit.outcomes}.values()))
    if commit.snapshots:
        _snapshots(plan, list({(s.source, s.subject): s for s in commit.snapshots}.values()))
    _timers(plan, commit)
    _letters(plan, commit)
    _facts(plan, commit.registry, commit.expected)
    if commit.purged:
        plan.before += ["purge_entries", "purge_snapshots"]
        plan.values["purged_sources"] = [source for source, _ in commit.purged]
        plan.values["purged_subjects"] = all_stored([subject for _, subject in commit.purged])
    if commit.forgotten:
        plan.after += ["forget_offsets", "forget_letters"]
        plan.values["forgotten"] = commit.forgotten
    return plan


def stamp(entries: list[Entry], plan: Plan, ends: Sequence[int] | None) -> None:
    """Give the entries of a commit their positions, from the last ones of the plan's shards."""
    if not entries:
        return
    assert ends is not None
    last = {shard: end - plan.counts[shard] for shard, end in zip(plan.shards, ends, strict=True)}
    for entry in entries:
        last[entry.shard] = entry.position = last[entry.shard] + 1


def _heads(plan: Plan, entries: list[Entry], homes: Iterable[int], held: Mapping[int, int]) -> None:
    epochs: dict[int, int | None] = {}
    for shard in homes:
        if shard not in held:
            raise NotOwner(f"shard {shard} is not held by this node")
        epochs[shard] = held[shard]
    counts = dict.fromkeys(epochs, 0)
    for entry in entries:
        counts[entry.shard] = counts.get(entry.shard, 0) + 1
    plan.shards, plan.counts = sorted(counts), counts
    plan.epochs = {shard: epochs.get(shard) for shard in plan.shards}
    if not counts:
        plan.parts.append(("me", SQL["me_alone"]))
    else:
        plan.add("head", [(shard, counts[shard], epoch) for shard, epoch in plan.epochs.items()])
        plan.demand(len(counts), "head")
        plan.add("me")
    plan.demand(1, "me")


def _entries(plan: Plan, entries: list[Entry], last: Mapping[Subject, int]) -> None:
    """Positions count through all entries; those that are compacted away leave holes."""
    counts: dict[int, int] = {}
    kept, nths = [], []
    for entry in entries:
        nth = counts[entry.shard] = counts.get(entry.shard, 0) + 1
        if not 0 < entry.sequence < last.get((entry.source, entry.subject), 0):
            kept.append(entry)
            nths.append(nth)
    # Events alone need not look for their partition; only their shards have epochs.
    has_messages = None in plan.epochs.values()
    plan.parts.append(("entries", SQL["entries"] if has_messages else _EVENTS))
    plan.values.update(
        entry_shards=[e.shard for e in kept],
        nths=nths,
        sources=[e.source for e in kept],
        subjects=all_stored([e.subject for e in kept]),
        sequences=[e.sequence for e in kept],
        types=[e.type for e in kept],
        versions=[e.version for e in kept],
        times=[e.time for e in kept],
        payloads=[e.payload for e in kept],
        metadata=[e.metadata for e in kept],
        origins=[e.origin for e in kept],
    )


def _compact(plan: Plan, last: Mapping[Subject, int], entries: list[Entry]) -> None:
    written = {(entry.source, entry.subject) for entry in entries}
    beside: list[tuple[str, str, int]] = []
    alone: list[tuple[str, str, int]] = []
    for subject, sequence in last.items():
        rows = beside if subject in written else alone
        rows.append((subject[0], stored(subject[1]), sequence))
    if beside:
        plan.add("compacted", beside)
        # The unique index cannot see a stale writer whose sequence was compacted away.
        plan.add("beyond", beside)
        plan.demand(0, "beyond")
    if alone:
        plan.add("outlived", alone)


def _offsets(plan: Plan, offsets: list[Offset]) -> None:
    plan.offsets = offsets
    plan.add("moved", [astuple(offset) for offset in offsets])
    if any(o.expected == 0 for o in offsets):
        plan.add("begun")
        plan.demand(len(offsets), "moved", "begun")
    else:
        plan.demand(len(offsets), "moved")


def _chained(offsets: list[Offset]) -> list[Offset]:
    """One offset for those of one commit that continue each other."""
    if len(offsets) == 1:
        return offsets
    merged: dict[tuple[str, int], Offset] = {}
    for offset in offsets:
        key = (offset.subscription, offset.shard)
        first = merged.get(key)
        if first is not None and first.position != offset.expected:
            raise moved_by_others(offset, first.position)
        expected = first.expected if first else offset.expected
        merged[key] = Offset(*key, expected, offset.position)
    return list(merged.values())


def moved_by_others(offset: Offset, found: int) -> Conflict:
    """Return the refusal of an offset that is not where it was expected."""
    return Conflict(
        f"subscription {offset.subscription!r} is at {found}, not at {offset.expected}",
        code="conflict.offset",
    )


def _outcomes(plan: Plan, outcomes: list[Outcome]) -> None:
    rows = [(o.source, stored(o.subject), o.key, o.expires, o.reply, o.rejection) for o in outcomes]
    plan.add("outcomes", rows, lifetime=LIFETIME)
    plan.demand(len(outcomes), "outcomes")


def _snapshots(plan: Plan, snapshots: list[Snapshot]) -> None:
    rows = []
    for s in snapshots:
        marks = encode(s.marks) if s.marks else None
        rows.append((s.source, stored(s.subject), s.sequence, s.time, s.schema, s.state, marks))
    plan.add("snapshots", rows)


def _timers(plan: Plan, commit: Commit) -> None:
    # One that this commit sets again, or cancels, is replaced or gone whatever fires.
    fired = [(name, due) for name, due in commit.fired if name not in commit.timers]
    put: list[Timer] = [timer for timer in commit.timers.values() if timer]
    cancelled = [name for name, timer in commit.timers.items() if timer is None]
    if fired:
        plan.add("fired", [(stored(name), due) for name, due in fired])
        # Another node may have cancelled or replaced one since it was found due.
        plan.demand(len(fired), "fired")
    if cancelled:
        plan.add("cancelled", [(stored(name),) for name in cancelled])
    if put:
        rows = [(stored(t.name), t.command.shard, t.due, encode(t.command)) for t in put]
        plan.add("timers", rows)


def _letters(plan: Plan, commit: Commit) -> None:
    settled = {astuple(key) for key in commit.settled}
    letters = {_key(letter): letter for letter in commit.letters}
    put = [_letter_row(letter) for key, letter in letters.items() if key not in settled]
    if put:
        plan.add("letters", put)
    if settled:
        plan.add("settled", settled)


def _letter_row(x: Letter) -> tuple[Any, ...]:
    texts = (stored(x.code), stored(x.error), stored(x.traceback))
    rest = (str(x.status), x.attempts, x.due, x.parked, *texts, encode(x.entry))
    return (x.subscription, x.entry.shard, x.entry.position, stored(x.key), *rest)


def _key(letter: Letter) -> tuple[str, int, int]:
    return (letter.subscription, letter.entry.shard, letter.entry.position)


def _facts(
    plan: Plan, registry: Mapping[str, bytes | None], expected: Mapping[str, bytes | None]
) -> None:
    free = {stored(name): value for name, value in registry.items() if name not in expected}
    put = [(name, value) for name, value in free.items() if value is not None]
    removed = [(name,) for name, value in free.items() if value is None]
    if put:
        plan.add("facts", put)
    if removed:
        plan.add("forgotten_facts", removed)
    if expected:
        _swap_facts(plan, registry, expected)


def _swap_facts(
    plan: Plan, registry: Mapping[str, bytes | None], expected: Mapping[str, bytes | None]
) -> None:
    """Compare and set: each statement changes only what is as expected, also if it had to wait for
    another node's commit; all of them must have changed something."""
    swaps = [(stored(name), old, registry[name]) for name, old in expected.items()]
    parts: dict[str, list[tuple[Any, ...]]] = {
        "made_facts": [(name, new) for name, old, new in swaps if old is None],
        "swapped_facts": [swap for swap in swaps if None not in swap],
        "ended_facts": [(name, old) for name, old, new in swaps if old is not None and new is None],
    }
    for part, rows in parts.items():
        if rows:
            plan.add(part, rows)
            plan.demand(len(rows), part)
