"""Facts: what is durable about how the service is operated, and who acts on it here.

Place on the road: beside it. Pauses, pushed subscriptions and view versions are facts in the
store's registry. They are the truth: whoever wants something else changes a fact, and every node,
the one that was asked too, reads what there is and does what follows from it. Nodes tell each
other that there is something to read, and look for themselves now and then.

Invariants: a follower is told every change of its facts, in the order in which this node saw them,
one at a time, and again as long as it fails; a fact that two nodes may want to change is changed by
compare-and-set, in a commit of its own, so that nobody else's commands fail with it; a change goes
on when whoever asked for it gives up, and is followed all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer

log = structlog.get_logger()

RETRY_SECONDS = 1.0
"""How long what failed waits for its next try."""

Changes = Mapping[str, bytes | None]
"""Facts that are new or other than before; None for one that is gone."""


class Follower:
    """Somebody who acts on the facts whose names begin so."""

    def __init__(self, prefix: str, act: Callable[[Changes], Awaitable[None]]) -> None:
        self._prefix = prefix
        self._act = act
        self._told: dict[str, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Follower of {self._prefix}… [{len(self._told or ())} facts]>"

    async def tell(self, known: Mapping[str, bytes]) -> None:
        """Tell what is not as it was told last; the first time also that there is nothing."""
        told = self._told or {}
        mine = {name: value for name, value in known.items() if name.startswith(self._prefix)}
        changes: dict[str, bytes | None] = dict.fromkeys(told.keys() - mine.keys())
        changes |= {n: value for n, value in mine.items() if told.get(n) != value}
        if changes or self._told is None:
            await self._act(changes)
        self._told = mine


class Facts:
    """The facts as this node saw them last.

    Parameters: `shared` says that other nodes may change them.
    """

    def __init__(self, store: Store, committer: Committer, clock: Clock, *, shared: bool) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock
        self._shared = shared
        self.known: dict[str, bytes] = {}
        self.on_change: list[Callable[[], None]] = []
        """Called when this node has changed facts."""
        self._followers: list[Follower] = []
        self._looking = asyncio.Lock()
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Facts [{len(self.known)} known, {len(self._followers)} followers]>"

    @property
    def working(self) -> bool:
        """Whether facts are being read or acted on."""
        return self._looking.locked()

    async def start(self) -> None:
        """Read what there is."""
        self.known = await self._store.registry()

    async def follow(self, prefix: str, act: Callable[[Changes], Awaitable[None]]) -> None:
        """Tell somebody the facts whose names begin so: all now, and later each change.

        Raises what it raises now; later that is logged and tried again.
        """
        follower = Follower(prefix, act)
        async with self._looking:
            for attempt in range(1, limits.FACT_ATTEMPTS + 1):
                try:
                    await follower.tell(self.known)
                    break
                except Conflict:  # another node was faster
                    if attempt == limits.FACT_ATTEMPTS:
                        raise
                    self.known = await self._store.registry()
            self._followers.append(follower)

    async def change(self, commit: Commit) -> None:
        """Make a change of facts true and act on it here; the other nodes are told.

        Raises `Conflict` if another node was faster, and what the store raises.
        """
        await self.put(commit)
        await self.look()

    async def put(self, commit: Commit) -> None:
        """Make a change of facts true; who follows them is told later. For followers themselves."""
        committing = self._committer.submit_alone(commit)
        committing.add_done_callback(lambda done: self._changed(commit, done.exception()))
        await asyncio.shield(committing)

    def _changed(self, commit: Commit, error: BaseException | None) -> None:
        self.wake()  # what failed may stand in the store all the same, or something else does
        if error is not None:
            return
        for name, value in commit.registry.items():
            if value is None:
                self.known.pop(name, None)
            else:
                self.known[name] = value
        for notify in self.on_change:
            notify()

    def wake(self) -> None:
        """Look soon: something may have changed."""
        self._news.set()

    async def look(self) -> None:
        """Read what there is and tell who follows it.

        Raises what the store raises, or the first follower that failed.
        """
        async with self._looking:
            self.known = await self._store.registry()
            failed: list[Unavailable | Conflict] = []
            for follower in self._followers:
                try:
                    await follower.tell(self.known)
                except (Unavailable, Conflict) as error:
                    failed.append(error)
                    self.wake()
            if failed:
                raise failed[0]

    async def run(self) -> None:
        """Look when there is news until cancelled; where nodes share the facts, also without."""
        while True:
            if self._shared:
                await self._clock.wait(self._news, limits.FACTS_SECONDS)
            else:
                await self._news.wait()
            self._news.clear()
            try:
                await self.look()
            except (Unavailable, Conflict) as error:
                log.warning("facts not acted on", error=str(error))
                self.wake()
                await self._clock.sleep(RETRY_SECONDS)
