"""The journal and everything committed with it: each store against the memory store, step by step."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.errors import Conflict
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterKey, LetterStatus, Offset, Outcome, Snapshot, Timer
from eventmill.model.entry import COMMANDS, Entry
from eventmill.ports.store import Store
from eventmill.testing.contract import command, letter
from eventmill.testing.contract.harness import open_alone, plain
from eventmill.testing.postgres import Server
from tests.machines.rig import MACHINES, LoopMachine

SUBJECTS = st.sampled_from(["a", "b", "ä/☃", ""])
SOURCES = st.sampled_from(["cart", "cart2"])
NAMES = st.sampled_from(["n1", "n2", "n3"])
SMALL = st.integers(0, 4)
NOW = st.booleans()
"""Whether a step is committed at once or together with what follows."""


class JournalMachine(LoopMachine):
    """Both stores get the same commits; whatever can be read must be the same."""

    apart = 1
    """Time between two outcomes."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Store = MemoryStore()
        self.subject = self.open_subject()
        self.time = 1_000
        self.pending = Commit()
        self.run(self.model.open())

    def open_subject(self) -> Store:
        """Open the store that is held against the model."""
        store = SqliteStore(self.directory, round_entries=3)
        self.run(store.open())
        return store

    async def close(self) -> None:
        await self.subject.close()

    # --- filling a commit ---

    @rule(source=SOURCES, subject=SUBJECTS, count=st.integers(1, 3), behind=SMALL, now=NOW)
    def persist(self, source: str, subject: str, count: int, behind: int, now: bool) -> None:
        last = self.last(source, subject)
        first = max(1, last + 1 - (behind == 4))  # one time in five the writer is stale
        for n in range(first, first + count):
            self.pending.entries.append(self.entry(source, subject, n))
        self.commit_if(now)

    @rule(source=SOURCES, subject=SUBJECTS, behind=SMALL, now=NOW)
    def replace_state(self, source: str, subject: str, behind: int, now: bool) -> None:
        sequence = max(1, self.last(source, subject) + 1 - (behind == 4))
        self.pending.entries.append(self.entry(source, subject, sequence))
        self.pending.compacted.append((source, subject, sequence))
        self.commit_if(now)

    @rule(source=SOURCES, subject=SUBJECTS, kept=SMALL)
    def forget_states(self, source: str, subject: str, kept: int) -> None:
        self.commit_if(True)
        self.pending.compacted.append((source, subject, self.last(source, subject) - kept))
        self.commit_if(True)

    @rule(key=SUBJECTS, now=NOW)
    def publish(self, key: str, now: bool) -> None:
        self.pending.entries.append(self.entry("orders", key, 0))
        self.commit_if(now)

    @rule(key=SUBJECTS)
    def send(self, key: str) -> None:
        self.pending.entries.append(self.entry(COMMANDS, f"cart/{key}", 0))

    @rule(source=SOURCES, subject=SUBJECTS)
    def snapshot(self, source: str, subject: str) -> None:
        last = self.last(source, subject)
        if last:
            state = b'{"at":%d}' % last
            self.pending.snapshots.append(Snapshot(source, subject, last, 1, "s", state))

    @rule(source=SOURCES, subject=SUBJECTS, now=NOW)
    def purge(self, source: str, subject: str, now: bool) -> None:
        if not any((e.source, e.subject) == (source, subject) for e in self.pending.entries):
            self.pending.purged.append((source, subject))
        self.commit_if(now)

    @rule(source=SOURCES, subject=SUBJECTS, key=NAMES)
    def outcome(self, source: str, subject: str, key: str) -> None:
        self.time += self.apart  # all outcomes live equally long
        outcome = Outcome(source, subject, key.encode(), self.time, b"1")
        self.pending.outcomes.append(outcome)

    @rule(name=NAMES, due=SMALL, cancel=st.booleans(), now=NOW)
    def schedule(self, name: str, due: int, cancel: bool, now: bool) -> None:
        self.pending.timers[name] = None if cancel else Timer(name, due, command(time=due))
        self.commit_if(now)

    @rule(name=NAMES, due=SMALL, now=NOW)
    def fire(self, name: str, due: int, now: bool) -> None:
        self.pending.fired.append((name, due))
        self.commit_if(now)

    @rule(name=NAMES, by=SMALL, wrong=SMALL, now=NOW)
    def move_offset(self, name: str, by: int, wrong: int, now: bool) -> None:
        found = self.run(self.model.offsets()).get((name, 0), 0)
        if not any(o.subscription == name for o in self.pending.offsets):
            expected = found + (wrong == 4)
            self.pending.offsets.append(Offset(name, 0, expected, found + by))
        self.commit_if(now)

    @rule(name=NAMES, position=SMALL, key=SUBJECTS, status=st.sampled_from(LetterStatus), now=NOW)
    def park(self, name: str, position: int, key: str, status: LetterStatus, now: bool) -> None:
        self.time += 1
        key = f"cart/{key}{position % 2}"  # an entry's key never changes
        known = {
            (x.subscription, x.entry.position): x.key
            for x in [*self.run(self.model.parking.letters(limit=99)), *self.pending.letters]
        }
        key = known.get((name, position), key)
        parked = letter(position, key, status, name, parked=self.time, attempts=self.time % 7)
        self.pending.letters.append(parked)
        self.commit_if(now)

    @rule(name=NAMES, position=SMALL)
    def settle(self, name: str, position: int) -> None:
        self.pending.settled.append(LetterKey(name, 0, position))

    @rule(name=NAMES, value=st.none() | st.binary(max_size=3))
    def note_fact(self, name: str, value: bytes | None) -> None:
        self.pending.registry[name] = value

    # --- making it true ---

    @rule()
    def commit(self) -> None:
        self.commit_if(True)

    def commit_if(self, now: bool) -> None:
        if not now:
            return
        commit, self.pending = self.pending, Commit()
        outcomes = [self.run(attempt(store, deepcopy(commit))) for store in self.both()]
        assert outcomes[0] == outcomes[1]

    @rule(age=SMALL, limit=st.integers(1, 3))
    def sweep(self, age: int, limit: int) -> None:
        swept = [self.run(store.sweep(self.time - age, limit=limit)) for store in self.both()]
        assert swept[0] == swept[1]

    @rule()
    def reopen(self) -> None:
        self.run(self.subject.close())
        self.subject = self.open_subject()

    # --- what must be the same ---

    @invariant()
    def journals_are_equal(self) -> None:
        expected, found = (self.run(journal_of(store, self.time)) for store in self.both())
        assert found == expected

    @invariant()
    def the_rest_is_equal(self) -> None:
        expected, found = (self.run(rest_of(store)) for store in self.both())
        assert found == expected

    def both(self) -> tuple[Store, Store]:
        return self.model, self.subject

    def last(self, source: str, subject: str) -> int:
        stored = self.run(self.model.journal.history(source, subject, limit=999))
        if (source, subject) in self.pending.purged:
            stored = []
        mine = [
            e.sequence for e in self.pending.entries if (e.source, e.subject) == (source, subject)
        ]
        return max([e.sequence for e in stored] + mine, default=0)

    def entry(self, source: str, subject: str, sequence: int) -> Entry:
        self.time += sequence % 3
        return Entry(source, subject, sequence, f"T{sequence % 3}", 1, self.time, b"{}")


