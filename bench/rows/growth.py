"""Growth: the first row again on a store that is years old, and memory under a small cache.

The journal is filled directly with the rows that commands would have left: 10,000,000 events of
1,000,000 carts. The memory run then sends commands to carts all over it, so that nearly every one
loads its cart and drops another: after the cache is full, resident memory must stay where it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import uvloop

from bench import carts, ours
from bench.figures import OURS, Contestant, Latency, Row, Sample, note, ratio
from bench.processes import isolated, resident_mb

ENTITIES: Final = 1_000_000
EVENTS: Final = 10_000_000
CACHED: Final = 10_000
IN_FLIGHT: Final = 256
FULL_AFTER: Final = 100_000
FRESH, GROWN = f"{OURS}, fresh store", f"{OURS}, grown store"
SMALL = f"{OURS}, all carts, cache of {CACHED:,}"


def grow(data: Path) -> None:
    """Fill the store's directory."""
    carts.fill(data, events=EVENTS, carts=ENTITIES)


def measure_memory(folder: Path, seconds: float) -> Sample:
    """Commands to carts all over the grown store, in a fresh process."""
    grow(folder / "data")
    return isolated(f"{__name__}:memory", folder=str(folder))


def memory(folder: str) -> Sample:
    """Send commands to ever other carts; note the resident memory on the way and at the end."""
    return uvloop.run(_memory(Path(folder)))


async def _memory(folder: Path) -> Sample:
    early = 0.0

    def enough(sent: int) -> bool:
        nonlocal early
        if sent >= FULL_AFTER and not early:
            early = resident_mb(os.getpid())
        return sent >= carts.COMMANDS

    def cart_of(sent: int) -> str:
        return f"cart-{sent * carts.SCATTER % ENTITIES}"

    async with ours.runtime(folder, cache_entities=CACHED) as here:
        durations, elapsed = await ours.drive(here, cart_of, IN_FLIGHT, enough)
        late = resident_mb(os.getpid())
    notes = {
        "commands": len(durations),
        f"resident_mb_after_{FULL_AFTER}": early,
        "resident_mb": late,
        "growth": round(late / early, 3),
    }
    return Sample(len(durations) / elapsed, Latency.of_seconds(durations), notes)


ROW = Row(
    id="growth",
    work=f"the first row on a store with {ENTITIES:,} entities and {EVENTS:,} events",
    unit="requests/s",
    contestants=(
        ours.over_http(FRESH, "carts", "an empty store"),
        ours.over_http(GROWN, "carts", "1,000 of the store's carts", prepare=grow),
        Contestant(
            system=SMALL,
            conditions=f"runtime in process, {IN_FLIGHT} in flight, every command another cart",
            measure=measure_memory,
        ),
    ),
    targets=(
        ratio(GROWN, FRESH, at_least=0.9),
        note(SMALL, "growth", at_most=1.1, text="resident memory once the cache is full ≤ 1.1 ×"),
    ),
)
