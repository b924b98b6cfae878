"""What a store has in all its shards."""

from __future__ import annotations

from eventmill.model.entry import Entry
from eventmill.ports.store import Store
from tests.flow.brokers import TopicsElsewhere


async def everything(store: Store, *sources: str) -> list[Entry]:
    """Read all entries, of these sources if any are named, shard by shard."""
    if isinstance(store, TopicsElsewhere):
        shards = store.placement.shards
        entries = [e for e in await _entries(store) if e.shard < shards]
        entries += await store.messages()
    else:
        entries = await _entries(store)
    return [entry for entry in entries if not sources or entry.source in sources]


async def _entries(store: Store) -> list[Entry]:
    found: list[Entry] = []
    for shard, end in sorted((await store.journal.ends()).items()):
        after = 0
        while after < end:
            scan = await store.journal.read(shard, after, limit=1_000)
            found += scan.entries
            after = scan.position
    return found


async def length(store: Store) -> int:
    """Count the positions of all shards."""
    return sum((await store.journal.ends()).values())
