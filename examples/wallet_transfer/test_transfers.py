"""Transfers, tested as their users would: a step alone, the whole on its clock, and under kill -9."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from eventmill import Rejected
from eventmill.testing import EntityKit, Host, WorkflowKit
from examples.wallet_transfer.service import Total, Transfer, Transfers, Wallet, service
from tests.faults.process import NodeProcess, command

WALLETS = [f"w{number}" for number in range(6)]
MONEY = 1_000
KILLS = 3


async def test_a_step_alone() -> None:
    kit = WorkflowKit(Transfer, "t1").given(source="ann", amount=30).answer(Wallet.withdraw, 70)
    outcome = await kit.step(Transfer.withdraw)
    assert outcome.next_step == "deposit"
    assert outcome.calls[0].idempotency_key == "transfer/t1/1:1"


async def test_money_goes_back_when_the_other_wallet_takes_none() -> None:
    kit = WorkflowKit(Transfer, "t1").answer(Wallet.withdraw, 70).answer(Wallet.refund, None)
    kit.answer(Wallet.deposit, Rejected("blocked", code="wallet.blocked"))
    kit.run(Transfer.start, "ann", "bob", 30)
    await kit.go_on()
    assert (kit.status, kit.state.outcome) == ("compensated", "refunded")
    called = [call.handler for call in kit.calls]
    assert called == [Wallet.withdraw, Wallet.deposit, Wallet.refund]


def test_a_refund_gives_back_what_was_taken_and_nothing_else() -> None:
    wallet = EntityKit(Wallet, "ann")
    wallet.run(Wallet.deposit, 100)
    wallet.run(Wallet.refund, "t1")
    assert wallet.run(Wallet.content).reply == (100, 0)
    wallet.run(Wallet.withdraw, 30, "t1")
    assert wallet.run(Wallet.content).reply == (70, 30)
    wallet.run(Wallet.refund, "t1")
    wallet.run(Wallet.refund, "t1")
    assert wallet.run(Wallet.content).reply == (100, 0)


async def test_transfers_in_all_their_outcomes() -> None:
    async with Host(service) as host:
        await host.call(Wallet.deposit, "ann", 100)
        await host.call(Wallet.block, "eve")
        for id, target, amount in (("t1", "bob", 30), ("t2", "bob", 300), ("t3", "eve", 7)):
            assert await host.call(Transfer.start, id, "ann", target, amount) == "under way"
        await host.settle()
        assert await host.call(Transfer.start, "t1", "ann", "bob", 30) == "done"
        assert await host.query(Transfers.totals) == [
            Total(outcome="done", transfers=1, amount=30),
            Total(outcome="refunded", transfers=1, amount=7),
            Total(outcome="refused", transfers=1, amount=300),
        ]
        assert await host.call(Wallet.content, "ann") == (70, 0)
        assert await host.call(Wallet.content, "bob") == (30, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [KILLS, pytest.param(40, marks=pytest.mark.soak)])
async def test_no_kill_makes_or_loses_money(tmp_path: Path, kills: int) -> None:
    luck = random.Random(kills)
    node = NodeProcess.free("examples.wallet_transfer.service:service", tmp_path / "data")
    started: list[str] = []
    try:
        async with aiohttp.ClientSession() as http:
            await node.start()
            await node.ready(http)
            for wallet in WALLETS:
                await command(http, node.url, f"wallet/{wallet}/deposit", {"amount": MONEY})
            await command(http, node.url, f"wallet/{WALLETS[0]}/block", {})
            for _ in range(kills):
                await _work(http, node, started, luck)
                await node.kill()
                await node.start()
                await node.ready(http)
            outcomes = await _outcomes(http, node, started)
            held = await _money(http, node)
        await node.stop()
    finally:
        await node.discard()
    assert held == [MONEY * len(WALLETS), 0]
    assert len(outcomes) == len(started)
    assert {"done", "refunded"} <= set(outcomes.values())


async def _work(
    http: aiohttp.ClientSession, node: NodeProcess, started: list[str], luck: random.Random
) -> None:
    """Start transfers until the node is to be killed; what has no answer is unknown, and stays so."""

    async def client(number: int) -> None:
        while True:
            id = f"t{len(started)}"
            source, target = luck.sample(WALLETS, 2)
            arguments = {"source": source, "target": target, "amount": luck.randrange(1, 200)}
            started.append(id)
            await command(http, node.url, f"transfer/{id}/start", arguments, key=id)

    clients = [asyncio.ensure_future(client(number)) for number in range(8)]
    goal = len(started) + luck.randrange(20, 60)
    while len(started) < goal:
        done, _ = await asyncio.wait(clients, timeout=0.001)
        assert not done, done.pop().exception()
    for one in clients:
        one.cancel()
    await asyncio.wait(clients)


async def _outcomes(
    http: aiohttp.ClientSession, node: NodeProcess, started: list[str]
) -> dict[str, str]:
    """Wait until no transfer that was begun is under way; nothing may be stuck for 30 seconds."""
    outcomes: dict[str, str] = {}
    async with asyncio.timeout(30):
        for id in started:
            while True:
                _, (status, outcome) = await command(http, node.url, f"transfer/{id}/content", {})
                if status in ("new", "ended", "compensated"):
                    outcomes[id] = outcome
                    break
                await asyncio.sleep(0.01)
    return outcomes


async def _money(http: aiohttp.ClientSession, node: NodeProcess) -> list[int]:
    held = [0, 0]
    for wallet in WALLETS:
        _, (balance, taken) = await command(http, node.url, f"wallet/{wallet}/content", {})
        held[0] += balance
        held[1] += taken
    return held
