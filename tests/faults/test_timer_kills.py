"""kill -9 around the times when timers are due: each rings once, none early, no tick is lost."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.process import NodeProcess, command

ALARMS = 200
"""Over 2 seconds, through which the node is killed again and again."""


async def content(http: aiohttp.ClientSession, node: NodeProcess, bell: str) -> list[Any]:
    async with http.get(f"{node.url}/components/bell/{bell}/content") as response:
        found: list[Any] = await response.json()
        return found


async def until_all_rang(
    http: aiohttp.ClientSession, node: NodeProcess, bell: str, count: int
) -> list[Any]:
    async with asyncio.timeout(60):
        while len(found := await content(http, node, bell)) < count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    return found


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.soak)])
async def test_alarms_ring_once_through_kills(tmp_path: Path, kills: int) -> None:
    node = NodeProcess.free("tests.faults.alarms:service", tmp_path / "data")
    try:
        async with aiohttp.ClientSession() as http:
            await node.start()
            for number in range(kills):
                await node.ready(http)
                for bell, action in (("plain", False), ("action", True)):
                    order = {"prefix": f"{bell}-{number}", "count": ALARMS, "first": 0.2}
                    order |= {"step": 2.0 / ALARMS, "action": action}
                    assert (await command(http, node.url, f"bell/{bell}/set", order))[0] == 200
                # In the midst of what rings: some have, some are on their way, some are to come.
                some = 20 * (number % 9 + 1)
                await until_all_rang(http, node, "plain", number * ALARMS + some)
                await node.kill()
                await node.start()
            await node.ready(http)
            for bell in ("plain", "action"):
                rung = await until_all_rang(http, node, bell, kills * ALARMS)
                names = [name for name, _ in rung]
                assert len(names) == len(set(names)) == kills * ALARMS
                assert min(late for _, late in rung) >= 0
            seconds = [datetime.fromisoformat(at) for at, _ in await content(http, node, "seconds")]
            steps = {b - a for a, b in itertools.pairwise(seconds)}
            assert steps == {timedelta(seconds=1)}
        await node.stop()
    finally:
        await node.discard()
