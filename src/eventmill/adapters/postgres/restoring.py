"""Import of exported lines into an empty database, in one transaction; see `model.archive`.

Every entry keeps its position and its id and goes to the shard of its subject; all shards begin
behind the last one of the file. So an offset of the file holds in every shard. Sent commands go to
the first shard, which their ids name: nothing that is sent later can be taken for an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from eventmill.adapters import lines
from eventmill.adapters.lines import Progress
from eventmill.adapters.postgres import view_sql
from eventmill.adapters.postgres.archive import HEAD
from eventmill.adapters.postgres.connection import (
    SCHEMA,
    Connection,
    check_durable,
    connect_patiently,
    errors,
)
from eventmill.adapters.postgres.migration import migrate, prepare
from eventmill.adapters.postgres.partitions import make_home, make_topics
from eventmill.adapters.postgres.plan import plan_of
from eventmill.adapters.postgres.store import SHARDS
from eventmill.adapters.postgres.text import stored
from eventmill.adapters.postgres.writer import fetch, run_sql
from eventmill.engine.views.postgres import identifier
from eventmill.errors import ConfigurationError, InvalidPayload
from eventmill.model import archive, limits
from eventmill.model.archive import (
    End,
    EntryLine,
    FactLine,
    Header,
    LetterLine,
    OffsetLine,
    OutcomeLine,
    RowLine,
    SnapshotLine,
    TableLine,
    TimerLine,
)
from eventmill.model.commit import Commit, Offset, Outcome, Snapshot, Timer
from eventmill.model.entry import Entry, moved, size_of
from eventmill.model.placement import EVERY_SHARD, Placement
from eventmill.model.table import PhysicalTable

LINES_AT_ONCE = 1_000

_COLUMNS: Final = (
    *("shard", "position", "source", "subject", "sequence", "type", "version", "time"),
    *("payload", "metadata", "origin"),
)


async def restore(dsn: str, shards: int | None, file: Iterable[bytes], progress: Progress) -> End:
    """Make a store from exported lines; all of it or nothing. Return the last line.

    Raises `ConfigurationError` if the database holds a store already, and `InvalidPayload` for a
    file that is torn, changed or none of ours.
    """
    connection = await connect_patiently(dsn)
    try:
        with errors():
            await check_durable(connection)
            await prepare(connection)
            async with connection.transaction():
                await migrate(connection)
                if await fetch(connection, "shards"):
                    raise ConfigurationError(
                        "the database holds a store already: name an empty one, or remove the old "
                        f"store with DROP SCHEMA {SCHEMA} CASCADE"
                    )
                await make_home(connection, shards or SHARDS)
                return await _Import(connection, shards or SHARDS).fill(lines.read(file, progress))
    finally:
        connection.terminate()


class _Import:
    """Writes lines into an open transaction."""

    def __init__(self, connection: Connection, shards: int) -> None:
        self._connection = connection
        self._placement = Placement(shards)
        self._topics: dict[str, int] = {}
        self._partitions = 0
        """How many of the topics have theirs."""
        self._head = 0
        self._table = "entry"
        self._columns: Sequence[str] | None = _COLUMNS
        self._rows: list[tuple[Any, ...]] = []
        """Rows of that table."""
        self._rest = Commit()
        self._waiting = 0
        self._bytes = 0
        self._tables: set[str] = set()

    async def fill(self, found: Iterable[archive.Line]) -> End:
        """Write all lines; return the last."""
        for line in found:
            if isinstance(line, End):
                await self._flush()
                await self._finish()
                return line
            self._waiting += 1
            await self._line(line)
            if self._waiting >= LINES_AT_ONCE or self._bytes >= limits.SCAN_BYTES_MAX:
                await self._flush()
        raise AssertionError("unreachable: the lines were verified to end")

    async def _line(self, line: archive.Line) -> None:
        match line:
            case EntryLine():
                self._entry(self._placed(archive.entry_of(line)))
            case RowLine(table, values):
                if table not in self._tables or identifier(table) != self._table:
                    raise InvalidPayload(f"a row of table {table!r} is not behind its table")
                self._rows.append(tuple(stored(v) if isinstance(v, str) else v for v in values))
                self._bytes += sum(len(v) for v in values if isinstance(v, str))
            case TableLine(table):
                await self._flush()
                await self._make(table)
            case Header() | End():
                pass
            case _:
                self._put(line)

    def _put(self, line: archive.Line) -> None:
        rest = self._rest
        match line:
            case SnapshotLine(source, subject, sequence, time, schema, state, marks):
                kept = archive.stored(state)
                self._bytes += len(kept)
                rest.snapshots.append(
                    Snapshot(source, subject, sequence, time, schema, kept, marks)
                )
            case OutcomeLine(source, subject, key, expires, reply, rejection):
                kept = archive.stored(reply)
                self._bytes += len(kept)
                rest.outcomes.append(Outcome(source, subject, key, expires, kept, rejection))
            case TimerLine(name, due, command):
                rest.timers[name] = Timer(name, due, self._due(archive.entry_of(command)))
            case OffsetLine(subscription, 0, position):
                rest.offsets.append(Offset(subscription, EVERY_SHARD, 0, position))
            case OffsetLine():
                pass  # of another service's topic: here it is read from the broker, anew
            case LetterLine():
                letter = archive.letter_of(line)
                entry = self._placed(letter.entry)
                self._bytes += size_of(entry) + len(letter.traceback)
                rest.letters.append(msgspec.structs.replace(letter, entry=entry))
            case FactLine(name, value):
                if name == HEAD:
                    self._head = max(self._head, int(archive.stored(value)))
                elif not name.startswith(("$", "stream/")):  # nothing of how other stores lie
                    rest.registry[name] = archive.stored(value)

    def _placed(self, entry: Entry) -> Entry:
        self._head = max(self._head, entry.position)
        home = self._placement.entity(entry.subject)
        if entry.source.startswith("$"):  # sent commands, and calls of actions
            shard = 0
        elif entry.sequence:
            shard = home
        else:
            number = self._topics.setdefault(entry.source, len(self._topics) + 1)
            shard = number * self._placement.shards + home
        return moved(entry, shard, entry.position)

    def _due(self, command: Entry) -> Entry:
        """A timer's command is no entry yet; it may be any node's, so it is its target's."""
        shard = self._placement.entity(command.subject.partition("/")[2])
        return msgspec.structs.replace(command, shard=shard)

    def _entry(self, e: Entry) -> None:
        self._bytes += size_of(e)
        self._rows.append(
            (
                *(e.shard, e.position, e.source, stored(e.subject), e.sequence, e.type, e.version),
                *(e.time, e.payload, e.metadata, e.origin),
            )
        )

    async def _make(self, table: PhysicalTable) -> None:
        self._table, self._columns = identifier(table.name), None
        if await self._connection.fetchval("SELECT to_regclass($1)", view_sql.quoted(table.name)):
            raise InvalidPayload(f"table {table.name!r} is the store's own: this is no export")
        for statement in view_sql.create(table, ()):
            await self._connection.execute(statement)
        self._tables.add(table.name)

    async def _flush(self) -> None:
        new = range(self._partitions + 1, len(self._topics) + 1)
        await make_topics(self._connection, new, self._placement.shards)
        self._partitions = len(self._topics)
        if self._rows:
            await self._connection.copy_records_to_table(
                self._table, records=self._rows, columns=self._columns, schema_name=SCHEMA
            )
        if not self._rest.is_empty():
            plan = plan_of(self._rest, (), {})
            for name, sql in plan.parts:
                if name != "me":
                    await run_sql(self._connection, sql, plan.values)
        self._rows, self._rest = [], Commit()
        self._waiting = self._bytes = 0

    async def _finish(self) -> None:
        count, connection = self._placement.shards, self._connection
        facts = {"$shards": str(count).encode(), HEAD: str(self._head).encode()}
        await fetch(connection, "facts", fact_names=list(facts), facts=list(facts.values()))
        names, numbers = list(self._topics), list(self._topics.values())
        await fetch(connection, "put_topics", names=names, numbers=numbers)
        shards = list(range(count * (1 + len(self._topics))))
        await fetch(connection, "put_shards", shards=shards)
        await connection.execute("ANALYZE entry, snapshot, outcome, timer, letter")
