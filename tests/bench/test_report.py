"""The benchmark's own arithmetic: medians, targets and what the report says of what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import carts, report
from bench.environments import CannotMeasure
from bench.figures import Contestant, Latency, Row, Sample, lag_p99, rate, ratio
from bench.run import measure_row
from eventmill.adapters.sqlite.store import Store


def contestant(system: str, *rates: float, p99: float = 1.0) -> Contestant:
    left = list(rates)

    def measure(folder: Path, seconds: float) -> Sample:
        assert not list(folder.iterdir())
        if not left:
            raise CannotMeasure("it is not there")
        return Sample(left.pop(0), Latency(0.1, 0.5, p99))

    return Contestant(system, "none", measure)


def test_the_median_round_counts_and_targets_are_judged_by_it() -> None:
    row = Row(
        id="row",
        work="work",
        unit="things/s",
        contestants=(contestant("ours", 70.0, 90.0, 80.0), contestant("peer", 90.0, 110.0, 100.0)),
        targets=(ratio("ours", "peer", at_least=0.8), rate("ours", at_least=81)),
    )

    result = measure_row(row, rounds=3, seconds=1, progress=lambda line: None)

    assert result.figures["ours"].median.per_second == 80.0
    assert result.figures["ours"].spread == (70.0, 90.0)
    assert [(v.value, v.met) for v in result.verdicts] == [(0.8, True), (80.0, False)]


def test_a_ratio_is_taken_within_each_round_because_the_machine_changes_its_speed() -> None:
    row = Row(
        id="row",
        work="work",
        unit="things/s",
        contestants=(contestant("ours", 50.0, 200.0, 90.0), contestant("peer", 100.0, 100.0, 60.0)),
        targets=(ratio("ours", "peer", at_least=1),),
    )

    result = measure_row(row, rounds=3, seconds=1, progress=lambda line: None)

    assert [v.value for v in result.verdicts] == [1.5]


def test_a_lag_must_stay_below_its_bound() -> None:
    row = Row(
        id="row",
        work="work",
        unit="things/s",
        contestants=(contestant("fast", 1.0, p99=99.0), contestant("slow", 1.0, p99=101.0)),
        targets=(lag_p99("fast", below_ms=100), lag_p99("slow", below_ms=100)),
    )

    result = measure_row(row, rounds=1, seconds=1, progress=lambda line: None)

    assert [v.met for v in result.verdicts] == [True, False]


def test_who_cannot_be_measured_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    row = Row(
        id="row",
        work="work",
        unit="things/s",
        contestants=(contestant("absent"), contestant("present", 5.0, 6.0)),
        targets=(ratio("present", "absent", at_least=1),),
    )

    result = measure_row(row, rounds=2, seconds=1, progress=lambda line: None)
    run = {"command": "bench", "date": "2026-11-23", "rounds": 2, "seconds": 1.0}
    report.write(tmp_path, [result], {"processor": "any"}, run)

    assert result.missing == {"absent": "it is not there"}
    data = json.loads((tmp_path / "benchmarks.json").read_text())
    assert data["rows"][0]["missing"] == {"absent": "it is not there"}
    assert [r["per_second"] for r in data["rows"][0]["systems"][0]["rounds"]] == [5.0, 6.0]
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| work | absent | not measured |" in page
    assert "| work | present ≥ 1 × absent |  | not measured |" in page


def test_percentiles_are_in_milliseconds() -> None:
    durations = [number / 1000 for number in range(1, 101)]

    assert Latency.of_seconds(durations) == Latency(51.0, 96.0, 100.0)


@pytest.mark.parametrize(("events", "count"), [(30, 10), (1, 1)])
async def test_a_filled_journal_is_one_that_commands_would_have_left(
    tmp_path: Path, events: int, count: int
) -> None:
    carts.fill(tmp_path, events=events, carts=count)
    store = Store(tmp_path)
    await store.open()
    try:
        assert await store.journal.end(0) == events
        _, entries = await store.journal.load("cart", "cart-0")
        assert [e.sequence for e in entries] == list(range(1, events // count + 1))
        assert {(e.type, e.payload) for e in entries} == {(carts.TYPE, carts.PAYLOAD)}
    finally:
        await store.close()
