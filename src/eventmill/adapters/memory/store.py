"""The model of a store: what every adapter does, in plain dicts and with nothing durable.

Place on the road: the commit. `commit` first checks everything that can refuse it, then changes
everything without an `await` between: all or nothing needs no more here. Committed data lives as
long as the object, across `close` and `open`, so a restart can be tested.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from copy import copy

from eventmill.adapters.memory.journal import Journal
from eventmill.adapters.memory.parking import Parking
from eventmill.adapters.memory.portion import take
from eventmill.adapters.memory.views import ViewTables
from eventmill.errors import ConfigurationError, Conflict, NotOwner
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, Timer, changed_by_others, homes_of
from eventmill.model.placement import Placement
from eventmill.model.topic import is_foreign


class Store:
    """A store whose data is gone with the object.

    Parameters: with one shard it is an embedded store, which holds that shard; with several it is
    a shared one, and `beside` is another node's store of the same data.
    """

    def __init__(self, shards: int = 1, *, beside: Store | None = None) -> None:
        self.journal: Journal = beside.journal if beside else Journal()
        self.parking: Parking = beside.parking if beside else Parking()
        self.views: ViewTables = beside.views if beside else ViewTables()
        self._offsets: dict[tuple[str, int], int] = beside._offsets if beside else {}
        self._timers: dict[str, Timer] = beside._timers if beside else {}
        self._registry: dict[str, bytes] = beside._registry if beside else {}
        self._topics: dict[str, int] = beside._topics if beside else {}
        self.epochs: Counter[int] = beside.epochs if beside else Counter()
        """Of each home shard, raised by every claim."""
        self._shards = len(beside.epochs) if beside else shards
        self._identity = "" if self._shards > 1 else secrets.token_hex(8)
        self._placement = Placement(self._shards, {}, self._identity)
        self.epochs.update(dict.fromkeys(range(self._shards), 0))
        self._held: dict[int, int] = {0: 0} if self._shards == 1 else {}
        self._taken = False

    def __repr__(self) -> str:
        state = "open" if self._taken else "closed"
        return f"<memory.Store [{state}, {self.journal.last.total()} entries]>"

    @property
    def placement(self) -> Placement:
        if len(self._placement.topics) != len(self._topics):
            self._placement = Placement(self._shards, dict(self._topics), self._identity)
        return self._placement

    async def place(self, topics: Collection[str]) -> Placement:
        for topic in topics:
            if self._shards > 1 or is_foreign(topic):
                self._topics.setdefault(topic, len(self._topics) + 1)
        return self.placement

    def hold(self, shard: int, epoch: int) -> None:
        self._held[shard] = epoch

    def let_go(self, shard: int) -> None:
        self._held.pop(shard, None)

    async def open(self) -> None:
        if self._taken:
            raise ConfigurationError(
                "this memory store is in use; stop its node first", code="configuration.locked"
            )
        self._taken = True

    async def close(self) -> None:
        self._taken = False

    async def commit(self, commit: Commit) -> None:
        self._check_owner(commit)
        self._check_offsets(commit)
        self._check_sequences(commit)
        self._check_outcomes(commit)
        self._check_fired(commit)
        self._check_facts(commit)
        self.views.write(commit.rows)
        # From here on nothing can fail.
        self._move_offsets(commit)
        self._change_journal(commit)
        self._change_timers(commit)
        self._change_letters(commit)
        for name, value in commit.registry.items():
            if value is None:
                self._registry.pop(name, None)
            else:
                self._registry[name] = value

    async def offsets(self) -> dict[tuple[str, int], int]:
        return dict(self._offsets)

    async def registry(self) -> dict[str, bytes]:
        return dict(self._registry)

    async def due_timers(self, until: int, shards: Collection[int], *, limit: int) -> list[Timer]:
        due = sorted(
            (t for t in self._timers.values() if t.due <= until and t.command.shard in shards),
            key=lambda timer: timer.due,
        )
        return [_copied(timer) for timer in _page(due[:limit])]

    async def timers(self, *, after: str = "", limit: int) -> list[Timer]:
        names = sorted(name for name in self._timers if name > after)
        return [_copied(timer) for timer in _page([self._timers[n] for n in names[:limit]])]

    async def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        return self.journal.trim(sources, shard, after, until)

    async def sweep(self, now: int, *, limit: int) -> int:
        outcomes = self.journal.outcomes_by_key
        expired = [key for key, outcome in outcomes.items() if outcome.expires <= now][:limit]
        for key in expired:
            del outcomes[key]
        return len(expired) + self._sweep_refused(now, limit - len(expired))

    def _sweep_refused(self, now: int, limit: int) -> int:
        letters = self.parking.by_key
        refused = sorted((x.due, k) for k, x in letters.items() if x.status == "refused")
        too_many = max(0, len(refused) - limits.REFUSED_MAX)
        old = [key for n, (due, key) in enumerate(refused) if due <= now or n < too_many][:limit]
        for key in old:
            del letters[key]
        return len(old)

    def _check_owner(self, commit: Commit) -> None:
        for shard in homes_of(commit, self.placement):
            if self._held.get(shard) != self.epochs[shard]:
                raise NotOwner(f"shard {shard} is held by another node")

    def _check_outcomes(self, commit: Commit) -> None:
        if self._shards == 1:
            return  # alone: whoever repeats a key here was asked before
        for outcome in commit.outcomes:
            key = (outcome.source, outcome.subject, outcome.key)
            stored = self.journal.outcomes_by_key.get(key)
            if stored and stored.expires > outcome.made:
                raise Conflict(
                    f"somebody else used a key of {outcome.source} first", code="conflict.key"
                )

    def _check_fired(self, commit: Commit) -> None:
        for name, due in commit.fired:
            timer = self._timers.get(name)
            is_there = timer is not None and timer.due == due
            if not is_there and name not in commit.timers:
                raise Conflict(f"timer {name!r} was replaced or cancelled since it was due")

    def _check_facts(self, commit: Commit) -> None:
        for name, expected in commit.expected.items():
            if self._registry.get(name) != expected:
                raise changed_by_others(name)

    def _check_offsets(self, commit: Commit) -> None:
        at = dict(self._offsets)
        for offset in commit.offsets:
            found = at.get((offset.subscription, offset.shard), 0)
            if found != offset.expected:
                raise Conflict(
                    f"subscription {offset.subscription!r} is at {found}, not at {offset.expected}",
                    code="conflict.offset",
                )
            at[offset.subscription, offset.shard] = offset.position

    def _check_sequences(self, commit: Commit) -> None:
        purged = set(commit.purged)
        numbered = [e for e in commit.entries if e.sequence > 0]
        counts = Counter((e.source, e.subject, e.sequence) for e in numbered)
        for source, subject, sequence in counts:
            stored = (
                {}
                if (source, subject) in purged
                else self.journal.sequences.get((source, subject), {})
            )
            if counts[source, subject, sequence] > 1 or sequence in stored:
                raise Conflict(f"somebody else wrote {source}/{subject} {sequence} first")
        written = {(source, subject) for source, subject, _ in counts} - purged
        for source, subject, sequence in commit.compacted:
            stored = self.journal.sequences.get((source, subject), {})
            if (source, subject) in written and max(stored, default=0) > sequence:
                raise Conflict(f"somebody else wrote {source}/{subject} beyond {sequence}")

    def _move_offsets(self, commit: Commit) -> None:
        for offset in commit.offsets:
            self._offsets[offset.subscription, offset.shard] = offset.position

    def _change_journal(self, commit: Commit) -> None:
        journal = self.journal
        for subject in commit.purged:
            journal.purge(subject)
        ends = Counter(journal.last)
        for entry in commit.entries:
            ends[entry.shard] += 1
            entry.position = ends[entry.shard]
        journal.append([copy(entry) for entry in commit.entries])
        for source, name, sequence in commit.compacted:
            journal.compact((source, name), sequence)
        for snapshot in commit.snapshots:
            journal.snapshots[snapshot.source, snapshot.subject] = snapshot
        for outcome in commit.outcomes:
            journal.outcomes_by_key[outcome.source, outcome.subject, outcome.key] = outcome

    def _change_timers(self, commit: Commit) -> None:
        for name, _ in commit.fired:
            self._timers.pop(name, None)
        for name, timer in commit.timers.items():
            if timer is None:
                self._timers.pop(name, None)
            else:
                self._timers[name] = _copied(timer)

    def _change_letters(self, commit: Commit) -> None:
        letters = self.parking.by_key
        for letter in commit.letters:
            key = (letter.subscription, letter.entry.shard, letter.entry.position)
            letters[key] = _parked_since(letters.get(key), letter)
        for settled in commit.settled:
            letters.pop((settled.subscription, settled.shard, settled.position), None)
        for name in commit.forgotten:
            for key in [key for key in letters if key[0] == name]:
                del letters[key]
            for offset in [offset for offset in self._offsets if offset[0] == name]:
                del self._offsets[offset]


def _page(timers: list[Timer]) -> list[Timer]:
    return take(timers, lambda timer: timer.command)[0]


def _copied(timer: Timer) -> Timer:
    """The scheduler stamps the command of a timer that it fires: give it one of its own."""
    return Timer(timer.name, timer.due, copy(timer.command))


def _parked_since(before: Letter | None, letter: Letter) -> Letter:
    """A letter that is put again keeps the time when it was first parked."""
    if before is None:
        return letter
    return Letter(
        letter.subscription,
        before.key,
        before.entry,
        letter.status,
        letter.attempts,
        letter.due,
        before.parked,
        letter.code,
        letter.error,
        letter.traceback,
    )
