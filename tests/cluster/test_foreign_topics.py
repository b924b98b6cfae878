# mypy: disable-error-code="empty-body"
"""Topics of another service: found by name, followed in order and once, wherever keys live here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from eventmill import (
    WHEN_READ,
    ConfigurationError,
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Retry,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    query,
    send,
)
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterStatus
from eventmill.model.pushing import Pushing
from eventmill.ports.sender import Answer
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.topics import relay
from eventmill.runtime.topics.foreign import FACT
from tests.cluster.nodes import Nodes

KEYS = [f"o{number}" for number in range(24)]


class Placed(Event):
    order: str
    number: int


class Cancelled(Event):
    order: str


class Billed(Event):
    number: int


orders = Topic("orders", Placed, key="order")
offers = Topic("offers", Placed, key="order", retention=timedelta(seconds=20))
shop = Service("shop", topics=[orders, offers])

placed = Topic("orders", Placed, key="order", service="shop")
offered = Topic("offers", Placed, key="order", service="shop")
own = Topic("orders", Placed, key="order")
"""A topic of this service, of the same name."""


@component("bill")
class Bill(EventSourcedEntity):
    numbers: list[int] = []

    @command
    def add(self, number: int) -> Effect[None]:
        return self.persist(Billed(number))

    @query
    def all(self) -> list[int]:
        return self.numbers

    @on(Billed)
    def billed(self, event: Billed) -> None:
        self.numbers = [*self.numbers, event.number]


told: list[Context] = []


@consumer("biller", source=placed, retry=Retry(attempts=2))
def bill(event: Placed, ctx: Context) -> Effect[None]:
    if event.number < 0:
        raise ValueError("less than nothing was ordered")
    told.append(ctx)
    return send(Bill.add, event.order, event.number)


@component("balance")
class Balance(View):
    """Of one key, from the other service and from this one: its rows have one writer."""

    class Row(Record):
        id: str
        placed: int = 0
        billed: int = 0

    @on(placed)
    def was_placed(self, event: Placed, row: Row | None) -> Row:
        row = row or self.Row(event.order)
        row.placed += 1
        return row

    @on(Bill)
    def was_billed(self, event: Billed, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(ctx.subject)
        row.billed += 1
        return row

    @query("SELECT * FROM balance ORDER BY id")
    def every(self) -> list[Row]: ...


@component("newest")
class Newest(View):
    class Row(Record):
        id: str
        number: int

    @on(offered)
    def was_offered(self, event: Placed, row: Row | None) -> Row:
        return self.Row(event.order, event.number)

    @query("SELECT * FROM newest ORDER BY id")
    def every(self) -> list[Row]: ...


billing = Service(
    "billing", components=[Bill, bill, Balance, Newest], topics=[placed, offered, own]
)


@pytest.fixture
async def shops(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    told.clear()
    shards = getattr(request, "param", 16)
    nodes = Nodes(shop, broker=True, shards=shards)
    yield nodes
    await nodes.close()


@pytest.fixture
async def billings(shops: Nodes) -> AsyncIterator[Nodes]:
    nodes = Nodes(billing, beside=shops, broker=True)
    yield nodes
    await nodes.close()


async def place(
    nodes: Nodes, number: int, topic: Topic[Placed] = orders, keys: list[str] = KEYS
) -> None:
    """Publish one event under every key, through any node."""
    runtime = next(iter(nodes.running.values()))
    events = tuple(Placed(key, number) for key in keys)
    await nodes.while_time_passes(runtime.publish(topic, events))


async def expect(nodes: Nodes, numbers: list[int], keys: list[str] = KEYS) -> None:
    """Every key's events have arrived once each, in this order."""
    await nodes.advance(5)
    node = next(iter(nodes.running))
    for key in keys:
        assert await nodes.call(node, Bill.all, key) == numbers, key


async def rows(nodes: Nodes, query: Any) -> list[Any]:
    runtime = next(iter(nodes.running.values()))
    return await nodes.while_time_passes(runtime.query(query, query.arguments((), {})))


SHARDS = pytest.mark.parametrize("shops", [16, 4, 5, 48], indirect=True)


