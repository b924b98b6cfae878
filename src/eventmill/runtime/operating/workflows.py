"""What an operator may see of workflows, and do to them.

Place on the road: beside it. Workflows are read from what is committed, as entities are
(`runtime.operating.inspection`); orders enter at the ingress, as commands that no user's handler has, and
take their turns wherever the workflow lives.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from eventmill.engine.entity import Live
from eventmill.engine.workflows.deciding import stuck
from eventmill.errors import DataMisfit, InvalidPayload, NotFound, UnknownComponent
from eventmill.model.definition import EntityDefinition
from eventmill.model.entry import STEP
from eventmill.model.envelope import Envelope
from eventmill.model.progress import (
    Child,
    Did,
    Problem,
    Progress,
    Run,
    Status,
    Undo,
    Wait,
    decode_moved,
)
from eventmill.model.transition import Order
from eventmill.runtime.operating.inspection import PAGE_MAX, Inspection
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.turns.restoring import restore


class Summary(msgspec.Struct, frozen=True):
    """A workflow in a list."""

    id: str
    status: Status
    at: str
    """Steps that are outstanding, or what is waited for."""
    began: int
    ended: int
    error: str = ""


class Details(msgspec.Struct, frozen=True):
    """A workflow."""

    component: str
    id: str
    status: Status
    sequence: int
    deleted: bool
    began: int
    ended: int
    error: str
    runs: list[Run]
    wait: Wait | None
    undo: list[Undo]
    children: list[Child]
    problem: Problem | None
    state: msgspec.Raw


class Line(msgspec.Struct, frozen=True):
    """A line of a workflow's history."""

    sequence: int
    time: int
    did: Did


class Workflows:
    """Looks at the workflows of a runtime, and gives them orders."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looks = Inspection(runtime)

    def components(self) -> list[str]:
        """The workflow components of the service."""
        return [e.id for e in self._runtime.service.entities.values() if e.workflow is not None]

    async def instances(
        self, component: str, *, status: Status | None = None, after: str = "", limit: int = 100
    ) -> list[Summary]:
        """List workflows of a component by id, above `after`: up to `limit` of a status.

        Raises `UnknownComponent`.
        """
        definition = self._definition(component)
        found: list[Summary] = []
        journal = self._runtime.store.journal
        while len(found) < limit:
            page = await journal.subjects(component, after=after, limit=min(limit, PAGE_MAX))
            for id, _ in page:
                summary = await self._summary(definition, id)
                await asyncio.sleep(0)  # a long list must not hold up the node's work
                if status in (None, summary.status) and len(found) < limit:
                    found.append(summary)
            if not page:
                break
            after = page[-1][0]
        return found

    async def show(self, component: str, id: str) -> Details:
        """One workflow.

        Raises `UnknownComponent`, `NotFound`, and `DataMisfit` for one that this code cannot read.
        """
        definition = self._definition(component)
        live = await self._live(definition, id)
        progress = live.progress
        assert progress is not None
        if not live.identity.sequence:
            raise NotFound(f"no workflow {component}/{id}")
        return Details(
            component,
            id,
            self._status(definition, progress),
            live.identity.sequence,
            live.deleted,
            progress.began,
            progress.ended,
            self._error(live),
            progress.runs,
            progress.wait,
            progress.undo,
            progress.children,
            progress.problem,
            msgspec.Raw(definition.encode_state(live.state)),
        )

    async def history(
        self, component: str, id: str, *, after: int = 0, limit: int = 100
    ) -> list[Line]:
        """What happened to a workflow, above a sequence: steps, commands, time-outs, orders. Only an
        empty page is the last.

        Raises `UnknownComponent`.
        """
        self._definition(component)
        lines: list[Line] = []
        while not lines:
            page = await self._looks.events(component, id, after=after, limit=limit)
            if not page:
                break
            after = page[-1].sequence
            lines = [
                Line(entry.sequence, entry.time, decode_moved(entry.payload).did)
                for entry in page
                if entry.type == STEP
            ]
        return lines

    async def order(self, component: str, id: str, order: str) -> Details:
        """Terminate, suspend, resume, retry or compensate a workflow; return it as it is then.

        Raises `NotFound`, `Rejected` for what it cannot do where it is, `InvalidPayload` for an
        unknown order.
        """
        self._definition(component)
        if order not in tuple(Order):
            raise InvalidPayload(f"no order {order!r}; there is {', '.join(Order)}")
        await self._runtime.execute(Envelope(component, id, f"${order}", ()))
        return await self.show(component, id)

    async def _live(self, definition: EntityDefinition, id: str) -> Live:
        live = Live(definition, id)
        await restore(self._runtime.store.journal, live)
        return live

    async def _summary(self, definition: EntityDefinition, id: str) -> Summary:
        try:
            live = await self._live(definition, id)
        except DataMisfit as error:
            return Summary(id, Status.STUCK, "", 0, 0, error.message)
        progress = live.progress
        assert progress is not None
        at = ", ".join(run.step for run in progress.runs)
        if progress.wait is not None and progress.wait.source:
            at = f"{progress.wait.source}/{progress.wait.key}"
        status, why = self._status(definition, progress), self._error(live)
        return Summary(id, status, at, progress.began, progress.ended, why)

    def _status(self, definition: EntityDefinition, progress: Progress) -> Status:
        assert definition.workflow is not None
        return progress.shown_in(definition.workflow)

    def _error(self, live: Live) -> str:
        if why := stuck(live):
            return why
        runner, progress = self._runtime.workflows, live.progress
        why = runner.stuck.get((live.definition.id, live.id), "") if runner is not None else ""
        if why or progress is None or progress.problem is None:
            return why
        return progress.problem.error

    def _definition(self, component: str) -> EntityDefinition:
        definition = self._runtime.service.entities.get(component)
        if definition is None or definition.workflow is None:
            known: Any = ", ".join(self.components()) or "none"
            raise UnknownComponent(f"no workflow component {component!r}; there is {known}")
        return definition
