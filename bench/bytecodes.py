"""`python -m bench.bytecodes WORK`: how many bytecodes one piece of work takes, function by function.

A measure that neither the machine's load nor its speed changes, for small steps on the hot path.
It counts what Python runs on the loop's thread; what C does (SQLite, JSON, the loop) has no share in
it, and bytecodes differ in cost: a step is proven by `python -m bench --rows …`, not by this.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click
import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from bench import carts, ours, services
from bench.environments import HOME
from bench.rows import pipeline, replicated
from eventmill import Service
from eventmill.runtime.runtime import Runtime

WARM_UP = 2_000
IN_FLIGHT = 1_024
PATIENCE_SECONDS = 600.0
ROOT = f"{Path(__file__).parents[1]}/"


@dataclass(frozen=True)
class Work:
    """What is counted."""

    unit: str
    service: Service
    run: Callable[[Runtime, int], Awaitable[Any]]
    """Do so many of it, and wait until all are done."""


class Counts:
    """Bytecodes and calls by code object, while it is entered."""

    def __init__(self) -> None:
        self.bytecodes: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()

    def __enter__(self) -> Counts:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "call":
            self.calls[frame.f_code] += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.bytecodes[frame.f_code] += 1
        return self._trace


async def _commands(here: Runtime, number: int) -> None:
    await ours.drive(here, lambda n: f"cart-{n % carts.CARTS}", IN_FLIGHT, lambda n: n >= number)


def _increments(counters: int) -> Callable[[Runtime, int], Awaitable[Any]]:
    ids = [f"score-{number}" for number in range(counters)]
    return lambda here, number: replicated.drive(here, ids, number)


def _events() -> Callable[[Runtime, int], Awaitable[Any]]:
    published = 0

    async def run(here: Runtime, number: int) -> None:
        nonlocal published
        published += number
        await pipeline.publish(here, number)
        await pipeline.until_shown(here, published, PATIENCE_SECONDS)

    return run


WORKS = {
    "command": Work("command", services.carts, _commands),
    "pipeline": Work("event", services.pipeline, _events()),
    "replicated": Work("increment", replicated.service, _increments(1)),
    "replicated-many": Work("increment", replicated.service, _increments(replicated.MANY)),
}


async def _counted(work: Work, folder: Path, number: int) -> Counts:
    async with ours.runtime(folder, work.service) as here:
        await work.run(here, WARM_UP)
        with Counts() as counts:
            await work.run(here, number)
    return counts


@click.command()
@click.argument("work", type=click.Choice(list(WORKS)))
@click.option("--number", default=2_000, show_default=True, help="How many are counted.")
@click.option("--top", default=30, show_default=True, help="How many functions are shown.")
def main(work: str, number: int, top: int) -> None:
    """Count the bytecodes of one command, event or increment."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        counts = uvloop.run(_counted(WORKS[work], Path(folder), number))
    table = Table("bytecodes", "calls", "function", "in", box=None)
    for code, bytecodes in counts.bytecodes.most_common(top):
        calls = counts.calls[code]
        where = code.co_filename.removeprefix(ROOT).removeprefix("src/eventmill/")
        table.add_row(
            f"{bytecodes / number:,.1f}", f"{calls / number:.2f}", code.co_qualname, where
        )
    console = Console()
    console.print(table, highlight=False)
    whole, called = counts.bytecodes.total() / number, counts.calls.total() / number
    unit = WORKS[work].unit
    console.print(f"{whole:,.0f} bytecodes and {called:.1f} calls per {unit}", highlight=False)


if __name__ == "__main__":
    main()
