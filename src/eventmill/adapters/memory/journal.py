"""The journal in memory: entries by shard and position, and the same entries by entity."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

from eventmill.adapters.memory.portion import take
from eventmill.model import limits
from eventmill.model.commit import Outcome, Snapshot
from eventmill.model.entry import Entry
from eventmill.ports.store import Scan

Subject = tuple[str, str]
"""(source, subject)."""


class Journal:
    """Plain dicts; `Store.commit` alone changes them."""

    def __init__(self) -> None:
        self.entries: defaultdict[int, dict[int, Entry]] = defaultdict(dict)
        """By shard and position, in order of position; compaction and purge leave holes."""
        self.names: set[str] = set()
        """Of sources and types."""
        self.last: Counter[int] = Counter()
        """The last committed position of each shard, whatever was removed since."""
        self.sequences: dict[Subject, dict[int, Entry]] = {}
        """Entries with a sequence above 0, by subject and sequence, in order."""
        self.snapshots: dict[Subject, Snapshot] = {}
        self.outcomes_by_key: dict[tuple[str, str, bytes], Outcome] = {}

    async def load(self, source: str, subject: str) -> tuple[Snapshot | None, list[Entry]]:
        snapshot = self.snapshots.get((source, subject))
        after = snapshot.sequence if snapshot else 0
        return snapshot, self._page(source, subject, after, limits.SCAN_ROWS)

    async def history(
        self, source: str, subject: str, *, after: int = 0, limit: int
    ) -> list[Entry]:
        return self._page(source, subject, after, limit)

    async def latest(self, source: str, subject: str) -> Entry | None:
        return next(reversed(self.sequences.get((source, subject), {}).values()), None)

    async def read(
        self, shard: int, after: int, *, limit: int, sources: frozenset[str] | None = None
    ) -> Scan:
        until = min(after + limit, self.last[shard])
        if until <= after:
            return Scan([], after)
        looked_at = map(self.entries[shard].get, range(after + 1, until + 1))
        page, is_all = take(filter(None, looked_at), _itself)
        found = [entry for entry in page if sources is None or entry.source in sources]
        return Scan(found, until if is_all else page[-1].position)

    def has_room_for(self, types: Iterable[str]) -> bool:
        new = set(types) - self.names
        return not new or len(self.names) + len(new) <= limits.NAMES_MAX

    async def end(self, shard: int) -> int:
        return self.last[shard]

    async def ends(self) -> dict[int, int]:
        return dict(self.last)

    async def position_at(self, shard: int, time: int, *, after: int = 0) -> int:
        for position, entry in self.entries[shard].items():
            if position > after and entry.time >= time:
                return position - 1
        return self.last[shard]

    async def subjects(self, source: str, *, after: str = "", limit: int) -> list[tuple[str, int]]:
        found = sorted(
            (subject, max(entries))
            for (owner, subject), entries in self.sequences.items()
            if owner == source and subject > after
        )
        return found[:limit]

    async def outcomes(self, source: str, subject: str, keys: Sequence[bytes]) -> list[Outcome]:
        wanted = [(source, subject, key) for key in keys]
        return [self.outcomes_by_key[key] for key in wanted if key in self.outcomes_by_key]

    def append(self, entries: Iterable[Entry]) -> None:
        """Take entries whose positions are stamped."""
        for entry in entries:
            self.names |= {entry.source, entry.type}
            self.entries[entry.shard][entry.position] = entry
            self.last[entry.shard] = entry.position
            if entry.sequence > 0:
                subject = (entry.source, entry.subject)
                self.sequences.setdefault(subject, {})[entry.sequence] = entry

    def compact(self, subject: Subject, sequence: int) -> None:
        """Remove a subject's entries below a sequence, unless all of them are."""
        entries = self.sequences.get(subject, {})
        if not entries or max(entries) < sequence:
            return
        for old in [number for number in entries if number < sequence]:
            self._remove(entries.pop(old))

    def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        """Remove messages of sources."""
        entries = self.entries[shard]
        old = [
            position
            for position, entry in entries.items()
            if after < position <= until and entry.source in sources and entry.sequence == 0
        ]
        for position in old:
            del entries[position]
        return len(old)

    def purge(self, subject: Subject) -> None:
        """Remove an entity; answers to its keyed requests live their day."""
        for entry in self.sequences.pop(subject, {}).values():
            self._remove(entry)
        self.snapshots.pop(subject, None)

    def _remove(self, entry: Entry) -> None:
        del self.entries[entry.shard][entry.position]

    def _page(self, source: str, subject: str, after: int, limit: int) -> list[Entry]:
        entries = self.sequences.get((source, subject), {})
        found = (entries[number] for number in sorted(entries) if number > after)
        return take(islice(found, limit), _itself)[0]


def _itself(entry: Entry) -> Entry:
    return entry