async def attempt(store: Store, commit: Commit) -> list[int] | str:
    try:
        await store.commit(commit)
    except Conflict:
        return "conflict"
    return [entry.position for entry in commit.entries]


async def journal_of(store: Store, time: int) -> Any:
    journal = store.journal
    scan = await journal.read(0, 0, limit=9_999)
    later = []
    for moment in (0, 1_000, time - 3, time, time + 1):
        start = await journal.position_at(0, moment)
        later.append(plain((await journal.read(0, start, limit=9_999)).entries))
    subjects = {s: await journal.subjects(s, limit=99) for s in ("cart", "cart2", "orders")}
    loaded = [
        plain(await journal.load(source, subject))
        for source in ("cart", "cart2")
        for subject in ("a", "b", "ä/☃", "")
    ]
    some = await journal.read(0, scan.position // 2, limit=3, sources=frozenset({"cart", "?"}))
    return plain(scan), await journal.end(0), later, subjects, loaded, plain(some)


async def rest_of(store: Store) -> Any:
    keys = [b"n1", b"n2", b"n3"]
    outcomes: list[Any] = []
    for source in ("cart", "cart2"):
        for subject in ("a", "b", "ä/☃", ""):
            found = await store.journal.outcomes(source, subject, keys)
            outcomes += sorted(plain(found), key=lambda outcome: outcome["key"])
    return {
        "offsets": await store.offsets(),
        "registry": await store.registry(),
        "timers": plain(await store.timers(limit=99)),
        "due": sorted(t.name for t in await store.due_timers(2, [0], limit=99)),
        "letters": plain(await store.parking.letters(limit=99)),
        "dead": plain(await store.parking.letters(statuses=[LetterStatus.DEAD], limit=2)),
        "heads": sorted(await store.parking.heads([0])),
        "outcomes": outcomes,
    }


class PostgresMachine(JournalMachine):
    """The same on PostgreSQL, where a key that has not expired refuses the commit."""

    server: ClassVar[Server]
    apart = limits.IDEMPOTENCY_SECONDS * 1_000_000
    dsn = ""

    def open_subject(self) -> Store:
        self.dsn = self.dsn or self.run(self.server.fresh(1))
        store = PostgresStore(self.dsn)
        self.run(open_alone(store))
        return store


@pytest.fixture(autouse=True, scope="module")
def _server(postgres: Server) -> None:
    PostgresMachine.server = postgres


TestJournal = JournalMachine.TestCase
TestJournal.settings = MACHINES
TestPostgres = PostgresMachine.TestCase
TestPostgres.settings = settings(MACHINES, max_examples=10)
