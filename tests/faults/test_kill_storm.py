"""kill -9 at random instants: nothing acknowledged is lost, nothing is there by half or twice."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.faults.figures import Report
from tests.faults.process import NodeProcess
from tests.faults.storm import Storm


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kills", [15, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_kill_storm(tmp_path: Path, report: Report, kills: int) -> None:
    storm = Storm(seed=kills)
    data = tmp_path / "data"
    node = NodeProcess.free("tests.faults.ledger:service", data)
    try:
        async with aiohttp.ClientSession() as http:
            await storm.rage(node, http, kills)
            await storm.settle(node, http)
            await storm.view(node, http)
        await node.stop()
    finally:
        await node.discard()
    facts = await storm.account_for(data)
    report(storm)
    assert storm.kills == kills
    assert storm.interrupted >= kills  # the kills met work under way
    assert len(storm.sent) == sum(map(len, facts.ops.values()))
    assert storm.acknowledged >= 20 * kills
    assert storm.verified >= 8 * kills**2  # all that there was, after each kill
    assert storm.healed >= kills
    assert set(facts.lags.values()) == {0}
