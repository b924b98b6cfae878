"""A full or broken disk as HTTP clients meet it: 507 or 503, and 200 when space returns."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.faults.audit import audit
from tests.faults.figures import Report
from tests.faults.process import NodeProcess, command

BALLAST_STEP = 64 << 10
REFUSED_MIN = 20
ACCOUNTS = 5


class Client:
    """Sends operations; knows who was acknowledged and what the others were told."""

    def __init__(self, node: NodeProcess, http: aiohttp.ClientSession) -> None:
        self._node = node
        self._http = http
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.statuses: dict[int, int] = {}
        self._sent = 0

    async def send_new(self) -> int:
        self._sent += 1
        return await self.send(f"op-{self._sent}")

    async def send(self, op: str) -> int:
        account = f"account/a{int(op[3:]) % ACCOUNTS}/transfer"
        arguments = {"op": op, "amount": 1}
        status, problem = await command(self._http, self._node.url, account, arguments, key=op)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.acknowledged.append(op)
        else:
            assert problem["code"].startswith("unavailable.store"), problem
            self.refused.append(op)
        return status

    async def resumes(self) -> None:
        """Everything that was refused is taken now, without anybody doing anything."""
        while self.refused:
            op = self.refused.pop(0)
            assert await self.send(op) == 200

    async def reads(self) -> None:
        status, content = await command(self._http, self._node.url, "account/a1/content", {})
        assert status == 200
        assert content["sequence"] == 2 * len(content["ops"])


@asynccontextmanager
async def client_of(data: Path, log: Path) -> AsyncIterator[tuple[NodeProcess, Client]]:
    node = NodeProcess.free("tests.faults.ledger:service", data)
    node.log = log
    await node.start()
    try:
        async with aiohttp.ClientSession() as http:
            await node.ready(http)
            await node.announced()
            yield node, Client(node, http)
        await node.stop()
    finally:
        await node.discard()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NEEDS ROOT: a small tmpfs cannot be mounted; the quota of `Disk` stands in")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "eventmill-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("NEEDS MOUNT: a small tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_507(small_disk: Path, report: Report) -> None:
    data = small_disk / "data"
    async with client_of(data, small_disk.with_name("node.log")) as (_, client):
        assert await client.send_new() == 200
        ballast = small_disk / "ballast"
        _fill(ballast)
        while len(client.refused) < REFUSED_MIN:
            await client.send_new()
        await client.reads()
        ballast.unlink()
        await client.resumes()
        assert await client.send_new() == 200
    facts = await audit(data)
    assert {op for ops in facts.ops.values() for op in ops} == set(client.acknowledged)
    report(f"answers by status: {client.statuses}")
    assert client.statuses.get(507, 0) >= REFUSED_MIN


async def test_a_file_that_cannot_grow_is_503(tmp_path: Path, report: Report) -> None:
    """Not ENOSPC but EFBIG, which needs no root: the limit is laid on the running process."""
    data = tmp_path / "data"
    async with client_of(data, tmp_path / "node.log") as (node, client):
        for _ in range(10):
            assert await client.send_new() == 200
        size = max(file.stat().st_size for file in data.iterdir())
        _limit(node.process.pid, size)
        while len(client.refused) < REFUSED_MIN:
            await client.send_new()
        await client.reads()
        _limit(node.process.pid, resource.RLIM_INFINITY)
        await client.resumes()
        assert await client.send_new() == 200
    facts = await audit(data)
    assert {op for ops in facts.ops.values() for op in ops} == set(client.acknowledged)
    report(f"answers by status: {client.statuses}")
    assert client.statuses.get(503, 0) >= REFUSED_MIN


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for step in (BALLAST_STEP, 4096, 1):
            try:
                while file.write(b"\0" * step) == step:
                    pass
            except OSError:
                continue


def _limit(process: int, size: int) -> None:
    _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, hard))
