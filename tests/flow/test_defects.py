"""Defects that no handler should have: they are parked or make the node fail, never lose events."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Retry,
    Service,
    Topic,
    command,
    component,
    consumer,
    publish,
    send,
)
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterStatus
from eventmill.model.entry import Entry
from eventmill.runtime.dispatch.reaction import Reacted, Reaction
from eventmill.sdk.consumer import Consumer
from eventmill.testing import FaultyStore, Host
from tests.flow.bank import Booked, ledger
from tests.flow.journals import everything

ONCE = Retry(attempts=1)


class Echo(Event):
    account: str
    text: str = ""


echoes = Topic("echoes", Echo, key="account")


@component("crier")
class Crier(EventSourcedEntity):
    @command
    def cry(self) -> Effect[None]:
        return publish(echoes, Echo(account=self.entity_id))


def bank(*consumers: Consumer) -> Service:
    return Service("bank", components=[Crier, *consumers], topics=[ledger, echoes])


async def book(host: Host, *accounts: str) -> None:
    await host.publish(ledger, *(Booked(account=account, amount=1) for account in accounts))


async def dead(host: Host) -> list[tuple[str, str]]:
    letters = await host.letters()
    assert all(letter.status is LetterStatus.DEAD for letter in letters)
    return [(letter.entry.subject, letter.code) for letter in letters]


@pytest.mark.parametrize("count", [1, 40])
async def test_a_handler_that_ends_with_a_foreign_cancellation_is_parked(
    store: FaultyStore, count: int
) -> None:
    seen: list[str] = []

    @consumer("waiter", source=ledger, retry=ONCE)
    async def waiter(event: Booked) -> None:
        if event.account == "0":
            foreign = asyncio.get_running_loop().create_future()
            foreign.cancel()
            await foreign
        seen.append(event.account)

    async with Host(bank(waiter), store=store) as host:
        await book(host, *map(str, range(count)))
        assert await dead(host) == [("0", "handler.failed")]
        await book(host, "later")
        await host.settle()
        assert sorted(seen) == sorted([*map(str, range(1, count)), "later"])


@pytest.mark.parametrize("count", [1, 40])
async def test_a_loop_that_somebody_else_cancels_fails_the_node(
    store: FaultyStore, count: int
) -> None:
    @consumer("quitter", source=ledger)
    async def quitter(event: Booked) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    host = Host(bank(quitter), store=store)
    await host.start()
    supervisor = host.runtime.supervisor
    await book(host, *map(str, range(count)))
    await asyncio.wait_for(supervisor.failed.wait(), 10)
    await host.stop()
    assert list(supervisor.failures) == ["subscription quitter"]
    assert isinstance(supervisor.failures["subscription quitter"], asyncio.CancelledError)


async def test_a_batch_whose_effect_cannot_be_kept_is_parked_by_its_culprit(
    store: FaultyStore,
) -> None:
    @consumer("echoer", source=ledger, retry=ONCE)
    async def echoer(events: list[Booked]) -> Effect[None]:
        large = "x" * limits.PAYLOAD_BYTES_MAX
        return publish(
            echoes,
            *[Echo(account=e.account, text=large if e.account == "b" else "x") for e in events],
        )

    async with Host(bank(echoer), store=store) as host:
        probe = host.probe(echoes)
        await book(host, "a", "b", "c")
        assert sorted(echo.account for echo in await probe.expect_n(2, Echo)) == ["a", "c"]
        assert await dead(host) == [("b", "request.too_large")]


class Broken:
    """A reaction that raises what no reaction may, as long as a batch has an entry of `culprit`."""

    quiet = 0.0

    def __init__(self, inner: Reaction, culprit: str) -> None:
        self.sources, self.skipped = inner.sources, inner.skipped
        self.retry, self.batch, self.exclusive = inner.retry, inner.batch, inner.exclusive
        self.whole, self.waits = inner.whole, inner.waits
        self.culprit = culprit
        self.attempts: list[int] = []
        self._inner = inner

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        if any(entry.subject == self.culprit for entry in entries):
            self.attempts.append(attempt)
            raise RuntimeError("a defect")
        return await self._inner.react(entries, attempt)

    def committed(self) -> None:
        self._inner.committed()


async def test_a_reaction_that_raises_parks_only_what_makes_it_raise(store: FaultyStore) -> None:
    @consumer("echoer", source=ledger, retry=Retry(attempts=2, initial=1.0))
    def echoer(event: Booked) -> Effect[None]:
        return publish(echoes, Echo(account=event.account))

    async with Host(bank(echoer), store=store) as host:
        probe = host.probe(echoes)
        subscription = host.runtime.subscription("echoer")
        subscription.reaction = broken = Broken(subscription.reaction, "b")
        # A commit in the middle fails: what was handled before is not handled again.
        store.fail(2, matching=lambda commit: bool(commit.offsets))
        await book(host, "a", "b", "c", "b", "d")
        await host.settle(retries=True)
        assert sorted(echo.account for echo in await probe.expect_n(3, Echo)) == ["a", "c", "d"]
        assert store.injected == 1
        assert max(broken.attempts) == 2
        statuses = [(x.entry.subject, str(x.status)) for x in await host.letters()]
        assert statuses == [("b", "dead"), ("b", "waiting")]
        broken.culprit = ""
        await host.operations.redrive("echoer")
        assert [echo.account for echo in await probe.expect_n(2, Echo)] == ["b", "b"]


async def test_the_courier_does_not_repeat_what_is_on_its_way(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    @consumer("sender", source=ledger)
    def sender(event: Booked) -> Effect[None]:
        return send(Crier.cry, event.account)

    gate, commit = asyncio.Event(), store.inner.commit

    async def gated(what: Commit) -> None:
        await gate.wait()
        await commit(what)

    async with Host(bank(sender), store=store) as host:
        await host.operations.pause("$courier")
        await host.operations.pause("sender")
        await book(host, "a", "b")
        await host.operations.resume("sender")
        await host.settle()
        with monkeypatch.context() as patch:
            patch.setattr(store.inner, "commit", gated)
            patch.setattr(limits, "COMMIT_REPLIES_MAX", 1)
            patch.setattr(limits, "COMMITS_WAITING_MAX", 1)
            host.runtime.subscription("$courier").resume()
            for _ in range(30):
                await asyncio.sleep(0)
            patch.setattr(limits, "COMMIT_REPLIES_MAX", 100)
            patch.setattr(limits, "COMMITS_WAITING_MAX", 4)
            host.clock.move_to(host.clock.now() + 300_000)
            for _ in range(60):
                await asyncio.sleep(0)
            gate.set()
            await host.advance(timedelta(seconds=5))
        cries = await everything(store, "echoes")
        assert Counter(entry.subject for entry in cries) == {"a": 1, "b": 1}


async def test_a_topic_that_is_not_the_services_fails_the_handler(store: FaultyStore) -> None:
    topics = {"lost": Topic("lost", Echo)}

    @component("whisperer")
    class Whisperer(EventSourcedEntity):
        @command
        def whisper(self) -> Effect[None]:
            return publish(topics["lost"], Echo(account="a"))

    @consumer("reacting", source=ledger, retry=ONCE)
    def reacting(event: Booked) -> Effect[None]:
        return publish(topics["lost"], Echo(account="a"))

    @consumer("calling", source=ledger, retry=ONCE)
    async def calling(event: Booked, ctx: Context) -> None:
        await ctx.publish(topics["lost"], Echo(account="a"))

    service = Service("bank", components=[Whisperer, reacting, calling], topics=[ledger])
    message = "topic 'lost' is not part of the service"
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed, match=message):
            await host.call(Whisperer.whisper, "w")
        await book(host, "a")
        await host.settle()
        for letter in await host.letters():
            assert message in letter.error
            assert "add it to topics= of the Service; it has ledger" in letter.error
        assert len(await host.letters()) == 2
