"""Dead letters outlive releases: what an older one stored and parked, the newer one lifts."""

from __future__ import annotations

from typing import Any

import msgspec

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Retry,
    Service,
    Topic,
    command,
    component,
    consumer,
    event_type,
    on,
    publish,
    upcast,
)
from eventmill.testing import FaultyStore, Host
from eventmill.testing.contract.harness import entry

once = Retry(attempts=1)


@event_type("Charged")
class ChargedBefore(Event):
    euros: int


@component("meter")
class MeterBefore(EventSourcedEntity):
    @command
    def charge(self, euros: int) -> Effect[None]:
        event = ChargedBefore(euros=euros)
        return self.persist(event).publish(charges_before, event)

    @on(ChargedBefore)
    def charged(self, event: ChargedBefore) -> None: ...


charges_before = Topic("charges", ChargedBefore)


@consumer("biller", source=MeterBefore, retry=once)
def fail_to_bill(event: ChargedBefore) -> None:
    raise RuntimeError("no bills today")


@consumer("teller", source=charges_before, retry=once)
def fail_to_tell(event: ChargedBefore) -> None:
    raise RuntimeError("nobody to tell")


before = Service(
    "billing", components=[MeterBefore, fail_to_bill, fail_to_tell], topics=[charges_before]
)


class Billed(Event):
    cents: int
    by: str


@event_type("metered", version=3, aliases=("Charged",))
class Charged(Event):
    cents: int
    currency: str


@upcast(Charged, from_version=1)
def cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"cents": data["euros"] * 100}


@upcast(Charged, from_version=2)
def currency(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


@component("meter")
class Meter(EventSourcedEntity):
    @on(Charged)
    def charged(self, event: Charged) -> None: ...


charges = Topic("charges", Charged)
bills = Topic("bills", Billed)


@consumer("biller", source=Meter, retry=once)
def bill(event: Charged) -> Effect[None]:
    return publish(bills, Billed(cents=event.cents, by=f"biller {event.currency}"))


@consumer("teller", source=charges, retry=once)
def tell(event: Charged) -> Effect[None]:
    return publish(bills, Billed(cents=event.cents, by=f"teller {event.currency}"))


after = Service("billing", components=[Meter, bill, tell], topics=[charges, bills])


async def test_letters_of_an_older_version_are_lifted_when_they_are_redriven(
    store: FaultyStore,
) -> None:
    async with Host(before, store=store) as host:
        for euros in (1, 2):
            await host.call(MeterBefore.charge, "m", euros)
        letters = await host.letters()
        assert [letter.status for letter in letters].count("dead") == 2
        assert {letter.entry.version for letter in letters} == {1}

    async with Host(after, store=store) as host:
        told = host.probe(bills)
        (head, _) = await host.letters("biller")
        shown = host.operations.lifted(head.entry)
        assert shown is not None
        assert (shown.type, shown.version) == ("metered", 3)
        assert msgspec.json.decode(bytes(shown.data)) == {"cents": 100, "currency": "EUR"}
        for name in ("biller", "teller"):
            assert await host.operations.redrive(name) == 1
        events = await told.expect_n(4, Billed)
        assert sorted((event.by, event.cents) for event in events) == [
            ("biller EUR", 100),
            ("biller EUR", 200),
            ("teller EUR", 100),
            ("teller EUR", 200),
        ]
        assert await host.letters() == []


async def test_what_is_shown_of_entries_that_need_no_lift_or_get_none(store: FaultyStore) -> None:
    async with Host(after, store=store) as host:
        lifted = host.operations.lifted
        old = entry("m", source="meter", type="Charged", payload=b'{"euros":1}')
        same = msgspec.structs.replace(old, type="metered", version=3)
        assert lifted(same) is None
        assert lifted(msgspec.structs.replace(old, type="Unheard")) is None
        assert lifted(msgspec.structs.replace(old, source="nobody")) is None
        broken = lifted(msgspec.structs.replace(old, payload=b'{"pounds":1}'))
        assert broken is not None
        assert "version 1: cents raised KeyError: 'euros'" in broken.problem
        newer = lifted(msgspec.structs.replace(old, type="metered", version=4))
        assert newer is not None
        assert "deploy the newer code" in newer.problem
