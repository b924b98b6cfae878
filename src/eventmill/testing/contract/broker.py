"""The contract of `ports.broker` as tests: what an adapter's author runs.

    class TestMyBroker(BrokerContract):
        def make_broker(self) -> Broker: ...       # each call: another node on the same topics
        def make_neighbour(self) -> Broker: ...    # of another service on the same server
        async def publish(self, topic, headers, payload): ...   # as a plain client does

`SHARDS` partitions; nothing is shared between tests. `ORDERS` is a topic's usual name, `ODD` one
that no broker likes.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import msgspec
import pytest

from eventmill.engine.messages import MALFORMED, Malformed
from eventmill.errors import BrokerUnavailable, TooLarge
from eventmill.model import limits
from eventmill.model.cloudevents import CloudEvent
from eventmill.ports.broker import Broker, TopicLayout
from eventmill.testing.contract.broker_harness import (
    ODD,
    ORDERS,
    SHARDS,
    TOPICS,
    News,
    event_headers,
    outgoing,
    shard_of,
    taken,
)
from eventmill.testing.contract.neighbours import NeighbourContract


class BrokerContract(NeighbourContract):
    """Everything a broker must do."""

    async def publish(self, topic: str, headers: dict[str, str], payload: bytes) -> None:
        """Send a message to a topic as a plain client does; return when it is stored."""
        raise NotImplementedError("override publish(topic, headers, payload)")

    # --- storing -----------------------------------------------------------------------------

    async def test_an_entry_comes_back_as_it_was_given(self, opened: tuple[Broker, News]) -> None:
        given = outgoing(
            7,
            key="Zoë/ü.☃ > *\t%",
            topic=ODD,
            type='Order "Placed" 100%',
            version=3,
            payload=b'{"a":"\xc3\xa9\\r\\n"}',
            metadata='{"correlation":"x y","causation":"3:6","user":{"ü":[1,null]}}'.encode(),
        )
        (receipt,) = await opened[0].append([given])
        (read,) = await taken(*opened, shard_of(given.subject, ODD), 1)
        expected = msgspec.structs.replace(
            given, shard=shard_of(given.subject, ODD), position=receipt.position, origin="3:7"
        )
        assert msgspec.to_builtins(read) == msgspec.to_builtins(expected)
        assert not receipt.duplicate

    @pytest.mark.parametrize(
        "key", ["", "%", "a.b", "x" * limits.SUBJECT_CHARACTERS_MAX, "☃" * 500]
    )
    async def test_any_key_can_be_stored(self, opened: tuple[Broker, News], key: str) -> None:
        await opened[0].append([outgoing(1, key)])
        (read,) = await taken(*opened, shard_of(key), 1)
        assert read.subject == key

    async def test_each_key_lies_in_its_shard_in_the_given_order(
        self, opened: tuple[Broker, News]
    ) -> None:
        entries = [outgoing(n, f"k{n % 7}") for n in range(1, 101)]
        receipts = await opened[0].append(entries)
        for shard in range(SHARDS, 2 * SHARDS):
            expected = [
                (entry.id, receipt.position)
                for entry, receipt in zip(entries, receipts, strict=True)
                if shard_of(entry.subject) == shard
            ]
            read = await taken(*opened, shard, len(expected))
            assert [(entry.origin, entry.position) for entry in read] == expected
            assert [p for _, p in expected] == sorted({p for _, p in expected})

    async def test_more_than_fits_into_a_batch_is_stored(self, opened: tuple[Broker, News]) -> None:
        entries = [outgoing(n) for n in range(1, 2 * limits.BROKER_BATCH + 51)]
        await opened[0].append(entries)
        read = await taken(*opened, shard_of("k"), len(entries))
        assert [entry.origin for entry in read] == [entry.id for entry in entries]

    async def test_calls_that_are_under_way_together_keep_their_order(
        self, opened: tuple[Broker, News]
    ) -> None:
        calls = [[outgoing(n), outgoing(n + 1, "other")] for n in range(1, 101, 2)]
        receipts = await asyncio.gather(*[opened[0].append(call) for call in calls])
        read = await taken(*opened, shard_of("k"), len(calls))
        assert [entry.origin for entry in read if entry.subject == "k"] == [
            call[0].id for call in calls
        ]
        positions = [receipt.position for call in receipts for receipt in call]
        assert len(set(positions)) == 2 * len(calls)

    async def test_topics_do_not_mix(self, opened: tuple[Broker, News]) -> None:
        await opened[0].append([outgoing(1), outgoing(2, topic=ODD), outgoing(3)])
        orders = await taken(*opened, shard_of("k"), 2)
        odd = await taken(*opened, shard_of("k", ODD), 1)
        assert [e.origin for e in orders] == ["3:1", "3:3"]
        assert [(e.origin, e.source) for e in odd] == [("3:2", ODD)]

    async def test_what_was_stored_before_is_told_apart_and_not_stored_again(
        self, opened: tuple[Broker, News]
    ) -> None:
        entries = [outgoing(n, f"k{n % 3}") for n in range(1, 31)]
        first = await opened[0].append(entries[:20])
        async with self.node() as (other, _, _):  # as after a failover
            again = await other.append(entries)
        assert [r.position for r in again[:20]] == [r.position for r in first]
        assert [r.duplicate for r in again] == [True] * 20 + [False] * 10
        for shard in {shard_of(entry.subject) for entry in entries}:
            expected = [e.id for e in entries if shard_of(e.subject) == shard]
            assert [e.origin for e in await taken(*opened, shard, len(expected))] == expected

    async def test_duplicates_may_lie_anywhere(self, opened: tuple[Broker, News]) -> None:
        entries = [outgoing(n) for n in range(1, 41)]
        before = {3, 4, 17, 39}
        await opened[0].append([entries[n] for n in sorted(before)])
        receipts = await opened[0].append(entries)
        assert {n for n, receipt in enumerate(receipts) if receipt.duplicate} == before
        read = await taken(*opened, shard_of("k"), len(entries))
        assert sorted(e.origin or "" for e in read) == sorted(e.id for e in entries)

    async def test_entries_of_other_outboxes_are_no_duplicates(
        self, opened: tuple[Broker, News]
    ) -> None:
        receipts = await opened[0].append([outgoing(1, shard=0), outgoing(1, shard=1)])
        assert [receipt.duplicate for receipt in receipts] == [False, False]

    async def test_the_largest_payload_is_stored(self, opened: tuple[Broker, News]) -> None:
        payload = b'"%s"' % (b"x" * (limits.PAYLOAD_BYTES_MAX - 2))
        entries = [outgoing(n, payload=payload) for n in range(1, 8)]
        await opened[0].append(entries)
        assert [e.payload for e in await taken(*opened, shard_of("k"), 7)] == [payload] * 7

    async def test_one_that_is_too_large_is_refused_and_nothing_is_stored(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, _ = opened
        large = outgoing(2, payload=b'"%s"' % bytes(limits.PAYLOAD_BYTES_MAX))
        with pytest.raises(TooLarge, match="3:2"):
            await broker.append([outgoing(1), large])
        (receipt,) = await broker.append([outgoing(1)])
        assert not receipt.duplicate

    async def test_appending_nothing_is_fine(self, opened: tuple[Broker, News]) -> None:
        assert await opened[0].append([]) == []

    # --- reading -----------------------------------------------------------------------------

    async def test_an_empty_shard_reads_as_nothing(self, opened: tuple[Broker, News]) -> None:
        assert await opened[0].read(shard_of("k"), 0, limit=10) == ([], 0)
        assert await opened[0].read(shard_of("k"), 9, limit=10) == ([], 9)

    async def test_a_scan_ends_at_the_limit_and_goes_on_from_its_position(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, _ = opened
        await broker.append([outgoing(n) for n in range(1, 11)])
        found: list[str | None] = []
        position = 0
        while len(found) < 10:
            scan = await broker.read(shard_of("k"), position, limit=4)
            assert 0 < len(scan.entries) <= 4
            assert scan.position == scan.entries[-1].position
            found += [entry.origin for entry in scan.entries]
            position = scan.position
        assert found == [f"3:{n}" for n in range(1, 11)]
        assert await broker.read(shard_of("k"), position, limit=4) == ([], position)

    async def test_a_long_shard_is_read_to_its_end(self, opened: tuple[Broker, News]) -> None:
        broker, news = opened
        entries = [outgoing(n) for n in range(1, 6 * limits.BROKER_PREFETCH)]
        await broker.append(entries)
        read = await taken(broker, news, shard_of("k"), len(entries), limit=300)
        assert [entry.origin for entry in read] == [entry.id for entry in entries]

    async def test_readers_at_different_places_do_not_disturb_each_other(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, _ = opened
        receipts = await broker.append([outgoing(n) for n in range(1, 31)])
        shard = shard_of("k")
        places = {start: receipts[start].position for start in (0, 5, 9)}
        found: dict[int, list[str | None]] = {start: [] for start in places}
        while any(len(ids) < 20 for ids in found.values()):
            for start, after in places.items():
                scan = await broker.read(shard, after, limit=3)
                found[start] += [entry.origin for entry in scan.entries]
                places[start] = scan.position
        for start, ids in found.items():
            assert ids == [f"3:{n}" for n in range(start + 2, start + 2 + len(ids))]

    async def test_what_was_read_can_be_read_again(self, opened: tuple[Broker, News]) -> None:
        await opened[0].append([outgoing(n) for n in range(1, 6)])
        first, second = [await taken(*opened, shard_of("k"), 5) for _ in range(2)]
        assert [entry.id for entry in first] == [entry.id for entry in second]

    async def test_who_has_read_is_told_of_what_comes(self, opened: tuple[Broker, News]) -> None:
        broker, news = opened
        shard = shard_of("k")
        assert (await broker.read(shard, 0, limit=9)).entries == []
        async with self.node() as (other, _, _):
            await other.append([outgoing(1)])
            await news.of(shard)
            scan = await broker.read(shard, 0, limit=9)
            assert [entry.origin for entry in scan.entries] == ["3:1"]
            news.shards.clear()
            await broker.read(shard, scan.position, limit=9)
            await other.append([outgoing(2)])
            await news.of(shard)
        scan = await broker.read(shard, scan.position, limit=9)
        assert [entry.origin for entry in scan.entries] == ["3:2"]

    async def test_what_was_stored_is_there_for_other_nodes(self) -> None:
        async with self.node() as (broker, _, _):
            await broker.append([outgoing(1)])
        async with self.node() as (broker, news, drift):
            assert drift == []
            (read,) = await taken(broker, news, shard_of("k"), 1)
            assert read.origin == "3:1"

    async def test_an_empty_scan_goes_on_behind_what_is_gone(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, news = opened
        shard = shard_of("k")
        await broker.append([outgoing(n) for n in range(1, 6)])
        first = (await broker.read(shard, 0, limit=1)).position
        end = await broker.end(shard)
        await broker.trim(shard, end)
        async with self.node() as (other, _, _):
            assert await other.read(shard, first, limit=9, until=end) == ([], end)
        await broker.append([outgoing(6)])
        (left,) = await taken(broker, news, shard, 1, after=end)
        assert left.origin == "3:6"

    async def test_what_somebody_has_seen_is_read_although_it_was_not_told(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, _ = opened
        shard = shard_of("k")
        assert await broker.read(shard, 0, limit=9) == ([], 0)
        async with self.node() as (other, _, _):
            (receipt,) = await other.append([outgoing(1)])
        scan = await broker.read(shard, 0, limit=9, until=receipt.position)
        assert [entry.origin for entry in scan.entries] == ["3:1"]

    # --- positions ---------------------------------------------------------------------------

    async def test_end_lies_between_the_last_message_and_the_next(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, _ = opened
        shard = shard_of("k")
        assert await broker.end(shard) == 0
        receipts = await broker.append([outgoing(1), outgoing(2), outgoing(3, "other")])
        end = await broker.end(shard)
        assert end == receipts[1].position
        await broker.trim(shard, end)
        assert await broker.end(shard) >= end
        (later,) = await broker.append([outgoing(4)])
        assert later.position > end
        assert await broker.end(shard) == later.position

    async def test_trim_removes_what_lies_up_to_the_position_in_that_shard_alone(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, news = opened
        other = next(k for k in map(str, range(99)) if shard_of(k) != shard_of("k"))
        receipts = await broker.append([outgoing(1), outgoing(2, other), outgoing(3), outgoing(4)])
        await broker.trim(shard_of("k"), receipts[2].position)
        assert [e.origin for e in await taken(broker, news, shard_of("k"), 1)] == ["3:4"]
        assert [e.origin for e in await taken(broker, news, shard_of(other), 1)] == ["3:2"]

    async def test_position_at_misses_nothing_that_was_stored_since(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, _ = opened
        shard = shard_of("k")
        assert await broker.position_at(shard, 0) == 0
        await broker.append([outgoing(1), outgoing(2)])
        between = await self.instant()
        await broker.append([outgoing(3)])
        after = await self.instant()
        for time, expected in ((0, [1, 2, 3]), (between, [3]), (after, [])):
            start = await broker.position_at(shard, time)
            read = await taken(*opened, shard, len(expected), start)
            assert [entry.origin for entry in read] == [f"3:{n}" for n in expected]

    async def test_a_topic_that_is_full_takes_nothing_and_loses_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BROKER_APPEND_SECONDS", 0.3)
        bound = 4_096
        async with self.node(topics={ORDERS: TopicLayout(1, bytes=bound)}) as (broker, news, _):
            empty = await broker.size(ORDERS)
            assert (empty.bytes, empty.first) == (0, empty.last + 1)
            stored = 0

            async def fill() -> None:
                nonlocal stored
                while True:
                    await broker.append([outgoing(stored + 1)])
                    stored += 1

            with pytest.raises(BrokerUnavailable, match="maximum bytes"):
                await fill()
            assert stored > 3
            full = await broker.size(ORDERS)
            assert full.bytes <= bound
            read = await taken(broker, news, shard_of("k"), stored)
            assert (full.first, full.last) == (read[0].position, read[-1].position)
            await broker.trim(shard_of("k"), read[2].position)
            left = await broker.size(ORDERS)
            assert left.bytes < full.bytes
            assert (left.first, left.last) == (read[3].position, full.last)
            (receipt,) = await broker.append([outgoing(stored + 1)])
            assert not receipt.duplicate

    # --- what plain clients send -------------------------------------------------------------

    async def test_an_event_from_outside_arrives_in_the_partition_of_its_subject(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, news = opened
        assert await broker.admit(ORDERS) == 0
        headers = event_headers(subject="customer 7") | {"ce-priority": "high"}
        await self.publish(ORDERS, {**headers, "content-type": "application/json"}, b'{"n":1}')
        await news.of(TOPICS[ORDERS].number * SHARDS)
        assert await broker.admit(ORDERS) == 1
        assert await broker.admit(ORDERS) == 0
        (read,) = await taken(broker, news, shard_of("customer 7"), 1)
        assert (read.source, read.subject, read.type) == (ORDERS, "customer 7", "Placed")
        assert (read.payload, read.version, read.sequence) == (b'{"n":1}', 1, 0)
        outside = msgspec.json.decode(read.metadata or b"")["cloudevent"]
        assert outside["id"] == "e1"
        assert outside["extensions"] == {"priority": "high"}

    async def test_a_structured_event_arrives_too(self, opened: tuple[Broker, News]) -> None:
        broker, news = opened
        body = (
            b'{"specversion":"1.0","id":"1","source":"/x","type":"Placed","subject":"k",'
            b'"data":{"n":2}}'
        )
        await self.publish(ORDERS, {"Content-Type": "application/cloudevents+json"}, body)
        assert await broker.admit(ORDERS) == 1
        (read,) = await taken(broker, news, shard_of("k"), 1)
        assert (read.type, read.payload) == ("Placed", b'{"n":2}')

    @pytest.mark.parametrize("is_structured", [False, True])
    async def test_what_an_event_does_not_say_is_completed(
        self, opened: tuple[Broker, News], is_structured: bool
    ) -> None:
        def account(event: CloudEvent) -> CloudEvent:
            key = f"{msgspec.json.decode(event.data or b'')['account']} of {event.type}"
            extensions = {**event.extensions, "eventversion": 3}
            return msgspec.structs.replace(event, subject=key, extensions=extensions)

        broker, news = opened
        event = {"specversion": "1.0", "id": "e1", "source": "/till", "type": "Paid", "to": "é"}
        data = '{"account":"ä 7"}'.encode()
        if is_structured:
            headers = {"content-type": "application/cloudevents+json"}
            body = msgspec.json.encode({**event, "data": msgspec.Raw(data)})
        else:
            headers = {f"ce-{name}": quote(value) for name, value in event.items()}
            body = data
        await self.publish(ORDERS, {**headers, "x-own": "kept"}, body)
        assert await broker.admit(ORDERS, account) == 1
        key = "ä 7 of Paid"
        (made,) = await taken(broker, news, shard_of(key), 1)
        outside = msgspec.json.decode(made.metadata or b"")["cloudevent"]
        assert (made.type, made.version, made.subject) == ("Paid", 3, key)
        assert (made.payload, outside["id"], outside["source"]) == (data, "e1", "/till")
        assert outside["extensions"] == {"to": "é"}

    @pytest.mark.parametrize(
        ("headers", "payload"),
        [
            ({}, b"\x00 no event \xff"),
            ({"ce-id": "1"}, b"{}"),
            ({"ce-id": "1", "ce-source": "/x", "ce-type": "$deleted"}, b"{}"),
            ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "A"}, b"{"),
            ({"Content-Type": "application/cloudevents-batch+json"}, b"[]"),
        ],
    )
    async def test_what_is_no_event_arrives_with_its_bytes(
        self, opened: tuple[Broker, News], headers: dict[str, str], payload: bytes
    ) -> None:
        broker, news = opened
        await self.publish(ORDERS, headers, payload)
        assert await broker.admit(ORDERS) == 1
        (read,) = await taken(broker, news, shard_of(""), 1)
        assert read.type == MALFORMED
        kept = msgspec.json.decode(read.payload, type=Malformed)
        assert kept.data == payload
        assert dict(kept.headers) == headers
        assert kept.reason

    async def test_nobody_outside_passes_for_the_outbox(self, opened: tuple[Broker, News]) -> None:
        broker, news = opened
        forged = {"eventmill-entry": f"{shard_of('k')}:999 1 1", "eventmill-metadata": "{}"}
        await self.publish(ORDERS, forged | event_headers(subject="k"), b"{}")
        await self.publish(ORDERS, forged | {"ce-type": "Placed"}, b"{}")
        assert await broker.admit(ORDERS) == 2
        (event,) = await taken(broker, news, shard_of("k"), 1)
        assert (event.type, event.origin) == ("Placed", None)
        (other,) = await taken(broker, news, shard_of(""), 1)
        assert (other.type, other.origin) == (MALFORMED, None)

    async def test_events_from_outside_arrive_once_and_in_order_whoever_moves_them(
        self, opened: tuple[Broker, News]
    ) -> None:
        broker, news = opened
        for n in range(60):
            await self.publish(ORDERS, event_headers(id=f"e{n}", subject=f"k{n % 2}"), b"{}")
        async with self.node() as (other, _, _):
            moved = 0
            while moved < 60:
                moved += sum(await asyncio.gather(broker.admit(ORDERS), other.admit(ORDERS)))
            assert moved == 60
        for key in ("k0", "k1"):
            count = 60 if shard_of("k0") == shard_of("k1") else 30
            read = await taken(broker, news, shard_of(key), count)
            ids = [
                msgspec.json.decode(e.metadata or b"")["cloudevent"]["id"]
                for e in read
                if e.subject == key
            ]
            assert ids == [f"e{n}" for n in range(60) if f"k{n % 2}" == key]
