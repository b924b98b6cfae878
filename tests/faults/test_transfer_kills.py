"""The wallets of examples/wallet_transfer under kill -9: no kill makes money, or loses it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from tests.faults.process import NodeProcess, command

WALLETS = [f"w{number}" for number in range(6)]
MONEY = 1_000


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, marks=pytest.mark.timeout(300)),
        pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
)
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
