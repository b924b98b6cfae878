"""Beyond a bound the caller gets an error that says which, and nothing of the request happens."""

from __future__ import annotations

import asyncio

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Overloaded,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    send,
)
from eventmill.errors import InvalidPayload, TooLarge
from eventmill.model import codec, limits
from eventmill.model.commit import LetterStatus
from eventmill.model.envelope import Envelope
from eventmill.testing import FaultyStore, Host


class Grown(Event):
    text: str


class Go(Event):
    times: int = 1


go, echo = Topic("go", Go), Topic("echo", Go)


@component("blob")
class Blob(EventSourcedEntity):
    size: int = 0

    @command
    def grow(self, by: int, times: int = 1) -> Effect[int]:
        events = [Grown(text="x" * by) for _ in range(times)]
        return self.persist(*events).reply(lambda blob: blob.size)

    @command
    def label(self, by: int) -> Effect[None]:
        return self.persist(Grown(text="")).with_metadata(label="x" * by)

    @query
    def content(self) -> int:
        return self.size

    @on(Grown)
    def grown(self, event: Grown) -> None:
        self.size += len(event.text)


@component("loud")
class Loud(EventSourcedEntity):
    @command
    def shout(self, times: int) -> Effect[None]:
        return publish(go, *([Go()] * times)).send(Blob.label, self.entity_id, 1)


service = Service("blobs", components=[Blob])
loud = Service("loud", components=[Loud, Blob], topics=[go])


async def test_a_payload_beyond_its_bound(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        overhead = len(b'{"text":""}')
        most = limits.PAYLOAD_BYTES_MAX - overhead
        assert await host.call(Blob.grow, "a", most) == most
        with pytest.raises(TooLarge, match=r"Blob\.grow"):
            await host.call(Blob.grow, "a", most + 1)
        assert await host.call(Blob.content, "a") == most


async def test_more_events_than_one_commit_holds(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        most = limits.EVENTS_PER_EFFECT_MAX
        assert await host.call(Blob.grow, "a", 1, times=most) == most
        with pytest.raises(TooLarge, match=r"Blob\.grow .* persists 1001 events"):
            await host.call(Blob.grow, "a", 1, times=most + 1)
        assert await host.call(Blob.content, "a") == most


async def test_more_messages_and_commands_than_one_effect_may_cause(store: FaultyStore) -> None:
    most = limits.OUTGOING_PER_EFFECT_MAX
    async with Host(loud, store=store) as host:
        probe = host.probe(go)
        await host.call(Loud.shout, "a", most - 1)
        assert len(await probe.expect_n(most - 1)) == most - 1
        with pytest.raises(TooLarge, match=rf"Loud\.shout .* {most + 1} things at once"):
            await host.call(Loud.shout, "a", most)
        await probe.expect_none()


async def test_a_consumer_that_causes_too_much_has_a_dead_letter(store: FaultyStore) -> None:
    most = limits.OUTGOING_PER_EFFECT_MAX

    @consumer("echoer", source=go)
    def echoer(event: Go) -> Effect[None]:
        return publish(echo, *([Go()] * event.times))

    async with Host(Service("loud", components=[echoer], topics=[go, echo]), store=store) as host:
        probe = host.probe(echo)
        await host.publish(go, Go(times=most + 1), Go(times=most))
        letter, _ = await host.letters("echoer")
        assert letter.status is LetterStatus.DEAD
        assert "echoer" in letter.error
        assert f"{most + 1} things at once" in letter.error
        await host.operations.discard("echoer")
        assert len(await probe.expect_n(most)) == most


async def test_metadata_beyond_its_bound(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(TooLarge, match=r"metadata of blob\.label"):
            await host.call(Blob.label, "a", limits.METADATA_BYTES_MAX)
        await host.call(Blob.label, "a", limits.METADATA_BYTES_MAX // 2)


@pytest.mark.parametrize(
    ("name", "arguments", "size", "fits"),
    [
        ("grow", (1, 1), limits.METADATA_BYTES_MAX, False),
        ("grow", (1, 1), limits.METADATA_BYTES_MAX - 100, True),
        ("label", (limits.METADATA_BYTES_MAX // 2,), limits.METADATA_BYTES_MAX // 2, False),
        ("label", (100,), limits.METADATA_BYTES_MAX // 2, True),
    ],
)
async def test_metadata_of_a_request_count_with_those_of_its_effect(
    store: FaultyStore, name: str, arguments: tuple[int, ...], size: int, fits: bool
) -> None:
    metadata = codec.encode({"correlation": "x" * size})
    async with Host(service, store=store) as host:
        executing = host.runtime.execute(Envelope("blob", "a", name, arguments, metadata=metadata))
        if fits:
            await executing
        else:
            with pytest.raises(TooLarge, match=rf"metadata of blob\.{name}"):
                await executing


@pytest.mark.parametrize("id", ["", "x" * (limits.SUBJECT_CHARACTERS_MAX + 1)])
async def test_an_id_that_cannot_be_one(store: FaultyStore, id: str) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(TooLarge, match="an entity id has 1 to 512 characters"):
            await host.call(Blob.content, id)


async def test_a_crowd_at_one_entity_is_turned_away_beyond_the_bound(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        crowd = limits.MAILBOX_ENTITY_MAX + 50
        gate = asyncio.Event()
        load = store.inner.journal.load

        async def slowly(source: str, subject: str) -> object:
            await gate.wait()
            return await load(source, subject)

        store.inner.journal.load = slowly  # type: ignore[method-assign,assignment]
        calls = [asyncio.ensure_future(host.call(Blob.grow, "a", 1)) for _ in range(crowd)]
        await asyncio.sleep(0)
        gate.set()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        refused = [reply for reply in replies if isinstance(reply, Overloaded)]
        assert len(refused) == crowd - limits.MAILBOX_ENTITY_MAX - 1
        assert await host.call(Blob.content, "a") == crowd - len(refused)


async def test_the_cache_is_bounded_and_forgets_nothing(store: FaultyStore) -> None:
    async with Host(service, store=store, cache_entities=10) as host:
        for n in range(200):
            await host.call(Blob.grow, f"b{n}", n)
        assert len(host.runtime.entities.cells) <= 11
        assert [await host.call(Blob.content, f"b{n}") for n in range(200)] == list(range(200))


@pytest.mark.parametrize("bounds", [{"cache_entities": 1}, {"cache_bytes": 1}])
async def test_a_cache_smaller_than_what_is_in_flight_serves_all_the_same(
    store: FaultyStore, bounds: dict[str, int]
) -> None:
    async with Host(service, store=store, **bounds) as host:
        names = [f"b{n % 7}" for n in range(70)]
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(host.call(Blob.grow, name, 1))
        for name in set(names):
            assert await host.call(Blob.content, name) == 10


async def test_an_id_that_no_store_can_write_fails_alone(store: FaultyStore) -> None:
    @consumer("sender", source=go)
    def sender(event: Go) -> Effect[None]:
        return send(Blob.grow, "\ud83d", 1)

    service = Service("blobs", components=[Blob, sender], topics=[go])
    async with Host(service, store=store) as host:
        with pytest.raises(InvalidPayload, match="Unicode"):
            await host.call(Blob.grow, "\ud83d", 1)
        await host.publish(go, Go())
        assert await host.call(Blob.grow, "a", 1) == 1
        await host.settle()
        (letter,) = await host.letters("sender")
        assert letter.status is LetterStatus.DEAD
