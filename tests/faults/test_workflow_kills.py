"""A workflow's node dies at every boundary of its steps and inside each: everything happens once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count, product
from pathlib import Path
from typing import Literal

import aiohttp
import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.model.commit import Commit
from eventmill.testing import FaultyStore, Host
from tests.faults.errands import MARKS, Book, Errand, service
from tests.faults.process import NodeProcess, command

STEPS = ("first", "second", "pay", "undo_second", "undo_first")
POINTS = [f"{step}:{place}" for step, place in product(STEPS, ("before", "after", "end"))]
LINES = ["first", "second", "undo_second", "undo_first"]
STUCK_SECONDS = 30.0
"""Nothing may take longer after a restart."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "points", [POINTS[1::4], pytest.param(20 * POINTS, marks=pytest.mark.soak)], ids=["some", "all"]
)
async def test_each_effect_happens_once_wherever_the_node_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: list[str]
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv(MARKS, str(marks))
    node = NodeProcess.free("tests.faults.errands:service", tmp_path / "data")
    ids = []
    try:
        async with aiohttp.ClientSession() as http:
            for number, point in enumerate(points):
                id = f"{point.replace(':', '-')}-{number}"
                ids.append(id)
                await node.start()
                await node.ready(http)
                with suppress(aiohttp.ServerDisconnectedError):  # it may die before it answers
                    status, _ = await command(
                        http, node.url, f"errand/{id}/start", {"point": point}
                    )
                    assert status == 200
                async with asyncio.timeout(STUCK_SECONDS):
                    await node.ended()  # it kills itself
                assert (marks / id).exists()
            await node.start()
            await node.ready(http)
            for id in ids:
                await _ended(http, node, id)
                _, lines = await command(http, node.url, f"book/{id}/content", {})
                assert lines == LINES, id
        await node.stop()
    finally:
        await node.discard()


async def _ended(http: aiohttp.ClientSession, node: NodeProcess, id: str) -> None:
    async with asyncio.timeout(STUCK_SECONDS):
        while True:
            _, status = await command(http, node.url, f"errand/{id}/content", {})
            if status == "compensated":
                return
            await asyncio.sleep(0.01)


class LastCommit:
    """Accepts the one commit that a node shall die at."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.reached = asyncio.Event()

    def __call__(self, commit: Commit) -> bool:
        self.left -= 1
        if self.left == 0:
            self.reached.set()
        return self.left == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_effect_happens_once_whichever_commit_is_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: Literal["before", "after"]
) -> None:
    """Crash at every commit there is, before and after it has become true."""
    monkeypatch.setenv(MARKS, str(tmp_path))
    crashed = 0
    for number in count(1):
        store, last = FaultyStore(MemoryStore()), LastCommit(number)
        async with Host(service, store=store) as host:
            await host.call(Errand.start, "e", "")
            store.fail(when=when, matching=last)
            ends = [asyncio.ensure_future(last.reached.wait()), asyncio.ensure_future(_over(host))]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            if not last.reached.is_set():
                break
            crashed += 1
            await host.restart(crash=True)
            await host.settle()
            assert await host.call(Errand.content, "e") == "compensated", number
            assert await host.call(Book.content, "e") == LINES, number
    assert crashed >= 9  # four lines of the book, five outcomes


async def _over(host: Host) -> None:
    while await host.call(Errand.content, "e") != "compensated":  # noqa: ASYNC110 - the condition
        await asyncio.sleep(0)
    await host.settle()
