"""Transforms on several nodes: shards move between them, and every window is published once."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from eventmill.model.entry import Entry
from tests.cluster.nodes import Nodes
from tests.flow.weather import Hour, hourly, hours, reading, readings, service

STATIONS = [f"s{n}" for n in range(24)]


async def published(nodes: Nodes) -> list[Hour]:
    """Read what stands in the topic, whoever published it."""
    entries: list[Entry] = []
    for shard in nodes.store.placement.of_topic(hours.id):
        scan = await nodes.store.journal.read(shard, 0, limit=10_000)
        entries += [entry for entry in scan.entries if entry.source == hours.id]
    return [msgspec.json.decode(entry.payload, type=Hour) for entry in entries]


async def test_windows_move_with_their_shards() -> None:
    nodes = Nodes(service(hourly(idle=timedelta(hours=1))))
    try:
        await nodes.start("a", "b")
        number = 0
        for turn in range(6):
            for minute in (0, 10, 50):
                through = nodes.running[sorted(nodes.running)[turn % len(nodes.running)]]
                events = [
                    reading(s, 60 * turn + minute, number + n) for n, s in enumerate(STATIONS)
                ]
                await nodes.while_time_passes(through.publish(readings, tuple(events)))
                number += len(STATIONS)
            match turn:
                case 1:
                    await nodes.start("c")
                case 2:
                    await nodes.crash("a")
                case 4:
                    await nodes.stop("b")
        await nodes.advance(5_000, step=2.0)
        found = await published(nodes)
        expected = {
            (station, 60 * turn): [72 * turn + 24 * k + n for k in range(3)]
            for n, station in enumerate(STATIONS)
            for turn in range(6)
        }
        assert len(found) == len(expected)
        assert {(hour.station, hour.start): hour.numbers for hour in found} == expected
    finally:
        await nodes.close()


async def test_a_reset_reaches_the_shards_of_all_nodes() -> None:
    nodes = Nodes(service(hourly()))
    try:
        await nodes.start("a", "b")
        events = [reading(s, minute) for minute in (0, 100) for s in STATIONS]
        await nodes.while_time_passes(nodes.running["a"].publish(readings, tuple(events)))
        await nodes.advance(5)
        assert len(await published(nodes)) == len(STATIONS)
        await nodes.while_time_passes(nodes.operations("b").reset("hourly", "beginning"))
        await nodes.advance(5)
        assert len(await published(nodes)) == 2 * len(STATIONS)
    finally:
        await nodes.close()
