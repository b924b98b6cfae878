"""Eventmill's side: the cart of examples/shopping_cart behind HTTP, and in process.

Defaults everywhere: SQLite at synchronous=FULL, a reply only after the commit is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvloop

from bench import carts, services, wrk
from bench.figures import OURS, Contestant, Latency, Sample
from bench.processes import answers, free_port, isolated, resident_mb, running
from eventmill import Service
from eventmill.model.limits import CACHE_ENTITIES
from eventmill.node import collector
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from eventmill.runtime.runtime import Runtime
from examples.shopping_cart.shop import Cart

BEFORE, AFTER = "/components/cart/", "/add_item"
EVENTMILL = str(Path(sys.executable).with_name("eventmill"))
DURABLE = "SQLite, WAL, synchronous=FULL, reply after the commit"


def over_http(
    system: str,
    service: str,
    conditions: str,
    prepare: Callable[[Path], None] = lambda data: None,
) -> Contestant:
    """`eventmill run` on a service of `bench.services`, loaded by wrk.

    `prepare` may fill the data directory first.
    """

    def measure(folder: Path, seconds: float) -> Sample:
        prepare(folder / "data")
        with served(folder, service) as (url, pid):
            sample = wrk.load(url, seconds, before=BEFORE, after=AFTER)
            notes = {**sample.notes, "resident_mb": resident_mb(pid)}
        return Sample(sample.per_second, sample.latency, notes)

    return Contestant(system, f"one process; {DURABLE}; {conditions}", measure)


@contextlib.contextmanager
def served(folder: Path, service: str, *options: str) -> Iterator[tuple[str, int]]:
    """Run a node over `folder` and yield its URL and process id; `options` are those of `run`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [EVENTMILL, "run", f"bench.services:{service}"]
    command += ["--data", str(folder / "data"), "--port", str(port), *options]
    with running(command, answers(f"{url}/health/ready"), log=folder / "node.log") as pid:
        yield url, pid


def in_process(in_flight: int, cart_count: int = carts.CARTS) -> Contestant:
    """So many commands under way at any time, over so many carts."""

    def measure(folder: Path, seconds: float) -> Sample:
        return isolated(
            f"{__name__}:calls", folder=str(folder), in_flight=in_flight, cart_count=cart_count
        )

    over = "one single cart" if cart_count == 1 else f"{cart_count:,} carts"
    return Contestant(
        system=in_process_system(in_flight, cart_count),
        conditions=f"runtime in process, uvloop, {over}, {carts.COMMANDS:,} commands; {DURABLE}",
        measure=measure,
    )


def in_process_system(in_flight: int, cart_count: int = carts.CARTS) -> str:
    """Name of the contestant."""
    over = ", one single cart" if cart_count == 1 else ""
    return f"{OURS}, {in_flight:,} in flight{over}"


def calls(folder: str, in_flight: int, cart_count: int) -> Sample:
    """Send the commands; check that every one of them is in the carts afterwards."""
    return uvloop.run(_calls(Path(folder), in_flight, cart_count, enough=_count(carts.COMMANDS)))


def calls_for(folder: str, seconds: float, cart_count: int) -> Sample:
    """Send one command after the other for that long."""
    return uvloop.run(_calls(Path(folder), 1, cart_count, enough=_time(seconds)))


@contextlib.asynccontextmanager
async def runtime(
    folder: Path,
    service: Service = services.carts,
    cache_entities: int = CACHE_ENTITIES,
    config: NodeConfig | None = None,
) -> AsyncIterator[Runtime]:
    """Run a node's runtime in this process, wired as the node wires it, without its servers."""
    config = config or NodeConfig(data=folder / "data", cache_entities=cache_entities)
    found = Node(service, config).runtime
    await found.start()
    collector.calm()
    try:
        yield found
    finally:
        await found.stop()


async def drive(
    here: Runtime, cart_of: Callable[[int], str], in_flight: int, enough: Callable[[int], bool]
) -> tuple[list[float], float]:
    """Keep so many commands under way until there were enough; return durations and elapsed time."""
    durations: list[float] = []
    sent = 0
    clock = time.perf_counter

    async def caller() -> None:
        nonlocal sent
        while not enough(sent):
            cart = cart_of(sent)
            sent += 1
            begin = clock()
            await here.call(Cart.add_item, cart, ("sku-3", 1))
            durations.append(clock() - begin)

    begin = clock()
    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(caller())
    return durations, clock() - begin


async def _calls(
    folder: Path, in_flight: int, cart_count: int, enough: Callable[[int], bool]
) -> Sample:
    async with runtime(folder) as here:
        ids = [f"cart-{number * carts.SCATTER % cart_count}" for number in range(cart_count)]
        for cart in ids:
            await here.call(Cart.add_item, cart, ("sku-3", 1))
        durations, elapsed = await drive(here, lambda n: ids[n % cart_count], in_flight, enough)
        contents = [await here.call(Cart.content, cart, ()) for cart in ids]
    sent, held = len(durations), sum(items["sku-3"] for items in contents)
    if held != sent + cart_count:
        raise AssertionError(f"the carts hold {held} items, not {sent + cart_count}")
    notes = {"commands": sent, "resident_mb": resident_mb(os.getpid())}
    return Sample(sent / elapsed, Latency.of_seconds(durations), notes)


def _count(commands: int) -> Callable[[int], bool]:
    return lambda sent: sent >= commands


def _time(seconds: float) -> Callable[[int], bool]:
    until = time.perf_counter() + seconds
    return lambda sent: time.perf_counter() > until
