"""A view: its versions from the first to the next, how one takes over, what goes afterwards.

Place on the road: after dispatch. `view_opening` opens a version: tables and the subscription that
fills them. A changed definition, or `rebuild`, starts a new version from the beginning of the
journal; when it has caught up, one commit makes it the one that answers. `view_state` says what
answers meanwhile.

Invariants: rows of two definitions are never in one table; a query reads one version; what answers
is a durable fact (`engine.views.versions`) before it is so in memory. Tables go only after the fact
that no longer needs them is stored: what is unused is swept, again and again until it succeeds, and
at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog

from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.versions import Versions
from eventmill.errors import Conflict, Unavailable
from eventmill.model.commit import Commit
from eventmill.model.definition import ViewDefinition
from eventmill.runtime.marks import names_of
from eventmill.runtime.subscription import PAUSED
from eventmill.runtime.view_opening import Opener, Surroundings
from eventmill.runtime.view_state import (
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


class View:
    """One view."""

    def __init__(self, definition: ViewDefinition, compiled: CompiledView, node: Surroundings):
        self.compiled = compiled
        self.state: State = Starting()
        self.changes = 0
        """How often rows that are answered have changed."""
        self._node = node
        self._opener = Opener(definition, compiled, node, self._note)
        self._versions = Versions()
        self._lock = asyncio.Lock()
        """Held while the stored fact changes: facts are stored in the order they came true."""
        self._retired: set[int] = set()
        """Unused versions whose subscription still runs."""
        self._sweeps = 0
        """Background sweeps begun; it makes their tasks' names unique."""
        self._changed: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<View {self.compiled.id} [{type(self.state).__name__.lower()}]>"

    async def start(self, fact: bytes | None) -> None:
        """Take it up where it was; build it anew if its definition has changed."""
        stored = msgspec.json.decode(fact, type=Versions) if fact else Versions()
        self._versions = stored.taken_up(self.compiled)
        if self._versions != stored:
            await self._write(self._versions)
        await self._take_up(is_new=self._versions.last > stored.last)
        next = being_built(self.state)
        # A view of an empty journal answers at once.
        if next is not None and (next.lag or not await self._swapped(next)):
            self._follow(next)
        await self._clean_up()

    async def rebuild(self) -> int:
        """Build a new version from the journal's beginning; the old one answers meanwhile.

        Returns the version's number. Raises `Conflict` while one is being built.
        """
        async with self._lock:
            if not isinstance(self.state, Live):
                next = being_built(self.state)
                where = f": version {next.number}, {next.progress}" if next else ""
                raise Conflict(f"view {self.compiled.id!r} is being built already{where}")
            # Known from here on, whatever becomes of it: its number is not used again.
            self._versions = self._versions.begun(self.compiled)
            try:
                await self._write(self._versions)
                next = await self._opener.run(self._versions.last, is_new=True)
            except BaseException:
                self._versions = self._versions.given_up()
                self._sweep_later()
                raise
            self.state = Replacing(self.state.version, next)
        self._follow(next)
        return next.number

    async def wait(self) -> None:
        """Return when rows that are answered have changed."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def _take_up(self, *, is_new: bool) -> None:
        serving, building = self._versions.serving, self._versions.building
        reason, frozen = "", None
        if serving is not None and self._versions.is_outdated(self.compiled):
            reason, frozen = await self._opener.stopped(serving, self._versions.known[serving])
        elif serving is not None:
            self.state = Live(await self._opener.run(serving, is_new=False))
        if building is None:
            return
        next = await self._opener.run(building, is_new=is_new)
        if isinstance(self.state, Live):
            self.state = Replacing(self.state.version, next)
        elif frozen is not None:
            self.state = Frozen(frozen, next)
        else:
            self.state = Building(next, reason)
        log.info("view is being built", view=self.compiled.id, version=building, reason=reason)

    def _follow(self, next: Running) -> None:
        name = f"building {self._opener.name(next.number)}"
        self._node.supervisor.start(name, self._build(next))

    async def _build(self, next: Running) -> None:
        # Under load there is always something to go. It is enough that everything is in that was
        # there at the last look, and that nobody who asked the old version goes back in time.
        ends = next.subscription.ends
        while not next.subscription.has_passed(ends) or self._is_behind(next):
            ends = next.subscription.ends
            await self._node.clock.sleep(PROGRESS_SECONDS)
        while not await self._swapped(next):
            await self._node.clock.sleep(RETRY_SECONDS)

    def _is_behind(self, next: Running) -> bool:
        match answering(self.state):
            case Running(subscription=old):
                return not next.subscription.has_passed(old.positions)
            case Stopped(position=position):
                return next.position < position
            case None:
                return False

    async def _swapped(self, next: Running) -> bool:
        try:
            async with self._lock:
                versions = self._versions.swapped()
                # crash here, before or after the commit: the start finds one of the two states.
                await self._write(versions)
                old, self._versions, self.state = answering(self.state), versions, Live(next)
                if isinstance(old, Running):
                    self._retired.add(old.number)
        except (Unavailable, Conflict) as error:
            log.warning("view not yet live", view=self.compiled.id, error=str(error))
            return False
        log.info("view is live", view=self.compiled.id, version=next.number)
        self._note(next.number)
        await self._clean_up()
        return True

    def _note(self, number: int) -> None:
        """Rows of a version have changed: if it answers, wake whoever watches."""
        version = answering(self.state)
        if version is None or version.number != number:
            return
        self.changes += 1
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set_result(None)

    async def _clean_up(self) -> None:
        """Sweep now; if the store refuses, go on in the background."""
        if not await self._swept():
            self._sweep_later()

    def _sweep_later(self) -> None:
        self._sweeps += 1
        name = f"sweeping {self.compiled.id} {self._sweeps}"
        self._node.supervisor.start(name, self._sweep())

    async def _sweep(self) -> None:
        while True:
            await self._node.clock.sleep(RETRY_SECONDS)
            if await self._swept():
                return

    async def _swept(self) -> bool:
        try:
            async with self._lock:
                if unused := self._versions.unused():
                    await self._drop(unused)
        except (Unavailable, Conflict) as error:
            log.warning("old view tables not yet gone", view=self.compiled.id, error=str(error))
            return False
        return True

    async def _drop(self, numbers: list[int]) -> None:
        """Remove versions for good; each step can be repeated."""
        for number in sorted(self._retired.intersection(numbers)):
            await self._node.unsubscribe(self._opener.name(number))
            self._retired.discard(number)
        known, id = self._versions.known, self.compiled.id
        await self._node.store.views.drop([name for n in numbers for name in known[n].names(id, n)])
        versions = self._versions.without(numbers)
        await self._write(versions, forgotten=[self._opener.name(number) for number in numbers])
        self._versions = versions

    async def _write(self, versions: Versions, forgotten: Iterable[str] = ()) -> None:
        value = msgspec.json.encode(versions)

        def fill(commit: Commit) -> None:
            commit.registry[FACT + self.compiled.id] = value
            commit.forgotten += [each for name in forgotten for each in names_of(name)]
            commit.registry.update({PAUSED + name: None for name in forgotten})

        await self._node.committer.write(fill)
