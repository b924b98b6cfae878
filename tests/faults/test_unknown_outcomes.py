"""A commit that came true and was reported as failed, as when a connection breaks at COMMIT."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from eventmill.adapters.sqlite.store import Store
from eventmill.errors import StoreUnavailable
from eventmill.model.commit import Commit
from tests.faults import inprocess, ledger
from tests.faults.audit import audit
from tests.faults.figures import Report
from tests.faults.trouble import clients_of

EVERY = 5
AGAIN_MAX = 20


class Doubtful(Store):
    """Every so many commits come true, but nobody is told."""

    commits = 0
    unknown = 0

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        self.commits += 1
        if self.commits % EVERY == 0:
            self.unknown += 1
            raise StoreUnavailable("the answer to COMMIT was lost")


async def test_unknown_outcomes(tmp_path: Path, report: Report) -> None:
    store = Doubtful(tmp_path / "data")
    async with inprocess.running(ledger.service, store) as runtime:
        clients = clients_of(runtime)
        while store.unknown < 100:
            await clients.wave()
        for _ in range(AGAIN_MAX):
            if await clients.again() == 0:
                break
        await inprocess.drained(runtime)
    facts = await audit(tmp_path / "data")
    report(f"{store.unknown} of {store.commits} commits of unknown outcome; {clients}")
    expected = {f"op-{n}" for n in range(1, clients.sent + 1)}
    assert clients.refused == {}
    assert {op for ops in facts.ops.values() for op in ops} == expected
    assert facts.counted == Counter(expected)
    assert set(facts.lags.values()) == {0}
    assert clients.errors["StoreUnavailable"] >= 50
    assert len(expected) >= 500
