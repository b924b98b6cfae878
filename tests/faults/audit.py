"""Holds a ledger's store to account: do all its parts agree, whatever happened to it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from eventmill.adapters.sqlite.store import Store
from eventmill.model.entry import COMMANDS, Entry
from tests.faults import ledger

SCAN = 10_000


class Facts(NamedTuple):
    """What a store holds."""

    ops: dict[str, list[str]]
    """Account → its operations, in order."""
    notes: dict[str, tuple[int, str]]
    """Note → revision and text."""
    counted: Counter[str]
    """Operations that reached a total."""
    audited: Counter[str]
    lags: dict[str, int]
    """Subscription → entries of its source that it has not handled."""


async def audit(directory: Path) -> Facts:
    """Open a store as a node would and check everything in it; return what it holds.

    Raises `AssertionError` that names the first disagreement.
    """
    store = Store(directory)
    await store.open()
    try:
        entries = await _entries(store)
        offsets = {name: at for (name, _), at in (await store.offsets()).items()}
        letters = await store.parking.letters(limit=10)
    finally:
        await store.close()
    _check_file(directory / "eventmill.db")
    assert letters == [], f"something was parked: {letters[0].error}"
    return _check(entries, offsets)


def _check_file(path: Path) -> None:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert list(db.execute("PRAGMA integrity_check")) == [("ok",)]
    finally:
        db.close()


async def _entries(store: Store) -> list[Entry]:
    found: list[Entry] = []
    after, end = 0, await store.journal.end(0)
    while after < end:
        scan = await store.journal.read(0, after, limit=SCAN)
        found += scan.entries
        after = scan.position
    return found


def _check(entries: list[Entry], offsets: dict[str, int]) -> Facts:
    by_source: dict[str, list[Entry]] = {}
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    accounts = by_source.get("account", [])
    topic = by_source.get("audits", [])
    commands = by_source.get(COMMANDS, [])
    totals = by_source.get("total", [])
    ops = _check_accounts(accounts)
    _check_sequences(totals)

    ended = [entry for entry in accounts if entry.type == "Ended"]
    _check_same("audited", _ops(topic), _handled(ended, offsets.get("auditor", 0)))
    sent = {entry.id: entry for entry in commands}
    _check_same("sent", _ops(commands), _handled(topic, offsets.get("collector", 0)))

    counted = Counter(_ops(totals))
    assert not [op for op, n in counted.items() if n > 1], "an operation was counted twice"
    assert all(entry.origin in sent for entry in totals), "a count that nobody asked for"
    done = {entry.origin for entry in totals}
    courier = offsets.get("$courier", 0)
    lost = [id for id, entry in sent.items() if entry.position <= courier and id not in done]
    assert lost == [], "a sent command was passed without its effect"
    lags = {
        "auditor": _lag(ended, offsets.get("auditor", 0)),
        "collector": _lag(topic, offsets.get("collector", 0)),
        "$courier": _lag(commands, courier),
    }
    return Facts(ops, _check_notes(by_source.get("note", [])), counted, Counter(_ops(topic)), lags)


def _check_accounts(entries: list[Entry]) -> dict[str, list[str]]:
    _check_sequences(entries)
    by_account: dict[str, list[Entry]] = {}
    for entry in entries:
        by_account.setdefault(entry.subject, []).append(entry)
    ops: dict[str, list[str]] = {}
    for account, own in by_account.items():
        began, ended = own[::2], own[1::2]
        assert {e.type for e in began} == {"Began"}, f"{account}: half a command"
        assert {e.type for e in ended} == {"Ended"}, f"{account}: half a command"
        assert _ops(began) == _ops(ended), f"{account}: half a command"
        ops[account] = _ops(ended)
        assert len(set(ops[account])) == len(ops[account]), f"{account}: an effect came twice"
    return ops


def _check_sequences(entries: list[Entry]) -> None:
    last: Counter[str] = Counter()
    for entry in entries:
        last[entry.subject] += 1
        assert entry.sequence == last[entry.subject], f"{entry.subject}: gap in its sequences"


def _check_notes(entries: list[Entry]) -> dict[str, tuple[int, str]]:
    notes = {e.subject: (e.sequence, _payload(e)["text"]) for e in entries}
    assert len(notes) == len(entries), "an older state was not compacted"
    return notes


def _handled(entries: list[Entry], offset: int) -> list[str]:
    return _ops(entry for entry in entries if entry.position <= offset)


def _lag(entries: list[Entry], offset: int) -> int:
    return sum(entry.position > offset for entry in entries)


def _check_same(what: str, found: list[str], expected: list[str]) -> None:
    assert Counter(found) == Counter(expected), f"{what}: effects and offset disagree"


def _ops(entries: Iterable[Entry]) -> list[str]:
    return [_payload(entry)["op"] for entry in entries]


def _payload(entry: Entry) -> dict[str, Any]:
    return msgspec.json.decode(entry.payload, type=dict[str, Any])


def total_of(facts: Facts) -> int:
    """Number of operations in all accounts."""
    return sum(map(len, facts.ops.values()))


def bucket_of(account: str) -> str:
    """The total that an account's operations are counted in."""
    return f"bucket-{ledger.hash_of(account) % ledger.BUCKETS}"
