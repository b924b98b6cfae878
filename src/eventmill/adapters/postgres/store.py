"""The shared store: many nodes, one journal, one commit at a time and node.

Place on the road: the commit. A plan is made of it (`plan`), one statement makes it true
(`writer`), in one transaction and usually one round trip. The head rows of its shards order it
among the commits of other nodes and refuse it if this node's epoch is not the stored one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import structs

from eventmill.adapters.postgres.connection import Connection, connect_patiently, errors
from eventmill.adapters.postgres.journal import Journal
from eventmill.adapters.postgres.migration import migrate
from eventmill.adapters.postgres.parking import Parking
from eventmill.adapters.postgres.partitions import make_home, make_topics
from eventmill.adapters.postgres.plan import Plan, moved_by_others, plan_of, stamp
from eventmill.adapters.postgres.reader import Reader
from eventmill.adapters.postgres.role import reader_role
from eventmill.adapters.postgres.text import all_stored, loaded, stored
from eventmill.adapters.postgres.views import ViewTables
from eventmill.adapters.postgres.writer import Refused, Writer, fetch
from eventmill.errors import (
    ConfigurationError,
    Conflict,
    EventmillError,
    NotOwner,
    StoreUnavailable,
)
from eventmill.model import limits
from eventmill.model.commit import Commit, Timer, changed_by_others, homes_of
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement

SHARDS = 16
"""Default number of home shards: several for each of a handful of nodes."""

_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class Store:
    """A store in the schema `eventmill` of a database.

    Parameters: `dsn` is a `postgresql://` URL; `shards` counts when the store is created, and must
    be the same or None afterwards.
    """

    def __init__(self, dsn: str, *, shards: int | None = None) -> None:
        if shards is not None and not 1 <= shards <= limits.SLICES:
            raise ConfigurationError(f"shards are 1 to {limits.SLICES}, not {shards}")
        self.dsn = dsn
        self.reader = Reader()
        self.journal = Journal(self.reader)
        self.parking = Parking(self.reader)
        self.views = ViewTables(self._write)
        self._shards = shards
        self._writer = Writer(dsn)
        self._turn = asyncio.Lock()
        self._placement = Placement(shards or SHARDS)
        self._held: dict[int, int] = {}
        self._is_open = False

    def __repr__(self) -> str:
        state = f"{len(self._held)} shards held" if self._is_open else "closed"
        return f"<postgres.Store [{state}]>"

    @property
    def placement(self) -> Placement:
        return self._placement

    async def open(self) -> None:
        if self._is_open:
            raise ConfigurationError("this store is open already", code="configuration.locked")
        self._is_open = True
        try:
            role = await self._prepare()
            await self._writer.ready()
            await self.reader.open(self.dsn)
            await self.views.open(self.dsn, role)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self.views.close()
        await self.reader.close()
        await self._writer.close()
        self._held.clear()
        self._is_open = False

    async def place(self, topics: Collection[str]) -> Placement:
        async with self._turn, self._writing() as connection, connection.transaction():
            await fetch(connection, "lock")
            numbers = await _topics(connection)
            new = sorted(set(topics) - set(numbers))
            first = max(numbers.values(), default=0) + 1
            added = {topic: first + nth for nth, topic in enumerate(new)}
            if added:
                names, values = list(added), list(added.values())
                await fetch(connection, "put_topics", names=names, numbers=values)
                count = self._placement.shards
                shards = [n * count + home for n in values for home in range(count)]
                await fetch(connection, "put_shards", shards=shards)
                await make_topics(connection, values, count)
        self._placement = structs.replace(self._placement, topics={**numbers, **added})
        return self._placement

    def hold(self, shard: int, epoch: int) -> None:
        self._held[shard] = epoch

    def let_go(self, shard: int) -> None:
        self._held.pop(shard, None)

    async def commit(self, commit: Commit) -> None:
        async with self._turn:
            homes = homes_of(commit, self._placement)
            plan = plan_of(commit, homes, self._held)
            if commit.rows:
                await self.views.plan_rows(plan, commit.rows)
            try:
                ends = await self._writer.run(plan)
            except Refused as error:
                raise await self._reason(plan, commit.expected) from error
        stamp(commit.entries, plan, ends)

    async def offsets(self) -> dict[tuple[str, int], int]:
        rows = await self.reader.fetch("offsets")
        return {(name, shard): position for name, shard, position in rows}

    async def registry(self) -> dict[str, bytes]:
        return {loaded(name): value for name, value in await self.reader.fetch("registry")}

    async def due_timers(self, until: int, shards: Collection[int], *, limit: int) -> list[Timer]:
        rows = await self.reader.fetch(
            "due_timers",
            until=until,
            shards=list(shards),
            limit=limit,
            bytes=limits.SCAN_BYTES_MAX,
        )
        return _timers_of(rows)

    async def timers(self, *, after: str = "", limit: int) -> list[Timer]:
        rows = await self.reader.fetch(
            "all_timers", after=stored(after), limit=limit, bytes=limits.SCAN_BYTES_MAX
        )
        return _timers_of(rows)

    async def sweep(self, now: int, *, limit: int) -> int:
        async with self._turn, self._writing() as connection:
            swept = len(await fetch(connection, "sweep_outcomes", now=now, limit=limit))
            kept = limits.REFUSED_MAX
            rest = limit - swept
            return swept + len(
                await fetch(connection, "sweep_refused", now=now, kept=kept, limit=rest)
            )

    async def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        async with self._turn, self._writing() as connection:
            found = list(sources)
            rows = await fetch(
                connection, "trim", shard=shard, after=after, until=until, sources=found
            )
            return len(rows)

    async def _prepare(self) -> str | None:
        """Bring the schema up to date; read how many shards there are. Return the role that view
        queries run as."""
        connection = await connect_patiently(self.dsn)
        try:
            with errors():
                await migrate(connection)
                async with connection.transaction():
                    await self._read_placement(connection)
                    return await reader_role(connection)
        finally:
            connection.terminate()

    async def _read_placement(self, connection: Connection) -> None:
        await fetch(connection, "lock")
        rows = await fetch(connection, "shards")
        if rows:
            shards = int(rows[0][0])
        else:
            shards = self._shards or SHARDS
            await fetch(connection, "put_shards", shards=list(range(shards)))
            await make_home(connection, shards)
            facts = [str(shards).encode()]
            await fetch(connection, "facts", fact_names=["$shards"], facts=facts)
        if self._shards not in (None, shards):
            raise ConfigurationError(
                f"the store has {shards} shards, which cannot be changed; {self._shards} are asked "
                "for: leave the setting out"
            )
        self._placement = Placement(shards, await _topics(connection), await _identity(connection))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Connection]:
        """The writing connection, for what is no commit."""
        connection = await self._writer.ready()
        try:
            with errors():
                yield connection
        except (StoreUnavailable, asyncio.CancelledError):
            self._writer.drop()
            raise

    async def _write(self, statements: Sequence[str]) -> None:
        """Run schema statements of views, outside any commit, one node at a time."""
        async with self._turn, self._writing() as connection, connection.transaction():
            await fetch(connection, "lock")
            for statement in statements:
                await connection.execute(statement)

    async def _reason(self, plan: Plan, expected: Mapping[str, bytes | None]) -> EventmillError:
        """Find out which condition of a plan did not hold."""
        async with self._writing() as connection:
            found = dict(await _rows(connection, "epochs", shards=list(plan.epochs)))
            for shard, epoch in plan.epochs.items():
                if epoch is not None and found.get(shard) != epoch:
                    self._held.pop(shard, None)
                    return NotOwner(f"shard {shard} is held by another node by now")
                if shard not in found:
                    return NotOwner(f"there is no shard {shard}: place its topic first")
            names = [offset.subscription for offset in plan.offsets]
            rows = await fetch(connection, "positions", subscriptions=names)
            positions = {(name, shard): position for name, shard, position in rows}
            for offset in plan.offsets:
                at = positions.get((offset.subscription, offset.shard), 0)
                if at != offset.expected:
                    return moved_by_others(offset, at)
            rows = await fetch(connection, "fact_values", names=all_stored(list(expected)))
            facts = {loaded(name): value for name, value in rows}
            for name, value in expected.items():
                if facts.get(name) != value:
                    return changed_by_others(name)
            if not await self._writer.is_known(connection):
                self._writer.drop()
                return StoreUnavailable("this node's writer was removed from the store; try again")
        return Conflict("somebody else wrote an entry or used a key first")


async def _identity(connection: Connection) -> str:
    """Return what tells this store from every other one, also from one of the same name before."""
    rows = await fetch(connection, "identity")
    if not rows:
        rows = [[secrets.token_hex(8).encode()]]
        await fetch(connection, "facts", fact_names=["$identity"], facts=rows[0])
    return bytes(rows[0][0]).decode()


async def _topics(connection: Connection) -> dict[str, int]:
    return dict(await _rows(connection, "topics"))


async def _rows(connection: Connection, name: str, **values: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await fetch(connection, name, **values)]


def _timers_of(rows: Iterable[Any]) -> list[Timer]:
    return [Timer(loaded(name), due, _decode_entry(command)) for name, due, command in rows]
