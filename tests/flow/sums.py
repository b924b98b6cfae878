# mypy: disable-error-code="empty-body"
"""One entity and definitions of one view on it, as they follow each other in the life of a service."""

from __future__ import annotations

import asyncio
from typing import Any

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    Topic,
    View,
    command,
    component,
    on,
    query,
)
from eventmill.errors import RequestError
from eventmill.model.commit import Commit
from eventmill.testing import FaultyStore, Host


class Added(Event):
    n: int


class Noted(Event):
    id: str
    text: str


notes = Topic("notes", Noted, key=lambda event: event.id)


@component("sum")
class Sum(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, n: int) -> Effect[None]:
        return self.persist(Added(n=n)).publish(notes, Noted(id=self.entity_id, text=f"+{n}"))

    @command
    def close(self) -> Effect[None]:
        return self.delete()

    @query
    def total_now(self) -> int:
        return self.total

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.n


@component("sums")
class Sums(View):
    class Row(Record):
        id: str
        n: int = 0

    @on(Sum)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        return Sums.Row(id=context.subject, n=(row.n if row else 0) + event.n)

    @query("SELECT * FROM sums ORDER BY id")
    def all(self) -> list[Row]: ...


@component("sums")
class TenfoldSums(View):
    """The same columns with another meaning, and other queries."""

    version = 2

    class Row(Record):
        id: str
        n: int = 0

    @on(Sum)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        if event.n < 0:
            raise ValueError("no poison")
        return TenfoldSums.Row(id=context.subject, n=(row.n if row else 0) + 10 * event.n)

    @query("SELECT * FROM sums WHERE n >= :least ORDER BY id")
    def from_(self, least: int = 0) -> list[Row]: ...


@component("sums")
class RenamedSums(View):
    """Another column: what the others stored does not answer its queries."""

    class Row(Record):
        id: str
        m: int = 0

    @on(Sum)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        return RenamedSums.Row(id=context.subject, m=(row.m if row else 0) + event.n)

    @query("SELECT * FROM sums ORDER BY id")
    def all(self) -> list[Row]: ...


@component("sums")
class SumsAndNotes(View):
    """Two tables of two sources, and two sources for one of them."""

    class Row(Record):
        id: str
        n: int = 0

    class Last(Record):
        id: str
        text: str

    @on(Sum)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        return SumsAndNotes.Row(id=context.subject, n=(row.n if row else 0) + event.n)

    @on(notes)
    def note(self, event: Noted, row: Last | None, context: Context) -> Last | None:
        return SumsAndNotes.Last(id=event.id, text=event.text)

    @query("SELECT s.n, l.text FROM row s JOIN last l ON l.id = s.id ORDER BY s.id")
    def both(self) -> list[dict[str, Any]]: ...


def service(view: type[View] | None) -> Service:
    """The service with one definition of the view, or without it."""
    return Service("sums", components=[Sum, view] if view else [Sum], topics=[notes])


def forgets(commit: Commit) -> bool:
    """Whether a commit ends versions."""
    return bool(commit.forgotten)


def stores_fact(commit: Commit) -> bool:
    """Whether a commit changes which versions there are."""
    return "view/sums" in commit.registry


def writes_rows(commit: Commit) -> bool:
    """Whether a commit fills a version."""
    return bool(commit.rows)


async def tables(store: FaultyStore) -> list[int]:
    """Versions that have a table."""
    found = []
    for number in range(1, 10):
        for table in ("sums", "row"):
            try:
                sql = f'SELECT CAST(count(*) AS TEXT) FROM "v_sums@{number}:{table}"'
                await store.views.query(sql, {}, seconds=10)
                found.append(number)
            except RequestError:
                pass
    return found


async def offsets(store: FaultyStore) -> list[str]:
    """Versions that have an offset."""
    return sorted({name for name, _ in await store.offsets() if name.startswith("sums@")})


async def refused(store: FaultyStore) -> None:
    """Wait until every fault that was asked for has happened."""
    async with asyncio.timeout(10):
        while store.to_come:  # noqa: ASYNC110 - a counter, not an event
            await asyncio.sleep(0)


def status(host: Host) -> dict[str, Any]:
    """How the view is doing."""
    (view,) = host.runtime.views.status()
    return view


async def now(host: Host, query: Any, **arguments: Any) -> list[tuple[str, int]]:
    """Ask without waiting until the view has caught up; rows as (id, number)."""
    rows = await host.runtime.query(query, query.arguments((), arguments))
    return [(row.id, row.m if hasattr(row, "m") else row.n) for row in rows]
