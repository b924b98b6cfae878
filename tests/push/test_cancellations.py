"""A request that somebody else cancels is a failed delivery, not the end of its lane."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.sqlite.store import Store
from eventmill.model.pushing import Config, Pushing
from eventmill.ports.sender import Answer
from eventmill.runtime.runtime import Runtime
from tests.faults import inprocess
from tests.push.shop import Order, orders, service

KEYS = [f"o{number}" for number in range(12)]


async def foreign() -> None:
    """As when a connection pool cancels a future that a request waits for."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def of_the_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


class Sender:
    """Keeps what it is given; the first request of every third key ends in a cancellation."""

    def __init__(self, cancellation: Callable[[], Awaitable[None]]) -> None:
        self.taken: list[bytes] = []
        self._cancellation = cancellation
        self._to_come = {f'"{key}"'.encode() for key in KEYS[::3]}

    def check(self, url: str) -> None: ...

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, *, method: str, seconds: float
    ) -> Answer:
        for key in self._to_come:
            if key in body:
                self._to_come.discard(key)
                await self._cancellation()
        self.taken.append(body)
        return Answer(204)

    async def close(self) -> None: ...


@pytest.mark.parametrize("cancellation", [foreign, of_the_task])
async def test_its_event_is_sent_again(
    tmp_path: Path, cancellation: Callable[[], Awaitable[None]]
) -> None:
    sender = Sender(cancellation)
    definition, _ = service.define()
    store, clock = Store(tmp_path), SystemClock()
    runtime = Runtime(definition, store, clock, random.Random(0).random, sender=sender)
    await runtime.start()
    config = Config(concurrency=3, backoff=0.001)
    made = await runtime.pushes.create(Pushing("http://x", "HTTP", source="orders", config=config))
    await runtime.publish(orders, tuple(Order(order_id=key) for key in KEYS))
    push = runtime.subscription(f"push@{made.id}")
    await inprocess.until(lambda: push.lag == 0 and not push.blocked, "everything sent")
    await runtime.stop()
    assert runtime.supervisor.failures == {}
    sent = b"\n".join(sender.taken)
    assert [key for key in KEYS if f'"{key}"'.encode() not in sent] == []
