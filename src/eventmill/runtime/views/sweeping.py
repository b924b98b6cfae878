"""Sweeping: removes the versions of a view that no node uses any more.

Place on the road: beside `view`. A version is marked as leaving first, so that no node takes it up
any more; then every node that is alive is asked whether it has it still; then its tables go, and at
last the version itself, with its offsets and letters. Each step is repeated until it succeeds.

Invariant: tables go only after the fact that nobody may take them up, and after every live node has
said that it does not have them. So a node of an older definition keeps its version as long as it
lives, and a node that cannot be asked holds everything up until its lease has ended.
"""

from __future__ import annotations

import asyncio

import structlog

from eventmill.engine.views.versions import Stage
from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.runtime.dispatch.marks import names_of
from eventmill.runtime.dispatch.subscription import PAUSED
from eventmill.runtime.views.opening import Surroundings
from eventmill.runtime.views.view import RETRY_SECONDS, View

log = structlog.get_logger()


class Sweeper:
    """Sweeps one view."""

    def __init__(self, view: View, node: Surroundings) -> None:
        self._view = view
        self._node = node
        self._since: dict[int, float] = {}
        """Since when this node has no use for a version."""
        self._wanted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Sweeper of {self._view.compiled.id} [{len(self._since)} unused]>"

    def want(self) -> None:
        """Look soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Sweep when something is unused, until cancelled."""
        shared = self._node.shared
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while not await self.swept():
                await self._node.clock.sleep(limits.FACTS_SECONDS if shared else RETRY_SECONDS)

    async def swept(self) -> bool:
        """Remove what may go now; return whether nothing unused is left."""
        try:
            await self._sweep()
        except (Unavailable, Conflict) as error:
            id = self._view.compiled.id
            log.warning("unused versions of a view are still there", view=id, error=str(error))
            return False
        return not self._view.unused

    async def _sweep(self) -> None:
        now = self._node.clock.monotonic()
        self._since = {number: self._since.get(number, now) for number in self._view.unused}
        patience = limits.VIEW_UNUSED_SECONDS if self._node.shared else 0.0
        old = {number for number, since in self._since.items() if now - since >= patience}
        if not old or not (free := await self._not_in_use(old)):
            return
        leaving = self._view.changed(lambda versions: versions.staged(free, Stage.LEAVING))
        if leaving.registry != leaving.expected:  # else another node was faster
            await self._node.facts.change(leaving)
        # Asked again: somebody may have taken one up just before.
        await self._drop(await self._not_in_use(free))

    async def _not_in_use(self, numbers: set[int]) -> set[int]:
        in_use = await self._node.in_use_elsewhere()
        return {number for number in numbers if self._view.opener.name(number) not in in_use}

    async def _drop(self, numbers: set[int]) -> None:
        view, known = self._view, self._view.versions.known
        gone = sorted(numbers & known.keys())
        if not gone:
            return
        tables = [name for n in gone for name in known[n].names(view.compiled.id, n)]
        await self._node.store.views.drop(tables)
        commit = view.changed(lambda versions: versions.without(gone))
        names = [view.opener.name(number) for number in gone]
        offsets = await self._node.store.offsets()
        commit.forgotten = [each for name in names for each in names_of(name, offsets)]
        commit.registry.update({PAUSED + name: None for name in names})
        await self._node.facts.change(commit)
