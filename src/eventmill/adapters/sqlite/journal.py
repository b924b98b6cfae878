"""Reading the journal. Runs on the loop's thread in short stretches: a scan in another thread
would pay a GIL hand-off for every row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import apsw
import msgspec

from eventmill.adapters.sqlite.connection import errors
from eventmill.adapters.sqlite.names import Names
from eventmill.adapters.sqlite.statements import SQL
from eventmill.adapters.sqlite.unfiled import Unfiled
from eventmill.model import limits
from eventmill.model.commit import Outcome, Snapshot
from eventmill.model.entry import Entry, size_of, size_of_all
from eventmill.ports.store import Scan

_decode_marks = msgspec.msgpack.Decoder(dict[str, int]).decode

TIMES_AT_ONCE = 4_096
"""Entries whose times are looked at before the loop does other work: a millisecond or so."""

KEYS_AT_ONCE = 500
"""Outcomes looked up by one statement: three times as fast as one by one, and not too long a text."""


class Journal:
    """The reading half of the store's journal."""

    def __init__(self, names: Names, unfiled: Unfiled) -> None:
        self.names = names
        self.unfiled = unfiled
        self.db: apsw.Connection | None = None

    @property
    def _reader(self) -> apsw.Connection:
        assert self.db is not None, "the store is not open"
        return self.db

    def _known(self) -> Names:
        """The names, read again with what is not filed if a commit of unknown outcome may have added
        some: a source that is not known yet has no entries, so a scan would pass over what that
        commit wrote."""
        if self.names.in_doubt:
            self.names.read(self._reader)
        self.unfiled.settle(self._reader)
        return self.names

    async def load(self, source: str, subject: str) -> tuple[Snapshot | None, list[Entry]]:
        with errors():
            number = self._known().numbers.get(source)
            if number is None:
                return None, []
            snapshot = None
            for sequence, time, schema, state, marks in self._reader.execute(
                SQL["snapshot"], (number, subject)
            ):
                kept = _decode_marks(marks) if marks else {}
                snapshot = Snapshot(source, subject, sequence, time, schema, state, kept)
            after = snapshot.sequence if snapshot else 0
            return snapshot, self._page(source, subject, after, limits.SCAN_ROWS)

    async def history(
        self, source: str, subject: str, *, after: int = 0, limit: int
    ) -> list[Entry]:
        with errors():
            if source not in self._known().numbers:
                return []
            return self._page(source, subject, after, limit)

    async def latest(self, source: str, subject: str) -> Entry | None:
        with errors():
            number = self._known().numbers.get(source)
            if here := self.unfiled.of(source, subject):
                return here[-1]
            found, _ = self._taken(self._reader.execute(SQL["latest"], (number, subject)))
            found = found or self.unfiled.of_ending(self._reader, source, subject)
            return found[-1] if found else None

    async def read(
        self, shard: int, after: int, *, limit: int, sources: frozenset[str] | None = None
    ) -> Scan:
        until = min(after + limit, await self.end(shard))
        if until <= after:
            return Scan([], after)
        with errors():
            known = self._known().numbers
            sql = SQL["scan"]
            if sources is not None:
                wanted = sorted(known[source] for source in sources if source in known)
                if not wanted:
                    return Scan([], until)
                sql = _scan_of(wanted)
            entries, is_all = self._taken(self._reader.execute(sql, (after, until)))
        return Scan(entries, until if is_all else entries[-1].position)

    def has_room_for(self, types: Iterable[str]) -> bool:
        known = self.names.numbers
        new = {type for type in types if type not in known}
        return not new or len(known) + len(new) <= limits.NAMES_MAX

    async def end(self, shard: int) -> int:
        with errors():
            (position,) = next(self._reader.execute(SQL["end"]))
            return int(position)

    async def ends(self) -> dict[int, int]:
        return {0: await self.end(0)}

    async def position_at(self, shard: int, time: int, *, after: int = 0) -> int:
        end = await self.end(shard)
        while after < end:
            bindings = {"time": time, "after": after, "limit": TIMES_AT_ONCE}
            with errors():
                found, last = next(self._reader.execute(SQL["position_at"], bindings))
            if found is not None:
                return int(found) - 1
            after = last or end
            await asyncio.sleep(0)
        return end

    async def subjects(self, source: str, *, after: str = "", limit: int) -> list[tuple[str, int]]:
        with errors():
            number = self._known().numbers.get(source)
            bindings = {"source": number, "after": after, "limit": limit}
            found: dict[str, int] = dict(self._reader.execute(SQL["next_subject"], bindings))
        last = max(found) if len(found) == limit else None
        for subject, sequence in self.unfiled.last_sequences(source).items():
            if subject > after and (last is None or subject < last or subject in found):
                found[subject] = max(sequence, found.get(subject, 0))
        return sorted(found.items())[:limit]

    async def outcomes(self, source: str, subject: str, keys: Sequence[bytes]) -> list[Outcome]:
        found: list[Outcome] = []
        with errors():
            for first in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[first : first + KEYS_AT_ONCE]
                rows = self._reader.execute(_any_of(len(some)), (source, subject, *some))
                found += [Outcome(source, subject, *row) for row in rows]
        return found

    def _page(self, source: str, subject: str, after: int, limit: int) -> list[Entry]:
        number = self.names.numbers[source]
        rows = self._reader.execute(SQL["history"], (number, subject, after, limit))
        found, is_all = self._taken(rows)
        if not is_all or len(found) == limit:
            return found
        left = limits.SCAN_BYTES_MAX - size_of_all(found)
        last = found[-1].sequence if found else after
        here = self.unfiled.of(source, subject)
        if not here and not found:
            here = self.unfiled.of_ending(self._reader, source, subject)
        for entry in here:
            # A commit that is just becoming durable may have filed some of them.
            if entry.sequence > last:
                found.append(entry)
                left -= size_of(entry)
                if len(found) == limit or left <= 0:
                    break
        return found

    def _taken(self, rows: apsw.Cursor) -> tuple[list[Entry], bool]:
        """Make entries of rows until they have `SCAN_BYTES_MAX` bytes; say whether that was the end."""
        entries: list[Entry] = []
        texts, left = self.names.texts, limits.SCAN_BYTES_MAX
        # In one loop and by unpacking: whoever catches up spends a quarter of the time in here.
        for position, source, subject, sequence, type, version, time, payload, meta, origin in rows:
            entries.append(
                Entry(
                    texts[source],
                    subject,
                    sequence,
                    texts[type],
                    version,
                    time,
                    payload,
                    meta,
                    origin,
                    0,
                    position,
                )
            )
            left -= len(payload)
            if meta is not None:
                left -= len(meta)
            if left <= 0:
                rows.close()  # an unfinished reader holds back checkpoints
                return entries, False
        return entries, True


def _scan_of(sources: list[int]) -> str:
    """Return the statement that reads some sources; their numbers are part of it, which is three times
    as fast as a list that is bound."""
    return SQL["scan_sources"].replace("(?)", f"({', '.join(map(str, sources))})")


def _any_of(count: int) -> str:
    """Return the statement that finds the outcomes of so many keys."""
    return SQL["outcome"].replace("key = ?", f"key IN ({', '.join('?' * count)})")
