"""Starting and stopping in order, also when something is in the way."""

from __future__ import annotations

import asyncio

import pytest

from eventmill import ConfigurationError, Service, consumer
from eventmill.errors import StoreUnavailable, Unavailable
from eventmill.testing import FaultyStore, Host
from tests.flow.bank import Account, Deposited, ledger


@consumer("late", source=Account, start="latest")
def late(event: Deposited) -> None: ...


service = Service("bank", components=[Account, late], topics=[ledger])


async def test_a_stop_finishes_what_was_accepted(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        calls = [asyncio.ensure_future(host.call(Account.deposit, "a", 1)) for _ in range(20)]
        await asyncio.sleep(0)
        await host.stop()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        accepted = [reply for reply in replies if isinstance(reply, int)]
        assert all(isinstance(r, Unavailable) for r in replies if not isinstance(r, int))
        await host.start()
        assert await host.call(Account.content, "a") == len(accepted)


async def test_a_stopped_host_gives_the_store_back(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.deposit, "a", 1)
    async with Host(service, store=store) as again:
        assert await again.call(Account.content, "a") == 1


async def test_a_store_in_use_is_refused_and_its_holder_goes_on(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(ConfigurationError):
            await Host(service, store=store).start()
        assert await host.call(Account.deposit, "a", 1) == 1


async def test_a_start_that_fails_leaves_nothing_behind(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.deposit, "a", 1)
        await host.runtime.roster.unsubscribe("late")
    async with Host(Service("bank", components=[Account], topics=[ledger]), store=store) as host:
        await host.call(Account.deposit, "a", 1)
    fresh = Service("bank", components=[Account, later], topics=[ledger])
    store.fail()
    host = Host(fresh, store=store)
    with pytest.raises(StoreUnavailable):
        await host.start()
    await host.start()
    assert await host.call(Account.content, "a") == 2
    await host.stop()


@consumer("later", source=Account, start="latest")
def later(event: Deposited) -> None: ...
