"""An operator never waits for a whole queue: letters are given free between two entries."""

from __future__ import annotations

import asyncio

import pytest

from eventmill import Event, Retry, Service, Topic, consumer
from eventmill.model import limits
from eventmill.testing import FaultyStore, Host


class Sold(Event):
    shop: str
    number: int


sales = Topic("sales", Sold, key="shop")


async def test_an_operator_waits_for_one_slow_entry_not_for_its_queue(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LETTERS_SECONDS", 0.0)
    gate, begun, fails = asyncio.Semaphore(0), asyncio.Event(), True
    handled: list[int] = []

    @consumer("slow", source=sales, retry=Retry(attempts=1))
    async def slow(event: Sold) -> None:
        if fails:
            raise ValueError("not yet")
        if event.number == 1:
            begun.set()
        await gate.acquire()
        handled.append(event.number)

    service = Service("shops", components=[slow], topics=[sales])
    async with Host(service, store=store) as host:
        await host.publish(sales, Sold(shop="poison", number=0))
        await host.publish(sales, *(Sold(shop="a", number=n) for n in range(5)))
        await host.settle()
        fails = False
        await host.operations.redrive("slow", "sales/a")
        gate.release()
        await begun.wait()
        discarding = asyncio.ensure_future(host.operations.discard("slow", "sales/poison"))
        gate.release()
        assert await asyncio.wait_for(discarding, 20) == 1
        assert len(handled) <= 2
        for _ in range(5):
            gate.release()
        await host.settle()
        assert handled == [0, 1, 2, 3, 4]
        assert await host.letters() == []
