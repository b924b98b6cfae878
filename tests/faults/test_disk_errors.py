"""EIO and ENOSPC: never a false acknowledgement, and work resumes by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from eventmill.adapters.sqlite.store import Store
from tests.faults import inprocess, ledger
from tests.faults.audit import audit
from tests.faults.disk import Disk, Failing, disk, healthy
from tests.faults.figures import Report
from tests.faults.trouble import WAVE, Clients, clients_of

WAVES_MAX = 200
AGAIN_MAX = 5


@pytest.fixture
def bad_disk() -> Iterator[Disk]:
    with disk("bad") as made:
        yield made


@pytest.mark.timeout(0)
@pytest.mark.parametrize("last", [50, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize("lasting", [False, True], ids=["passing", "lasting"])
@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_input_output_errors(
    tmp_path: Path, bad_disk: Disk, report: Report, operation: str, lasting: bool, last: int
) -> None:
    """The n-th operation fails, for each n, one after the other in the life of one node."""
    store = Store(tmp_path / "data", vfs=bad_disk.vfs_name, checkpoint_pages=20, round_entries=64)
    fired = 0
    async with inprocess.running(ledger.service, store) as runtime:
        clients = clients_of(runtime)
        for n in range(1, last + 1):
            fault = Failing(
                operation, at=n, times=None if lasting else 1, error=apsw.IOError
            )  # fmt: skip
            bad_disk.fault = fault
            for _ in range(WAVES_MAX):
                await clients.wave()
                if fault.fired:
                    break
            assert fault.fired, f"{operation} {n} did not happen"
            if lasting:
                assert await clients.wave() == WAVE, "acknowledged by a broken disk"
            bad_disk.fault = healthy
            fired += fault.fired
            await _resumes(clients)
        await inprocess.drained(runtime)
    await _account_for(tmp_path / "data", clients)
    report(f"{fired} faults; {clients}")
    assert fired >= last
    assert clients.errors["StoreUnavailable"] >= last
    assert len(clients.acknowledged) >= last * WAVE


async def test_no_space(tmp_path: Path, bad_disk: Disk, report: Report) -> None:
    """The disk fills up ten times; nothing is acknowledged while it is full."""
    store = Store(tmp_path / "data", vfs=bad_disk.vfs_name, checkpoint_pages=20, round_entries=64)
    async with inprocess.running(ledger.service, store) as runtime:
        clients = clients_of(runtime)
        await clients.wave()
        for _ in range(10):
            bad_disk.quota = sum(bad_disk.sizes.values())
            for _ in range(WAVES_MAX):
                if await clients.wave():
                    break
            before = len(clients.acknowledged)
            assert await clients.wave() == WAVE
            assert len(clients.acknowledged) == before
            # Reading goes on.
            assert b"sequence" in await inprocess.run(runtime, "account", "a1", "content")
            bad_disk.quota = None
            await _resumes(clients)
        await inprocess.drained(runtime)
    await _account_for(tmp_path / "data", clients)
    report(f"{bad_disk.full} writes found no space; {clients}")
    assert bad_disk.full >= 20
    assert clients.errors["StoreFull"] >= 10 * WAVE
    assert set(clients.errors) == {"StoreFull"}


async def test_a_node_that_cannot_read_says_so(tmp_path: Path, bad_disk: Disk) -> None:
    store = Store(tmp_path / "data", vfs=bad_disk.vfs_name)
    async with inprocess.running(ledger.service, store) as runtime:
        clients = clients_of(runtime)
        await clients.wave()
        await inprocess.drained(runtime)
    reopened = Store(tmp_path / "data", vfs=bad_disk.vfs_name)
    async with inprocess.running(ledger.service, reopened) as runtime:
        again = clients_of(runtime)
        fault = bad_disk.fault = Failing("read", at=1, times=None, error=apsw.IOError)
        refused = await again.wave()
        bad_disk.fault = healthy
        assert fault.fired
        assert refused >= 1
        await _resumes(again)
        await inprocess.drained(runtime)


async def _resumes(clients: Clients) -> None:
    """Nobody does anything but send again; a commit under way may still have met the fault."""
    for _ in range(AGAIN_MAX):
        if await clients.again() == 0 and await clients.wave() == 0:
            return
    raise AssertionError(f"work does not resume: {clients}")


async def _account_for(data: Path, clients: Clients) -> None:
    facts = await audit(data)
    expected = {f"op-{n}" for n in range(1, clients.sent + 1)}
    assert clients.acknowledged.keys() == expected
    assert clients.refused == {}
    found = {op: account for account, ops in facts.ops.items() for op in ops}
    assert found == clients.acknowledged
    assert facts.counted == Counter(expected)
    assert set(facts.lags.values()) == {0}