@SHARDS
async def test_what_another_service_publishes_is_read_where_its_key_lives_here(
    shops: Nodes, billings: Nodes
) -> None:
    await shops.start("a", "b")
    await billings.start("a", "b")
    for number in range(6):
        await place(shops, number)
    await expect(billings, list(range(6)))
    counts = [runtime.subscription("biller").handled for runtime in billings.running.values()]
    assert sum(counts) == 6 * len(KEYS)
    assert min(counts) > 0
    assert await rows(billings, Balance.every) == [Balance.Row(key, 6, 6) for key in sorted(KEYS)]
    assert {ctx.source for ctx in told} == {"shop/orders"}
    assert len({ctx.event_id for ctx in told}) == 6 * len(KEYS)
    assert all(ctx.event_id.startswith("shop/") for ctx in told)


async def test_topics_of_one_name_do_not_mix(shops: Nodes, billings: Nodes) -> None:
    await shops.start("a")
    await billings.start("a")
    await place(billings, 7, own)
    await place(shops, 1)
    await expect(billings, [1])


async def test_nobody_publishes_to_a_topic_of_another_service(
    shops: Nodes, billings: Nodes
) -> None:
    await billings.start("a")
    with pytest.raises(HandlerFailed, match="is of service 'shop', which alone publishes to it"):
        await place(billings, 1, placed)


async def test_a_service_that_is_not_there_yet_is_waited_for_and_missed_when_it_restarts(
    shops: Nodes, billings: Nodes
) -> None:
    with capture_logs() as logs:
        await billings.start("a", "b")
        await billings.advance(20)
    waiting = [log for log in logs if log["event"] == "waiting for a topic of another service"]
    assert {log["why"] for log in waiting} == {"no node of service 'shop' answers"}
    assert len(waiting) == 4, "once a topic and node"
    assert await rows(billings, Balance.every) == [], "the view is there, and empty"
    facts = await Inspection(billings.running["a"]).topics()
    assert [(f.id, f.service, f.waiting) for f in facts] == [
        ("orders", "", ""),
        ("shop/orders", "shop", "no node of service 'shop' answers"),
        ("shop/offers", "shop", "no node of service 'shop' answers"),
    ]
    await shops.start("a")
    await place(shops, 0)
    await billings.advance(5)
    facts = await Inspection(billings.running["a"]).topics()
    assert {f.waiting for f in facts} == {""}
    await expect(billings, [0])
    await shops.stop("a")
    await billings.advance(20)
    await shops.start("a")
    await place(shops, 1)
    await expect(billings, [0, 1])


async def test_a_topic_that_is_removed_when_its_service_has_read_it_is_not_followed(
    shops: Nodes, billings: Nodes
) -> None:
    passing = Topic("orders", Placed, key="order", retention=WHEN_READ)
    shops.service = Service("shop", topics=[passing, offers])
    await shops.start("a")
    await place(shops, 0)
    await billings.start("a")
    facts = {f.id: f for f in await Inspection(billings.running["a"]).topics()}
    assert "retention=WHEN_READ" in facts["shop/orders"].waiting
    assert facts["shop/offers"].waiting == ""
    await expect(billings, [])


async def test_readers_move_with_their_shards(shops: Nodes, billings: Nodes) -> None:
    await shops.start("a")
    await billings.start("a")
    await place(shops, 0)
    await billings.start("b")
    await place(shops, 1)
    await billings.stop("a")
    await place(shops, 2)
    await billings.crash("b")
    await place(shops, 3)
    await billings.start("c")
    await place(shops, 4)
    await billings.advance(15)
    await expect(billings, [0, 1, 2, 3, 4])


@SHARDS
async def test_what_the_other_relays_twice_is_handled_once(shops: Nodes, billings: Nodes) -> None:
    """Its node dies between append and offset, for longer than the broker knows what it has."""
    assert shops.topics is not None
    await shops.start("a")
    await billings.start("a", "b")
    await place(shops, 0)
    await billings.advance(1)
    store = shops.stores["a"]
    store.fail(matching=lambda commit: any(o.subscription == relay.NAME for o in commit.offsets))
    await place(shops, 1)
    async with asyncio.timeout(10):
        while not store.injected:  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0)
    await shops.crash("a")
    for name in ("a", "b"):  # the marks are stored, and found again
        await billings.stop(name)
    shops.clock.move_to(shops.clock.now() + round((limits.DUPLICATES_SECONDS + 1) * 1e6))
    await billings.start("c")
    await shops.start("b")
    await shops.advance(15)
    await place(shops, 2)
    await expect(billings, [0, 1, 2])
    assert len(shops.topics.streams["orders"].entries) > 3 * len(KEYS), "it came twice"
    assert billings.running["c"].subscription("biller").marks.lost == 0


