"""A node's runtime in the test's process, over a store of the test's choice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from eventmill.adapters.clock import SystemClock
from eventmill.model.envelope import Envelope
from eventmill.ports.store import Store
from eventmill.runtime.runtime import Runtime
from eventmill.sdk.service import Service

PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def runtime_of(service: Service, store: Store, seed: int = 0) -> Runtime:
    """A runtime whose jitter is repeatable."""
    definition, problems = service.define()
    assert problems == []
    return Runtime(definition, store, SystemClock(), random.Random(seed).random)


@asynccontextmanager
async def running(service: Service, store: Store, seed: int = 0) -> AsyncIterator[Runtime]:
    """Start a runtime; stop it in order."""
    runtime = runtime_of(service, store, seed)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
    assert runtime.supervisor.failures == {}


async def run(
    runtime: Runtime, component: str, id: str, name: str, *arguments: Any, key: str | None = None
) -> bytes:
    """Run one command as the HTTP front does."""
    return await runtime.entities.execute(Envelope(component, id, name, arguments, key))


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition of the loop's own making."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0)


async def drained(runtime: Runtime) -> None:
    """Wait until every subscription has handled everything, including what it caused."""
    await until(
        lambda: all(s.lag == 0 and not s.blocked for s in runtime.subscriptions.values()),
        "subscriptions at the end of the journal",
    )


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Run calls at the same time; return their results in order."""
    return list(await asyncio.gather(*calls))
