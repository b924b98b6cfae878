"""A workflow that kills its own node: at the boundary of each step, and at places inside each.

`point` names where: `STEP:before` and `STEP:after` its call of an entity, and `STEP:end`, when its outcome
is being committed. Each happens once per workflow: a file remembers it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Rejected,
    Service,
    StepContext,
    Workflow,
    command,
    component,
    on,
    query,
    step,
)

MARKS = "ERRANDS_MARKS"
"""Environment variable: where the files are."""


class Written(Event):
    line: str


@component("book")
class Book(EventSourcedEntity):
    """What has happened: each line once in effect."""

    lines: list[str] = []

    @command
    def write(self, line: str) -> Effect[None]:
        if line == "pay":
            raise Rejected("no money", code="book.money")
        return self.persist(Written(line=line))

    @query
    def content(self) -> list[str]:
        return self.lines

    @on(Written)
    def written(self, event: Written) -> None:
        self.lines.append(event.line)


@component("errand")
class Errand(Workflow):
    """Two things are done, the third is refused, the two are undone."""

    point: str = ""

    @command
    def start(self, point: str) -> Effect[None]:
        return self.update(point=point).begin(Errand.first)

    @query
    def content(self) -> str:
        return self.status

    @step(compensate="undo_first")
    async def first(self, ctx: StepContext) -> Effect[None]:
        await self.act(ctx, "first")
        return self.go(Errand.second)

    @step(compensate="undo_second")
    async def second(self, ctx: StepContext) -> Effect[None]:
        await self.act(ctx, "second")
        return self.go(Errand.pay)

    @step
    async def pay(self, ctx: StepContext) -> Effect[None]:
        await self.act(ctx, "pay")
        return self.end()

    @step
    async def undo_second(self, ctx: StepContext) -> None:
        await self.act(ctx, "undo_second")

    @step
    async def undo_first(self, ctx: StepContext) -> None:
        await self.act(ctx, "undo_first")

    async def act(self, ctx: StepContext, name: str) -> None:
        self._die(f"{name}:before")
        try:
            await ctx.call(Book.write, self.entity_id, name)
        finally:
            self._die(f"{name}:after")
            asyncio.get_running_loop().call_soon(self._die, f"{name}:end")

    def _die(self, point: str) -> None:
        mark = Path(os.environ[MARKS]) / self.entity_id
        if point == self.point and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


service = Service("errands", components=[Book, Errand])
