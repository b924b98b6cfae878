"""View queries of the SQLite store are bounded in number, and their time begins when they are asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eventmill.adapters.sqlite.store import Store
from eventmill.errors import DeadlineExceeded, Overloaded
from eventmill.model import limits

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
