"""A consumer that is far behind reads the store, and its bounds hold there as well."""

from __future__ import annotations

from pathlib import Path

from eventmill import Event, Service, Topic, consumer
from eventmill.adapters.sqlite.store import Store
from tests.faults import inprocess


class Ping(Event):
    number: int


pings = Topic("pings", Ping)
sizes: list[int] = []
numbers: list[int] = []


@consumer("counter", source=pings, batch_size=7)
def count(events: list[Ping]) -> None:
    sizes.append(len(events))
    numbers.extend(event.number for event in events)


async def test_a_batch_is_bounded_when_catching_up(tmp_path: Path) -> None:
    before = Service("before", components=[], topics=[pings])
    async with inprocess.running(before, Store(tmp_path)) as runtime:
        for number in range(100):
            await runtime.publish(pings, (Ping(number=number),))
    after = Service("after", components=[count], topics=[pings])
    async with inprocess.running(after, Store(tmp_path)) as runtime:
        await inprocess.drained(runtime)
    assert numbers == list(range(100))
    assert max(sizes) == 7
