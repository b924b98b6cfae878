"""Histories: removes whole states that entities need not keep any longer.

Place on the road: beside the scheduler. A key-value or replicated entity with `keep_history` appends
its states as others their events: its commands do nothing for their removal. What is older is found
here in the journal's order: each state that is old enough makes those before it superfluous, of the
entities too that are never written again. The way through the journal is taken once after each start,
and then only what has become old since.

Invariant: of each entity the last state before the cut-off stays, so that the entity is known at any
moment behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

import structlog

from eventmill.errors import Conflict, Unavailable
from eventmill.model.commit import Commit
from eventmill.model.definition import EntityDefinition
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer

log = structlog.get_logger()

TRIM_SECONDS: Final = 10.0
TRIM_MORE_SECONDS: Final = 0.05
"""Pause when there is more to remove: commands go first."""

TRIM_POSITIONS: Final = 2_000
"""Positions of the journal whose states make earlier ones superfluous, in one commit."""


class Histories:
    """Owns the loop that removes old states. Parameter: `held` are the home shards of this node."""

    def __init__(
        self,
        entities: Mapping[str, EntityDefinition],
        store: Store,
        committer: Committer,
        clock: Clock,
        held: Iterable[int],
    ) -> None:
        self.sources: defaultdict[timedelta, set[str]] = defaultdict(set)
        """The entities that keep their states for so long."""
        for id, definition in entities.items():
            if definition.keep_history is not None:
                self.sources[definition.keep_history].add(id)
        self._store = store
        self._committer = committer
        self._clock = clock
        self._held = held
        self._old: dict[tuple[timedelta, int], int] = {}
        """By span and shard: up to this position all is older."""
        self._trimmed: dict[tuple[timedelta, int], int] = {}
        """Up to this position each state has replaced those before it."""

    def __repr__(self) -> str:
        return f"<Histories {self._trimmed}>"

    async def run(self) -> None:
        """Remove what is old until cancelled."""
        while True:
            is_done = True
            try:
                for span in self.sources:
                    for shard in [*self._held]:
                        is_done &= await self._trim(span, shard)
            except (Unavailable, Conflict) as error:
                log.warning("old states not removed", error=str(error))
            await self._clock.sleep(TRIM_SECONDS if is_done else TRIM_MORE_SECONDS)

    async def _trim(self, span: timedelta, shard: int) -> bool:
        """Look at the next stretch; return whether it was the last one for now."""
        journal, key = self._store.journal, (span, shard)
        cut = self._clock.now() - round(span.total_seconds() * 1e6)
        old = await journal.position_at(shard, cut, after=self._old.get(key, 0))
        self._old[key] = old
        after = self._trimmed.get(key, 0)
        scan = await journal.read(
            shard,
            after,
            limit=min(TRIM_POSITIONS, old - after),
            sources=frozenset(self.sources[span]),
        )
        last = {(e.source, e.subject): e.sequence for e in scan.entries if e.sequence > 1}
        if last:
            commit = Commit(compacted=[(*entity, sequence) for entity, sequence in last.items()])
            await self._committer.submit_alone(commit)
        self._trimmed[key] = max(after, scan.position)
        return scan.position >= old
