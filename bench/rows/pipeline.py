"""End to end: published on a topic, taken by a consumer, sent to an entity, folded into a view.

Seen from outside only: events go in through `publish`, and an event has arrived when a query of the
view shows its cart with that many items. Flat out for the rate; at 1,000 events a second, on the
clock whatever the answers do, for the lag.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

import uvloop

from bench import ours, services
from bench.figures import OURS, Contestant, Latency, Row, Sample, lag_p99, rate
from bench.processes import isolated
from eventmill.errors import Unavailable
from eventmill.runtime.runtime import Runtime

EVENTS: Final = 50_000
CARTS: Final = 1_000
BATCH: Final = 100
PUBLISHERS: Final = 8
FLAT_OUT: Final = f"{OURS}, flat out"

PACE: Final = 1_000
PACED_CARTS: Final = 100
PACED: Final = f"{OURS}, {PACE:,} events/s"
TICK_SECONDS: Final = 0.005
LOOK_SECONDS: Final = 0.002
PATIENCE_SECONDS: Final = 60.0


def measure_flat_out(folder: Path, seconds: float) -> Sample:
    """In a fresh process."""
    return isolated(f"{__name__}:flat_out", folder=str(folder))


def flat_out(folder: str) -> Sample:
    """Publish everything in batches; stop the clock when the view shows it all."""
    return uvloop.run(_flat_out(Path(folder)))


async def _flat_out(folder: Path) -> Sample:
    async with ours.runtime(folder, services.pipeline) as here:
        begin = time.perf_counter()
        await publish(here, EVENTS)
        published = time.perf_counter() - begin
        await until_shown(here, EVENTS)
        elapsed = time.perf_counter() - begin
        counts = await seen(here)
    if set(counts.values()) != {EVENTS // CARTS} or len(counts) != CARTS:
        raise AssertionError("the view shows other counts than were sent")
    return Sample(
        EVENTS / elapsed, notes={"events": EVENTS, "published_per_second": EVENTS / published}
    )


async def publish(here: Runtime, count: int) -> None:
    """Publish so many messages in batches, several publishers at a time."""
    batches = iter(range(0, count, BATCH))

    async def publisher() -> None:
        for first in batches:
            await here.publish(services.requests, tuple(map(request, range(first, first + BATCH))))

    async with asyncio.TaskGroup() as group:
        for _ in range(PUBLISHERS):
            group.create_task(publisher())


async def until_shown(here: Runtime, count: int, patience: float = PATIENCE_SECONDS) -> None:
    """Wait until the view shows so many items.

    Raises `AssertionError` after `patience` seconds.
    """
    until = time.perf_counter() + patience
    while await seen_in_all(here) < count:
        if time.perf_counter() > until:
            raise AssertionError(f"after {patience} s the view lacks events")
        await asyncio.sleep(TICK_SECONDS * 10)


def measure_paced(folder: Path, seconds: float) -> Sample:
    """In a fresh process."""
    return isolated(f"{__name__}:paced", folder=str(folder), seconds=seconds)


def paced(folder: str, seconds: float) -> Sample:
    """Publish on the clock and look at the view all the time."""
    return uvloop.run(_paced(Path(folder), seconds))


async def _paced(folder: Path, seconds: float) -> Sample:
    total = round(PACE * seconds)
    due: dict[str, list[float]] = {f"cart-{n}": [] for n in range(PACED_CARTS)}
    lags: list[float] = []
    async with ours.runtime(folder, services.pipeline) as here, asyncio.TaskGroup() as group:
        begin = time.perf_counter()
        group.create_task(look(here, due, lags, total))
        for first in range(0, total, ticks := round(PACE * TICK_SECONDS)):
            at = begin + first / PACE
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            events = tuple(request(n, PACED_CARTS) for n in range(first, first + ticks))
            for event in events:
                due[event.cart_id].append(at)
            group.create_task(here.publish(services.requests, events))
        elapsed = time.perf_counter() - begin
    return Sample(total / elapsed, Latency.of_seconds(lags), {"events": len(lags)})


async def look(here: Runtime, due: dict[str, list[float]], lags: list[float], total: int) -> None:
    """Note for each event how long after it was due the view showed it."""
    shown = dict.fromkeys(due, 0)
    until = time.perf_counter() + PATIENCE_SECONDS
    while len(lags) < total:
        counts = await seen(here)
        now = time.perf_counter()
        for cart, items in counts.items():
            lags += [now - at for at in due[cart][shown[cart] : items]]
            shown[cart] = items
        if now > until:
            raise AssertionError(f"the view shows {len(lags)} of {total} events")
        await asyncio.sleep(LOOK_SECONDS)


async def seen_in_all(here: Runtime) -> int:
    """Ask the view for the items of all carts together: the look itself costs next to nothing."""
    with contextlib.suppress(Unavailable):
        (total,) = await here.query(services.CartCounts.total, ())
        return int(total.items)
    return 0


async def seen(here: Runtime) -> dict[str, int]:
    """Ask the view for the items of every cart; nothing while it is being built."""
    with contextlib.suppress(Unavailable):
        return {row.cart_id: row.items for row in await here.query(services.CartCounts.all, ())}
    return {}


def request(number: int, carts: int = CARTS) -> services.ItemRequested:
    """The message of that number: carts in turn, one item each."""
    return services.ItemRequested(cart_id=f"cart-{number % carts}", sku="sku-3", quantity=1)


CONDITIONS = f"all in one process; {ours.DURABLE}; each event is three entries and a row"

ROW = Row(
    id="pipeline",
    work="topic → consumer → entity → view, end to end",
    unit="events/s",
    contestants=(
        Contestant(
            system=FLAT_OUT,
            conditions=f"{EVENTS:,} events, {CARTS:,} carts, batches of {BATCH}; {CONDITIONS}",
            measure=measure_flat_out,
        ),
        Contestant(
            system=PACED,
            conditions=f"latency = lag from due to shown, {PACED_CARTS} carts; {CONDITIONS}",
            measure=measure_paced,
        ),
    ),
    targets=(rate(FLAT_OUT, at_least=8_000), lag_p99(PACED, below_ms=100)),
)
