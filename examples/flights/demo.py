"""`make demo`: the year through one node, its figures as tables, each compared with the data.

Starts `eventmill run examples.flights.service:service` as a process of its own on free ports and in
a temporary directory, and meets it over HTTP alone. Ends with 1 if a figure differs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from examples.flights import data, expected, figures
from examples.flights.node import LOOK_SECONDS, Node, running

FLIGHTS = 336_776
BATCH = 500
LANES = 4
"""Connections; each sends its batches one after the other, which keeps the order of a key."""

QUEUED = 2
"""Batches that wait for a connection."""

RECORDER = "flight-recorder"
DIFFERENCES_SHOWN = 20

REASONS = {
    "flight.air_time": "with an impossible time in the air",
    "flight.registration": "whose aircraft was unknown",
    "request.payload": "that were no flight at all: a field was missing or of another type",
}
"""Codes of dead letters, in words."""

Batch = list[data.CloudEvent]


@dataclass
class Run:
    """What happened on the way."""

    accepted: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    """Of each subscription, when all had been read: dead ones and those that wait behind them."""
    errors: Counter[str] = field(default_factory=Counter)
    """Of dead letters, by code."""
    discarded: int = 0
    published_seconds: float = 0.0
    seconds: float = 0.0
    """From the first batch until every consumer and view was done, dead letters discarded."""


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flights", type=int, default=FLIGHTS, help="only the first so many")
    first = parser.parse_args().flights
    with tempfile.TemporaryDirectory(prefix="eventmill-flights-") as folder:
        comparison = asyncio.run(run(Path(folder), first, Console()))
    sys.exit(1 if comparison.differences else 0)


async def run(folder: Path, first: int, console: Console, *options: str) -> figures.Comparison:
    """Send the flights to a node, show what it makes of them, and compare it with the data.

    Parameter: `options` are further ones of `eventmill run`.
    """
    async with running(folder, *options) as node:
        console.print(f"A node runs at {node.url}, its operating surface at {node.admin_url}.")
        console.print(
            f"It gets {first:,} flights, some of them malformed on purpose. "
            "The whole year takes a few minutes; the bars say how much is left."
        )
        result = await send_all(node, first, console)
        shown = await figures.ask(node)
    figures.show(shown, console)
    tell(result, console)
    return judge(result, shown, first, console)


def tell(result: Run, console: Console) -> None:
    """Say how fast it went."""
    rate, through = result.accepted / result.published_seconds, result.accepted / result.seconds
    console.print(
        f"{result.accepted:,} events were published in {result.published_seconds:.1f} s, "
        f"{rate:,.0f} a second."
    )
    console.print(
        f"After {result.seconds:.1f} s they were through all consumers and views: "
        f"[bold]{through:,.0f} a second[/]."
    )


def judge(result: Run, shown: figures.Shown, first: int, console: Console) -> figures.Comparison:
    """Compare every figure with the data; print those that differ."""
    wanted = expected.compute(first)
    letters = wanted.dead_letters + wanted.held_back
    comparison = figures.Comparison()
    comparison.expect("events accepted", result.accepted, wanted.sent)
    comparison.expect("letters", result.letters, {RECORDER: letters} if letters else {})
    comparison.expect("dead letters", result.discarded, wanted.dead_letters)
    figures.compare(shown, wanted, comparison)
    for difference in comparison.differences[:DIFFERENCES_SHOWN]:
        console.print(f"[red]{difference}")
    agree = comparison.figures - len(comparison.differences)
    console.print(f"\n[bold]{agree:,} of {comparison.figures:,} figures agree with the data.")
    return comparison


async def send_all(node: Node, first: int, console: Console) -> Run:
    """Publish everything, wait until it is through, and settle the dead letters."""
    result = Run()
    await node.publish("airlines", list(data.airlines()))
    begin = time.perf_counter()
    with bars(console) as progress:
        sending = progress.add_task("flights sent", total=first)

        async def lane(batches: asyncio.Queue[Batch]) -> None:
            while batch := await batches.get():
                accepted = await node.publish("flights", batch)
                result.accepted += accepted
                progress.advance(sending, sum("broken" not in event for event in batch))

        async with asyncio.TaskGroup() as group:
            lanes = [asyncio.Queue[Batch](QUEUED) for _ in range(LANES)]
            for batches in lanes:
                group.create_task(lane(batches))
            for number, batch in data.batches(data.flights(first), size=BATCH, lanes=LANES):
                await lanes[number].put(batch)
            for batches in lanes:
                await batches.put([])  # the end
        result.published_seconds = time.perf_counter() - begin
        await caught_up(node, progress, "journal handled")
    await settle(node, result, console)
    result.seconds = time.perf_counter() - begin
    return result


def bars(console: Console) -> Progress:
    """Return progress bars; what is told beside them comes before they begin or when they end."""
    columns = (TextColumn("{task.description:15}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(*columns, *times, console=console)


async def caught_up(node: Node, progress: Progress, text: str) -> None:
    """Wait until all consumers and views have done everything but dead letters."""
    handling = progress.add_task(text)
    while True:
        end, handled = await node.progress()
        progress.update(handling, total=end, completed=handled)
        if handled == end:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def settle(node: Node, result: Run, console: Console) -> None:
    """Discard what is malformed, as an operator would, so that what waits behind it goes on."""
    dead = await node.letters("dead")
    waiting = await node.letters("waiting")
    result.letters.update(letter["subscription"] for letter in dead + waiting)
    if not dead:
        console.print("No event was malformed.")
        return
    console.print(
        f"{len(dead)} malformed events are dead letters now. Behind them {len(waiting):,} later "
        "flights of the same aircraft wait, as order is kept. They are discarded, as an operator "
        "would:"
    )
    with bars(console) as progress:
        while dead:
            result.errors.update(letter["code"] for letter in dead)
            for subscription in {letter["subscription"] for letter in dead}:
                result.discarded += await node.discard(subscription)
            await caught_up(node, progress, "journal handled")
            dead = await node.letters("dead")
    console.print(f"{result.discarded} malformed events were discarded:")
    for code, count in result.errors.most_common():
        console.print(f"  {count:3} {REASONS.get(code, code)}")
    console.print(f"The {len(waiting):,} flights behind them were released and handled.")


if __name__ == "__main__":
    main()
