"""Stored events outlive the code that wrote them: versions, renames, aliases, added fields."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    downcast,
    event_type,
    on,
    publish,
    query,
    upcast,
)
from eventmill.errors import ConfigurationError, DataMisfit, InvalidPayload
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry
from eventmill.model.events import event_type_of
from eventmill.testing import EntityKit, FaultyStore, Host

# What a former release stored: bytes, not objects of today's classes.
OLD = [
    ("PriceSet", 1, b'{"price":"12.50","currency":"EUR"}'),
    ("price.set", 2, b'{"cents":990,"currency":"EUR"}'),
    ("price.set", 3, b'{"cents":1500,"currency":"USD","reason":"sale","approved_by":"ann"}'),
    ("Retired", 1, b"{}"),
]


@event_type("price.set", version=3, aliases=("PriceSet",))
class PriceChanged(Event):  # called PriceSet when the first events were written
    cents: int
    currency: str
    reason: str = "unknown"


@upcast(PriceChanged, from_version=1)
def cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"cents": round(float(data["price"]) * 100), "currency": data["currency"]}


@upcast(PriceChanged, from_version=2)
def reason(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "reason": "before reasons"}


@event_type("Retired")
class Withdrawn(Event):
    final: bool = True


@component("product")
class Product(EventSourcedEntity):
    prices: list[tuple[int, str, str]] = []
    retired: bool = False

    @command
    def reprice(self, cents: int) -> Effect[None]:
        return self.persist(PriceChanged(cents=cents, currency="EUR", reason="today"))

    @query
    def content(self) -> list[tuple[int, str, str]]:
        return self.prices

    @query
    def is_retired(self) -> bool:
        return self.retired

    @on(PriceChanged)
    def price_changed(self, event: PriceChanged) -> None:
        self.prices.append((event.cents, event.currency, event.reason))

    @on(Withdrawn)
    def withdrawn(self, event: Withdrawn) -> None:
        self.retired = event.final


class Heard(Event):
    text: str


heard = Topic("heard", Heard)


@consumer("listener", source=Product)
def listener(event: PriceChanged) -> Effect[None]:
    return publish(heard, Heard(text=f"{event.cents} {event.reason}"))


@component("prices")
class Prices(View):
    class Row(Record):
        cents: int

    @on(Product)
    def priced(self, event: PriceChanged, row: Row | None) -> Row:
        return self.Row(cents=event.cents)

    @query("SELECT * FROM prices")
    def all(self) -> list[Row]: ...


async def write_old(store: FaultyStore, source: str, rows: list[tuple[str, int, bytes]]) -> None:
    await store.open()
    entries = [
        Entry(source, "p", n, type, version, 1_000 + n, payload)
        for n, (type, version, payload) in enumerate(rows, 1)
    ]
    await store.commit(Commit(entries=entries))
    await store.close()


async def test_stored_bytes_of_older_versions_are_lifted(store: FaultyStore) -> None:
    await write_old(store, "product", OLD)
    service = Service("shop", components=[Product, listener], topics=[heard])
    async with Host(service, store=store) as host:
        told = host.probe(heard)
        assert await host.call(Product.content, "p") == [
            (1250, "EUR", "before reasons"),
            (990, "EUR", "before reasons"),
            (1500, "USD", "sale"),
        ]
        assert await host.call(Product.is_retired, "p") is True
        texts = [event.text for event in await told.expect_n(3, Heard)]
        assert texts == ["1250 before reasons", "990 before reasons", "1500 sale"]


async def test_new_events_are_stored_under_the_explicit_name_and_version(
    store: FaultyStore,
) -> None:
    async with Host(Service("shop", components=[Product]), store=store) as host:
        await host.call(Product.reprice, "p", 5)
        (entry,) = await store.journal.history("product", "p", limit=9)
        assert (entry.type, entry.version) == ("price.set", 3)


async def test_an_event_of_a_newer_version_is_a_clear_error(store: FaultyStore) -> None:
    await write_old(store, "product", [("price.set", 4, b'{"money":1}')])
    service = Service("shop", components=[Product, listener], topics=[heard])
    async with Host(service, store=store) as host:
        (letter,) = await host.letters("listener")
        assert "stored version 4 is newer than this code's version 3" in letter.error
        with pytest.raises(DataMisfit, match="deploy the newer code"):
            await host.call(Product.content, "p")


async def test_an_event_whose_class_was_changed_alone_is_a_clear_error(store: FaultyStore) -> None:
    await write_old(store, "product", [("price.set", 3, b'{"pounds":1}')])
    async with Host(Service("shop", components=[Product]), store=store) as host:
        with pytest.raises(DataMisfit, match="lift the older ones with @upcast"):
            await host.call(Product.content, "p")


async def test_an_upcaster_that_fails_is_named_wherever_its_events_are_read(
    store: FaultyStore,
) -> None:
    await write_old(store, "product", [("PriceSet", 1, b'{"money":1}')])
    service = Service("shop", components=[Product, listener, Prices], topics=[heard])
    why = "event type 'price.set' version 1: cents raised KeyError: 'price'"
    async with Host(service, store=store) as host:
        letters = await host.letters()
        assert {letter.subscription.partition("@")[0] for letter in letters} == {
            "listener",
            "prices",
        }
        for letter in letters:  # trying again cannot help
            assert (letter.status, letter.attempts) == ("dead", 1)
            assert why in letter.error
        with pytest.raises(DataMisfit, match=why):
            await host.call(Product.content, "p")


@pytest.mark.parametrize("error", [AttributeError("none"), RuntimeError("no rate"), KeyError()])
def test_whatever_an_upcaster_or_downcaster_raises_is_a_payload_that_does_not_fit(
    error: Exception,
) -> None:
    def fail(data: dict[str, Any]) -> dict[str, Any]:
        raise error

    @event_type("Rated", version=2)
    class Rated(Event):
        rate: float

    upcast(Rated, from_version=1)(fail)
    kind = event_type_of(Rated)
    with pytest.raises(
        InvalidPayload, match=f"'Rated' version 1: .*fail raised {type(error).__name__}"
    ):
        kind.decode(b"{}", 1)
    downcast(Rated)(fail)
    with pytest.raises(
        InvalidPayload, match=f"'Rated' version 2: .*fail raised {type(error).__name__}"
    ):
        kind.stored(Rated(rate=1.5))


def test_an_upcast_needs_a_raised_version() -> None:
    with pytest.raises(ConfigurationError, match="current version is 1"):
        upcast(Heard, from_version=1)(lambda data: data)


def test_two_classes_of_one_stored_name_are_refused() -> None:
    @event_type("Heard")
    class Twin(Event):
        text: str

    _, problems = Service("shop", topics=[Topic("both", Heard, Twin)]).define()
    assert any("are both stored as 'Heard'" in problem for problem in problems)


@dataclass
class Measured:
    day: date
    values: dict[str, float] = field(default_factory=dict)


class Labelled(BaseModel):
    text: str
    tags: set[str] = set()


@component("sensor")
class Sensor(EventSourcedEntity):
    days: list[date] = []
    total: float = 0
    labels: list[str] = []

    @command
    def measure(self, day: date, values: dict[str, float]) -> Effect[float]:
        return self.persist(Measured(day, values)).reply(lambda sensor: sensor.total)

    @command
    def label(self, label: Labelled) -> Effect[None]:
        return self.persist(label)

    @query
    def content(self) -> tuple[list[date], float, list[str]]:
        return self.days, self.total, self.labels

    @on(Measured)
    def measured(self, event: Measured) -> None:
        self.days.append(event.day)
        self.total += sum(event.values.values())

    @on(Labelled)
    def labelled(self, event: Labelled) -> None:
        self.labels += [event.text, *sorted(event.tags)]


labels = Topic("labels", Labelled, Measured)


async def test_dataclasses_and_pydantic_models_are_events(store: FaultyStore) -> None:
    told: list[Any] = []

    @consumer("listener", source=Sensor)
    def note(event: Measured | Labelled) -> Effect[None]:
        told.append(event)
        return publish(labels, event)

    service = Service("lab", components=[Sensor, note], topics=[labels])
    async with Host(service, store=store) as host:
        published = host.probe(labels)
        assert await host.call(Sensor.measure, "s", date(2026, 1, 2), {"a": 1.5, "b": 2}) == 3.5
        await host.call(Sensor.label, "s", Labelled(text="x", tags={"b", "a"}))
        measured, labelled = await published.expect_n(2)
        assert measured == Measured(date(2026, 1, 2), {"a": 1.5, "b": 2})
        assert labelled == Labelled(text="x", tags={"a", "b"})
        assert told == [measured, labelled]
        await host.restart(crash=True)
        assert await host.call(Sensor.content, "s") == (
            [date(2026, 1, 2)], 3.5, ["x", "a", "b"],
        )  # fmt: skip
        first, _ = await store.journal.history("sensor", "s", limit=9)
        assert json.loads(first.payload) == {"day": "2026-01-02", "values": {"a": 1.5, "b": 2}}


@pytest.mark.parametrize(
    ("type", "payload"),
    [
        ("Measured", b'{"day":"2026-01-02","values":{},"added_later":1}'),
        ("Labelled", b'{"text":"x","added_later":{"deep":[]}}'),
    ],
)
async def test_unknown_fields_are_ignored(store: FaultyStore, type: str, payload: bytes) -> None:
    await write_old(store, "sensor", [(type, 1, payload)])
    async with Host(Service("lab", components=[Sensor]), store=store) as host:
        days, _, texts = await host.call(Sensor.content, "p")
        assert len(days) + len(texts) == 1


def test_a_payload_that_does_not_fit_names_the_type() -> None:
    kit = EntityKit(Sensor)
    broken = Entry("sensor", "test", 1, "Labelled", 1, 0, b'{"text":7}')
    with pytest.raises(InvalidPayload, match="'Labelled' version 1 does not decode"):
        kit.definition.event_types["Labelled"].decode(broken.payload, 1)


@event_type("Weighed")
class WeighedBefore(Event):
    grams: int


@event_type("Weighed", version=2)
class Weighed(Event):
    kilos: float
    scale: str = "unknown"


@upcast(Weighed, from_version=1)
def kilos(data: dict[str, Any]) -> dict[str, Any]:
    return {"kilos": data["grams"] / 1_000}


@downcast(Weighed)
def grams(data: dict[str, Any]) -> dict[str, Any]:
    return {"grams": round(data["kilos"] * 1_000)}


class Scale(EventSourcedEntity):
    weights: list[float] = []
    scales: list[str] = []

    @command
    def weigh(self, kilos: float) -> Effect[list[str]]:
        event = Weighed(kilos=kilos, scale="new")
        return self.persist(event).reply(lambda scale: scale.scales)

    @query
    def content(self) -> list[float]:
        return self.weights

    @on(Weighed)
    def weighed(self, event: Weighed) -> None:
        self.weights.append(event.kilos)
        self.scales.append(event.scale)


class ScaleBefore(EventSourcedEntity):
    total: int = 0

    @query
    def content(self) -> int:
        return self.total

    @on(WeighedBefore)
    def weighed(self, event: WeighedBefore) -> None:
        self.total += event.grams


async def test_what_is_lowered_can_be_read_by_the_version_before(store: FaultyStore) -> None:
    now = component("scale")(Scale)
    async with Host(Service("shop", components=[now]), store=store) as host:
        # What the version before cannot hold is not there for this one either, from the start.
        assert await host.call(Scale.weigh, "s", 1.5) == ["unknown"]
        (entry,) = await store.journal.history("scale", "s", limit=9)
        assert (entry.version, entry.payload) == (1, b'{"grams":1500}')
        assert await host.call(Scale.content, "s") == [1.5]
    before = component("scale")(ScaleBefore)
    async with Host(Service("shop", components=[before]), store=store) as host:
        assert await host.call(ScaleBefore.content, "s") == 1500


def test_there_is_nothing_below_version_1() -> None:
    with pytest.raises(ConfigurationError, match="no version before 1"):
        downcast(WeighedBefore)(grams)
