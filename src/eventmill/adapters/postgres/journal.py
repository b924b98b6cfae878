"""Reading the journal, through the store's connections for reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from eventmill.adapters.postgres.reader import Reader
from eventmill.adapters.postgres.text import loaded, stored
from eventmill.model import limits
from eventmill.model.commit import Outcome, Snapshot
from eventmill.model.entry import Entry, size_of_all
from eventmill.ports.store import Scan

_decode_marks = msgspec.msgpack.Decoder(dict[str, int]).decode


TIMES_AT_ONCE = 100_000
"""Entries whose times the server looks at in one statement: some ten milliseconds."""


class Journal:
    """The reading half of the store's journal."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def load(self, source: str, subject: str) -> tuple[Snapshot | None, list[Entry]]:
        rows = await self._reader.fetch("snapshot", source=source, subject=stored(subject))
        snapshot = None
        for sequence, time, schema, state, marks in rows:
            kept = _decode_marks(marks) if marks else {}
            snapshot = Snapshot(source, subject, sequence, time, schema, state, kept)
        # Entries of a commit between the two reads are among those after the snapshot.
        after = snapshot.sequence if snapshot else 0
        page = await self.history(source, subject, after=after, limit=limits.SCAN_ROWS)
        return snapshot, page

    async def history(
        self, source: str, subject: str, *, after: int = 0, limit: int
    ) -> list[Entry]:
        rows = await self._reader.fetch(
            "history",
            source=source,
            subject=stored(subject),
            after=after,
            limit=limit,
            bytes=limits.SCAN_BYTES_MAX,
        )
        return entries_of(rows)

    async def latest(self, source: str, subject: str) -> Entry | None:
        rows = await self._reader.fetch("latest", source=source, subject=stored(subject))
        return next(iter(entries_of(rows)), None)

    async def read(
        self, shard: int, after: int, *, limit: int, sources: frozenset[str] | None = None
    ) -> Scan:
        until = min(after + limit, await self.end(shard))
        if until <= after:
            return Scan([], after)
        rows = await self._reader.fetch(
            "scan",
            shard=shard,
            after=after,
            until=until,
            sources=None if sources is None else sorted(sources),
            bytes=limits.SCAN_BYTES_MAX,
        )
        entries = entries_of(rows)
        if size_of_all(entries) >= limits.SCAN_BYTES_MAX:
            until = entries[-1].position
        return Scan(entries, until)

    def has_room_for(self, types: Iterable[str]) -> bool:
        return True  # names are stored with the entries

    async def end(self, shard: int) -> int:
        rows = await self._reader.fetch("end", shard=shard)
        return rows[0][0] if rows else 0

    async def ends(self) -> dict[int, int]:
        return dict(await self._reader.fetch("ends"))

    async def position_at(self, shard: int, time: int, *, after: int = 0) -> int:
        end = await self.end(shard)
        while after < end:
            ((found, last),) = await self._reader.fetch(
                "position_at", shard=shard, time=time, after=after, limit=TIMES_AT_ONCE
            )
            if found is not None:
                return int(found) - 1
            after = last or end
        return end

    async def subjects(self, source: str, *, after: str = "", limit: int) -> list[tuple[str, int]]:
        rows = await self._reader.fetch("subjects", source=source, after=stored(after), limit=limit)
        return [(loaded(subject), sequence) for subject, sequence in rows]

    async def outcomes(self, source: str, subject: str, keys: Sequence[bytes]) -> list[Outcome]:
        if not keys:
            return []
        rows = await self._reader.fetch(
            "outcome", source=source, subject=stored(subject), keys=list(keys)
        )
        return [Outcome(source, subject, *row) for row in rows]


def entries_of(rows: Iterable[Any]) -> list[Entry]:
    """Return the entries of rows whose columns are in the order of the statements."""
    return [
        Entry(source, loaded(subject), sequence, type, version, time, payload, metadata, origin,
              shard, position)
        for shard, position, source, subject, sequence, type, version, time, payload, metadata,
        origin in rows
    ]  # fmt: skip
