"""Checks a recorded history: what clients were told, against what the store holds at the end.

Pure functions over plain data. Each returns the problems that it finds, in words; none means that
the history is right. What they look for is what a cluster can get wrong: lost, doubled or reordered
appends, reads of the past, money made or lost, views that differ from their journal, gaps, and two
owners that write one shard in turns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple


class Append(NamedTuple):
    """One operation that puts itself at the end of an entity's list, as its client knows it."""

    entity: str
    op: str
    began: float
    """When it was sent."""
    ended: float | None
    """When it was acknowledged; None if it never was."""


class Read(NamedTuple):
    """What one query of an entity's list answered."""

    entity: str
    began: float
    ended: float
    found: Sequence[str]


class Movement(NamedTuple):
    """One side of a transfer, as it stands in the journal: below 0 is paid, above is received."""

    account: str
    op: str
    amount: int
    time: int


class Written(NamedTuple):
    """Who wrote a position of a shard, and under which epoch."""

    shard: int
    position: int
    epoch: int
    writer: str


def appends(sent: Iterable[Append], lists: Mapping[str, Sequence[str]]) -> list[str]:
    """Every acknowledged append is there exactly once, every other one at most once, nothing else
    is there, and who was acknowledged before another was sent stands before it."""
    by_entity: dict[str, dict[str, Append]] = defaultdict(dict)
    for append in sent:
        by_entity[append.entity][append.op] = append
    problems: list[str] = []
    for entity in sorted(by_entity.keys() | lists.keys()):
        problems += _list_of(entity, by_entity[entity], lists.get(entity, ()))
    return problems


def _list_of(entity: str, sent: Mapping[str, Append], found: Sequence[str]) -> list[str]:
    counts = Counter(found)
    problems = [f"{entity}: {op} is there {n} times" for op, n in counts.items() if n > 1]
    problems += [f"{entity}: nobody sent {op}" for op in counts if op not in sent]
    problems += [
        f"{entity}: {op} was acknowledged and is lost"
        for op, append in sent.items()
        if append.ended is not None and op not in counts
    ]
    last = None
    for append in (sent[op] for op in found if op in sent):
        if last is not None and append.ended is not None and append.ended < last.began:
            problems.append(f"{entity}: {append.op} stands behind {last.op}, which came later")
        if last is None or append.began > last.began:
            last = append
    return problems


def reads(done: Iterable[Read], sent: Iterable[Append], lists: Mapping[str, Any]) -> list[str]:
    """Every read shows a beginning of the final list: with all that was acknowledged before it
    began, and nothing that was sent after it had ended."""
    acknowledged: dict[str, list[Append]] = defaultdict(list)
    began: dict[str, float] = {}
    for append in sent:
        began[append.op] = append.began
        if append.ended is not None:
            acknowledged[append.entity].append(append)
    problems = []
    for read in done:
        where, found = f"{read.entity}: a read", list(read.found)
        if found != list(lists.get(read.entity, ()))[: len(found)]:
            problems.append(f"{where} shows what never became true")
        seen = set(found)
        problems += [
            f"{where} does not show {a.op}, acknowledged before"
            for a in acknowledged[read.entity]
            if a.ended is not None and a.ended < read.began and a.op not in seen
        ]
        problems += [
            f"{where} shows {op}, sent later" for op in found if began.get(op, 0.0) > read.ended
        ]
    return problems


def money(start: Mapping[str, int], moved: Iterable[Movement]) -> list[str]:
    """At every point in time the accounts and what is on its way make the same sum; at the end
    nothing is on its way."""
    balances, total = dict(start), sum(start.values())
    paid: dict[str, int] = {}
    received: set[str] = set()
    problems: list[str] = []
    ordered = sorted(moved, key=lambda movement: (movement.time, movement.amount > 0))
    for time, together in groupby(ordered, key=lambda movement: movement.time):
        for account, op, amount, _ in together:
            balances[account] = balances.get(account, 0) + amount
            if amount < 0:
                if op in paid:
                    problems.append(f"{op} was paid twice")
                paid[op] = -amount
            elif op in received:
                problems.append(f"{op} was received twice")
            elif op not in paid:
                problems.append(f"{op} was received before it was paid")
            else:
                received.add(op)
        on_its_way = sum(amount for op, amount in paid.items() if op not in received)
        if sum(balances.values()) + on_its_way != total:
            problems.append(
                f"at {time} there are {sum(balances.values()) + on_its_way}, not {total}"
            )
    problems += [f"{op} was paid and never received" for op in paid if op not in received]
    return problems


def view(rows: Mapping[str, Any], fold: Mapping[str, Any]) -> list[str]:
    """A view's rows are what the fold of the journal makes."""
    return [
        f"row {key}: {rows.get(key)!r}, by the journal {fold.get(key)!r}"
        for key in sorted(rows.keys() | fold.keys())
        if rows.get(key) != fold.get(key)
    ]


def positions(found: Mapping[int, Sequence[int]], ends: Mapping[int, int]) -> list[str]:
    """No shard skips a position, repeats one, or ends elsewhere than it says."""
    problems = []
    for shard in sorted(found.keys() | {shard for shard, end in ends.items() if end}):
        own = list(found.get(shard, ()))
        if own != list(range(1, len(own) + 1)):
            problems.append(
                f"shard {shard}: positions are not 1 to {len(own)}, each once, in order"
            )
        if len(own) != ends.get(shard, 0):
            problems.append(
                f"shard {shard}: {len(own)} positions, but it ends at {ends.get(shard, 0)}"
            )
    return problems


def sequences(found: Iterable[tuple[str, int]]) -> list[str]:
    """Each entity counts its events from 1 without a gap; `found` is in journal order."""
    last: Counter[str] = Counter()
    problems = []
    for entity, sequence in found:
        if sequence != last[entity] + 1:
            problems.append(f"{entity}: {sequence} follows {last[entity]}")
        last[entity] = sequence
    return problems


def epochs(found: Iterable[Written]) -> list[str]:
    """In each shard epochs only rise, and each has one writer."""
    last: dict[int, Written] = {}
    writers: dict[tuple[int, int], str] = {}
    problems = []
    for written in sorted(found):
        before = last.get(written.shard, written)
        where = f"shard {written.shard}, position {written.position}"
        if written.epoch < before.epoch:
            problems.append(f"{where}: epoch {written.epoch} after {before.epoch}")
        owner = writers.setdefault((written.shard, written.epoch), written.writer)
        if owner != written.writer:
            problems.append(
                f"{where}: {written.writer} wrote in epoch {written.epoch}, which was {owner}'s"
            )
        last[written.shard] = written
    return problems