async def test_a_poisoned_message_stops_its_key_alone_and_is_redriven(
    shops: Nodes, billings: Nodes
) -> None:
    await shops.start("a")
    await billings.start("a")
    await place(shops, -1, keys=KEYS[:1])
    await place(shops, 1)
    await expect(billings, [1], KEYS[1:])
    assert await billings.call("a", Bill.all, KEYS[0]) == []
    letters = await billings.operations("a").letters()
    assert [letter.status for letter in letters] == [LetterStatus.DEAD, LetterStatus.WAITING]
    dead = letters[0]
    discarding = billings.operations("a").discard("biller", dead.key)
    await billings.while_time_passes(discarding)
    await expect(billings, [1])


@SHARDS
async def test_what_is_no_event_is_one_dead_letter_of_each_reader(
    shops: Nodes, billings: Nodes
) -> None:
    """One, although a partition may have several readers here."""
    assert shops.topics is not None
    await shops.start("a")
    await billings.start("a", "b")
    for _ in range(3):
        shops.topics.publish("orders", b"ce-id: none\r\n", b"?")
    await place(shops, 1)
    await expect(billings, [1])
    letters = await billings.operations("a").letters()
    assert sorted(letter.subscription for letter in letters) == ["balance@1"] * 3 + ["biller"] * 3
    assert {letter.status for letter in letters} == {LetterStatus.DEAD}


heard: list[int] = []


@consumer("latecomer", source=placed, start="latest")
def come_late(event: Placed) -> None:
    heard.append(event.number)


async def test_a_subscription_may_begin_at_the_end(shops: Nodes, billings: Nodes) -> None:
    heard.clear()
    billings.service = Service("billing", components=[come_late], topics=[placed])
    await shops.start("a")
    await place(shops, 0)
    await shops.advance(1)
    await billings.start("a")
    await billings.advance(2)
    await place(shops, 1)
    await billings.advance(2)
    await billings.stop("a")
    await place(shops, 2)
    await billings.start("b")
    await billings.advance(2)
    assert sorted(heard) == sorted([1, 2] * len(KEYS))


async def test_a_view_is_rebuilt_of_what_the_other_has_kept(shops: Nodes, billings: Nodes) -> None:
    await shops.start("a")
    await billings.start("a", "b")
    await place(shops, 1, offers)
    await billings.advance(1)
    assert len(await rows(billings, Newest.every)) == len(KEYS)
    await shops.advance(25)
    await place(shops, 2, offers, KEYS[:3])
    await billings.advance(1)
    for name in ("a", "b"):  # what they have in memory is not read
        await billings.stop(name)
    await billings.start("c")
    await billings.while_time_passes(billings.operations("c").rebuild("newest"))
    await billings.advance(5)
    assert await rows(billings, Newest.every) == [Newest.Row(k, 2) for k in sorted(KEYS[:3])]


@SHARDS
async def test_what_was_gone_before_it_was_read_is_told_where_it_shows(
    shops: Nodes, billings: Nodes
) -> None:
    await shops.start("a")
    await billings.start("a")
    await place(shops, 0, offers)
    await billings.advance(5)
    await billings.stop("a")
    await place(shops, 1, offers)
    await shops.advance(25)
    await place(shops, 2, offers)
    await billings.start("b")
    await billings.advance(5)
    assert {row.number for row in await rows(billings, Newest.every)} == {2}
    lost = billings.running["b"].subscription("newest@1").marks.lost
    assert lost == (len(KEYS) if shops.store.placement.shards % 16 == 0 else 0)


async def test_a_reset_reads_again(shops: Nodes, billings: Nodes) -> None:
    await shops.start("a")
    await billings.start("a", "b")
    await place(shops, 0)
    await billings.advance(5)
    await billings.while_time_passes(billings.operations("b").reset("biller", "beginning"))
    await expect(billings, [0, 0])


async def test_without_a_broker_the_node_does_not_start(shops: Nodes) -> None:
    alone = Nodes(billing, beside=shops)
    with pytest.raises(ConfigurationError, match=r"'orders' of service 'shop'.* --broker nats"):
        await alone.start("a")


async def test_topics_that_stay_in_the_others_store_cannot_be_followed() -> None:
    shops = Nodes(shop)
    billings = Nodes(billing, beside=shops, broker=True)
    await shops.start("a")
    with pytest.raises(ConfigurationError, match="keeps topic 'orders' in its store"):
        await billings.start("a")
    await shops.close()


