"""kill -9 while events are pushed: each arrives at least once, in order, under the same id."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from eventmill.model import limits
from tests.faults.figures import Report
from tests.faults.process import NodeProcess
from tests.push.receiver import receiving

KEYS = 8
PER_ROUND = 160
KILLS = 6


async def test_each_event_arrives(tmp_path: Path, report: Report) -> None:
    node = NodeProcess.free("tests.push.shop:service", tmp_path / "data")
    published: dict[str, list[str]] = {f"o{key}": [] for key in range(KEYS)}
    try:
        async with aiohttp.ClientSession() as http, receiving() as receiver:
            await node.start()
            await node.ready(http)
            body = {"protocol": "HTTP", "sink": receiver.url, "source": "orders"}
            async with http.post(f"{node.url}/subscriptions", json=body) as response:
                assert response.status == 201
            for round in range(KILLS):
                await _publish(http, node.url, round, published)
                # The kill comes when some of this round's events are on their way.
                goal = len(receiver.requests) + 20 + 10 * round
                await receiver.until(lambda goal=goal: len(receiver.requests) >= goal)
                await node.kill()
                await node.start()
                await node.ready(http)
            total = KILLS * PER_ROUND
            await receiver.until(lambda: len({e.id for e in receiver.taken}) == total)
            await node.stop()
    finally:
        await node.discard()
    again = len(receiver.taken) - total
    report(f"{KILLS} kills, {total} events published, {again} came again")
    firsts: dict[str, dict[str, None]] = {key: {} for key in published}
    for event in receiver.taken:
        assert event.subject is not None
        firsts[event.subject].setdefault(event.id)
    assert {key: list(ids) for key, ids in firsts.items()} == published
    assert again >= 1  # the kills met deliveries
    assert again <= KILLS * limits.PUSH_BATCH


async def _publish(
    http: aiohttp.ClientSession, url: str, round: int, published: dict[str, list[str]]
) -> None:
    events = []
    for number in range(PER_ROUND):
        key = f"o{number % KEYS}"
        id = f"{round}-{number}"
        published[key].append(id)
        events.append(
            {
                "specversion": "1.0", "id": id, "source": "/tests", "type": "Order",
                "subject": key, "data": {"order_id": key, "number": number},
            }
        )  # fmt: skip
    headers = {"content-type": "application/cloudevents-batch+json"}
    async with http.post(f"{url}/topics/orders", json=events, headers=headers) as response:
        assert response.status < 300, await response.text()
