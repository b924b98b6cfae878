"""The service finds in the clicks what the log says of them, and what it is for beyond figures."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import msgspec
from rich.console import Console

from eventmill.adapters.postgres.store import Store
from eventmill.testing import EntityKit, Host
from eventmill.testing.postgres import Server
from examples.activity import data, demo, expected
from examples.activity.service import (
    SILENCE,
    Audited,
    SessionEnded,
    SessionStarted,
    VisitEnded,
    Visitor,
    Visitors,
    audit,
    service,
    sessions,
    step_of,
)

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def test_silence_ends_a_session() -> None:
    visitor = EntityKit(Visitor, "v")

    def click(page: str, at: datetime) -> list[type]:
        run = visitor.run(Visitor.click, page=page, at=at, platform="mobile", channel="email")
        return [type(event) for event in run.events]

    click("home", NOON)
    assert SessionStarted not in click("catalog", NOON + SILENCE)
    late = click("search", NOON + 2 * SILENCE + timedelta(seconds=1))
    assert late[:2] == [VisitEnded, SessionStarted]
    assert visitor.run(Visitor.journey).reply == ["search"]


def test_the_furthest_step_counts() -> None:
    assert step_of(["home"]) == 0
    assert step_of(["product_view", "home"]) == 1
    assert step_of(["payment_details", "product_view"]) == 4


async def test_the_first_visitors_give_the_figures_of_the_log() -> None:
    first = list(data.clicks(40))
    wanted = expected.compute(first)
    async with Host(service, patience=60) as host:
        ended, noted = host.probe(sessions), host.probe(audit)
        await demo.send(host, first)
        assert await demo.ask(host) == wanted
        told = await ended.expect_n(wanted.sessions, SessionEnded)
        assert sum(len(event.pages) for event in told) == len(first)
        entries = await noted.expect_n(wanted.audited.total(), Audited)
        assert Counter(entry.did for entry in entries) == wanted.audited


async def test_they_give_the_same_on_postgresql(postgres: Server) -> None:
    first = list(data.clicks(10))
    async with Host(service, store=Store(await postgres.fresh(16)), patience=60) as host:
        await demo.send(host, first)
        assert await demo.ask(host) == expected.compute(first)


async def test_who_was_not_seen_for_long_and_what_somebody_did() -> None:
    first = list(data.clicks(10))
    async with Host(service, patience=60) as host:
        noted = host.probe(audit)
        await demo.send(host, first)
        last = {click.visitor: click.at for click in first}
        since = sorted(last.values())[5]
        lost = await host.query(Visitors.not_seen_since, since=since)
        assert {row.visitor for row in lost} == {v for v, at in last.items() if at < since}
        # An audit entry names the entry of the journal that proves it.
        entry, *_ = await noted.expect_n(expected.compute(first).audited.total(), Audited)
        (proof,) = await host.store.journal.history(
            "visitor", entry.visitor, after=entry.entry - 1, limit=1
        )
        assert msgspec.json.decode(proof.payload)["page"] == entry.did


async def test_the_demo(tmp_path: Path) -> None:
    told = StringIO()
    assert await demo.run(tmp_path, 40, Console(file=told, width=200))
    assert "Every figure is that of the log." in told.getvalue()