wrong = Topic("returns", Placed, key="order", service="shop")
other_types = Topic("orders", Cancelled, key="order", service="shop")


@consumer("puzzled", source=other_types)
def puzzle(event: Cancelled) -> None: ...


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        (wrong, "service 'shop' has no such topic; it has orders, offers"),
        (other_types, "topic of another service does not carry what is declared here"),
    ],
)
async def test_what_does_not_fit_is_told(
    shops: Nodes, billings: Nodes, topic: Topic[Any], said: str
) -> None:
    @consumer("puzzled", source=topic)
    def puzzle(event: Event) -> None: ...

    billings.service = Service("billing", components=[puzzle], topics=[topic])
    await shops.start("a")
    await place(shops, 1, keys=KEYS[:1])
    with capture_logs() as logs:
        await billings.start("a")
        await billings.advance(20)
    errors = [log for log in logs if log["log_level"] == "error"]
    assert [log for log in errors if said in (log["event"], log.get("why"))]
    if topic is other_types:
        assert any(log.get("unknown") == ["Placed"] for log in errors)
        (letter,) = await billings.operations("a").letters()
        assert "declares no event type 'Placed'" in letter.error, "it is not taken for another"


async def test_another_stream_of_that_name_is_not_read_as_if_it_were_the_first(
    shops: Nodes, billings: Nodes
) -> None:
    assert shops.topics is not None
    await shops.start("a")
    await billings.start("a", "b")
    await place(shops, 0)
    await expect(billings, [0])
    shops.topics.owner = "another store"
    with capture_logs() as logs:
        await billings.advance(10)
        await place(shops, 1)
        await expect(billings, [0])
    assert [log for log in logs if "is not the one that was read before" in log.get("why", "")]
    await billings.stop("b")
    await billings.start("c")
    await expect(billings, [0])
    await billings.while_time_passes(billings.operations("a").reset("biller", "beginning"))
    await billings.store.commit(Commit(registry={FACT + placed.id: None}))
    await billings.advance(10)
    await expect(billings, [0, 0, 1])


async def test_a_stream_that_was_away_is_read_on(shops: Nodes, billings: Nodes) -> None:
    assert shops.topics is not None
    await shops.start("a")
    await billings.start("a", "b")
    await place(shops, 0)
    await expect(billings, [0])
    services = shops.topics.services
    there = services.pop("shop")
    await billings.advance(10)
    assert {s.lag for s in billings.running["a"].subscriptions.values()} == {0}
    services["shop"] = there
    await place(shops, 1)
    await billings.advance(10)
    await expect(billings, [0, 1])


class Sink:
    """Takes what is pushed."""

    def __init__(self) -> None:
        self.taken: list[dict[str, str]] = []

    def check(self, url: str) -> None: ...

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, *, method: str, seconds: float
    ) -> Answer:
        self.taken.append({**headers, "url": url, "body": body.decode()})
        return Answer(200)

    async def close(self) -> None: ...


async def test_a_foreign_topic_is_pushed_to_whoever_asks_for_it(shops: Nodes) -> None:
    sink = Sink()
    billings = Nodes(billing, sink, beside=shops, broker=True)
    await shops.start("a")
    await billings.start("a", "b")
    pushing = Pushing("http://sink/p", "HTTP", "p", "/shop/topics/orders")
    await billings.while_time_passes(billings.running["a"].pushes.create(pushing))
    everything = Pushing("http://sink/q", "HTTP", "q")
    await billings.while_time_passes(billings.running["b"].pushes.create(everything))
    await place(shops, 5)
    await billings.advance(5)
    pushed = [event for event in sink.taken if event["ce-source"] == "/shop/topics/orders"]
    assert sorted(event["ce-subject"] for event in pushed) == sorted(KEYS)
    assert {event["url"] for event in pushed} == {"http://sink/p"}
    key = pushed[0]["ce-subject"]
    assert pushed[0]["body"] == f'{{"order":"{key}","number":5}}'
    before = await billings.store.offsets()
    assert any(name.startswith("push@p~outbox/") for name, _ in before)
    await billings.while_time_passes(billings.running["a"].pushes.delete("p"))
    await billings.advance(15)
    assert not [name for name, _ in await billings.store.offsets() if name.startswith("push@p")]
    await billings.close()
