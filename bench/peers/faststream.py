"""FastStream: the message framework of the field, on the same NATS server as ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from bench.environments import python_environment, run, versions
from bench.figures import Contestant, Sample
from bench.processes import sample_of
from eventmill.testing.nats_server import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "FastStream"
REQUIREMENTS = ("faststream[nats]==0.7.8", "uvloop==0.23.0")
PROGRAM = "bench/peers/programs/faststream_handler.py"
EVENTS = 20_000
PUBLISHERS = 256


def measure(folder: Path, seconds: float) -> Sample:
    """Publish and handle everything on a server of its own."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> Sample:
    python = python_environment("faststream", *REQUIREMENTS)
    async with NatsServer(folder) as server:
        task = {"url": server.url, "events": EVENTS, "publishers": PUBLISHERS}
        command = [str(python), PROGRAM, msgspec.json.encode(task).decode()]
        sample = sample_of(await asyncio.to_thread(run, command))
    notes = {**sample.notes, "versions": versions(python, "faststream", "nats-py")}
    return Sample(sample.per_second, sample.latency, notes)


CONTESTANT = Contestant(
    system=SYSTEM,
    conditions=(
        f"JetStream, sync_interval: always, {EVENTS:,} events by {PUBLISHERS} publishers, pull consumer of "
        "256, a handler without state, acknowledged afterwards, one process"
    ),
    measure=measure,
)
