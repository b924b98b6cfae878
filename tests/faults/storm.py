"""The storm: clients work on a node that is killed at random instants, again and again.

Each client keeps a log: what it sent under which idempotency key, and what was acknowledged. After
each restart the node is asked for every account, and everything that was without an answer is sent
again under its key, as a client would. At the end the store itself is held to account.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.faults.audit import Facts, audit
from tests.faults.process import NodeProcess, command

ACCOUNTS = 24
CLIENTS = 16
ACKNOWLEDGED_BETWEEN_MAX = 120
"""A kill comes after at most so many acknowledgements more."""
DELAY_SECONDS_MAX = 0.02
"""And then at any instant within this time, so that it meets every phase of a commit."""
STARTING_SHARE = 0.15
"""Share of kills that hit a node while it is starting."""
REPEATED = 10
"""Acknowledged operations that are sent once more after each restart."""


@dataclass
class Operation:
    """One transfer, as its client knows it."""

    account: str
    op: str
    reply: object = None
    """None as long as there is no answer."""


@dataclass
class Storm:
    """What the clients know, and what was seen."""

    seed: int
    sent: list[Operation] = field(default_factory=list)
    kills: int = 0
    kills_at_start: int = 0
    interrupted: int = 0
    """Requests that were under way when the node was killed."""
    verified: int = 0
    """Acknowledged operations that were found, summed over all restarts."""
    repeated: int = 0
    """Operations sent again under their key."""
    healed: int = 0
    """Of those, operations whose first answer had been lost."""

    def __post_init__(self) -> None:
        self.luck = random.Random(self.seed)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.kills_at_start} while starting), {self.interrupted} "
            f"requests interrupted, {self.acknowledged} operations acknowledged, {self.verified} "
            f"verifications, {self.repeated} repeated under their key, {self.healed} of them "
            "without a first answer"
        )

    @property
    def acknowledged(self) -> int:
        return sum(operation.reply is not None for operation in self.sent)

    async def rage(self, node: NodeProcess, http: aiohttp.ClientSession, kills: int) -> None:
        """Kill and verify that many times; the node runs at the end."""
        await node.start()
        while self.kills < kills:
            if self.kills and self.luck.random() < STARTING_SHARE:
                await self._kill_while_starting(node)
                continue
            await node.ready(http)
            await self._verify(node, http)
            await self._work_and_kill(node, http)
            await node.start()
        await node.ready(http)
        await self._verify(node, http)

    async def _kill_while_starting(self, node: NodeProcess) -> None:
        delay = self.luck.random() * 0.25
        await asyncio.wait([asyncio.ensure_future(node.ended())], timeout=delay)
        await node.kill()
        self.kills += 1
        self.kills_at_start += 1
        await node.start()

    async def _work_and_kill(self, node: NodeProcess, http: aiohttp.ClientSession) -> None:
        goal = self.acknowledged + self.luck.randrange(1, ACKNOWLEDGED_BETWEEN_MAX)
        clients = [asyncio.ensure_future(self._client(node, http)) for _ in range(CLIENTS)]
        while self.acknowledged < goal:
            done, _ = await asyncio.wait(clients, timeout=0.001)
            assert not done, done.pop().exception()
        await asyncio.wait(clients, timeout=self.luck.random() * DELAY_SECONDS_MAX)
        await node.kill()
        self.kills += 1
        for client in clients:
            await client

    async def _client(self, node: NodeProcess, http: aiohttp.ClientSession) -> None:
        while True:
            operation = Operation(f"a{self.luck.randrange(ACCOUNTS)}", f"op-{len(self.sent)}")
            self.sent.append(operation)
            try:
                await self._send(node, http, operation)
            except aiohttp.ClientError:
                self.interrupted += 1
                return

    async def _send(
        self, node: NodeProcess, http: aiohttp.ClientSession, operation: Operation
    ) -> None:
        path = f"account/{operation.account}/transfer"
        arguments = {"op": operation.op, "amount": 1}
        status, reply = await command(http, node.url, path, arguments, key=operation.op)
        assert status == 200, (status, reply)
        assert operation.reply in (None, reply), "a repetition got another answer"
        operation.reply = reply

    async def _verify(self, node: NodeProcess, http: aiohttp.ClientSession) -> None:
        found = await self._accounts(node, http)
        for operation in self.sent:
            if operation.reply is not None:
                assert found[operation.account].count(operation.op) == 1, f"lost: {operation}"
                self.verified += 1
        unknown = [operation for operation in self.sent if operation.reply is None]
        known = [operation for operation in self.sent if operation.reply is not None]
        again = unknown + self.luck.sample(known, min(REPEATED, len(known)))
        for operation in again:
            await self._send(node, http, operation)
        self.repeated += len(again)
        self.healed += len(unknown)
        after = await self._accounts(node, http)
        for operation in again:
            assert after[operation.account].count(operation.op) == 1, f"not once: {operation}"

    async def _accounts(
        self, node: NodeProcess, http: aiohttp.ClientSession
    ) -> dict[str, list[str]]:
        found = {}
        for number in range(ACCOUNTS):
            _, content = await command(http, node.url, f"account/a{number}/content", {})
            ops: list[str] = content["ops"]
            assert content["balance"] == len(ops), "half a command"
            assert content["sequence"] == 2 * len(ops), "half a command"
            found[f"a{number}"] = ops
        return found

    async def settle(self, node: NodeProcess, http: aiohttp.ClientSession) -> None:
        """Wait until every operation was counted in a total."""
        async with asyncio.timeout(60):
            while True:
                counted = 0
                for bucket in range(4):
                    _, content = await command(http, node.url, f"total/bucket-{bucket}/content", {})
                    counted += len(content["ops"])
                if counted >= len(self.sent):
                    return

    async def view(self, node: NodeProcess, http: aiohttp.ClientSession) -> None:
        """Wait until the view has seen everything; its rows must equal the fold."""
        expected = Counter(operation.account for operation in self.sent)
        async with asyncio.timeout(60):
            while True:
                async with http.get(f"{node.url}/views/balances/all") as response:
                    rows = await response.json() if response.status == 200 else []
                if sum(row["transfers"] for row in rows) >= len(self.sent):
                    break
        assert {row["account"]: row["transfers"] for row in rows} == expected
        assert {row["account"]: row["balance"] for row in rows} == expected

    async def account_for(self, data: Path) -> Facts:
        """Check the store of the stopped node against the clients' log."""
        facts = await audit(data)
        expected = {operation.op for operation in self.sent}
        assert {op for ops in facts.ops.values() for op in ops} == expected
        assert set(facts.counted) == expected
        assert sum(facts.counted.values()) == len(expected)
        return facts
