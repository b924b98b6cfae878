"""Duplicates and reordering at the edge, with kills in between: each event has one effect."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import aiohttp
import msgspec

from tests.faults.figures import Report
from tests.faults.ledger import BUCKETS
from tests.faults.process import NodeProcess, command

EVENTS = 6_000
DUPLICATES = 600
BATCH = 40
CLIENTS = 8
KILLS = 6
WINDOW = 400
"""How far an event may be moved from its place."""

HEADERS = {"content-type": "application/cloudevents-batch+json"}


async def test_each_event_has_one_effect(tmp_path: Path, report: Report) -> None:
    luck = random.Random(11)
    batches = _batches(luck)
    waiting = list(enumerate(batches))
    resent = 0
    node = NodeProcess.free("tests.faults.ledger:service", tmp_path / "data")
    kill_at = sorted(luck.sample(range(5, len(batches) - 20), KILLS), reverse=True)
    taken = 0
    up = asyncio.Event()

    async def client(http: aiohttp.ClientSession) -> None:
        nonlocal taken, resent
        while waiting:
            await up.wait()
            if not waiting:
                return
            batch = waiting.pop(0)
            try:
                async with http.post(
                    f"{node.url}/topics/audits", data=batch[1], headers=HEADERS
                ) as response:
                    assert response.status < 300, await response.text()
                taken += 1
            except aiohttp.ClientError:
                # Whether it was taken is unknown: it is sent again, behind others.
                resent += 1
                waiting.insert(min(len(waiting), luck.randrange(1, 5)), batch)

    kills = 0
    try:
        await node.start()
        async with aiohttp.ClientSession() as http:
            await node.ready(http)
            up.set()
            clients = [asyncio.ensure_future(client(http)) for _ in range(CLIENTS)]
            while not all(one.done() for one in clients):
                if kill_at and taken >= kill_at[-1]:
                    kill_at.pop()
                    up.clear()
                    await node.kill()
                    kills += 1
                    await node.start()
                    await node.ready(http)
                    up.set()
                await asyncio.wait(clients, timeout=0.001)
            await asyncio.gather(*clients)
            counted = await _counted(node, http)
        await node.stop()
    finally:
        await node.discard()
    report(
        f"{EVENTS} events and {DUPLICATES} duplicates in {len(batches)} batches, {kills} kills, "
        f"{resent} sendings without an answer; {sum(counted.values())} effects"
    )
    assert kills == KILLS
    assert resent >= KILLS
    assert counted == Counter(f"op-{n}" for n in range(EVENTS))


def _batches(luck: random.Random) -> list[bytes]:
    places = [(n + luck.random() * WINDOW, n) for n in range(EVENTS)]
    places += [(n + luck.random() * WINDOW, n) for n in luck.sample(range(EVENTS), DUPLICATES)]
    events = [_event(n) for _, n in sorted(places)]
    return [
        b"[%s]" % b",".join(events[first : first + BATCH]) for first in range(0, len(events), BATCH)
    ]


def _event(number: int) -> bytes:
    account = f"a{number % 50}"
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": str(number),
            "source": "/edge",
            "type": "Audited",
            "subject": account,
            "data": {"op": f"op-{number}", "account": account, "amount": 1},
        }
    )


async def _counted(node: NodeProcess, http: aiohttp.ClientSession) -> Counter[str]:
    async with asyncio.timeout(60):
        while True:
            counted: Counter[str] = Counter()
            for bucket in range(BUCKETS):
                _, content = await command(http, node.url, f"total/bucket-{bucket}/content", {})
                counted.update(content["ops"])
            if len(counted) >= EVENTS:
                return counted
