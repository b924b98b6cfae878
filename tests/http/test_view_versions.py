"""What HTTP and the command line say of a view whose definition has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from eventmill import View
from eventmill.adapters.sqlite.store import Store
from eventmill.model.commit import Commit
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from tests.cli.commands import eventmill
from tests.flow.sums import RenamedSums, Sum, Sums, TenfoldSums, service
from tests.http.serving import session


@asynccontextmanager
async def serving(data: Path, view: type[View]) -> AsyncIterator[Node]:
    node = Node(service(view), NodeConfig(data=data, port=0))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def filled(data: Path) -> None:
    """Run the first definition; the next version will be paused when it is opened."""
    async with serving(data, Sums) as node:
        await node.runtime.call(Sum.add, "a", (1,))
        view = node.runtime.subscription("sums@1")
        while view.lag:
            await node.runtime.tails.wait(view.positions)
            await asyncio.sleep(0)
    store = Store(data)
    await store.open()
    await store.commit(Commit(registry={"paused/sums@2": b"1"}))
    await store.close()


async def live(node: Node) -> None:
    """Let the next version be built."""
    await node.runtime.roster.resume("sums@2")
    async with asyncio.timeout(10):
        while node.runtime.views.status()[0]["state"] != "live":  # noqa: ASYNC110 - a state
            await asyncio.sleep(0)


async def test_an_answer_from_a_frozen_version_says_so(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with serving(tmp_path, TenfoldSums) as node, session(node) as http:
        for accept in ("application/json", "application/x-ndjson"):
            answer = await http.get("/views/sums/from_", headers={"accept": accept})
            assert '{"id":"a","n":1}' in await answer.text()
            assert answer.headers["eventmill-view-frozen"] == "version=1, position=2"
        listed = await asyncio.to_thread(eventmill, "views", "list", "--url", node.admin_url)
        words = " ".join(listed.out.split())
        assert "serving version 1 (frozen at 2)" in words, listed
        assert "building version 2: 0 %, 2 to go, paused" in words, listed
        await live(node)
        answer = await http.get("/views/sums/from_")
        assert await answer.json() == [{"id": "a", "n": 10}]
        assert "eventmill-view-frozen" not in answer.headers


async def test_a_view_that_cannot_answer_yet_says_how_far_it_is(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with serving(tmp_path, RenamedSums) as node, session(node) as http:
        answer = await http.get("/views/sums/all")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        problem = await answer.json()
        assert problem["code"] == "view.building"
        assert problem["details"] == {"view": "sums", "version": 2, "position": 0, "lag": 2}
        assert "0 %, 2 of 2 entries to go" in problem["detail"]
        assert "no column 'm'" in problem["detail"]
        await live(node)
        assert await (await http.get("/views/sums/all")).json() == [{"id": "a", "m": 1}]
