"""Parking is bounded by letters, not by keys: one dead head must not copy a whole topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmill import Event, Service, Topic, consumer
from eventmill.adapters.sqlite.store import Store
from eventmill.errors import Rejected
from eventmill.model import limits
from eventmill.runtime.operating.operations import Operations
from tests.faults import inprocess

MESSAGES = 60
BOUND = 20
BATCH = 5


class Step(Event):
    number: int


steps = Topic("steps", Step)
taken: list[int] = []


@consumer("walker", source=steps, batch_size=BATCH)
def walk(event: Step) -> None:
    if event.number == 0:
        raise Rejected("not this one")
    taken.append(event.number)


async def test_it_waits_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARKED_MAX", BOUND)
    service = Service("steps", components=[walk], topics=[steps])
    async with inprocess.running(service, Store(tmp_path)) as runtime:
        for number in range(MESSAGES):
            await runtime.publish(steps, (Step(number=number),))
        walker = runtime.subscription("walker")
        count = runtime.store.parking.count
        await inprocess.until(lambda: walker.position > BOUND, "the bound")
        assert BOUND < await count("walker", [0]) <= BOUND + BATCH
        assert walker.lag >= MESSAGES - BOUND - BATCH
        await Operations(runtime).discard("walker")
        await inprocess.drained(runtime)
        assert await count("walker", [0]) == 0
    assert taken == list(range(1, MESSAGES))
