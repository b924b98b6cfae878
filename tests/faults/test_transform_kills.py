"""kill -9 while transforms work: every window is published once, with every event once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from eventmill import Topic
from eventmill.adapters.sqlite.store import Store
from eventmill.testing import Host, VirtualClock
from tests.faults import tides
from tests.faults.process import NodeProcess
from tests.unit.transforms import reference

GAUGES = [f"g{n}" for n in range(6)]
BATCH = 40
BATCHES_BETWEEN_MAX = 20


class Sea:
    """The gauges as they are read: mostly in order."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)
        self.minutes: dict[str, list[int]] = {gauge: [] for gauge in GAUGES}
        self._now = 0

    def batch(self) -> list[dict[str, Any]]:
        """The next events, as CloudEvents."""
        events = []
        for _ in range(BATCH):
            self._now += self.luck.randrange(3)
            gauge = self.luck.choice(GAUGES)
            minute = self._now - self.luck.randrange(40)
            own = self.minutes[gauge]
            data = {"gauge": gauge, "number": len(own), "minute": minute}
            events.append(
                {
                    "specversion": "1.0",
                    "id": f"{gauge}/{len(own)}",
                    "source": "/sea",
                    "subject": gauge,
                    "type": "Measured",
                    "data": data,
                }
            )
            own.append(minute)
        return events


async def sent(node: NodeProcess, http: aiohttp.ClientSession, events: list[Any]) -> None:
    headers = {"content-type": "application/cloudevents-batch+json"}
    body = msgspec.json.encode(events)
    url = f"{node.url}/topics/measured"
    async with http.post(url, data=body, headers=headers) as answer:
        assert answer.status < 300, await answer.text()


async def killed(node: NodeProcess, http: aiohttp.ClientSession, sea: Sea, kills: int) -> None:
    """Send, and kill the node at random instants; what has no answer is sent again."""
    unknown: list[Any] = []
    await node.start()
    for _ in range(kills):
        await node.ready(http)
        if unknown:
            await sent(node, http, unknown)
        for _ in range(sea.luck.randrange(1, BATCHES_BETWEEN_MAX)):
            unknown = sea.batch()
            await sent(node, http, unknown)
        unknown = sea.batch()
        sending = asyncio.ensure_future(sent(node, http, unknown))
        await asyncio.wait([sending], timeout=sea.luck.random() * 0.03)
        await node.kill()
        await asyncio.wait([sending])
        sending.exception()
        await node.start()
    await node.ready(http)
    await sent(node, http, unknown)


async def read(host: Host, topic: Topic[Any]) -> list[Any]:
    scan = await host.store.journal.read(0, 0, limit=10**6, sources=frozenset({topic.id}))
    entries = list(scan.entries)
    while scan.position < host.runtime.tails.end(0):
        scan = await host.store.journal.read(
            0, scan.position, limit=10**6, sources=frozenset({topic.id})
        )
        entries += scan.entries
    (kind,) = topic.event_types()
    return [kind.decode(entry.payload, entry.version) for entry in entries]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kills", [6, pytest.param(300, marks=pytest.mark.soak)])
async def test_windows_survive_kills(tmp_path: Path, kills: int) -> None:
    sea, data = Sea(seed=kills), tmp_path / "data"
    node = NodeProcess.free("tests.faults.tides:service", data)
    try:
        async with aiohttp.ClientSession() as http:
            await killed(node, http, sea, kills)
        await node.stop()
    finally:
        await node.discard()
    async with Host(tides.service, store=Store(data), clock=VirtualClock()) as host:
        await host.settle()
        assert len(await read(host, tides.measured)) == sum(map(len, sea.minutes.values()))
        hours, late = await read(host, tides.collected), await read(host, tides.late)
        followed = await read(host, tides.followed)
    for gauge, minutes in sea.minutes.items():
        expected = reference.fixed(minutes, 60, 60, 0, 20)
        assert [(h.start, h.start + 60, h.numbers) for h in hours if h.gauge == gauge] == (
            expected.panes
        )
        assert [event.number for event in late if event.gauge == gauge] == expected.late
        assert expected.late or kills < 2
    assert Counter((f.gauge, f.start, f.size) for f in followed) == Counter(
        (h.gauge, h.start, len(h.numbers)) for h in hours
    )
    assert len(hours) > kills
