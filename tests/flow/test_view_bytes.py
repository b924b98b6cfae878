"""A view's rows may be much larger than its events: commits and memory are bounded all the same."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from eventmill import Event, Record, Service, Topic, View, component, on, query
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.commit import LetterStatus as Status
from eventmill.ports.store import Found
from eventmill.testing import FaultyStore, Host

ROWS = 400
ROW_BYTES = 10_000


class Written(Event):
    page: str
    fails: bool = False


class Count(Record):
    times: int
    rows: int


pages = Topic("pages", Written, key=lambda event: event.page)


@component("shelf")
class Shelf(View):
    class Row(Record):
        times: int
        text: str

    @on(pages)
    def written(self, event: Written, row: Row | None) -> Row:
        if event.fails:
            raise ValueError("torn")
        return self.Row(times=row.times + 1 if row else 1, text="x" * ROW_BYTES)

    @query("SELECT * FROM shelf")
    def all(self) -> list[Row]: ...

    @query("SELECT times, COUNT(*) AS rows FROM shelf GROUP BY times ORDER BY times")
    def counted(self) -> list[Count]: ...


service = Service("library", components=[Shelf], topics=[pages])


async def write(host: Host, *, torn: frozenset[int] = frozenset()) -> None:
    """Let the view handle one event for each row, in as few batches as it likes."""
    await host.operations.pause("shelf")
    events = [Written(page=f"p{n}", fails=n in torn) for n in range(ROWS)]
    await host.publish(pages, *events)
    await host.operations.resume("shelf")
    await host.settle()


async def counts(host: Host) -> list[tuple[int, int]]:
    return [(count.times, count.rows) for count in await host.query(Shelf.counted)]


def row_bytes(commit: Commit) -> int:
    return sum(len(str(row)) for rows in commit.rows for row in rows.upserts)


async def test_large_rows_are_committed_in_portions(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 300_000)
    async with Host(service, store=store) as host:
        sizes: list[int] = []
        host.runtime.committer.on_commit.append(lambda commit: sizes.append(row_bytes(commit)))
        await write(host)
        await write(host)
        assert sum(sizes) > 2 * ROWS * ROW_BYTES
        assert max(sizes) < limits.VIEW_PORTION_FIRST * ROW_BYTES * 1.1
        assert await counts(host) == [(2, ROWS)]


async def test_what_is_behind_a_failed_row_waits_wherever_its_batch_ends(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 300_000)
    torn = frozenset({3, 200, ROWS - 1})
    async with Host(service, store=store) as host:
        await write(host, torn=torn)
        await write(host)
        letters = await host.letters("shelf@1")
        assert sorted(
            letter.key for letter in letters if letter.status is Status.WAITING
        ) == sorted(f"pages/p{n}" for n in torn)
        assert await counts(host) == [(2, ROWS - len(torn))]
        await host.settle(retries=True)
        await host.operations.discard("shelf")
        assert await counts(host) == [(1, len(torn)), (2, ROWS - len(torn))]


async def test_rows_in_memory_are_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 100_000)
    monkeypatch.setattr(limits, "VIEW_BYTES_CACHED", 200_000)
    async with Host(service, store=SqliteStore(tmp_path)) as host:
        tracemalloc.start()
        await write(host)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < ROWS * ROW_BYTES / 4
        await write(host)
        assert await counts(host) == [(2, ROWS)]


async def test_stored_rows_are_read_in_portions(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Host(service, store=store) as host:
        await write(host)
        await host.restart()  # nothing of it is in memory any more
        monkeypatch.setattr(limits, "SCAN_BYTES_MAX", 10 * ROW_BYTES)
        fetched: list[int] = []
        read = store.inner.views.rows

        async def rows(table: str, keys: Sequence[str]) -> Found:
            found = await read(table, keys)
            fetched.append(len(found.rows))
            return found

        monkeypatch.setattr(store.inner.views, "rows", rows)
        await write(host)
        assert sum(fetched) >= ROWS
        assert max(fetched) == 10
        assert await counts(host) == [(2, ROWS)]


async def test_a_row_beyond_its_bound_is_parked(store: FaultyStore) -> None:
    @component("archive")
    class Archive(View):
        class Row(Record):
            scan: bytes

        @on(pages)
        def written(self, event: Written, row: Row | None) -> Row:
            return self.Row(scan=bytes(limits.VIEW_ROW_BYTES_MAX))

    archive = Service("library", components=[Archive], topics=[pages])
    async with Host(archive, store=store) as host:
        await host.publish(pages, Written(page="p"))
        (letter,) = await host.letters()
        assert f"more than {limits.VIEW_ROW_BYTES_MAX} bytes" in letter.error


async def test_who_watches_does_not_hold_the_rows(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await write(host)
        tracemalloc.start()
        watching = [host.runtime.watch_view("shelf", "all", {}) for _ in range(5)]
        for one in watching:
            rows = await anext(one)
            assert len(rows) == ROWS
            rows.clear()
        later = [asyncio.ensure_future(anext(one)) for one in watching]
        await host.settle()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < ROWS * ROW_BYTES / 2
        await host.publish(pages, Written(page="p3"))
        assert [len(rows) for rows in await asyncio.gather(*later)] == [1] * 5
