"""What the NATS adapters can do alone: `python -m bench.nats_topics`.

A relay's view of the broker: entries appended in calls of one commit's size, several under way;
then every shard read from its beginning. And the transport: requests with some under way. Besides
the rate, the processor time per message on both sides, as other work on the machine moves the rate.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from zlib import crc32

import uvloop

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.nats.broker import Broker
from eventmill.adapters.nats.transport import Transport
from eventmill.model.entry import Entry
from eventmill.ports.broker import TopicLayout
from eventmill.testing.nats_server import NatsServer

SHARDS = 16
MESSAGES = 96_000
KEYS = 5_000
CALL = 512
PAYLOAD = b'{"order":"12345","customer":"c-17","quantity":3,"sku":"abcdef","price":12.5,"note":"x"}'
METADATA = b'{"correlation":"0b2c5f6e9a1d4c7f","causation":"3:1234567"}'
REQUESTS = 20_000
TICKS = 100


async def main() -> None:
    """Run all parts and print a line for each."""
    with tempfile.TemporaryDirectory(prefix="eventmill-nats-") as directory:
        async with NatsServer(Path(directory)) as server:
            broker = Broker([server.url], SystemClock(), service="bench")
            topics = {"orders": TopicLayout(1)}
            await broker.open(SHARDS, topics, _partition_of, lambda shard: None)
            for under_way in (1, 4):
                with _measured(server, f"append, {under_way} x {CALL} under way", MESSAGES):
                    await _append(broker, under_way)
            with _measured(server, "read, all shards", 2 * MESSAGES):
                await _read(broker, 2 * MESSAGES)
            await broker.close()
            await _transport(server)


async def _append(broker: Broker, under_way: int) -> None:
    entries = iter(_entries(under_way))

    async def call() -> None:
        while batch := list(islice(entries, CALL)):
            await broker.append(batch)

    await asyncio.gather(*[call() for _ in range(under_way)])


def _entries(outbox: int) -> Iterator[Entry]:
    for n in range(1, MESSAGES + 1):
        at = 1_700_000_000_000_000 + n
        yield Entry(
            "orders",
            f"customer-{n % KEYS}",
            0,
            "OrderPlaced",
            1,
            at,
            PAYLOAD,
            METADATA,
            None,
            outbox,
            n,
        )


async def _read(broker: Broker, expected: int) -> None:
    async def follow(shard: int) -> int:
        position = count = 0
        end = await broker.end(shard)
        while position < end:
            scan = await broker.read(shard, position, limit=1_024)
            position, count = scan.position, count + len(scan.entries)
        return count

    counts = await asyncio.gather(*[follow(shard) for shard in range(SHARDS, 2 * SHARDS)])
    assert sum(counts) == expected, counts


async def _transport(server: NatsServer) -> None:
    a, b = Transport([server.url], node="a"), Transport([server.url], node="b")
    await a.open()
    await b.open()

    async def answer(payload: bytes) -> bytes:
        return payload

    await b.serve("x", answer)
    for under_way in (1, 64):
        todo = iter(range(REQUESTS // (10 if under_way == 1 else 1)))

        async def ask(todo: Iterator[int] = todo) -> None:
            for _ in todo:
                await a.request("x", PAYLOAD, 5)

        count = REQUESTS // (10 if under_way == 1 else 1)
        with _measured(server, f"request and answer, {under_way} under way", count):
            await asyncio.gather(*[ask() for _ in range(under_way)])
    await a.close()
    await b.close()


@contextmanager
def _measured(server: NatsServer, name: str, count: int) -> Iterator[None]:
    began, ours, theirs = time.perf_counter(), time.process_time(), _seconds_of(server.pid)
    yield
    took = time.perf_counter() - began
    ours, theirs = time.process_time() - ours, _seconds_of(server.pid) - theirs
    print(
        f"{name:32} {count / took:9,.0f}/s   CPU us each: {ours / count * 1e6:5.1f} here, "
        f"{theirs / count * 1e6:5.1f} server"
    )


def _seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _partition_of(key: str) -> int:
    return crc32(key.encode()) % SHARDS


if __name__ == "__main__":
    uvloop.run(main())
