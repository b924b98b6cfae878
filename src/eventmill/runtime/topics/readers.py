"""Readers: up to where everybody has read a topic, by what is durable and on all nodes.

Place on the road: behind everybody who reads, before retention. A subscription that this node does
not know may run on another one (a rolling update, a pushed one that was made a moment ago), and its
shard may have been this node's since before: so all nodes are asked what they run.

Invariant: nothing counts as read that was not read `LOOK_SECONDS` ago, too: whoever has begun since
has done so behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from eventmill.runtime.topics import relay

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

LOOK_SECONDS: Final = 10.0
"""Between two looks; longer than a node takes to run what another one was told to
(`limits.FACTS_SECONDS`)."""


class _Look(NamedTuple):
    """What was seen at once."""

    names: Mapping[str, frozenset[str]]
    """Sources of the subscriptions that run here."""
    elsewhere: frozenset[str]
    offsets: Mapping[tuple[str, int], int]
    beside: Mapping[str, int]
    """Up to where services of the same process have read topics."""


class Readers:
    """Who reads what, here, on other nodes, and in other services of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._store = runtime.store
        self._clock = runtime.clock
        self._subscriptions = runtime.subscriptions
        self._elsewhere = runtime.in_use_elsewhere
        self._beside = runtime.read_beside
        self._looks: list[_Look] = []
        """The last one, and the one before."""
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"<Readers [{len(self._subscriptions)} here]>"

    async def look(self) -> None:
        """Find out, if it is time to.

        Raises `Unavailable` if a node that is alive cannot be asked.
        """
        now = self._clock.monotonic()
        if self._looks and now - self._looked < LOOK_SECONDS:
            return
        elsewhere = frozenset(await self._elsewhere()) - {relay.NAME}
        here = {
            name: subscription.reaction.sources
            for name, subscription in self._subscriptions.items()
            if name != relay.NAME
        }
        offsets = await self._store.offsets()
        beside = await self._beside()
        self._looks = [*self._looks[-1:], _Look(here, elsewhere, offsets, beside)]
        self._looked = now

    def read(self, topic: str, shard: int) -> int | None:
        """Return up to which position everybody has read a shard; None if nobody reads the topic."""
        if len(self._looks) < 2:
            return 0
        found = [at for look in self._looks if (at := self._read(look, topic, shard)) is not None]
        return min(found, default=None)

    def _read(self, look: _Look, topic: str, shard: int) -> int | None:
        shards, offsets = self._store.placement.of_topic(topic), look.offsets
        names = {name for name, sources in look.names.items() if topic in sources}
        # Where one has begun that does not run here, its offsets tell what it reads.
        names |= {n for n in look.elsewhere if any((n, each) in offsets for each in shards)}
        ends = [offsets.get((name, shard), 0) for name in names]
        if topic in look.beside:
            ends.append(look.beside[topic])
        return min(ends, default=None)
