"""What could not be read again is never stored: values that do not fit their fields, guards off.

Structs do not check what they are made with, so such values are one typo away.
"""

from __future__ import annotations

from typing import Any

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
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
from eventmill.errors import HandlerFailed, InvalidPayload
from eventmill.testing import FaultyStore, Host
from tests.flow.journals import length

WRONG: Any = "not a number"


class Tallied(Event):
    number: int


class Order(Event):
    number: int


tallies = Topic("tallies", Tallied)


@component("ledger")
class Ledger(EventSourcedEntity):
    snapshot_every = 2
    seen: int = 0
    last: Any = None

    @command
    def note(self, number: int) -> Effect[None]:
        return self.persist(Tallied(number))

    @command
    def note_wrongly(self) -> Effect[None]:
        return self.persist(Tallied(1), Tallied(WRONG))

    @command
    def publish_wrongly(self) -> Effect[None]:
        return self.persist(Tallied(1)).publish(tallies, Tallied(WRONG))

    @command
    def send_wrongly(self) -> Effect[None]:
        return self.persist(Tallied(1)).send(Ledger.take, "b", Order(WRONG))

    @command
    def take(self, order: Order) -> Effect[None]:
        return self.persist(Tallied(order.number))

    @query
    def count(self) -> int:
        return self.seen

    @on(Tallied)
    def tallied(self, event: Tallied) -> None:
        self.seen += 1


@component("shelf")
class Shelf(KeyValueEntity):
    books: int = 0

    @command
    def fill(self, books: int) -> Effect[None]:
        return self.update(books=books)

    @command
    def fill_wrongly(self) -> Effect[None]:
        return self.update(books=WRONG)

    @query
    def count(self) -> int:
        return self.books


service = Service("misfits", components=[Ledger, Shelf], topics=[tallies])


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        (Ledger.note_wrongly, r"Ledger\.note_wrongly: .*Tallied has .*number"),
        (Ledger.publish_wrongly, r"Ledger\.publish_wrongly: .*Tallied has .*number"),
        (Ledger.send_wrongly, r"Ledger\.send_wrongly: .*ledger\.take: .*order\.number"),
    ],
)
async def test_a_command_that_makes_a_misfit_fails_and_leaves_no_trace(
    store: FaultyStore, wrong: Any, names: str
) -> None:
    async with Host(service, store=store, guards=False) as host:
        await host.call(Ledger.note, "a", 1)
        with pytest.raises(HandlerFailed, match=names) as caught:
            await host.call(wrong, "a")
        assert caught.value.code == "guard.event"
        assert await host.call(Ledger.count, "a") == 1
        await host.restart()
        assert await host.call(Ledger.count, "a") == 1
        assert await length(store) == 1


async def test_a_key_value_misfit_is_not_stored(store: FaultyStore) -> None:
    async with Host(service, store=store, guards=False) as host:
        await host.call(Shelf.fill, "a", 3)
        with pytest.raises(HandlerFailed, match=r"Shelf\.fill_wrongly .*books"):
            await host.call(Shelf.fill_wrongly, "a")
        assert await host.call(Shelf.count, "a") == 3
        await host.restart()
        assert await host.call(Shelf.count, "a") == 3


async def test_a_misfit_of_a_publisher_is_refused(store: FaultyStore) -> None:
    async with Host(service, store=store, guards=False) as host:
        with pytest.raises(InvalidPayload, match=r"Tallied has .*number"):
            await host.publish(tallies, Tallied(1), Tallied(WRONG))
        assert await length(store) == 0


async def test_a_consumers_misfits_are_dead_letters(store: FaultyStore) -> None:
    @consumer("teller", source=Ledger)
    def teller(event: Tallied, ctx: Context) -> Effect[None]:
        if ctx.subject == "a":
            return publish(tallies, Tallied(WRONG))
        return send(Ledger.take, "c", Order(WRONG))

    told = Service("misfits", components=[Ledger, teller], topics=[tallies])
    async with Host(told, store=store, guards=False) as host:
        await host.call(Ledger.note, "a", 1)
        await host.call(Ledger.note, "b", 1)
        await host.settle()
        letters = await host.letters("teller")
        assert [(x.key, x.status) for x in letters] == [("ledger/a", "dead"), ("ledger/b", "dead")]
        assert all("number" in letter.error for letter in letters)
        assert await length(store) == 2


async def test_memory_is_what_a_reload_makes_of_the_journal(store: FaultyStore) -> None:
    class Noted(Event):
        what: Any

    @component("loose")
    class Loose(EventSourcedEntity):
        kept: Any = None

        @command
        def keep(self) -> Effect[str]:
            return self.persist(Noted(("a", "tuple"))).reply(lambda loose: repr(loose.kept))

        @query
        def shown(self) -> str:
            return repr(self.kept)

        @on(Noted)
        def noted(self, event: Noted) -> None:
            self.kept = event.what

    async with Host(Service("loose", components=[Loose]), store=store, guards=False) as host:
        first = await host.call(Loose.keep, "a")
        await host.restart()
        assert await host.call(Loose.shown, "a") == first == "['a', 'tuple']"


async def test_a_snapshot_that_does_not_fit_is_passed_over(store: FaultyStore) -> None:
    @component("spoilt")
    class Spoilt(EventSourcedEntity):
        snapshot_every = 2
        seen: int = 0
        wrong: int = 0

        @command
        def note(self) -> Effect[int]:
            return self.persist(Tallied(1)).reply(lambda spoilt: spoilt.seen)

        @on(Tallied)
        def tallied(self, event: Tallied) -> None:
            self.seen += 1
            self.wrong = WRONG

    async with Host(Service("spoilt", components=[Spoilt]), store=store, guards=False) as host:
        for _ in range(3):
            await host.call(Spoilt.note, "a")
        assert (await store.inner.journal.load("spoilt", "a"))[0] is not None
        await host.restart()
        assert await host.call(Spoilt.note, "a") == 4
