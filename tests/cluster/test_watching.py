"""Whoever watches a view on one node sees what all nodes write into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.cluster.nodes import Nodes
from tests.flow.sums import Sum, Sums, service


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(service(Sums))
    await nodes.start("a", "b")
    yield nodes
    await nodes.close()


async def test_rows_that_another_node_writes_are_seen(nodes: Nodes) -> None:
    here, there = nodes.id_at("a"), nodes.id_at("b")
    seen: list[dict[str, int]] = []

    async def watch() -> None:
        async for found in nodes.running["a"].views.watch("sums", "all", ()):
            rows = [msgspec.json.decode(row) for row in found]
            seen.append({row["id"]: row["n"] for row in rows})

    watching = asyncio.ensure_future(watch())
    await nodes.until(lambda: seen == [{}])
    await nodes.call("a", Sum.add, there, 1)
    await nodes.until(lambda: seen[1:] == [{there: 1}], seconds=2)
    await nodes.call("a", Sum.add, here, 2)
    await nodes.until(lambda: seen[2:] == [{here: 2}], seconds=2)
    await nodes.crash("b")
    await nodes.call("a", Sum.add, there, 3)
    await nodes.until(lambda: seen[3:] == [{there: 4}])
    watching.cancel()
    await asyncio.wait([watching])
