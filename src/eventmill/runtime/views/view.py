"""A view on this node: which of its versions is filled and which answers; how one takes over.

Place on the road: after dispatch. `opening` opens a version: tables and the subscription that
fills them, on each node for the shards that it holds. A changed definition, or `rebuild`, begins a
version at the beginning of the journal; when it has caught up in every shard, whoever sees it first
makes it ready, and every node changes over. `state` says what answers meanwhile, `sweeping`
removes what no node uses any more.

Invariants: rows of two definitions are never in one table; a query reads one version; which versions
there are is a durable fact (`engine.views.versions`) before it is so in memory, changed by
compare-and-set only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.versions import Stage, Versions
from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import ViewDefinition
from eventmill.runtime.views.opening import Opener, Surroundings
from eventmill.runtime.views.state import (
    Building,
    Frozen,
    Live,
    Replacing,
    Running,
    Starting,
    State,
    Stopped,
    answering,
    being_built,
)

log = structlog.get_logger()

FACT: Final = "view/"
RETRY_SECONDS: Final = 1.0
"""How long a step that the store refused waits for its next try."""
PROGRESS_SECONDS: Final = 0.05
"""How often a build looks whether it has caught up."""
LOOKS: Final = 20
"""A build has caught up when it has everything that there was so many looks ago, at most: under load
there is always something to go."""


class View:
    """One view."""

    def __init__(self, definition: ViewDefinition, compiled: CompiledView, node: Surroundings):
        self.compiled = compiled
        self.state: State = Starting()
        self.changes = 0
        """How often rows that are answered have changed."""
        self.watchers = 0
        """How many wait for that."""
        self._elsewhere: dict[int, int] = {}
        """How far other nodes had come with what is answered, at the last look."""
        self.used: set[int] = set()
        """Versions that this node fills, answers from, or would go back to."""
        self.unused: set[int] = set()
        """The other ones that it knows."""
        self._node = node
        self.opener = Opener(definition, compiled, node, self._note)
        self._running: dict[int, Running] = {}
        self._changed: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<View {self.compiled.id} [{type(self.state).__name__.lower()}]>"

    @property
    def fact(self) -> bytes | None:
        """Its versions, as this node knows them."""
        return self._node.facts.known.get(FACT + self.compiled.id)

    @property
    def versions(self) -> Versions:
        """The same, read."""
        return msgspec.json.decode(self.fact, type=Versions) if self.fact else Versions()

    async def act(self) -> None:
        """Do here what the stored versions ask for; begin one if this definition has none."""
        versions, compiled = self.versions, self.compiled
        if versions.serving(compiled) is None and versions.building(compiled) is None:
            await self._node.facts.put(self.changed(lambda versions: versions.begun(compiled)))
        await self._take_up(self.versions)
        next = being_built(self.state)
        if next is None or next.lag:
            return
        try:
            # A view of an empty journal answers at once.
            if await self._has_passed(next, await self._ends()):
                await self._node.facts.put(self.changed(_ready(next)))
                await self._take_up(self.versions)
        except Conflict:
            return  # another node was faster
        except Unavailable as error:  # `_build` goes on with it
            log.warning("view not yet live", view=self.compiled.id, error=str(error))

    def changed(self, change: Callable[[Versions], Versions]) -> Commit:
        """Return the commit that changes its versions, unless somebody else does so before."""
        name, fact = FACT + self.compiled.id, self.fact
        versions = change(self.versions)
        return Commit(registry={name: msgspec.json.encode(versions)}, expected={name: fact})

    async def rebuild(self) -> int:
        """Build a new version from the journal's beginning; the old one answers meanwhile.

        Returns the version's number. Raises `Conflict` while one is being built.
        """
        for _ in range(limits.FACT_ATTEMPTS):
            if not isinstance(self.state, Live):
                next = being_built(self.state)
                where = f": version {next.number}, {next.progress}" if next else ""
                raise Conflict(f"view {self.compiled.id!r} is being built already{where}")
            number = self.versions.last + 1
            try:
                await self._node.facts.change(self.changed(lambda v: v.begun(self.compiled)))
            except Conflict:
                # Somebody else was faster, perhaps only to remove an old version.
                await self._node.facts.look()
            else:
                return number
        raise Conflict(
            f"versions of view {self.compiled.id!r} are changed by somebody else all the time: "
            "look at them and ask again"
        )

    async def wait(self) -> None:
        """Return when rows that are answered have changed."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        self.watchers += 1
        try:
            await asyncio.shield(self._changed)
        finally:
            self.watchers -= 1

    def look(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Find out from all that are stored whether other nodes have changed rows: these come with
        offsets."""
        version = answering(self.state)
        if version is None:
            return
        name = self.opener.name(version.number)
        here = version.subscription.positions if isinstance(version, Running) else {}
        elsewhere = {s: at for (n, s), at in offsets.items() if n == name and s not in here}
        if elsewhere != self._elsewhere:
            self._elsewhere = elsewhere
            self._note(version.number)

    async def _take_up(self, versions: Versions) -> None:
        """Fill and answer from what is this definition's; let go of the rest."""
        serving, building = versions.serving(self.compiled), versions.building(self.compiled)
        foreign = versions.foreign(self.compiled) if serving is None else None
        self.used = {number for number in (serving, building, foreign) if number is not None}
        self.unused = versions.known.keys() - self.used
        version = await self._run(serving) if serving is not None else None
        if version is not None and isinstance(self.state, Starting):
            self.state = Live(version)
        is_new = building not in self._running
        next = await self._run(building) if building is not None else None
        self._turn_to(await self._state(versions, version, next, foreign))
        for number in self._running.keys() - self.used:
            await self._node.roster.unsubscribe(self.opener.name(number))
            del self._running[number]
        if next is not None and is_new:
            name = f"building {self.opener.name(next.number)}"
            self._node.supervisor.start(name, self._build(next))

    async def _run(self, number: int) -> Running:
        if number not in self._running:
            self._running[number] = await self.opener.run(number)
        return self._running[number]

    async def _state(
        self,
        versions: Versions,
        version: Running | None,
        next: Running | None,
        foreign: int | None,
    ) -> State:
        if version is not None:
            return Replacing(version, next) if next is not None else Live(version)
        assert next is not None
        if foreign is None:
            return Building(next)
        frozen = answering(self.state)
        if isinstance(frozen, Stopped) and frozen.number == foreign:
            return Frozen(frozen, next)
        reason, frozen = await self.opener.stopped(foreign, versions.known[foreign])
        return Building(next, reason) if frozen is None else Frozen(frozen, next)

    def _turn_to(self, state: State) -> None:
        old, new = answering(self.state), answering(state)
        next = being_built(state)
        if next not in (None, being_built(self.state)):
            reason = state.reason if isinstance(state, Building) else ""
            log.info(
                "view is being built", view=self.compiled.id, version=next.number, reason=reason
            )
        self.state = state
        if new is not None and new is not old:
            log.info("view answers", view=self.compiled.id, version=new.number)
            self._note(new.number)

    async def _build(self, next: Running) -> None:
        """Make a version ready when it has caught up, unless another node is faster."""
        looks, goal = 0, dict[int, int]()
        while being_built(self.state) is next:
            await self._node.clock.sleep(PROGRESS_SECONDS)
            try:
                if looks % LOOKS == 0:
                    goal = await self._ends()
                looks += 1
                if await self._has_passed(next, goal) and next.number in self.versions.known:
                    await self._node.facts.change(self.changed(_ready(next)))
            except Conflict:
                continue  # another node was faster
            except Unavailable as error:
                log.warning("view not yet live", view=self.compiled.id, error=str(error))
                await self._node.clock.sleep(RETRY_SECONDS)

    async def _ends(self) -> dict[int, int]:
        """Where all shards that it is made of end now, those of other nodes, too."""
        placement, sources = self._node.store.placement, self.opener.sources
        shards = [s for home in range(placement.shards) for s in placement.read_by(home, sources)]
        return await self._node.tails.find_ends(shards)

    async def _has_passed(self, next: Running, goal: Mapping[int, int]) -> bool:
        """Whether a version has come so far in every shard, by what is stored, and nobody who asked
        the version before it goes back in time."""
        await next.subscription.keep()  # other nodes decide by what is stored, too
        old = answering(self.state)
        if not next.subscription.has_passed(goal):
            return False
        if isinstance(old, Running) and not next.subscription.has_passed(
            old.subscription.positions
        ):
            return False
        offsets = await self._node.store.offsets()
        name = self.opener.name(next.number)
        if isinstance(old, Stopped):
            before = self.opener.name(old.number)
            goal = {s: max(end, offsets.get((before, s), 0)) for s, end in goal.items()}
        return all(offsets.get((name, shard), 0) >= end for shard, end in goal.items())

    def _note(self, number: int) -> None:
        """Rows of a version have changed: if it answers, wake whoever watches."""
        version = answering(self.state)
        if version is None or version.number != number:
            return
        self.changes += 1
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set_result(None)


def _ready(next: Running) -> Callable[[Versions], Versions]:
    return lambda versions: versions.staged([next.number], Stage.READY)
