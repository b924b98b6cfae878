"""Export of a shared store, line by line; see `model.archive` for the format.

The shards are brought into one order (`rounds`) by a temporary table that gives every entry and
every letter its number in it; all is read in one transaction, which sees one moment. Entries keep
their ids, so marks, origins and keys of outcomes mean the same in every store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO, Any

import msgspec

from eventmill.adapters.lines import Progress, Writer
from eventmill.adapters.postgres import view_sql
from eventmill.adapters.postgres.connection import SCHEMA, Connection, connect_patiently, errors
from eventmill.adapters.postgres.journal import entries_of
from eventmill.adapters.postgres.migration import migrate
from eventmill.adapters.postgres.parking import letter_of
from eventmill.adapters.postgres.rounds import Rounds, in_outbox, read_by, rounds
from eventmill.adapters.postgres.text import loaded
from eventmill.adapters.postgres.writer import fetch
from eventmill.errors import ConfigurationError
from eventmill.model import archive
from eventmill.model.archive import (
    End,
    FactLine,
    OffsetLine,
    OutcomeLine,
    RowLine,
    SnapshotLine,
    TableLine,
    TimerLine,
)
from eventmill.model.entry import Entry, moved
from eventmill.model.placement import Placement
from eventmill.model.table import PhysicalTable
from eventmill.runtime.topics.streams import FACT, MADE

HEAD = "$head"
"""Fact: positions begin behind this one, in every shard."""

ROWS_AT_ONCE = 100

_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_marks = msgspec.msgpack.Decoder(dict[str, int]).decode


async def export(dsn: str, file: IO[bytes], progress: Progress) -> End:
    """Write a store's content; return the last line.

    Raises `ConfigurationError` if there is none, if a node runs on it, or if what its subscriptions
    have read fits into no one order.
    """
    connection = await connect_patiently(dsn)
    try:
        with errors():
            if not await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.shard"):
                raise ConfigurationError(f"the database holds no store: no schema {SCHEMA!r}")
            await migrate(connection)
            async with connection.transaction(isolation="repeatable_read"):
                return await _Export(connection).write(file, progress)
    finally:
        connection.terminate()


class _Export:
    """One transaction that reads everything."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last: list[int] = []
        """The last number of each round."""

    async def write(self, file: IO[bytes], progress: Progress) -> End:
        if nodes := await fetch(self._connection, "members"):
            names = ", ".join(row["node"] for row in nodes)
            raise ConfigurationError(f"a node runs on this store ({names}): stop it first")
        ends = dict(await fetch(self._connection, "ends"))
        found = await self._offsets(ends)
        await self._number(found, ends)
        total = await self._connection.fetchval("SELECT count(*) FROM entry")
        writer = Writer(file, total, progress)
        for part in (
            self._entries(),
            self._snapshots(),
            self._outcomes(),
            self._timers(),
            self._positions(found),
            self._letters(),
            self._facts(ends),
            self._tables(),
        ):
            async for line in part:
                writer.put(line)
        return writer.end()

    async def _offsets(self, ends: dict[int, int]) -> Rounds:
        placement = Placement(int((await fetch(self._connection, "shards"))[0][0]))
        rows = await fetch(self._connection, "offsets")
        offsets = {(name, shard): position for name, shard, position in rows}
        if FACT in dict(await fetch(self._connection, "registry")):
            await self._need_no_letters(placement)
            offsets = in_outbox(offsets, placement)
        return rounds(ends, read_by(offsets, ends, placement))

    async def _need_no_letters(self, placement: Placement) -> None:
        letters = await self._connection.fetchval(
            "SELECT count(*) FROM letter WHERE shard >= $1", placement.shards
        )
        if letters:
            raise ConfigurationError(
                f"{letters} letters are of topics in the broker, which stay there: redrive or "
                "discard them first"
            )

    async def _number(self, found: Rounds, ends: dict[int, int]) -> None:
        before = dict.fromkeys(ends, 0)
        stretches = []
        for nth, until in enumerate(found.until):
            stretches += [
                (nth, shard, before[shard], at) for shard, at in until.items() if at > before[shard]
            ]
            before = until
        columns = [list(column) for column in zip(*stretches, strict=True)] or [[], [], [], []]
        names = ("rounds", "shards", "afters", "untils")
        await fetch(self._connection, "number_entries", **dict(zip(names, columns, strict=True)))
        await self._connection.execute("ANALYZE placed")
        last = dict(await fetch(self._connection, "last_numbers"))
        for nth in range(len(found.until)):
            self._last.append(last.get(nth, self._last[-1] if self._last else 0))

    async def _rows(self, sql: str) -> AsyncIterator[Any]:
        async for row in self._connection.cursor(sql, prefetch=ROWS_AT_ONCE):
            yield row

    async def _entries(self) -> AsyncIterator[archive.Line]:
        async for number, *row in self._rows(
            "SELECT number, shard, position, source, subject, sequence, type, version, time, "
            "payload, metadata, origin FROM placed JOIN entry USING (shard, position) "
            "ORDER BY number"
        ):
            yield archive.entry_line(moved(entries_of([row])[0], 0, number))

    async def _snapshots(self) -> AsyncIterator[archive.Line]:
        async for source, subject, sequence, time, schema, state, marks in self._rows(
            "SELECT source, subject, sequence, time, schema, state, marks FROM snapshot "
            "ORDER BY source, subject"
        ):
            kept = _decode_marks(marks) if marks else {}
            stored = archive.value(state)
            yield SnapshotLine(source, loaded(subject), sequence, time, schema, stored, kept)

    async def _outcomes(self) -> AsyncIterator[archive.Line]:
        async for source, subject, key, expires, reply, rejection in self._rows(
            "SELECT source, subject, key, expires, reply, rejection FROM outcome "
            "ORDER BY expires, source, subject, key"
        ):
            stored = archive.value(reply)
            yield OutcomeLine(source, loaded(subject), key, expires, stored, rejection)

    async def _timers(self) -> AsyncIterator[archive.Line]:
        async for name, due, command in self._rows(
            "SELECT name, due, command FROM timer ORDER BY name"
        ):
            entry = msgspec.structs.replace(_decode_entry(command), shard=0)
            yield TimerLine(loaded(name), due, archive.entry_line(entry))

    async def _positions(self, found: Rounds) -> AsyncIterator[archive.Line]:
        for name, nth in sorted(found.passed.items()):
            yield OffsetLine(name, 0, self._last[nth])

    async def _letters(self) -> AsyncIterator[archive.Line]:
        async for row in self._rows(
            "SELECT letter.*, number FROM letter JOIN placed USING (shard, position) "
            "ORDER BY subscription, number"
        ):
            letter = letter_of(row)
            entry = moved(letter.entry, 0, row["number"])
            yield archive.letter_line(msgspec.structs.replace(letter, entry=entry))

    async def _facts(self, ends: dict[int, int]) -> AsyncIterator[archive.Line]:
        head = max(*ends.values(), self._last[-1])
        yield FactLine(HEAD, archive.value(str(head).encode()))
        for name, value in sorted(await fetch(self._connection, "registry")):
            if name == FACT or name.startswith(MADE):
                continue  # wherever it goes, topics are in the store, with what was not relayed
            yield FactLine(loaded(name), archive.value(value))

    async def _tables(self) -> AsyncIterator[archive.Line]:
        for name, *columns in await self._connection.fetch(view_sql.TABLES):
            table = PhysicalTable(name, view_sql.kinds(*columns))
            yield TableLine(table)
            async for row in self._rows(f"SELECT * FROM {view_sql.quoted(name)} ORDER BY _key"):  # noqa: S608 - quoted
                values = (loaded(v) if isinstance(v, str) else v for v in row)
                yield RowLine(name, tuple(values))
