"""Power loss: with FULL nothing acknowledged is lost; with NORMAL the same test must find loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, Loss, disk
from tests.faults.figures import Report
from tests.faults.power import CONTINUED, Outcome, round_of_cuts


@pytest.fixture
def broken_disk() -> Iterator[Disk]:
    with disk("power") as made:
        yield made


@pytest.mark.parametrize(
    ("rounds", "cuts"), [(1, 200), pytest.param(20, 500, marks=pytest.mark.soak)]
)
async def test_full_loses_nothing_acknowledged(
    tmp_path: Path, broken_disk: Disk, report: Report, rounds: int, cuts: int
) -> None:
    outcome = Outcome()
    for seed in range(rounds):
        folder = tmp_path / f"round-{seed}"
        await round_of_cuts(
            folder, broken_disk, synchronous="FULL", cuts=cuts, seed=seed, outcome=outcome
        )
        broken_disk.forget()
    report(outcome)
    assert outcome.cuts == rounds * cuts
    assert outcome.missing == []
    assert outcome.lost == 0
    # The fault must have bitten: every kind of loss, also inside checkpoints, and enough to lose.
    assert set(outcome.losses) == set(Loss)
    assert outcome.checkpoints >= 5 * rounds
    assert outcome.acknowledged >= 5_000 * rounds
    assert outcome.continued == rounds * cuts // CONTINUED


async def test_normal_loses_what_it_acknowledged(
    tmp_path: Path, broken_disk: Disk, report: Report
) -> None:
    """The negative control: the same cuts find the loss that NORMAL allows."""
    outcome = Outcome()
    await round_of_cuts(
        tmp_path / "round", broken_disk, synchronous="NORMAL", cuts=120, seed=3, outcome=outcome
    )
    report(outcome)
    assert outcome.cuts == 120
    assert outcome.lost >= 5
    assert len(outcome.missing) >= 20
