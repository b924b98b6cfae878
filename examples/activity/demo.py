"""`make demo-activity`: half a year of clicks through one node on a SQLite file, compared with the log.

The host has a clock of its own: when the log is through, half an hour of silence passes at once, and
timers end the sessions that are still open. Ends with 1 if a figure differs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from eventmill.adapters.sqlite.store import Store
from eventmill.testing import Host
from examples.activity import data
from examples.activity.expected import Expected, Funnels, compute
from examples.activity.service import (
    SILENCE,
    Clicked,
    Funnel,
    Sessions,
    Visitors,
    clicks,
    service,
)

BATCH = 500
HEADINGS = ("viewed", "in cart", "shipping", "payment", "bought")
"""Of `STEPS`."""


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--visitors", type=int, default=data.VISITORS, help="only the first so many"
    )
    visitors = parser.parse_args().visitors
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    with tempfile.TemporaryDirectory(prefix="eventmill-activity-") as folder:
        agrees = asyncio.run(run(Path(folder), visitors, Console()))
    sys.exit(0 if agrees else 1)


async def run(folder: Path, visitors: int, console: Console) -> bool:
    """Send the clicks of the first visitors, show what becomes of them, compare it with the log."""
    log = list(data.clicks(visitors))
    console.print(f"{len(log):,} clicks of {visitors} visitors, each durable in a file …")
    async with Host(service, store=Store(folder), guards=False, patience=600) as host:
        begin = time.perf_counter()
        await send(host, log)
        seconds = time.perf_counter() - begin
        found = await ask(host)
    show(found, console)
    console.print(f"{len(log):,} clicks in {seconds:.1f} s, {len(log) / seconds:,.0f} a second.")
    agrees = found == compute(log)
    console.print("Every figure is that of the log." if agrees else "[red]The log says otherwise.")
    return agrees


async def send(host: Host, log: Iterable[data.Click]) -> None:
    """Publish the clicks in their order; then everybody is silent."""
    rest = iter(log)
    while batch := [_event(click) for click in islice(rest, BATCH)]:
        await host.publish(clicks, *batch)
    await host.settle()
    await host.advance(SILENCE)


async def ask(host: Host) -> Expected:
    """Ask the views for what the log says, too."""
    platforms = await host.query(Sessions.by_platform)
    days = await host.query(Sessions.by_day)
    visitors = await host.query(Visitors.most_active, limit=data.VISITORS)
    return Expected(
        sessions=sum(row.sessions for row in platforms),
        by_platform=_funnels(platforms),
        by_channel=_funnels(await host.query(Sessions.by_channel)),
        by_day={row.day: (row.sessions, row.visitors) for row in days},
        clicks=Counter({row.visitor: row.clicks for row in visitors}),
    )


def show(found: Expected, console: Console) -> None:
    """Show the funnels, and the days on which most was going on."""
    for title, funnels in (("Platform", found.by_platform), ("Channel", found.by_channel)):
        table = Table(title, "sessions", *HEADINGS)
        for name, row in funnels.items():
            shares = [f"{number:,} ({number / row[0]:.0%})" for number in row[1:]]
            table.add_row(name, f"{row[0]:,}", *shares)
        console.print(table)
    busiest = sorted(found.by_day.items(), key=lambda item: item[1], reverse=True)[:3]
    told = ", ".join(f"{day}: {number} sessions" for day, (number, _) in busiest)
    console.print(f"The busiest days: {told}.")


def _event(click: data.Click) -> Clicked:
    return Clicked(
        visitor=click.visitor,
        page=click.page,
        at=click.at,
        platform=click.platform,
        channel=click.channel,
    )


def _funnels(rows: Sequence[Funnel]) -> Funnels:
    return {
        row.name: [row.sessions, row.viewed, row.put, row.shipped, row.paid, row.bought]
        for row in rows
    }


if __name__ == "__main__":
    main()
