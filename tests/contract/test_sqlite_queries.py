"""View queries of the SQLite store are bounded in number and time, and leave their threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventmill.adapters.sqlite.store import Store
from eventmill.adapters.sqlite.views import QUERY_THREADS
from eventmill.errors import DeadlineExceeded, Overloaded
from eventmill.model import limits
from eventmill.model.commit import Commit, Rows
from eventmill.model.table import Affinity, PhysicalTable

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_crowd_of_queries_is_turned_away_and_the_rest_end_in_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.open()
    crowd = limits.VIEW_QUERIES_MAX + 6
    asked = [store.views.query(ENDLESS, {}, seconds=0.2) for _ in range(crowd)]
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    await store.close()
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 6
    assert sum(isinstance(answer, DeadlineExceeded) for answer in answers) == crowd - 6


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    await store.open()
    yield store
    await store.close()


async def endless(store: Store) -> list[asyncio.Task[bytes]]:
    """Let every thread run a query that would take an hour."""
    asked = [store.views.query(ENDLESS, {}, seconds=3_600) for _ in range(QUERY_THREADS * 2)]
    tasks = [asyncio.create_task(query) for query in asked]
    await asyncio.sleep(0)
    return tasks


async def test_queries_whose_callers_have_gone_leave_their_threads(store: Store) -> None:
    for task in await endless(store):
        task.cancel()
    async with asyncio.timeout(10):
        assert await store.views.query("SELECT '[]'", {}, seconds=10) == b"[]"


async def test_a_store_that_is_closed_ends_its_queries(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.open()
    tasks = await endless(store)
    await store.close()
    await asyncio.wait(tasks)


async def test_time_is_up_between_slow_rows_too(store: Store) -> None:
    table = PhysicalTable("texts", (("text", Affinity.TEXT),))
    await store.views.prepare([table])
    rows = [(str(number), "a" * 1_000) for number in range(20_000)]
    await store.commit(Commit(rows=[Rows("texts", rows, [])]))
    sql = "SELECT json_array(count(*)) FROM texts WHERE text LIKE :pattern"
    async with asyncio.timeout(2):
        with pytest.raises(DeadlineExceeded):
            await store.views.query(sql, {"pattern": "%" + "a" * 500 + "b"}, seconds=0.2)
